"""How far an execution is, as its events tell: one row per node run, in the order in which they were first heard of."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from contracts.history import TERMINAL_KINDS
from flotilla.client import StreamedEvent

Key = tuple[str, tuple[int, ...]]

STATUS_OF_LIVE: Final[Mapping[str, str]] = {
    "node_dispatched": "RUNNING",
    "node_started": "RUNNING",
    "node_waiting": "WAITING",
}
_OVER: Final = frozenset({"SUCCESS", "ERROR", "SKIPPED", "CANCELED"})


class NodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """One node run as people want to see it."""

    node_id: str
    iteration: tuple[int, ...] = ()
    status: str = "PENDING"
    started_at: datetime | None = None
    finished_at: datetime | None = None
    note: str = ""

    @property
    def label(self) -> str:
        """The node's id, and the iteration path inside loops."""
        return (
            f"{self.node_id}[{'-'.join(map(str, self.iteration))}]"
            if self.iteration
            else self.node_id
        )

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in _OVER

    def took(self, now: datetime) -> timedelta | None:
        """How long it ran, or runs by now."""
        if self.started_at is None:
            return None
        return (self.finished_at or now) - self.started_at


class Progress:
    """The fold of an execution's events."""

    def __init__(self) -> None:
        self._rows: dict[Key, NodeRow] = {}
        self.status = "NEW"

    @property
    def rows(self) -> list[NodeRow]:
        """All node runs known by now."""
        return list(self._rows.values())

    def seed(self, node_runs: list[dict[str, Any]]) -> None:
        """Take over what the API says of the node runs; events then tell the rest."""
        for each in node_runs:
            self._set(each["node_id"], each["iteration"])

    def take(self, event: StreamedEvent) -> list[NodeRow]:
        """Fold an event, and return the rows that it changed."""
        if event.kind in TERMINAL_KINDS:
            return self._end(event.kind)
        if event.kind == "execution_started":
            self.status = "RUNNING"
        return list(self._changed(event.kind, event.data))

    def _changed(self, kind: str, event: Mapping[str, Any]) -> Iterator[NodeRow]:
        data = event.get("data", {})
        at = _instant(event.get("at"))
        if kind == "nodes_skipped":
            for ref in data["node_runs"]:
                yield self._set(
                    ref["node_id"], ref.get("iteration", ()), status="SKIPPED", note=data["reason"]
                )
        elif kind == "outputs_carried":
            for ref in data["node_runs"]:
                if "ports" in ref:
                    path = ref.get("iteration", ())
                    yield self._set(ref["node_id"], path, status="SUCCESS", note="carried")
        elif kind == "node_succeeded":
            yield self._finish(event, "SUCCESS", at, note=_ports(data))
        elif kind == "node_failed":
            yield self._fail(event, at)
        elif kind in STATUS_OF_LIVE and not self._of(event).is_over:
            started = at if kind == "node_started" else self._of(event).started_at
            yield self._set(
                event["node_id"],
                event.get("iteration", ()),
                status=STATUS_OF_LIVE[kind],
                started_at=started,
            )
        elif kind == "node_progress":
            yield self._set(
                event["node_id"], event.get("iteration", ()), note=str(data.get("message", ""))
            )

    def _fail(self, event: Mapping[str, Any], at: datetime | None) -> NodeRow:
        data = event["data"]
        text = f"{data['failure']['code']}: {data['failure']['message']}"
        if data.get("retry_at"):
            return self._set(
                event["node_id"], event.get("iteration", ()), status="RETRY", note=text
            )
        return self._finish(event, "ERROR", at, note=text)

    def _finish(
        self, event: Mapping[str, Any], status: str, at: datetime | None, *, note: str
    ) -> NodeRow:
        timing = event["data"].get("timing") or {}
        finished = _instant(timing.get("finished_at")) or at
        return self._set(
            event["node_id"],
            event.get("iteration", ()),
            status=status,
            started_at=_instant(timing.get("started_at")) or self._of(event).started_at or finished,
            finished_at=finished,
            note=note,
        )

    def _end(self, kind: str) -> list[NodeRow]:
        self.status = {
            "execution_succeeded": "SUCCESS",
            "execution_failed": "ERROR",
            "execution_canceled": "CANCELED",
        }[kind]
        return [
            self._set(row.node_id, row.iteration, status="CANCELED")
            for row in self.rows
            if not row.is_over
        ]

    def _of(self, event: Mapping[str, Any]) -> NodeRow:
        key = (event["node_id"], tuple(event.get("iteration") or ()))
        return self._rows.get(key) or NodeRow(node_id=key[0], iteration=key[1])

    def _set(self, node_id: str, iteration: Any, **changes: Any) -> NodeRow:
        key = (node_id, tuple(iteration or ()))
        row = self._rows.get(key) or NodeRow(node_id=node_id, iteration=key[1])
        self._rows[key] = row = msgspec.structs.replace(row, **changes)
        return row


def _ports(data: Mapping[str, Any]) -> str:
    ports = [port for port in data.get("ports", {}) if port != "main"]
    return f"→ {', '.join(ports)}" if ports else ""


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
