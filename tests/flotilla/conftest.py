"""The command line with a gateway that a test makes up."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from flotilla.settings import VARIABLES
from tests.support.command_line import CommandLine
from tests.support.http_stub import HttpStub, serving


@pytest.fixture
def api() -> Iterator[HttpStub]:
    """A gateway that answers as the test says."""
    with serving(HttpStub()) as stub:
        yield stub


@pytest.fixture
def logs_restored() -> Iterator[None]:
    """Give structlog and the root logger back as they were."""
    root = logging.getLogger()
    before = (root.handlers, root.level)
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers, root.level = before


@pytest.fixture
def flotilla(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    logs_restored: None,
) -> CommandLine:
    """The command line, with nothing in the environment but DATA_DIR."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    command_line = CommandLine(monkeypatch, capsys)
    command_line.set(DATA_DIR=str(tmp_path / "data"))
    return command_line


@pytest.fixture
def client_commands(flotilla: CommandLine, api: HttpStub) -> CommandLine:
    """The command line, told where the gateway is."""
    flotilla.set(FLOTILLA_URL=api.url, FLOTILLA_TOKEN="token-of-a-test")
    return flotilla
