"""Checking expressions before anything runs: what can be told without values.

Syntax, functions and counts of arguments are checked by the parser; here come the names of the
scope, the nodes that are named, and constant regular expressions.
"""

from typing import Final, assert_never

import msgspec

from contracts.expressions import hints, syntax, templates
from contracts.expressions.budget import DEFAULT_LIMITS, Limits
from contracts.expressions.errors import ExpressionError
from contracts.expressions.evaluation import check_pattern
from contracts.expressions.functions.catalogue import FUNCTIONS
from contracts.expressions.interpreter import check_length
from contracts.expressions.parser import parse
from contracts.expressions.regex import Regex
from contracts.expressions.syntax import Node, Step
from contracts.expressions.values import JSON

NODE_SCOPE: Final = frozenset(
    {"input", "nodes", "trigger", "static", "workflow", "execution", "now"}
)
"""The names in scope everywhere in a node; `loop` is added inside the body of a LOOP."""

_NODE_FIELDS: Final = frozenset({"output", "ports", "status", "error"})


class Checked(msgspec.Struct, frozen=True):
    """What an expression uses."""

    references: frozenset[str]
    """Ids of the nodes it names."""
    names: frozenset[str]
    """Names of the scope."""
    previous: frozenset[int] = frozenset()
    """Of which loops it wants the iteration before: 0 for `loop.previous`, 1 for `loop.parent.previous`."""


class Problem(msgspec.Struct, frozen=True):
    """A fault in a template."""

    pointer: str
    """Where its string stands (RFC 6901)."""
    position: int
    """Where the fault is in that string, in code points."""
    error: ExpressionError


class CheckedTemplates(msgspec.Struct, frozen=True):
    """What the templates of a value use, and all that is wrong with them."""

    references: frozenset[str]
    names: frozenset[str]
    previous: frozenset[int]
    problems: tuple[Problem, ...]


def check(
    source: str,
    *,
    names: frozenset[str] = frozenset(),
    regex: Regex | None = None,
    scope: frozenset[str] = NODE_SCOPE,
    limits: Limits = DEFAULT_LIMITS,
) -> Checked:
    """Return what an expression uses, or raise for its first fault.

    `names` are in scope beside those of `scope`.
    """
    checker = _Checker(scope | names, regex)
    try:
        check_length(source, limits)
        checker.visit(parse(source, limits.nesting))
    except ExpressionError as error:
        error.source = source
        raise
    return Checked(
        frozenset(checker.references), frozenset(checker.names), frozenset(checker.previous)
    )


def check_templates(
    value: JSON,
    *,
    names: frozenset[str] = frozenset(),
    regex: Regex | None = None,
    scope: frozenset[str] = NODE_SCOPE,
    limits: Limits = DEFAULT_LIMITS,
) -> CheckedTemplates:
    """Return what all templates in a value use, with every problem found in them."""
    problems: list[Problem] = []
    used: list[Checked] = []
    for pointer, text in templates.strings(value):
        try:
            parts = templates.parse(text, limits)
        except ExpressionError as error:
            problems.append(Problem(pointer, error.position or 0, error))
            continue
        for part in parts:
            if not isinstance(part, templates.Source):
                continue
            try:
                found = check(part.text, names=names, regex=regex, scope=scope, limits=limits)
                used.append(found)
            except ExpressionError as error:
                problems.append(Problem(pointer, part.position + (error.position or 0), error))
    return CheckedTemplates(
        frozenset().union(*(checked.references for checked in used)),
        frozenset().union(*(checked.names for checked in used)),
        frozenset().union(*(checked.previous for checked in used)),
        tuple(problems),
    )


class _Checker:
    """Walks a tree and notes what it uses."""

    def __init__(self, scope: frozenset[str], regex: Regex | None) -> None:
        self.scope = scope
        self.regex = regex
        self.bound: tuple[str, ...] = ()
        self.references: set[str] = set()
        self.names: set[str] = set()
        self.previous: set[int] = set()

    def visit(self, node: Node) -> None:
        match node:
            case syntax.Literal():
                return
            case syntax.Name():
                self._name(node)
            case syntax.NodeReference():
                self._reference(node)
            case syntax.ListLiteral():
                self._visit_all(node.items)
            case syntax.MapLiteral():
                for entry in node.entries:
                    self._visit_all(entry)
            case syntax.Unary() | syntax.Has():
                self.visit(node.operand)
            case syntax.Chain():
                self._visit_all((node.first, *(operand.node for operand in node.rest)))
            case syntax.Logical():
                self._visit_all(node.operands)
            case syntax.Conditional():
                for case in node.cases:
                    self._visit_all(case)
                self.visit(node.otherwise)
            case syntax.Call():
                self._visit_all(node.arguments)
                self._pattern(node.function, node.arguments, 0)
            case syntax.Postfix():
                self._postfix(node)
            case _:
                assert_never(node)

    def _visit_all(self, nodes: tuple[Node, ...]) -> None:
        for node in nodes:
            self.visit(node)

    def _name(self, node: syntax.Name) -> None:
        if node.name in self.bound:
            return
        self._in_scope(node.name, node.position)

    def _reference(self, node: syntax.NodeReference) -> None:
        self._in_scope("nodes", node.position)
        self.references.add(node.node_id)

    def _in_scope(self, name: str, position: int) -> None:
        if name not in self.scope:
            hint = hints.for_name(name[:100], field_of_input="input" in self.scope)
            message = f"{name[:40]} is not in scope"
            raise ExpressionError("unknown_name", message, position=position, hint=hint)
        self.names.add(name)

    def _postfix(self, node: syntax.Postfix) -> None:
        self.visit(node.base)
        first = node.steps[0]
        if isinstance(node.base, syntax.NodeReference) and isinstance(first, syntax.Member):
            _check_node_field(node.base, first)
        if isinstance(node.base, syntax.Name) and node.base.name not in self.bound:
            self._loop_field(node.base.name, node.steps)
        for step in node.steps:
            self._step(step)

    def _loop_field(self, name: str, steps: tuple[Step, ...]) -> None:
        """Note which loop's iteration before is wanted, if any."""
        fields = [_field(step) for step in steps]
        above = next((place for place, each in enumerate(fields) if each != "parent"), None)
        if name == "loop" and above is not None and fields[above] == "previous":
            self.previous.add(above)

    def _step(self, step: Step) -> None:
        match step:
            case syntax.Member():
                return
            case syntax.Index():
                self.visit(step.index)
            case syntax.Invoke():
                self._visit_all(step.arguments)
                self._pattern(step.function, step.arguments, 1)
            case syntax.OrValue():
                self.visit(step.fallback)
            case syntax.Macro():
                self._macro(step)
            case _:
                assert_never(step)

    def _macro(self, step: syntax.Macro) -> None:
        inside, outside = step.arguments, self.bound
        if step.macro == "sortBy":
            inside = step.arguments[:1]
            self._visit_all(step.arguments[1:])
        self.bound = (*outside, step.variable)
        self._visit_all(inside)
        self.bound = outside

    def _pattern(self, function: str, arguments: tuple[Node, ...], before: int) -> None:
        """Check a regular expression that is written out."""
        place = FUNCTIONS[function].pattern
        if self.regex is None or place is None:
            return
        argument = arguments[place - before]
        if not isinstance(argument, syntax.Literal) or not isinstance(argument.value, str):
            return
        try:
            check_pattern(self.regex, argument.value)
        except ExpressionError as error:
            error.position = argument.position
            raise


def _field(step: Step) -> str | None:
    """Return the name of the field that a step reads, if it is written out."""
    match step:
        case syntax.Member(name=name) | syntax.Index(index=syntax.Literal(value=str(name))):
            return name
        case _:
            return None


def _check_node_field(reference: syntax.NodeReference, field: syntax.Member) -> None:
    if field.name in _NODE_FIELDS:
        return
    raise ExpressionError(
        "unknown_name",
        f"a node run has no {field.name[:40]!r} but {', '.join(sorted(_NODE_FIELDS))}",
        position=field.position,
        hint=f"{hints.node_reference(reference.node_id)}.output.{field.name[:100]}",
    )
