"""Large values: the JSON of a value, stored once per user under its hash."""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from db import queries
from db.store import Row, Store

KEEP_DAYS: Final = 400
"""How long a value stays after it was stored or read: the longest wait is a year, and then finished executions are kept."""

_SQL: Final = queries.load("payloads")


class Payload(NamedTuple):
    """A value of a user; `sha256` is the hash of `data`, which whoever stores it has made sure of."""

    user_id: str
    sha256: bytes
    data: bytes


class Statements(Protocol):
    """A store, or a session within a transaction."""

    async def fetch(self, query: str, *arguments: object) -> list[Row]:
        """Run a statement and return its rows."""


async def put(session: Statements, payloads: Sequence[Payload]) -> None:
    """Store values. One that is there already is not sent again, and kept on."""
    if not payloads:
        return
    kept = await _keep(session, [(each.user_id, each.sha256) for each in payloads])
    new = [each for each in payloads if (each.user_id, each.sha256) not in kept]
    if new:
        await session.fetch(_SQL["insert_payloads"], *zip(*new, strict=True), KEEP_DAYS)


async def keep(session: Statements, user_id: str, sha256: bytes) -> bool:
    """Have a value kept on; False if there is none."""
    return bool(await _keep(session, [(user_id, sha256)]))


async def get(store: Store, user_id: str, sha256: bytes) -> bytes | None:
    """Return a value of a user, or None."""
    row = await store.fetch_row(_SQL["get_payload"], user_id, sha256)
    return None if row is None else row["data"]


async def part(
    store: Store, user_id: str, sha256: bytes, *, offset: int, count: int
) -> bytes | None:
    """Return `count` bytes of a value from `offset` on, fewer at its end, or None if there is no such value."""
    row = await store.fetch_row(_SQL["get_payload_part"], user_id, sha256, offset, count)
    return None if row is None else row["data"]


async def owner(store: Store, execution_id: str) -> str | None:
    """Return the user whose execution it is, or None if there is none."""
    row = await store.fetch_row(_SQL["get_owner"], execution_id)
    return None if row is None else str(row["user_id"])


async def _keep(
    session: Statements, values: Sequence[tuple[str, bytes]]
) -> frozenset[tuple[str, bytes]]:
    rows = await session.fetch(_SQL["keep_payloads"], *zip(*values, strict=True), KEEP_DAYS)
    return frozenset((str(row["user_id"]), row["sha256"]) for row in rows)
