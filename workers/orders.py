"""What a handler asks of the engine in place of outputs, in the form that travels: a wait, or a loop.

Values in them are those of outputs: JSON, and bounded together by `value_bytes`.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET

from contracts.history import NULL, MaybeRaw
from contracts.messages import ChildOrder, InteractionOrder, LoopOrder, WaitOrder
from nodes.answers import Child, Loop, Question, Wait

Write = Callable[[str, Any], msgspec.Raw]
"""Writes the value of a named part. Raises Failed for one that cannot travel."""


def wait_order(wait: Wait, write: Write) -> WaitOrder:
    """Return the order of a wait. Raises what `write` raises."""
    return WaitOrder(
        kind=wait.kind,
        due_at=wait.due_at,
        seconds=wait.seconds,
        check_seconds=wait.check_seconds,
        is_reminder=wait.is_reminder,
        signal=wait.signal,
        interaction=None if wait.question is None else _interaction(wait.question, write),
        interaction_id=wait.interaction_id,
        approvers=wait.approvers,
        child=None if wait.child is None else _child(wait.child, write),
        state=UNSET if wait.state is UNSET else write("state", wait.state),
    )


def loop_order(loop: Loop, write: Write) -> LoopOrder:
    """Return the order of a loop. Raises what `write` raises."""
    items: MaybeRaw = UNSET if loop.items is UNSET else write("items", loop.items)
    return LoopOrder(items=items, goes_on=loop.goes_on, rules=loop.rules)


def _child(child: Child, write: Write) -> ChildOrder:
    return ChildOrder(
        workflow=child.workflow,
        input=NULL if child.input is None else write("input", child.input),
        is_detached=child.is_detached,
    )


def _interaction(question: Question, write: Write) -> InteractionOrder:
    return InteractionOrder(
        kind=question.kind,
        title=question.title,
        message=question.message,
        fields=write("fields", question.fields),
        choices=UNSET if question.choices is None else write("choices", question.choices),
        value=UNSET if question.value is UNSET else write("value", question.value),
        editable=question.editable,
        approvers=question.approvers,
        approvals_required=question.approvals_required,
        rejections_required=question.rejections_required,
        channel=question.channel,
        priority=question.priority,
    )
