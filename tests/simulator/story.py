"""The story of a world, for people: what was recorded, execution by execution."""

from collections.abc import Iterator

from contracts.history import encode_data
from contracts.ids import iteration_text
from tests.simulator.shapes import jobs_of
from tests.simulator.simulation import Outcome
from tests.support.engine import START

WIDTH = 150


def story(outcome: Outcome) -> Iterator[str]:
    """Yield what happened."""
    yield f"seed {outcome.seed}, digest {outcome.digest}"
    yield f"went wrong: {dict(outcome.struck)}"
    yield f"refused: {dict(outcome.refused)}"
    for job in jobs_of(outcome.seed):
        yield f"\nexecution {job.execution_id}, asked: {[each.kind for each in job.asked]}"
        for node in job.plan.nodes.values():
            wires = ", ".join(f"{each.source}.{each.from_port}" for each in node.incoming)
            yield f"  {node.id} {node.type} <- {wires or '-'}; {node.on_error}, retries {node.retry_policy}"
        for event in outcome.histories.get(job.execution_id, ()):
            at = (event.at - START).total_seconds()
            key = (
                f"{event.node_id}[{iteration_text(event.iteration or ())}]" if event.node_id else ""
            )
            data = encode_data(event.data).decode()[:WIDTH]
            yield f"  {event.seq:>3} {at:>8.3f} {event.kind} {key} {event.attempt or ''} {data}"
