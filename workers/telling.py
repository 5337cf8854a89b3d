"""What a worker says of the attempts that it holds, to whoever wants to know where an execution is."""

from collections.abc import Iterable

from contracts.messages import AttemptHeld, AttemptsHeld
from workers.held import Held


def held_of(
    execution_id: str, held: Iterable[Held], *, worker_id: str, now: float
) -> AttemptsHeld | None:
    """Return the attempts of an execution among those that are held, or None if there are none.

    `now` is of the event loop's clock.
    """
    attempts = tuple(
        AttemptHeld(
            node_id=each.address.node_id,
            iteration=each.address.iteration,
            attempt=each.address.attempt,
            seconds=None if each.started_at is None else now - each.started_at,
        )
        for each in held
        if each.address.execution_id == execution_id
    )
    return AttemptsHeld(worker_id, attempts) if attempts else None
