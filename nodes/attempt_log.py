"""The log of one attempt: written to the worker's log at once, and kept with the result for its users."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
import structlog
from msgspec import UNSET

from contracts.history import MaybeRaw
from nodes.masking import Masker

LOG_BYTES: Final = 64 * 1024
"""What is kept of one attempt unless LIMIT_LOG_BYTES says otherwise; the rest is cut and marked."""

Level = Literal["debug", "info", "warning", "error"]

_log: Final = structlog.get_logger("flotilla.nodes")
_CUT: Final = b'{"level":"warning","event":"log_cut"}'


class AttemptLog:
    """What a handler says while it works: fixed event names with fields, as in `log.info("page_read", page=3)`."""

    def __init__(
        self,
        names: Mapping[str, Any],
        now: Callable[[], datetime],
        most: int = LOG_BYTES,
        masker: Callable[[], Masker | None] = lambda: None,
    ) -> None:
        self._names = names
        self._now = now
        self._masker = masker
        self._entries: list[bytes] = []
        self._bytes_left = most

    def debug(self, event: str, **fields: Any) -> None:
        """Log what only a developer wants to know."""
        self._write("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Log what happened."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Log what somebody should look at."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Log what went wrong and was survived."""
        self._write("error", event, fields)

    def collected(self) -> MaybeRaw:
        """Return the entries as one JSON list, or UNSET if nothing was logged."""
        return msgspec.Raw(b"[" + b",".join(self._entries) + b"]") if self._entries else UNSET

    def _write(self, level: Level, event: str, fields: dict[str, Any]) -> None:
        event, fields = self._without_secrets(event, fields)
        getattr(_log, level)(event, **{**self._names, **fields})
        if self._bytes_left <= 0:
            return
        entry = _encoded({"at": self._now(), "level": level, "event": event} | fields)
        self._bytes_left -= len(entry) + 1
        self._entries.append(entry if self._bytes_left > 0 else _CUT)

    def _without_secrets(self, event: str, fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        masker = self._masker()
        if masker is None:
            return event, fields
        return masker.text(event), msgspec.json.decode(masker.json(_encoded(fields)))


def _encoded(entry: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(entry, enc_hook=repr)
    except (TypeError, ValueError, RecursionError):
        return msgspec.json.encode({name: ascii(value)[:1000] for name, value in entry.items()})
