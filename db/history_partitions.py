"""Partitions of the history, one per month. Whoever runs for weeks calls `ensure` now and then."""

from typing import Final

from db import queries
from db.store import Store

MONTHS_AHEAD: Final = 3

_SQL: Final = queries.load("history_partitions")


async def ensure(store: Store) -> int:
    """Make the partitions of this month and those ahead that are missing, and return how many.

    Nothing is lost without them: rows then fall into the default partition, from where they cannot be dropped by month.
    """
    row = await store.fetch_row(_SQL["ensure_history_partitions"], MONTHS_AHEAD)
    assert row is not None
    made: int = row["made"]
    return made
