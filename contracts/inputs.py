"""Input assembly: what a node run gets from the values that were delivered to it, and what its expressions see.

The worker assembles per attempt; the scheduler where no worker is asked (a disabled node, a failure
that the execution goes on after); the gateway to show the input of a node run. All three call this.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, assert_never

import msgspec
from msgspec import UNSET

from contracts.expressions import mappings
from contracts.expressions.budget import Limits
from contracts.expressions.errors import ExpressionError, MappingError
from contracts.expressions.regex import Regex
from contracts.failures import Failure, FailureKind
from contracts.history import MaybeRaw
from contracts.messages import Delivered, LoopScope, Task, TaskExecution, TaskNode, Upstream

MAIN: Final = "main"

_decode: Final = msgspec.json.Decoder().decode


class Arrival(msgspec.Struct, frozen=True):
    """A value that reached an input port, its mapping applied.

    `wired` counts the connections into the port: one with several always gets a list.
    """

    source: str
    port: str
    value: Any
    wired: int = 1


def assemble(
    deliveries: Sequence[Delivered],
    trigger: MaybeRaw,
    scope: Mapping[str, Any],
    limits: Limits,
    regex: Regex,
) -> Any:
    """Return the input of a node run: the merged deliveries, or the trigger data where there are none.

    Raises ExpressionError or MappingError if a mapping fails; `refusal` makes a failure of either.
    """
    return merge(arrivals(deliveries, scope, limits, regex), trigger)


def arrivals(
    deliveries: Iterable[Delivered], scope: Mapping[str, Any], limits: Limits, regex: Regex
) -> tuple[Arrival, ...]:
    """Decode what was delivered and apply the mappings, in the order of the connections.

    Raises ExpressionError or MappingError.
    """
    return tuple(
        [
            Arrival(each.source, each.to_port, _travelled(each, scope, limits, regex), each.wired)
            for each in deliveries
        ]
    )


def merge(arrived: Sequence[Arrival], trigger: MaybeRaw = UNSET) -> Any:
    """Return the one input that these arrivals make; without any, the trigger data, or null."""
    if not arrived:
        return None if trigger is UNSET else _decode(trigger)
    if len(arrived) == 1 and arrived[0].port == MAIN:
        return arrived[0].value
    main = [each for each in arrived if each.port == MAIN]
    others = [each for each in arrived if each.port != MAIN]
    value = _merge_main(main)
    return _add_ports(value, others) if others else value


def refusal(error: ExpressionError | MappingError, *, parameter: str | None = None) -> Failure:
    """Return the failure that a failing expression or mapping is, naming the parameter it stood in."""
    named: dict[str, Any] = {} if parameter is None else {"parameter": parameter}
    place = "" if parameter is None else f"parameter {parameter}: "
    match error:
        case ExpressionError():
            details = named | error.details()
            kind = FailureKind.INVALID_EXPRESSION
        case MappingError():
            details = named | {"path": error.path}
            kind = FailureKind.INVALID_INPUT
        case _:
            assert_never(error)
    return Failure(kind, error.code, f"{place}{error}", details)


def scope_of(node: TaskNode, execution: TaskExecution, task: Task) -> "Scope":
    """Return what the node's expressions see, without `input`: that is assembled with this scope.

    Values of other nodes and of the trigger are decoded when an expression asks for them.
    """
    return Scope(node, execution, task)


class Scope(Mapping[str, Any]):
    """The names of expressions; what costs something is made when first asked for, and kept."""

    __slots__ = ("_execution", "_made", "_node", "_task")

    def __init__(self, node: TaskNode, execution: TaskExecution, task: Task) -> None:
        self._node = node
        self._execution = execution
        self._task = task
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name in self._made:
            return self._made[name]
        value = self._made[name] = self._make(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return (name for name in _COMMON if self._has(name))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _has(self, name: str) -> bool:
        if name == "trigger":
            return self._task.trigger is not UNSET
        return name != "loop" or self._task.loop is not None

    def _make(self, name: str) -> Any:
        match name:
            case "nodes":
                return {node_id: _upstream(each) for node_id, each in self._task.nodes.items()}
            case "trigger" if self._task.trigger is not UNSET:
                return _decode(self._task.trigger)
            case "static":
                return self._node.static or {}
            case "workflow":
                return _workflow(self._node, self._execution)
            case "execution":
                return _execution(self._execution)
            case "now":
                return self._task.now
            case "loop" if self._task.loop is not None:
                return loop_value(self._task.loop)
            case _:
                raise KeyError(name)


_COMMON: Final = ("nodes", "trigger", "static", "workflow", "execution", "now", "loop")


class Named(Mapping[str, Any]):
    """A scope with more names laid over it; nothing is copied, so what is made stays with the scope."""

    __slots__ = ("_names", "_scope")

    def __init__(self, scope: Mapping[str, Any], names: Mapping[str, Any]) -> None:
        self._scope = scope
        self._names = names

    def __getitem__(self, name: str) -> Any:
        return self._names[name] if name in self._names else self._scope[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**dict.fromkeys(self._scope), **self._names})

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _travelled(each: Delivered, scope: Mapping[str, Any], limits: Limits, regex: Regex) -> Any:
    value = _decode(each.value)
    if each.mapping is None:
        return value
    return mappings.apply(each.mapping, value, scope, limits, regex)


def _merge_main(arrived: Sequence[Arrival]) -> Any:
    """Merge several values shallowly, later fields win; one that is no object goes under its source."""
    if len(arrived) == 1:
        return arrived[0].value
    merged: dict[str, Any] = {}
    for each in arrived:
        merged.update(each.value if isinstance(each.value, dict) else {each.source: each.value})
    return merged


def _add_ports(value: Any, others: Iterable[Arrival]) -> dict[str, Any]:
    """Return the input object with a field per port beside `main`."""
    merged = dict(value) if isinstance(value, dict) else {MAIN: value}
    lists: dict[str, list[Any]] = {}
    for each in others:
        if each.wired > 1:
            merged[each.port] = lists.setdefault(each.port, [])
            lists[each.port].append(each.value)
        else:
            merged[each.port] = each.value
    return merged


def _upstream(upstream: Upstream) -> dict[str, Any]:
    """Return what stands under `nodes.<id>`; what is absent there is missing to expressions."""
    ports = {port: _decode(value) for port, value in upstream.ports.items()}
    seen: dict[str, Any] = {"status": upstream.status.value, "ports": ports}
    if upstream.output in ports:
        seen["output"] = ports[upstream.output]
    if upstream.error is not UNSET:
        seen["error"] = _decode(upstream.error)
    return seen


def loop_value(loop: LoopScope) -> dict[str, Any]:
    """Return what stands under `loop`; `count` is null for a loop on a condition."""
    seen: dict[str, Any] = {"index": loop.index, "count": loop.count}
    for name in ("item", "items", "previous"):
        value: MaybeRaw = getattr(loop, name)
        if value is not UNSET:
            seen[name] = _decode(value)
    if loop.parent is not None:
        seen["parent"] = loop_value(loop.parent)
    return seen


def _workflow(node: TaskNode, execution: TaskExecution) -> dict[str, Any]:
    return {
        "id": execution.workflow_id,
        "name": node.workflow_name,
        "version": node.workflow_version,
        "timezone": node.timezone,
    }


def _execution(execution: TaskExecution) -> dict[str, Any]:
    return {
        "id": execution.id,
        "mode": execution.mode.value,
        "user_id": execution.namespace,
        "parent_id": execution.parent_id,
        "started_at": execution.started_at,
    }
