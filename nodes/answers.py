"""How a handler ends: with Outputs, or with a Failure, returned or raised."""

from typing import Any

from contracts.failures import Failure, FailureKind


class Outputs:
    """A value on each of these ports; all others are dead."""

    __slots__ = ("ports",)

    def __init__(self, /, **ports: Any) -> None:
        self.ports = ports


class Failed(Exception):
    """Raise it where returning a failure is awkward; `failure` is what the attempt ends with."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.kind} {failure.code}: {failure.message}")
        self.failure = failure


Answer = Outputs | Failure
"""How an attempt ends."""


def invalid_parameter(name: str, reason: str) -> Failed:
    """Return the refusal of a parameter's value; `reason` goes on after its name."""
    message = f"parameter {name} {reason}"
    details = {"parameter": name}
    return Failed(Failure(FailureKind.INVALID_INPUT, "invalid_parameter", message, details))
