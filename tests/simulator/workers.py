"""The simulated workers: they do to each task what the seed says, report it, and die now and then.

Before an at-most-once handler is called, and after each call that must not be repeated, they ask the scheduler and wait for its
answer, as the real ones do. And like those they go on by themselves from one node to the next, where a task says that they may.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from msgspec import UNSET

from contracts import subjects
from contracts.execution.plan import Plan, PlannedNode
from contracts.ids import RunKey
from contracts.messages import (
    Checkpoint,
    CommandAnswer,
    Delivered,
    Head,
    Onward,
    PauseNotice,
    Result,
    Returned,
    Starting,
    Task,
    decode_answer,
    decode_onward,
    decode_task,
    decode_task_node,
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
FEW_DELIVERIES: Final = 3

PlanOf = Callable[[str], Plan]
Answered = Callable[[CommandAnswer], None]


class Doing:
    """One delivery of a task that a worker works on."""

    __slots__ = (
        "address",
        "ending",
        "is_dying",
        "is_told",
        "key",
        "left",
        "name",
        "node",
        "number",
        "stored",
        "task",
    )

    def __init__(
        self,
        number: int,
        stored: Stored,
        address: TaskAddress,
        name: str,
        node: PlannedNode,
        task: Task,
    ) -> None:
        self.number = number
        self.stored = stored
        self.address = address
        self.name = name
        self.node = node
        self.key: RunKey = (address.node_id, address.iteration)
        self.task = task
        self.ending = Ending()
        self.is_dying = False
        self.is_told = False
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
        self._paused: set[str] = set()
        self._begun: dict[tuple[str, RunKey, int], int] = {}
        self.counts: Counter[str] = Counter()

    def take(self, stored: Stored) -> bool:
        """Work on a task that was delivered, or on what it had come to when its worker was lost."""
        self.counts["task deliveries"] += 1
        self.counts["task redeliveries"] += stored.deliveries > 1
        address = subjects.read_task(stored.subject)
        assert address is not None
        doing = self._doing(stored, address, decode_task(stored.data))
        if stored.deliveries > 1 and doing.task.onward is not UNSET:
            self._ask_how_far(doing)
        else:
            self._begin(doing)
        return True

    def _doing(self, stored: Stored, address: TaskAddress, task: Task) -> Doing:
        node_id = decode_task_node(bytes(task.node)).id
        address = address._replace(node_id=node_id, attempt=task.attempt)
        node = self._plan_of(address.execution_id).nodes[node_id]
        name = self._names[address.execution_id]
        self.counts["attempts begun"] += 1
        return Doing(self.counts["attempts begun"], stored, address, name, node, task)

    def _begin(self, doing: Doing, *, dies: bool = False) -> None:
        """Begin an attempt; its first deliveries may kill their workers."""
        doing.ending = ending_of(self._chance(doing))
        attempt = (doing.address.execution_id, doing.key, doing.address.attempt)
        first = self._begun.setdefault(attempt, doing.stored.deliveries)
        doing.is_dying = doing.stored.deliveries - first < doing.ending.crashes
        if doing.is_dying:
            self.counts["worker crashes"] += 1
        elif dies or self._chaos.strikes("worker_died"):
            doing.is_dying = True
        self._check(doing)
        if doing.node.delivery is Delivery.AT_MOST_ONCE:
            self._ask_to_start(doing)
        else:
            self._work_on(doing)

    def pause(self, data: bytes) -> None:
        """Hear that an execution is paused, or not any more."""
        if not self._chaos.strikes("notice_lost"):
            notice = msgspec.json.decode(data, type=PauseNotice)
            change = self._paused.add if notice.paused else self._paused.discard
            change(notice.execution_id)

    def stop(self, execution_id: str) -> None:
        """Hear that an execution is over: what runs for it is given up."""
        if not self._chaos.strikes("notice_lost"):
            self._stopped.add(execution_id)

    def answered(self, subject: str, data: bytes) -> None:
        """Hear the scheduler's answer to a question."""
        if not self._chaos.strikes("answer_lost"):
            then = self._open.pop(subject, None)
            if then is not None:
                then(decode_answer(data))

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

        def then(answer: CommandAnswer) -> None:
            if answer.code is not None:
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

    def _ask_how_far(self, doing: Doing) -> None:
        """Go on where a lost worker was; what is over is acknowledged."""
        self.counts["segments found again"] += 1
        head = doing.task.head or Head(doing.key[0], doing.task.attempt)
        asked = self._about(doing) | {"node_id": head.node_id, "attempt": head.attempt}
        types = {node.fleet for node in self._plan_of(doing.address.execution_id).nodes.values()}
        if self._chaos.strikes("serves_little"):
            types = {doing.address.node_type}
        returned = Returned(**asked, serves=tuple(sorted(types)), reply_to=self._reply_to(doing))

        def then(answer: CommandAnswer) -> None:
            if answer.task is UNSET:
                self._acknowledge(doing.stored)
            else:
                task = decode_task(bytes(answer.task))
                self._begin(self._doing(doing.stored, doing.address, task))

        self._ask(doing, returned, then)

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

        def then(answer: CommandAnswer) -> None:
            if answer.code is None:
                saved.setdefault(call, address.attempt)
            self._next_call(doing, answer.code)

        checkpoint = Checkpoint(
            **self._about(doing),
            key=call,
            value=raw(value_of(doing.name, call)),
            usage=ONE_CALL,
            head=doing.task.head,
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
        following = self._following(doing, result)
        if following is not None:
            result = msgspec.structs.replace(result, goes_on=following.key[0])
        then = partial(self._go_on, doing, following)
        for pause in doing.ending.sent:
            self._server.later(pause, self._report, address, result, then)

    # --- from one node to the next ---------------------------------------------------------------

    def _following(self, doing: Doing, result: Result) -> Doing | None:
        """Return what a worker goes on with, if it may, can and does."""
        task, execution_id = doing.task, doing.address.execution_id
        if task.onward is UNSET or result.ports is None or len(result.ports) != 1:
            return None
        [(port, value)] = result.ports.items()
        steps = {(each.source, each.from_port): each for each in decode_onward(bytes(task.onward))}
        onward = steps.get((doing.key[0], port))
        if onward is None or execution_id in self._paused or self._chaos.strikes("hands_back"):
            return None
        following = self._doing(doing.stored, doing.address, onward_task(doing, onward, value))
        crashes = ending_of(self._chance(following)).crashes
        # Deliveries are counted by the task: what would be too many in all is not begun.
        return following if doing.stored.deliveries + crashes < FEW_DELIVERIES else None

    def _go_on(self, doing: Doing, following: Doing | None) -> None:
        """Acknowledge a task once its result is stored, or begin what follows, once."""
        is_told, doing.is_told = doing.is_told, True
        if following is None:
            self._acknowledge(doing.stored)
        elif not is_told and doing.address.execution_id not in self._stopped:
            self.counts["attempts gone on to"] += 1
            self._begin(following, dies=self._chaos.strikes("died_going_on"))

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
        question: Starting | Checkpoint | Returned,
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
        self,
        doing: Doing,
        question: Starting | Checkpoint | Returned,
        then: Answered,
        tries: int,
    ) -> None:
        stopped = doing.address.execution_id in self._stopped
        if question.reply_to in self._open and not stopped:
            self._ask(doing, question, then, tries)

    def _report(
        self, address: TaskAddress, result: Result, then: Callable[[], None] | None = None
    ) -> None:
        """Send a result; then follows once it is stored."""
        self.counts["results sent"] += 1
        self._server.send(
            self._server.inbox,
            subjects.result(address),
            encode(result),
            result,
            tries=SENDS,
            done=then,
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
            head=doing.task.head,
            **outcome,
        )


def onward_task(doing: Doing, onward: Onward, value: msgspec.Raw) -> Task:
    """Return the task that a worker makes of its own for the next node."""
    return msgspec.structs.replace(
        doing.task,
        node=onward.node,
        attempt=1,
        deliveries=(Delivered(doing.key[0], value, onward.to_port, onward.mapping),),
        resumed=None,
        checkpoints={},
        is_asked=False,
        next_loop=None,
        head=doing.task.head or Head(doing.key[0], doing.task.attempt),
    )


def value_of(name: str, call: str) -> Sequence[str]:
    """Return what a call gave."""
    return [name, call]
