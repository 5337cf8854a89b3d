"""The ledger: a server outside of the engine that nodes write their effects to. It has each effect once, by idempotency key.

It answers with the number of the effect, the same for every repetition, so that whoever made up a result is found out.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from tests.support.http_server import HttpServer, Received, Reply, serving

ANSWER_S: Final = 0.3
"""Effects take a while: at any moment there are workers in the middle of one."""


class Ledger:
    """`effects` are numbers by idempotency key, `attempts` how often each was asked for."""

    def __init__(self) -> None:
        self.effects: dict[str, int] = {}
        self.attempts: Counter[str] = Counter()
        self.url = ""

    def answer(self, received: Received) -> Reply:
        """Write an effect down, and answer with its number."""
        key = received.headers.get("idempotency-key", "")
        self.attempts[key] += 1
        number = self.effects.setdefault(key, len(self.effects) + 1)
        body = msgspec.json.encode({"effect": number, "key": key})
        return Reply(200, body, {"content-type": "application/json"}, after_s=ANSWER_S)

    @property
    def repeated(self) -> int:
        """Calls beyond the first of each effect."""
        return self.attempts.total() - len(self.attempts)


@asynccontextmanager
async def kept() -> AsyncIterator[Ledger]:
    """Keep a ledger on a free port."""
    ledger = Ledger()
    server: HttpServer
    async with serving(ledger.answer) as server:
        ledger.url = server.url("/effects")
        yield ledger
