"""A failure is a value: what went wrong in a user's work, in a form that policies and people can read."""

from enum import StrEnum
from typing import Any, Final

import msgspec


class FailureKind(StrEnum):
    """The families of failures that policies tell apart."""

    ERROR = "ERROR"
    TIMEOUT = "TIMEOUT"
    WORKER_LOST = "WORKER_LOST"
    INVALID_INPUT = "INVALID_INPUT"
    INVALID_EXPRESSION = "INVALID_EXPRESSION"
    REJECTED = "REJECTED"
    CANCELED = "CANCELED"
    BUDGET_EXCEEDED = "BUDGET_EXCEEDED"
    CREDENTIALS_MISSING = "CREDENTIALS_MISSING"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an attempt, a node run or an execution failed.

    `code` is stable snake_case; `message` says what is wrong and what to do; none of it holds a
    secret. `retry_after` is in seconds. `node_id` and `iteration` stand only in the failure of an
    execution that a node caused.
    """

    kind: FailureKind
    code: str
    message: str
    details: dict[str, Any] = {}
    retryable: bool = False
    retry_after: float | None = None
    node_id: str | None = None
    iteration: tuple[int, ...] | None = None


NEVER_RETRIED: Final = frozenset({FailureKind.CANCELED})
