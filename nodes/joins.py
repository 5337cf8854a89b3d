"""Joining two lists of maps by key: the one place that bounds what equal keys multiply to."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

from contracts.failures import Failure, FailureKind
from nodes.answers import Failed

MAX_ROWS: Final = 250_000

Row = dict[str, Any]
KeyedRow = tuple[str, Row]
How = Literal["inner", "left", "outer"]


def joined(left: Sequence[KeyedRow], right: Sequence[KeyedRow], how: How) -> list[KeyedRow]:
    """Return the rows of a join, fields of the right winning; raises Failed past MAX_ROWS.

    Rows come in the order of the left; `left` keeps its unmatched ones, `outer` both sides'.
    """
    rows: list[KeyedRow] = []
    for row in _joined(left, right, how):
        if len(rows) == MAX_ROWS:
            message = f"the join makes more than {MAX_ROWS} rows: its key is not selective enough"
            raise Failed(Failure(FailureKind.PAYLOAD_TOO_LARGE, "output_too_large", message))
        rows.append(row)
    return rows


def as_row(item: Any) -> Row:
    """Return an item that can be joined. Raises Failed for anything but a map."""
    if not isinstance(item, dict):
        message = "join takes lists of maps; filter or map the others out before"
        raise Failed(Failure(FailureKind.INVALID_INPUT, "invalid_input", message))
    return item


def _joined(left: Sequence[KeyedRow], right: Sequence[KeyedRow], how: How) -> Iterator[KeyedRow]:
    partners: dict[str, list[Row]] = {}
    for key, row in right:
        partners.setdefault(key, []).append(row)
    for key, row in left:
        matches = partners.get(key, [])
        yield from ((key, {**row, **match}) for match in matches)
        if not matches and how != "inner":
            yield key, row
    if how == "outer":
        found = {key for key, _ in left}
        yield from ((key, row) for key, row in right if key not in found)
