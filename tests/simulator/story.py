"""The story of a world, for people: what was recorded, execution by execution."""

from collections.abc import Iterator

from contracts.history import encode_data
from contracts.ids import iteration_text
from tests.simulator.shapes import work_of
from tests.simulator.simulation import Outcome
from tests.support.engine import START

WIDTH = 150


def story(outcome: Outcome) -> Iterator[str]:
    """Yield what happened."""
    yield f"seed {outcome.seed}, digest {outcome.digest}"
    yield f"went wrong: {dict(outcome.struck)}"
    yield f"refused: {dict(outcome.refused)}"
    work = work_of(outcome.seed)
    yield f"{work.exactness.name}, racy {work.racy}, window {work.width}"
    for job in work.jobs:
        yield f"job {job.name}, asked: {[(each.kind, round(each.after, 3)) for each in job.asked]}"
    for execution_id, events in outcome.histories.items():
        plan = work.plans[outcome.states[execution_id].created.version_id]
        yield f"\nexecution {outcome.names[execution_id]}: {execution_id}, of {plan.document.name}, {plan.document.settings}"
        for node in plan.nodes.values():
            wires = ", ".join(f"{each.source}.{each.from_port}" for each in node.incoming)
            yield (
                f"  {node.id} {node.type} <- {wires or '-'}; {node.on_error}, retries {node.retry_policy}, "
                f"{node.task_node.parameters}"
            )
        for event in events:
            at = (event.at - START).total_seconds()
            key = (
                f"{event.node_id}[{iteration_text(event.iteration or ())}]" if event.node_id else ""
            )
            data = encode_data(event.data).decode()[:WIDTH]
            yield f"  {event.seq:>3} {at:>8.3f} {event.kind} {key} {event.attempt or ''} {data}"
