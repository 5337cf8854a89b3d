"""How a command ends: its exit code, and what each exception means for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Final

from flotilla.settings import MissingSettings, SettingsError


class Exit(IntEnum):
    """Exit codes of the command line."""

    DONE = 0
    ERROR = 1  # the execution ended in ERROR
    USAGE = 2  # wrong usage, or a document that is refused
    UNREACHABLE = 3  # a server or store is out of reach
    REFUSED = 4  # token, scope, unknown id, wrong state
    CANCELED = 5  # the execution was canceled
    TIMEOUT = 6  # --timeout passed
    INTERRUPTED = 130  # Ctrl-C, by the shells' convention


_BLAMES_REQUEST: Final = frozenset({400, 413, 415, 422})


class CommandFailed(Exception):
    """A command cannot go on; the message is for people, and goes to stderr."""

    def __init__(self, message: str, code: Exit) -> None:
        self.message = message
        self.code = code
        super().__init__(message)


@contextmanager
def settings_explained() -> Iterator[None]:
    """Turn bad or missing settings into a sentence and an exit code."""
    try:
        yield
    except (MissingSettings, SettingsError) as error:
        raise CommandFailed(str(error), Exit.USAGE) from None


def of_status(status: int) -> Exit:
    """The exit code for an HTTP status that is no success."""
    if status in _BLAMES_REQUEST:
        return Exit.USAGE
    return Exit.UNREACHABLE if status >= 500 else Exit.REFUSED
