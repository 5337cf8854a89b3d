"""Checkpoints: finished calls of a node run, kept in history so that no later attempt repeats them.

A call that fails is not kept. A call in doubt, whose attempt died before its value was stored, is repeated
under the same idempotency key: so calls to the outside carry the checkpoint's key inside their own.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final

import msgspec

KEY: Final = re.compile(r"[!-~]{1,200}")
"""What a header can carry."""

Save = Callable[[str, Any], Awaitable[msgspec.Raw]]
"""Stores a value under a key and returns it as it travels. Raises Failed for one that cannot be kept."""

_current: Final[ContextVar[str]] = ContextVar("checkpoint", default="")


def current_key() -> str:
    """Return the key of the checkpoint whose call is under way here, empty outside of any."""
    return _current.get()


class Checkpoints:
    """Those of one attempt, and what earlier attempts of its node run left."""

    def __init__(self, known: Mapping[str, msgspec.Raw], save: Save) -> None:
        self._known = dict(known)
        self._save = save
        self._under_way: dict[str, asyncio.Lock] = {}

    async def once(self, key: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """Return the value kept under `key`; without one call, keep what it gives, and return that.

        The value is JSON, and the same on every attempt. Raises ValueError for a key that is not 1 to 200
        printable ASCII characters, and Failed for a value that cannot be kept.
        """
        if not KEY.fullmatch(key):
            raise ValueError("a checkpoint's key has 1 to 200 printable ASCII characters")
        async with self._under_way.setdefault(key, asyncio.Lock()):
            if key not in self._known:
                self._known[key] = await self._save(key, await self._called(key, call))
        return msgspec.json.decode(self._known[key])

    async def _called(self, key: str, call: Callable[[], Awaitable[Any]]) -> Any:
        outer = _current.set(key)
        try:
            return await call()
        finally:
            _current.reset(outer)
