"""Checks of a node's parameters against its spec: which there are, their values, their expressions."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from contracts import schemas
from contracts.checks.expressions import Scope, check_source
from contracts.checks.sources import sources
from contracts.checks.subject import Subject
from contracts.expressions.templates import contains_template
from contracts.model import Node
from contracts.problems import Problem, pointer
from contracts.reading.settings import is_timezone
from contracts.specs import NodeSpec, Parameter


def check_parameters(subject: Subject) -> Iterator[Problem]:
    """Yield what is wrong with the parameters of all nodes whose spec is known."""
    for node in subject.document.nodes:
        spec = subject.catalogue.get(node.type, node.type_version)
        if spec is not None:
            yield from _node_parameters(subject, node, spec)
        elif subject.catalogue.get(node.type) is not None:
            yield _unknown_version(subject, node)


def _unknown_version(subject: Subject, node: Node) -> Problem:
    newest = subject.catalogue.get(node.type)
    assert newest is not None
    message = (
        f"{node.type} has no version {node.type_version}; the newest is {newest.major}, which is "
        "taken where type_version is left out"
    )
    return subject.problem(node.id, "/type_version", "type_version_unknown", message)


def _node_parameters(subject: Subject, node: Node, spec: NodeSpec) -> Iterator[Problem]:
    known = {parameter.name: parameter for parameter in spec.parameters}
    yield from _missing(subject, node, spec)
    for name, value in node.parameters.items():
        if name in spec.fixed:
            yield from _fixed(subject, node, spec, name)
        elif name in known:
            yield from _value(subject, node, known[name], value)
            yield from _expressions(subject, node, spec, known[name], value)
        else:
            yield _unknown(subject, node, spec, name)


def _missing(subject: Subject, node: Node, spec: NodeSpec) -> Iterator[Problem]:
    given = node.parameters | spec.fixed
    for parameter in spec.parameters:
        if parameter.required and parameter.name not in given:
            yield _missing_one(subject, node, parameter.name, f"{spec.type} needs it")
    for selector, chosen, needed in NEEDED.get(spec.preset_of or spec.type, ()):
        declared = spec.parameter(selector)
        value = given.get(selector, declared.default if declared else None)
        if (
            value == chosen
            and spec.parameter(needed[0])
            and not any(map(given.__contains__, needed))
        ):
            name = " or ".join(needed)
            yield _missing_one(subject, node, needed[0], f"{selector} {chosen} needs {name}")
    for group in EXACTLY_ONE.get(spec.preset_of or spec.type, ()):
        yield from _exactly_one(subject, node, group)


NEEDED: Final[Mapping[str, tuple[tuple[str, str, tuple[str, ...]], ...]]] = {
    "FLOW.LOOP": (
        ("loop_type", "while", ("condition",)),
        ("loop_type", "until", ("condition",)),
        ("loop_type", "for", ("count", "end")),
    ),
    "HUMAN_IN_THE_LOOP.APP": (
        ("kind", "choice", ("choices",)),
        ("timeout_action", "default", ("default_answer",)),
    ),
    "FLOW.MERGE": (("strategy", "join", ("key",)), ("strategy", "custom", ("rule",))),
    "FLOW.WAIT": tuple(
        ("wait_type", name, (name,)) for name in ("duration", "until", "signal", "condition")
    ),
}
"""By node type: the value of a parameter that makes others required, one of them at least."""

EXACTLY_ONE: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "TRIGGER.CRON": (("cron", "interval"),),
    "FLOW.SPLIT": (("size", "field", "separator", "entries"),),
}
"""By node type: parameters of which a node has exactly one."""


def _missing_one(subject: Subject, node: Node, name: str, why: str) -> Problem:
    place = "/parameters" + pointer(name)
    message = f"the parameter {name} is missing: {why}; give it"
    return subject.problem(node.id, place, "missing_parameter", message)


def _exactly_one(subject: Subject, node: Node, group: tuple[str, ...]) -> Iterator[Problem]:
    given = [name for name in group if name in node.parameters]
    if not given:
        why = f"one of {', '.join(group)} is needed"
        yield _missing_one(subject, node, group[0], why)
    for name in given[1:]:
        message = f"{name} and {given[0]} exclude each other; keep one"
        yield subject.problem(node.id, "/parameters" + pointer(name), "invalid_parameter", message)


def _fixed(subject: Subject, node: Node, spec: NodeSpec, name: str) -> Iterator[Problem]:
    if node.parameters[name] != spec.fixed[name]:
        message = (
            f"{spec.type} stands for {name} {spec.fixed[name]}; remove it, or use {spec.preset_of}"
        )
        place = "/parameters" + pointer(name)
        yield subject.problem(node.id, place, "invalid_parameter", message)


def _unknown(subject: Subject, node: Node, spec: NodeSpec, name: str) -> Problem:
    place = "/parameters" + pointer(name)
    for parameter in spec.parameters:
        if name in parameter.aliases:
            message = f"{name} is another name of {parameter.name}, which is given too; keep one"
            return subject.problem(node.id, place, "invalid_parameter", message)
    near = subject.hints.nearest(name, [parameter.name for parameter in spec.parameters])
    message = f"{spec.type} has no parameter {name!r:.80}{near}"
    return subject.problem(node.id, place, "unknown_parameter", message)


def _value(subject: Subject, node: Node, parameter: Parameter, value: Any) -> Iterator[Problem]:
    """Yield where a value does not fit its schema; what is still to be rendered is left open."""
    place = "/parameters" + pointer(parameter.name)
    is_open = contains_template if parameter.kind == "template" else _never
    found = schemas.flaws(value, parameter.schema, is_open=is_open, is_lenient=True)
    for flaw in found:
        name = ".".join(map(str, (parameter.name, *flaw.path)))
        at = place + pointer(*flaw.path)
        yield subject.problem(node.id, at, "invalid_parameter", f"{name} {flaw.message}")
    if not found and isinstance(value, str | int | float) and not is_open(value):
        text = value if isinstance(value, str) else str(value)  # a number stands for its text
        yield from _formatted(subject, node, parameter, text)
    if parameter.schema.get("format") == "json-schema" and subject.schema_fault is not None:
        fault = None if value is None else subject.schema_fault(value)
        if fault is not None:
            message = f"{parameter.name} {fault}"
            yield subject.problem(node.id, place, "invalid_parameter", message)
    if parameter.name == "max_parallel":
        yield from _max_parallel(subject, node, value)


def _max_parallel(subject: Subject, node: Node, value: Any) -> Iterator[Problem]:
    most = subject.limits.max_parallel
    if isinstance(value, int | float) and value > most:
        message = f"max_parallel is {value}; the limit is {most} (LIMIT_MAX_PARALLEL)"
        yield subject.problem(node.id, "/parameters/max_parallel", "limit_exceeded", message)


def _never(_: Any) -> bool:
    return False


def _formatted(subject: Subject, node: Node, parameter: Parameter, text: str) -> Iterator[Problem]:
    """Check what a schema cannot say: schedules and time zones."""
    place = "/parameters" + pointer(parameter.name)
    text_format = parameter.schema.get("format")
    if text_format == "cron" and subject.cron_fault is not None:
        fault = subject.cron_fault(text)
        if fault is not None:
            message = f"{parameter.name} {text!r:.80} is no schedule: {fault}"
            yield subject.problem(node.id, place, "invalid_cron", message)
    if text_format == "timezone" and not is_timezone(text):
        message = f"{parameter.name}: there is no time zone {text!r:.80}; give an IANA name, as Europe/Berlin"
        yield subject.problem(node.id, place, "invalid_parameter", message)


def _expressions(
    subject: Subject, node: Node, spec: NodeSpec, parameter: Parameter, value: Any
) -> Iterator[Problem]:
    scope = Scope(
        what=parameter.name,
        node_id=node.id,
        names=subject.names(node.id) | frozenset(parameter.scope),
        sees=(lambda other: subject.graph.sees(node.id, other)) if subject.is_whole else None,
        loops=_loops(subject, node, parameter),
    )
    base = pointer("nodes", subject.places[node.id], "parameters", parameter.name)
    for source in sources(node, spec, parameter, value):
        yield from check_source(subject, source, scope, base + source.place)


def _loops(subject: Subject, node: Node, parameter: Parameter) -> tuple[str, ...]:
    """Return the loops that `loop` and its parents are: to a loop's own condition, itself first."""
    if not subject.is_whole:
        return ()
    around = tuple(reversed(subject.graph.loops[node.id]))
    return (node.id, *around) if "loop" in parameter.scope else around
