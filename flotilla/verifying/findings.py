"""What verification says: findings, and the report of one run."""

from collections import Counter

import msgspec

from contracts.ids import Iteration
from scheduler.core.soundness import CHECKS, Suspicion


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A broken promise, seen in every look; `check` is the promise, `repaired` what was done about it."""

    check: str
    message: str
    execution_id: str | None = None
    node_id: str | None = None
    iteration: Iteration | None = None
    attempt: int | None = None
    repaired: str | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One whole run: how many executions were looked at, and what was found."""

    executions: int
    under_way: int
    outstanding: int
    seconds: float
    findings: tuple[Finding, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How much each check found, those that found nothing included."""
        found = Counter(each.check for each in self.findings)
        return {check: found[check] for check in CHECKS}


def finding_of(suspicion: Suspicion, execution_id: str | None = None) -> Finding:
    """Return what a suspicion becomes once it is sure."""
    node_id, iteration = suspicion.key or (None, None)
    return Finding(
        check=suspicion.check,
        message=suspicion.message,
        execution_id=execution_id,
        node_id=node_id,
        iteration=iteration,
        attempt=suspicion.attempt,
    )
