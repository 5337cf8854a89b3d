"""The command line, run within the test process."""

import sys

import msgspec
import pytest

from flotilla.cli.main import main


class Outcome(msgspec.Struct, frozen=True):
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


class CommandLine:
    """Runs `flotilla …` in an environment of its own, which `set` changes."""

    def __init__(self, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self._patch = patch
        self._capture = capture

    def set(self, **environ: str) -> None:
        """Set environment variables."""
        for name, value in environ.items():
            self._patch.setenv(name, value)

    def __call__(self, *arguments: object) -> Outcome:
        """Run a command to its end."""
        self._capture.readouterr()
        self._patch.setattr(sys, "argv", ["flotilla", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        written = self._capture.readouterr()
        code = ended.value.code
        return Outcome(code if isinstance(code, int) else 0, written.out, written.err)
