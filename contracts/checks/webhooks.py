"""Checks of the paths at which a document receives deliveries."""

from collections.abc import Iterator
from typing import Final

from contracts.checks.subject import Subject
from contracts.problems import Problem
from contracts.webhooks import RESERVED, WEBHOOK_TRIGGER

_PLACE: Final = "/parameters/path"


def check_webhooks(subject: Subject) -> Iterator[Problem]:
    """Yield paths that are the engine's own, and those that two nodes of the document share."""
    first: dict[str, str] = {}
    for node in subject.document.nodes:
        path = node.parameters.get("path")
        if node.type != WEBHOOK_TRIGGER or not isinstance(path, str):
            continue
        if path.startswith(RESERVED):
            message = f"paths beginning with {RESERVED} are the engine's; choose another"
            yield subject.problem(node.id, _PLACE, "invalid_parameter", message)
        if first.setdefault(path, node.id) != node.id:
            message = f"the path is that of {first[path]!r} too; choose another, or leave it out"
            yield subject.problem(node.id, _PLACE, "invalid_parameter", message)
