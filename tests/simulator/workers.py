"""The simulated workers: they do to each task what the seed says, report it, and die now and then.

Before an at-most-once handler is called, and after each call that must not be repeated, they ask the scheduler and wait for its
answer, as the real ones do.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from contracts import subjects
from contracts.execution.plan import Plan, PlannedNode
from contracts.ids import RunKey
from contracts.messages import (
    Checkpoint,
    Result,
    Starting,
    Task,
    decode_answer,
    decode_task,
    encode,
)
from contracts.model import Delivery
from contracts.subjects import TaskAddress
from tests.simulator.chaos import Chaos
from tests.simulator.endings import (
    ONE_CALL,
    Attempt,
    Ending,
    calls_of,
    chance_of,
    ending_of,
    items_of,
    outcome_of,
)
from tests.simulator.graphs import LOOP
from tests.simulator.server import Server, Stored
from tests.simulator.shapes import Work
from tests.support.engine import raw

SENDS: Final = 4
"""How often a worker sends a result that is not acknowledged, before it gives up."""
ASK_AGAIN_S: Final = 5.0
ASKS: Final = 60
ANSWERS: Final = "worker.answer"

PlanOf = Callable[[str], Plan]
Answered = Callable[[str | None], None]
"""Takes the code of a refusal, or None."""


class Doing:
    """One delivery of a task that a worker works on."""

    __slots__ = (
        "address",
        "ending",
        "is_dying",
        "key",
        "left",
        "name",
        "node",
        "number",
        "stored",
        "task",
    )

    def __init__(
        self, number: int, stored: Stored, address: TaskAddress, name: str, node: PlannedNode
    ) -> None:
        self.number = number
        self.stored = stored
        self.address = address
        self.name = name
        self.node = node
        self.key: RunKey = (address.node_id, address.iteration)
        self.task: Task = decode_task(stored.data)
        self.ending = Ending()
        self.is_dying = False
        self.left: list[str] = []


class Workers:
    """As many workers as there is work. `names` are those of executions, `plan_of` tells what one is of."""

    def __init__(
        self,
        work: Work,
        server: Server,
        chaos: Chaos,
        names: Mapping[str, str],
        plan_of: PlanOf,
        object_to: Callable[[str], None],
    ) -> None:
        self._work = work
        self._server = server
        self._chaos = chaos
        self._names = names
        self._plan_of = plan_of
        self._object = object_to
        self._stopped: set[str] = set()
        self._open: dict[str, Answered] = {}
        self._called: set[tuple[str, RunKey, int]] = set()
        self._saved: dict[tuple[str, RunKey], dict[str, int]] = {}
        self.counts: Counter[str] = Counter()

    def take(self, stored: Stored) -> bool:
        """Work on a task that was delivered."""
        self.counts["task deliveries"] += 1
        self.counts["task redeliveries"] += stored.deliveries > 1
        address = subjects.read_task(stored.subject)
        assert address is not None
        node = self._plan_of(address.execution_id).nodes[address.node_id]
        name = self._names[address.execution_id]
        doing = Doing(self.counts["task deliveries"], stored, address, name, node)
        doing.ending = ending_of(self._chance(doing))
        doing.is_dying = stored.deliveries <= doing.ending.crashes
        if doing.is_dying:
            self.counts["worker crashes"] += 1
        elif self._chaos.strikes("worker_died"):
            doing.is_dying = True
        self._check(doing)
        if node.delivery is Delivery.AT_MOST_ONCE:
            self._ask_to_start(doing)
        else:
            self._work_on(doing)
        return True

    def stop(self, execution_id: str) -> None:
        """Hear that an execution is over: what runs for it is given up."""
        if not self._chaos.strikes("notice_lost"):
            self._stopped.add(execution_id)

    def answered(self, subject: str, data: bytes) -> None:
        """Hear the scheduler's answer to a question."""
        if not self._chaos.strikes("answer_lost"):
            then = self._open.pop(subject, None)
            if then is not None:
                then(decode_answer(data).code)

    def _chance(self, doing: Doing) -> Any:
        return chance_of(self._work.seed, doing.name, doing.key, doing.address.attempt)

    # --- what a worker does ----------------------------------------------------------------------

    def _ask_to_start(self, doing: Doing) -> None:
        """Call an at-most-once handler only if the scheduler says so; a worker may die before it hears that."""
        address = doing.address
        starting = Starting(
            **self._about(doing),
            delivery=f"delivery {doing.number}",
            reply_to=self._reply_to(doing),
        )

        def then(code: str | None) -> None:
            if code is not None:
                self.counts["handlers not called"] += 1
                self._acknowledge(doing.stored)
                return
            attempt = (address.execution_id, doing.key, address.attempt)
            if attempt in self._called:
                self._object(f"the handler of {attempt} was called twice")
            self._called.add(attempt)
            self.counts["handlers called at most once"] += 1
            self._work_on(doing)

        self._ask(doing, starting, then)

    def _work_on(self, doing: Doing) -> None:
        """Do the calls that are not done yet, then come to an end."""
        calls = calls_of(self._work.seed, doing.name, doing.node, doing.key)
        doing.left = [each for each in calls if each not in doing.task.checkpoints]
        self._next_call(doing, None)

    def _next_call(self, doing: Doing, refused: str | None) -> None:
        if refused is not None:
            self.counts["calls not saved"] += 1
            return
        if doing.left and doing.address.execution_id not in self._stopped:
            self._call(doing, doing.left.pop(0))
        elif not doing.is_dying:
            self._server.later(doing.ending.seconds, self._finish, doing)

    def _call(self, doing: Doing, call: str) -> None:
        """Make a call, and have it saved before the next one."""
        address = doing.address
        self.counts["calls"] += 1
        saved = self._saved.setdefault((address.execution_id, doing.key), {})

        def then(code: str | None) -> None:
            if code is None:
                saved.setdefault(call, address.attempt)
            self._next_call(doing, code)

        checkpoint = Checkpoint(
            **self._about(doing),
            key=call,
            value=raw(value_of(doing.name, call)),
            usage=ONE_CALL,
            reply_to=self._reply_to(doing),
        )
        self._ask(doing, checkpoint, then)

    def _finish(self, doing: Doing) -> None:
        if doing.address.execution_id in self._stopped:
            self.counts["attempts stopped"] += 1
            self._acknowledge(doing.stored)
            return
        address = doing.address
        chance = self._chance(doing)
        ending_of(chance)
        attempt = Attempt(
            self._work.seed,
            doing.name,
            doing.node,
            doing.key,
            address.attempt,
            self._work.racy,
            chance,
            doing.task,
        )
        result = self._result(doing, outcome_of(attempt))
        if doing.ending.forged:
            forgery = msgspec.structs.replace(
                self._result(doing, {"ports": {}}),
                token="0" * len(doing.task.token),
                worker_id="stranger",
            )
            self._report(address, forgery)
        for pause in doing.ending.sent:
            self._server.later(pause, self._report, address, result, doing.stored)

    # --- what is checked of a task ---------------------------------------------------------------

    def _check(self, doing: Doing) -> None:
        """A task must carry what was saved by attempts before, and of a loop's body the right item."""
        address = doing.address
        for call, attempt in self._saved.get((address.execution_id, doing.key), {}).items():
            if attempt < address.attempt:
                self.counts["checkpoints found again"] += 1
                if doing.task.checkpoints.get(call) != raw(value_of(doing.name, call)):
                    self._object(f"{doing.stored.subject} lacks the checkpoint {call!r}")
        for delivered in doing.task.deliveries:
            if doing.node.loops and delivered.source == doing.node.loops[-1]:
                self._check_item(doing, bytes(delivered.value))

    def _check_item(self, doing: Doing, value: bytes) -> None:
        loop = self._plan_of(doing.address.execution_id).nodes[doing.node.loops[-1]]
        index = doing.key[1][-1]
        found = msgspec.json.decode(value)
        size = loop.task_node.parameters.get("batch_size")
        self.counts["items delivered"] += 1
        if loop.type != LOOP or size is None:
            if found.get("index") != index:
                self._object(f"{doing.stored.subject} got {found}")
            return
        items = items_of(loop)
        own = items[index * size : (index + 1) * size]
        count = -(-len(items) // size)
        share = {"item": own[0]} if size == 1 else {"items": own}
        if found != {**share, "index": index, "count": count, "is_last": index == count - 1}:
            self._object(f"{doing.stored.subject} got {found}")

    # --- what a worker says ----------------------------------------------------------------------

    def _reply_to(self, doing: Doing) -> str:
        return f"{ANSWERS}.{doing.number}-{len(doing.left)}"

    def _ask(
        self,
        doing: Doing,
        question: Starting | Checkpoint,
        then: Answered,
        tries: int = ASKS,
    ) -> None:
        """Put a question until it is answered. A dying worker hears no answer."""
        assert question.reply_to is not None
        address = doing.address
        self._server.send(
            self._server.inbox, subjects.result(address), encode(question), question, tries=1
        )
        if doing.is_dying and not doing.left:
            return
        self._open[question.reply_to] = then
        if tries > 1:
            self._server.later(ASK_AGAIN_S, self._ask_again, doing, question, then, tries - 1)

    def _ask_again(
        self, doing: Doing, question: Starting | Checkpoint, then: Answered, tries: int
    ) -> None:
        stopped = doing.address.execution_id in self._stopped
        if question.reply_to in self._open and not stopped:
            self._ask(doing, question, then, tries)

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

    def _about(self, doing: Doing) -> dict[str, Any]:
        address = doing.address
        return {
            "execution_id": address.execution_id,
            "node_id": address.node_id,
            "iteration": address.iteration,
            "attempt": address.attempt,
            "token": doing.task.token,
            "worker_id": "worker",
        }

    def _result(self, doing: Doing, outcome: Mapping[str, Any]) -> Result:
        return Result(
            **self._about(doing),
            started_at="2026-03-28T12:00:00Z",
            finished_at="2026-03-28T12:00:01Z",
            **outcome,
        )


def value_of(name: str, call: str) -> Sequence[str]:
    """Return what a call gave."""
    return [name, call]
