"""Checks of expressions: their syntax, the names and functions they use, and the nodes they name."""

import re
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from contracts.checks.sources import Source
from contracts.checks.subject import Subject
from contracts.expressions import check, paths
from contracts.expressions.errors import ExpressionError
from contracts.problems import Problem


class Scope(msgspec.Struct, frozen=True):
    """What the expressions of one place may use: names, and the nodes that `sees` allows.

    `node_id` is the node that problems are about; None leaves out what it may name. `loops` are those
    that `loop`, `loop.parent` and so on stand for.
    """

    what: str
    node_id: str | None
    names: frozenset[str]
    sees: Callable[[str], bool] | None = None
    loops: tuple[str, ...] = ()


def check_source(subject: Subject, source: Source, scope: Scope, at: str) -> Iterator[Problem]:
    """Yield the problems of one text, which stands at the pointer `at`."""
    references: set[str] = set()
    previous: frozenset[int]
    if source.form == "template":
        found = check.check_templates(
            source.text,
            names=_NONE,
            scope=scope.names,
            regex=subject.regex,
            limits=subject.expression_limits,
        )
        for fault in found.problems:
            yield _invalid(fault.error, scope, at, fault.position)
        references.update(found.references)
        previous = found.previous
    else:
        try:
            used = check.check(
                source.text,
                names=_NONE,
                scope=scope.names,
                regex=subject.regex,
                limits=subject.expression_limits,
            )
            references.update(used.references)
            previous = used.previous
        except ExpressionError as error:
            if source.form == "paths" and _are_sort_paths(source.text):
                return
            yield _invalid(error, scope, at, error.position)
            return
    if subject.is_whole:
        yield from _references(subject, sorted(references), scope, at)
        yield from _previous(subject, previous, scope, at)


_NONE: Final[frozenset[str]] = frozenset()
_SORT_ORDER: Final = re.compile(r"\s+(?:asc|desc)\s*\Z", re.IGNORECASE)


def _are_sort_paths(text: str) -> bool:
    """Whether the text is a list of paths with orders: `price desc, name`."""
    try:
        for part in text.split(","):
            paths.parse(_SORT_ORDER.sub("", part.strip()))
    except ExpressionError:
        return False
    return True


def _invalid(error: ExpressionError, scope: Scope, at: str, position: int | None) -> Problem:
    where = "" if position is None else f", at character {position}"
    return Problem(at, "invalid_expression", f"{scope.what}{where}: {error}", scope.node_id)


def _references(
    subject: Subject, references: list[str], scope: Scope, at: str
) -> Iterator[Problem]:
    for node_id in references:
        if node_id not in subject.nodes:
            message = f"{scope.what} names nodes.{node_id:.100}: {_unknown(subject, node_id)}"
            yield Problem(at, "unknown_reference", message, scope.node_id)
        elif scope.sees is not None and not scope.sees(node_id):
            message = f"{scope.what} names nodes.{node_id}: {_not_upstream(subject, node_id)}"
            yield Problem(at, "not_upstream", message, scope.node_id)


def _previous(subject: Subject, above: frozenset[int], scope: Scope, at: str) -> Iterator[Problem]:
    """Yield where the iteration before is asked for of a loop that has none."""
    for place in sorted(above):
        loop_id = scope.loops[place] if place < len(scope.loops) else None
        if loop_id is not None and subject.is_parallel(loop_id):
            message = (
                f"{scope.what} asks for the iteration before, but iterations of {loop_id!r} go in "
                "parallel; set its max_parallel to 1"
            )
            yield Problem(at, "invalid_expression", message, scope.node_id)


def _unknown(subject: Subject, node_id: str) -> str:
    by_name = next((node.id for node in subject.nodes.values() if node.name == node_id), None)
    if by_name is not None:
        return f"a node is named by its id, which is {by_name!r}"
    return f"there is no such node{subject.hints.nearest(node_id, subject.nodes, 3)}"


def _not_upstream(subject: Subject, node_id: str) -> str:
    graph = subject.graph
    if node_id in graph.lenders:
        return "it only lends, so it has no output; name the node that borrows it"
    if loops := graph.loops[node_id]:
        return (
            f"it is not upstream; nodes in the body of the loop {loops[-1]!r} are named in that body "
            "alone, after the node itself"
        )
    return "it is not upstream, so it may not have run; connect it before, or use input"
