"""What a worker reports of an attempt: a result that the node cannot give is a failure of it."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import UNSET

from contracts import payloads
from contracts.execution.plan import LONGEST_WAIT, PlannedNode
from contracts.failures import Failure, FailureKind
from contracts.messages import LoopOrder, Result, WaitOrder
from contracts.statuses import WaitKind


def failure_of(node: PlannedNode, result: Result, at: datetime) -> Failure | None:
    """Return the failure that a result reports, or is: of one that says nothing, or what its node cannot."""
    if result.failure is not None:
        return result.failure
    if result.wait is not None:
        return _wait_failure(result.wait, at)
    if result.loop is not None:
        return _loop_failure(node, result.loop)
    if result.ports is None:
        return invalid("the worker reported neither outputs nor a failure; update the worker")
    return ports_failure(node, result.ports)


def invalid(message: str) -> Failure:
    """Return the failure of a result that makes no sense."""
    return Failure(FailureKind.ERROR, "invalid_result", message)


def ports_failure(node: PlannedNode, ports: dict[str, Any]) -> Failure | None:
    """Return the failure of outputs on a port that the node does not have, or None."""
    strange = next((port for port in ports if port not in node.output_ports), None)
    if strange is None:
        return None
    message = (
        f"port {strange!r} was yielded on, which {node.type} does not have; "
        f"its ports are {', '.join(node.output_ports)}"
    )
    return Failure(FailureKind.ERROR, "undeclared_port", message, {"port": strange})


def size_failure(node_id: str, port: str, value: msgspec.Raw, limit: int) -> Failure | None:
    """Return the failure of a value put together here that is larger than a node may yield, or None."""
    size = payloads.size_of(bytes(value))
    if size <= limit:
        return None
    message = (
        f"port {port} of node {node_id} would yield {size} bytes, the limit is {limit} (LIMIT_VALUE_BYTES); "
        "let the iterations give less, or set collect to false"
    )
    details = {"node_id": node_id, "port": port, "size": size, "limit": limit}
    return Failure(FailureKind.PAYLOAD_TOO_LARGE, "output_too_large", message, details)


def _wait_failure(order: WaitOrder, at: datetime) -> Failure | None:
    if (order.kind is WaitKind.CHILD) != (order.child is not None):
        return invalid("a wait for a child names the child, and no other one does")
    is_timed = order.due_at is not None or order.seconds is not None
    if order.kind is WaitKind.TIMER and not is_timed:
        return invalid("a wait for a timer names its instant or its seconds")
    is_about = order.interaction is not None or order.interaction_id is not None
    if order.kind is WaitKind.INTERACTION and not is_about:
        return invalid("a wait for an interaction names it or opens one")
    if order.due_at is not None and order.due_at.tzinfo is None:
        return invalid("the instant at which a wait ends has no time zone")
    longest = max(_durations(order, at), default=0)
    if longest <= LONGEST_WAIT:
        return None
    message = f"the node wants to wait for {longest:g} s, one wait may take {LONGEST_WAIT} s"
    return Failure(FailureKind.INVALID_INPUT, "wait_too_long", message, {"seconds": longest})


def _durations(order: WaitOrder, at: datetime) -> Iterator[float]:
    """Yield the seconds after which something is to happen."""
    if order.due_at is not None:
        yield (order.due_at - at) / timedelta(seconds=1)
    yield from (each for each in (order.seconds, order.check_seconds) if each is not None)


def _loop_failure(node: PlannedNode, order: LoopOrder) -> Failure | None:
    if node.loop is None:
        return invalid(f"{node.type} is no loop")
    if order.rules.batch_size < 1 or order.rules.max_parallel < 1:
        return invalid("a loop takes at least one item per iteration, and one iteration at once")
    if order.items is not UNSET and bytes(order.items).lstrip()[:1] != b"[":
        return invalid("the items of a loop are a list")
    return None
