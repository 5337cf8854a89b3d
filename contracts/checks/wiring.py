"""Checks of connections one by one: their ports, and what attachments lend and borrow."""

from collections.abc import Iterable, Iterator

from contracts.checks.subject import Subject
from contracts.graph import is_trigger
from contracts.model import Connection, ConnectionKind, OnError
from contracts.problems import Problem, pointer
from contracts.specs import ERROR_PORT, NodeSpec


def check_wiring(subject: Subject) -> Iterator[Problem]:
    """Yield what is wrong with single connections, and with ports that none uses."""
    for index, wire in subject.main:
        yield from _from_port(subject, index, wire)
        yield from _to_port(subject, index, wire)
    yield from _missing_inputs(subject)
    yield from _unwired_errors(subject)
    for index, wire in subject.attachments:
        yield from _attachment(subject, index, wire)
    yield from _too_many_models(subject)
    yield from _rings(subject)
    yield from _pinned_ports(subject)


def _from_port(subject: Subject, index: int, wire: Connection) -> Iterator[Problem]:
    allowed = _output_ports(subject, wire.source)
    if allowed is None or wire.from_port in allowed:
        return
    message = _no_port(wire.source, "output", wire.from_port, allowed)
    yield Problem(pointer("connections", index, "from_port"), "unknown_port", message, wire.source)


def _to_port(subject: Subject, index: int, wire: Connection) -> Iterator[Problem]:
    spec = subject.specs.get(wire.target)
    if is_trigger(subject.nodes[wire.target]):
        message = f"{wire.target!r} is a trigger: it starts executions and takes no input; connect from it"
        at = pointer("connections", index, "to")
        yield Problem(at, "trigger_with_input", message, wire.target)
    elif spec is not None and wire.to_port not in spec.input_ports():
        message = _no_port(wire.target, "input", wire.to_port, spec.input_ports())
        at = pointer("connections", index, "to_port")
        yield Problem(at, "unknown_port", message, wire.target)


def _output_ports(subject: Subject, node_id: str) -> tuple[str, ...] | None:
    """Return the output ports of a node; None while its type or a template leaves them open."""
    spec = subject.specs.get(node_id)
    if spec is None:
        return None
    ports = spec.output_ports(subject.nodes[node_id].parameters)
    return None if any("{{" in port for port in ports) else ports


def _no_port(node_id: str, side: str, port: str, allowed: Iterable[str]) -> str:
    listed = ", ".join(allowed) or "none"
    return f"{node_id!r} has no {side} port {port!r:.80}; it has {listed}"


def _missing_inputs(subject: Subject) -> Iterator[Problem]:
    wired = {(wire.target, wire.to_port) for _, wire in subject.main}
    for node_id, spec in subject.specs.items():
        if node_id in subject.graph.lenders:
            continue
        for port in spec.inputs:
            if port.required and (node_id, port.name) not in wired:
                message = f"the input port {port.name!r} of {node_id!r} must be wired; connect a node to it"
                yield subject.problem(node_id, "", "missing_input", message)


def _unwired_errors(subject: Subject) -> Iterator[Problem]:
    wired = {wire.source for _, wire in subject.main if wire.from_port == ERROR_PORT}
    for node in subject.document.nodes:
        if node.on_error is OnError.CONTINUE_ERROR and node.id not in wired:
            message = (
                f"failures of {node.id!r} go to its port error, where nothing is wired; connect it"
            )
            yield subject.problem(node.id, "/on_error", "error_port_unwired", message)
    if subject.document.settings.on_error is OnError.CONTINUE_ERROR and not wired:
        message = "failures go to the ports error of the nodes, where nothing is wired; connect one"
        yield Problem("/settings/on_error", "error_port_unwired", message)


def _attachment(subject: Subject, index: int, wire: Connection) -> Iterator[Problem]:
    at = pointer("connections", index)
    lender, borrower = subject.specs.get(wire.source), subject.specs.get(wire.target)
    if lender is not None and borrower is not None:
        message = _no_loan(wire, lender, borrower)
        if message is not None:
            yield Problem(at, "attachment_invalid", message, wire.target)
    if wire.mapping is not None:
        message = f"an {wire.kind} connection carries no value, so it takes no mapping; remove it"
        yield Problem(at + "/mapping", "attachment_invalid", message, wire.target)
    for name, port in (("from_port", wire.from_port), ("to_port", wire.to_port)):
        if port != "main":
            message = f"an {wire.kind} connection has no ports; leave {name} out"
            yield Problem(f"{at}/{name}", "unknown_port", message, wire.target)


def _no_loan(wire: Connection, lender: NodeSpec, borrower: NodeSpec) -> str | None:
    """Return why these ends do not go together, or None if they do."""
    if wire.kind not in lender.lends:
        lends = ", ".join(lender.lends) or "nothing"
        return f"{wire.source!r} ({lender.type}) does not lend {wire.kind}; it lends {lends}"
    if wire.kind not in borrower.borrows:
        borrows = ", ".join(borrower.borrows) or "nothing"
        return (
            f"{wire.target!r} ({borrower.type}) does not borrow {wire.kind}; it borrows {borrows}"
        )
    return None


def _too_many_models(subject: Subject) -> Iterator[Problem]:
    """Agents take further models as fallbacks; every other borrower takes one."""
    first: set[str] = set()
    for index, wire in subject.attachments:
        spec = subject.specs.get(wire.target)
        if wire.kind is not ConnectionKind.AI_LANGUAGE_MODEL or spec is None:
            continue
        if wire.target in first and spec.family != "AI_AGENT":
            message = f"{wire.target!r} takes one AI_LANGUAGE_MODEL; remove the others"
            at = pointer("connections", index)
            yield Problem(at, "attachment_invalid", message, wire.target)
        first.add(wire.target)


def _rings(subject: Subject) -> Iterator[Problem]:
    for way in subject.graph.rings:
        message = f"these nodes lend to each other in a ring: {' → '.join((*way, way[0]))}; cut it"
        index = next(
            index
            for index, wire in subject.attachments
            if wire.source == way[0] and wire.target in way
        )
        yield Problem(pointer("connections", index), "attachment_invalid", message, way[0])


def _pinned_ports(subject: Subject) -> Iterator[Problem]:
    for node_id, pin in subject.document.pin_data.items():
        allowed = _output_ports(subject, node_id)
        named = pin.get("ports") if isinstance(pin, dict) and set(pin) == {"ports"} else None
        if allowed is None or not isinstance(named, dict):
            continue
        for port in named:
            if port not in allowed:
                at = pointer("pin_data", node_id, "ports", port)
                yield Problem(
                    at, "unknown_port", _no_port(node_id, "output", port, allowed), node_id
                )
