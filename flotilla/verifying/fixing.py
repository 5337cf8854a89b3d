"""Repairs that are safe at any time: each either changes nothing that is in order, or asks the owner of an execution to look.

No repair decides anything about an execution: its scheduler is told to publish what is outstanding, and does so by its own
state. What is left over of executions that are over is cleared away.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from bus import provision
from bus.client import Bus
from bus.publisher import Outgoing, Publisher
from bus.tasks import purge_execution
from contracts import subjects
from contracts.messages import HealExecution, encode
from contracts.specs import fleets
from db import node_types, verification
from db.store import Store
from flotilla.verifying.findings import Finding

NUDGED: Final = frozenset({"task", "stuck", "slot"})
"""Findings that the owner of the execution can mend."""

ASKED: Final = "its scheduler was asked to go on with it"


async def fix(store: Store, bus: Bus, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Repair what can be, and return the findings, those that were repaired with what was done.

    Raises StoreError and BusError.
    """
    streams = [each for each in findings if each.check == "stream"]
    if streams:  # first of all: the other repairs need them
        await provision.ensure(bus, fleets(await node_types.load(store)))
    done: dict[tuple[str, str | None], str] = {}
    if streams:
        done["stream", None] = "made as declared"
    nudged = sorted(_ids(findings, NUDGED))
    if nudged:
        await _nudge(store, bus, nudged)
        done |= {(check, each): ASKED for check in NUDGED for each in nudged}
    for execution_id in sorted(_ids(findings, frozenset({"leftover"}))):
        done["leftover", execution_id] = await _clear(store, bus, execution_id)
    return tuple(_repaired(each, done) for each in findings)


def _ids(findings: Sequence[Finding], checks: frozenset[str]) -> set[str]:
    return {each.execution_id for each in findings if each.check in checks and each.execution_id}


def _repaired(finding: Finding, done: Mapping[tuple[str, str | None], str]) -> Finding:
    repaired = done.get((finding.check, finding.execution_id))
    return msgspec.structs.replace(finding, repaired=repaired)


async def _nudge(store: Store, bus: Bus, ids: Sequence[str]) -> None:
    async with store.snapshot() as session:
        versions = {row.id: row.version for row in await verification.by_ids(session, ids)}
    async with Publisher(bus) as publisher:
        await publisher.publish_all(
            Outgoing(
                subjects.command("heal", execution_id),
                encode(HealExecution(execution_id=execution_id, version=version)),
            )
            for execution_id, version in versions.items()
        )


async def _clear(store: Store, bus: Bus, execution_id: str) -> str:
    """Clear away what an execution left that is over, and say what that was."""
    timers = await verification.clear_timers(store, [execution_id])
    questions = await verification.close_interactions(store, [execution_id])
    async with store.snapshot() as session:
        rows = await verification.by_ids(session, [execution_id])
    tasks = await purge_execution(bus, rows[0].user_id, execution_id) if rows else 0
    return f"cleared {timers} timers, {questions} questions, {tasks} tasks"
