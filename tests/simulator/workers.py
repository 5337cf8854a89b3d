"""The simulated workers: they do to each task what the seed says, report it, and die now and then."""

from collections import Counter
from typing import Final

from contracts import subjects
from contracts.messages import Result, Task, decode_task, encode
from contracts.subjects import TaskAddress
from tests.simulator.chaos import Chaos
from tests.simulator.server import Server, Stored
from tests.simulator.shapes import Ending, ending_of

SENDS: Final = 4
"""How often a worker sends a result that is not acknowledged, before it gives up."""


class Workers:
    """As many workers as there is work. `numbers` tells which of the seed's executions an id is."""

    def __init__(self, seed: int, server: Server, chaos: Chaos, numbers: dict[str, int]) -> None:
        self._seed = seed
        self._server = server
        self._chaos = chaos
        self._numbers = numbers
        self._stopped: set[str] = set()
        self.counts: Counter[str] = Counter()

    def take(self, stored: Stored) -> bool:
        """Work on a task that was delivered."""
        self.counts["task deliveries"] += 1
        self.counts["task redeliveries"] += stored.deliveries > 1
        address = subjects.read_task(stored.subject)
        assert address is not None
        ending = self._ending(address)
        if stored.deliveries <= ending.crashes:
            self.counts["worker crashes"] += 1
        elif not self._chaos.strikes("worker_died"):
            self._server.later(ending.seconds, self._finish, stored, address, ending)
        return True

    def stop(self, execution_id: str) -> None:
        """Hear that an execution is over: what runs for it is given up."""
        if not self._chaos.strikes("notice_lost"):
            self._stopped.add(execution_id)

    def _ending(self, address: TaskAddress) -> Ending:
        number = self._numbers[address.execution_id]
        return ending_of(self._seed, number, address.node_id, address.iteration, address.attempt)

    def _finish(self, stored: Stored, address: TaskAddress, ending: Ending) -> None:
        if address.execution_id in self._stopped:
            self.counts["attempts stopped"] += 1
            self._acknowledge(stored)
            return
        task = decode_task(stored.data)
        result = _result(address, task, ending)
        if ending.forged:
            self._report(address, _forgery(result))
        for pause in ending.sent:
            self._server.later(pause, self._report, address, result, stored)

    def _report(self, address: TaskAddress, result: Result, stored: Stored | None = None) -> None:
        """Send a result, and acknowledge its task once that is stored."""
        self.counts["results sent"] += 1
        self._server.send(
            self._server.inbox,
            subjects.result(address),
            encode(result),
            result,
            tries=SENDS,
            done=None if stored is None else lambda: self._acknowledge(stored),
        )

    def _acknowledge(self, stored: Stored) -> None:
        if not self._chaos.strikes("ack_lost"):
            self._server.tasks.acknowledge(stored.seq)


def _result(address: TaskAddress, task: Task, ending: Ending) -> Result:
    return Result(
        execution_id=address.execution_id,
        node_id=address.node_id,
        iteration=address.iteration,
        attempt=address.attempt,
        token=task.token,
        worker_id="worker",
        started_at="2026-03-28T12:00:00Z",
        finished_at="2026-03-28T12:00:01Z",
        **ending.outcome,
    )


def _forgery(result: Result) -> Result:
    """Return a result by somebody who does not know the token, and claims something else."""
    return Result(
        execution_id=result.execution_id,
        node_id=result.node_id,
        iteration=result.iteration,
        attempt=result.attempt,
        token="0" * len(result.token),
        worker_id="stranger",
        started_at=result.started_at,
        finished_at=result.finished_at,
        ports={},
    )
