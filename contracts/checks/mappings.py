"""Checks of what travels between nodes and around them: mappings, and the key of a concurrency limit."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from contracts.checks.expressions import Scope, check_source
from contracts.checks.sources import Source
from contracts.checks.subject import Subject
from contracts.expressions import paths, templates
from contracts.expressions.errors import ExpressionError
from contracts.model import Connection
from contracts.problems import Problem, pointer
from contracts.reading.mappings import MAPPING_TYPES

_FIELDS_OF: Final[Mapping[str, frozenset[str]]] = {
    "DIRECT": frozenset(),
    "FIELD_MAPPING": frozenset(("fields",)),
    "TEMPLATE": frozenset(("template",)),
    "TRANSFORM": frozenset(("expression",)),
}
_COMMON: Final = frozenset(("type", "static_values"))


def check_mappings(subject: Subject) -> Iterator[Problem]:
    """Yield what is wrong with the mappings of MAIN connections."""
    for index, wire in subject.main:
        if wire.mapping is not None:
            yield from _Mapping(subject, wire, pointer("connections", index, "mapping")).check()


def check_concurrency(subject: Subject) -> Iterator[Problem]:
    """Yield what is wrong with the key by which executions are counted."""
    limit = subject.document.settings.concurrency
    if limit is None or limit.key is None:
        return
    scope = Scope(what="concurrency.key", node_id=None, names=frozenset(("input",)))
    at = "/settings/concurrency/key"
    yield from check_source(subject, Source("", limit.key, "expr"), scope, at)


class _Mapping:
    """One mapping under check."""

    def __init__(self, subject: Subject, wire: Connection, at: str) -> None:
        assert wire.mapping is not None
        self._subject = subject
        self._mapping = wire.mapping
        self._at = at
        self._target = wire.target
        self._scope = _scope(subject, wire)

    def check(self) -> Iterator[Problem]:
        mapping_type = self._mapping.get("type")
        if mapping_type not in MAPPING_TYPES:
            types = ", ".join(MAPPING_TYPES)
            yield self._invalid("/type", f"type must be one of {types}, not {mapping_type!r:.80}")
            return
        yield from self._own_fields(mapping_type)
        if "fields" in self._mapping and mapping_type == "FIELD_MAPPING":
            yield from self._fields(self._mapping["fields"])
        if "template" in self._mapping and mapping_type == "TEMPLATE":
            yield from self._templates("/template", self._mapping["template"])
        if "expression" in self._mapping and mapping_type == "TRANSFORM":
            yield from self._expression("/expression", self._mapping["expression"])
        yield from self._static_values()

    def _own_fields(self, mapping_type: str) -> Iterator[Problem]:
        """Yield the fields that the type needs and lacks, and those of other types."""
        needed = _FIELDS_OF[mapping_type]
        for name in sorted(needed - self._mapping.keys()):
            yield self._invalid(pointer(name), f"{name} is missing: {mapping_type} needs it")
        for name in sorted(self._mapping.keys() - needed - _COMMON):
            message = f"{name} does not belong to {mapping_type}; remove it or change type"
            yield self._invalid(pointer(name), message)

    def _fields(self, fields: Any) -> Iterator[Problem]:
        if not isinstance(fields, list) or not fields:
            yield self._invalid("/fields", "fields must be a list of {from, to}, not empty")
            return
        for index, field in enumerate(fields):
            place = pointer("fields", index)
            if not isinstance(field, dict):
                yield self._invalid(place, "a field must be an object with from and to")
                continue
            yield from self._field(field, place)

    def _field(self, field: dict[str, Any], place: str) -> Iterator[Problem]:
        for name in ("from", "to"):
            if not isinstance(field.get(name), str):
                yield self._invalid(f"{place}/{name}", f"{name} must be a text; give a path")
        if not isinstance(field.get("required", False), bool):
            yield self._invalid(f"{place}/required", "required must be true or false")
        if isinstance(field.get("from"), str):
            yield from self._from(field["from"], f"{place}/from")
        if isinstance(field.get("to"), str):
            yield from self._path(field["to"], f"{place}/to", is_written=True)

    def _from(self, text: str, place: str) -> Iterator[Problem]:
        """`from` is a path, or one expression in braces and nothing else."""
        if "{{" in text:
            yield from self._expression(place, text)
        else:
            yield from self._path(text, place, is_written=False)

    def _path(self, text: str, place: str, *, is_written: bool) -> Iterator[Problem]:
        try:
            steps = paths.parse(text)
        except ExpressionError as error:
            yield self._invalid(place, f"{text!r:.80} is no path: {error}")
            return
        if is_written and any(isinstance(step, paths.Every) for step in steps):
            yield self._invalid(place, f"{text!r:.80} is written to; [*] is for reading only")

    def _static_values(self) -> Iterator[Problem]:
        values = self._mapping.get("static_values")
        if values is None:
            return
        if not isinstance(values, dict):
            yield self._invalid(
                "/static_values", "static_values must be an object of path to value"
            )
            return
        for path, value in values.items():
            place = "/static_values" + pointer(path)
            yield from self._path(path, place, is_written=True)
            yield from self._templates(place, value)

    def _templates(self, place: str, value: Any) -> Iterator[Problem]:
        for inner, text in templates.strings(value):
            yield from self._source(place + inner, Source("", text, "template"))

    def _expression(self, place: str, text: Any) -> Iterator[Problem]:
        if not isinstance(text, str):
            yield self._invalid(place, "must be a text that holds an expression")
            return
        yield from self._source(place, Source("", text, "expr"))

    def _source(self, place: str, source: Source) -> Iterator[Problem]:
        yield from check_source(self._subject, source, self._scope, self._at + place)

    def _invalid(self, place: str, message: str) -> Problem:
        return Problem(self._at + place, "invalid_mapping", f"mapping: {message}", self._target)


def _scope(subject: Subject, wire: Connection) -> Scope:
    """Return what a mapping sees: what its target sees; on the way back into a loop, what its source sees."""
    if not subject.is_whole:
        return Scope(what="mapping", node_id=wire.target, names=subject.names(wire.target))
    graph = subject.graph
    leads_back = graph.leads_back(wire)
    viewer = wire.source if leads_back else wire.target
    return Scope(
        what="mapping",
        node_id=wire.target,
        names=subject.names(viewer),
        sees=lambda other: graph.sees(viewer, other) or (leads_back and other == viewer),
        loops=tuple(reversed(graph.loops[viewer])),
    )
