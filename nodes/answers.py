"""How a handler ends: with Outputs, a Wait, a Loop, or a Failure, the last returned or raised."""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from contracts.failures import Failure, FailureKind
from contracts.history import LoopRules
from contracts.statuses import WaitKind


class Outputs:
    """A value on each of these ports; all others are dead."""

    __slots__ = ("ports",)

    def __init__(self, /, **ports: Any) -> None:
        self.ports = ports


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """A child execution: of a workflow by id, or by a name that only one has. A detached one is not waited for."""

    workflow: str
    input: Any = None
    is_detached: bool = False


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A question to people. `fields` is the JSON Schema of the answer's data, `value` what is shown."""

    kind: str
    title: str
    message: str
    fields: dict[str, Any]
    choices: list[dict[str, Any]] | None = None
    value: Any = UNSET
    editable: bool = False
    approvers: tuple[str, ...] = ()
    approvals_required: int = 1
    rejections_required: int = 1
    channel: str = "APP"
    priority: str = "normal"


class Wait(msgspec.Struct, frozen=True):
    """The attempt ends and its node run is suspended: nothing of it stays in memory.

    It ends at `due_at`, or `seconds` after it was stored; `check_seconds` after that the handler is called
    in between, to remind people if it `is_reminder`. `state` comes back with what ended the wait. A question
    is put once: to go on waiting for its answer, name it by `interaction_id`; `approvers` are asked too then.
    """

    kind: WaitKind
    due_at: datetime | None = None
    seconds: float | None = None
    check_seconds: float | None = None
    is_reminder: bool = False
    signal: str | None = None
    child: Child | None = None
    question: Question | None = None
    interaction_id: str | None = None
    approvers: tuple[str, ...] = ()
    state: Any = UNSET


class Loop(msgspec.Struct, frozen=True, kw_only=True):
    """The loop iterates over `items`; without them, says whether it `goes_on`."""

    items: list[Any] | UnsetType = UNSET
    goes_on: bool = True
    rules: LoopRules = LoopRules()


class Failed(Exception):
    """Raise it where returning a failure is awkward; `failure` is what the attempt ends with."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.kind} {failure.code}: {failure.message}")
        self.failure = failure


Answer = Outputs | Wait | Loop | Failure
"""How an attempt ends."""


def invalid_parameter(name: str, reason: str) -> Failed:
    """Return the refusal of a parameter's value; `reason` goes on after its name."""
    message = f"parameter {name} {reason}"
    details = {"parameter": name}
    return Failed(Failure(FailureKind.INVALID_INPUT, "invalid_parameter", message, details))
