"""JSON on the command line: as it is, from a file (`@FILE`), or from stdin (`@-`)."""

import sys
from pathlib import Path
from typing import Any, Final

from flotilla.cli.exits import CommandFailed, Exit

MOST_BYTES: Final = 16 * 1024 * 1024


def read_value(option: str, text: str) -> Any:
    """Return the value that an option spells. Raises CommandFailed."""
    from contracts.strict_json import MalformedJson, read_json

    try:
        return read_json(_bytes_of(text))
    except MalformedJson as error:
        raise CommandFailed(f"{option}: {error.message}", Exit.USAGE) from None
    except OSError as error:
        raise CommandFailed(f"{option}: {text[1:]}: {error.strerror}", Exit.USAGE) from None


def _bytes_of(text: str) -> bytes:
    if text == "@-":
        return sys.stdin.buffer.read(MOST_BYTES)
    return Path(text[1:]).read_bytes() if text.startswith("@") else text.encode()
