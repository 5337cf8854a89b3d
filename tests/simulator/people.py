"""People and services outside: they send the signals that node runs wait for, answer questions, and unpause what was paused.

What they do follows from the seed and the wait alone. Commands may be lost as anything may, so they ask again until history shows
that they were heard. A wait with a deadline is left alone, unless what comes first may decide: it is meant to be in vain.
"""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from contracts.execution.state import ExecutionState, NodeRun
from contracts.history import Wait
from contracts.ids import RunKey
from contracts.messages import EndWait, SendSignal, UnpauseExecution
from contracts.statuses import WaitKind
from tests.simulator.endings import SHARED_SIGNALS
from tests.simulator.shapes import SOMEBODY, Work
from tests.support.engine import raw

AGAIN_S: Final = 10.0
FAST: Final = 3.0

Send = Callable[[str, str, Any], None]
"""Sends a command: its kind, the execution, the command."""
Later = Callable[..., Any]


class People:
    """Everybody outside. `troubled` ones end waits that would have ended by themselves, too."""

    def __init__(
        self,
        work: Work,
        chance: random.Random,
        later: Later,
        send: Send,
        *,
        troubled: bool,
    ) -> None:
        self._work = work
        self._chance = chance
        self._later = later
        self._send = send
        self._troubled = troubled
        self._seen: set[tuple[str, RunKey, int]] = set()
        self._unpausing: set[str] = set()
        self.names: dict[str, str] = {}
        self.counts: Counter[str] = Counter()

    def look(self, state: ExecutionState) -> None:
        """See what an execution waits for now."""
        for key in state.waits:
            run = state.runs[key]
            seen = (state.id, key, run.attempt)
            if seen not in self._seen:
                self._seen.add(seen)
                assert run.wait is not None
                self._see(state, key, run, run.wait)
        if state.paused and state.id not in self._unpausing:
            self._unpausing.add(state.id)
            self._later(self._chance.uniform(15, 40), self._unpause, state)

    def _see(self, state: ExecutionState, key: RunKey, run: NodeRun, wait: Wait) -> None:
        text = f"{self.names[state.id]}:{key[0]}:{key[1]}"
        chance = random.Random(f"{self._work.seed}:{text}:{run.attempt}:people")
        after = 0.05 + FAST * chance.random() ** 2
        if wait.kind is WaitKind.CHILD:
            return
        if self._work.racy:
            self._see_racy(state, key, wait, chance)
        elif wait.kind is WaitKind.TIMER:
            if self._troubled and chance.random() < 0.3:
                self.counts["waits ended early"] += 1
                self._later(after, self._end_wait, state, key, f"early {text}", None, 1)
        elif wait.due_at is not None or wait.check_at is not None:
            return
        elif wait.kind is WaitKind.INTERACTION:
            self._later(after, self._answer, state, key, wait.interaction_id, text)
        else:
            signal = SendSignal(
                execution_id=state.id,
                signal_id=f"signal {wait.signal}",
                name=wait.signal or "",
                data=raw({"for": text}),
                by=SOMEBODY,
                reply_to=f"gateway.answer.{state.id}",
            )
            self._later(after, self._until_heard, state, "signal", signal)
            if self._troubled and chance.random() < 0.2:
                self._later(after, self._end_wait, state, key, f"also {text}", {"for": text}, 1)

    def _answer(
        self, state: ExecutionState, key: RunKey, interaction_id: str | None, text: str
    ) -> None:
        """Answer a question; now and then two people do, with the same words."""
        chance = random.Random(f"{self._work.seed}:{text}:answer")
        port = chance.choice((None, "main", "a", "strange", "timeout"))
        answers = 2 if self._troubled and chance.random() < 0.3 else 1
        for number in range(answers):
            self.counts["questions answered"] += 1
            command = EndWait(
                execution_id=state.id,
                signal_id=f"answer {interaction_id} {number}",
                interaction_id=interaction_id,
                data=raw({"for": text}),
                port=port,
                by=SOMEBODY,
                reply_to=f"gateway.answer.{state.id}",
            )
            self._until_closed(state, command)

    def _see_racy(
        self, state: ExecutionState, key: RunKey, wait: Wait, chance: random.Random
    ) -> None:
        """Do one thing or the other about a wait, at about the time when it ends by itself."""
        at = chance.uniform(0.1, 16)
        text = f"{self.names[state.id]}:{key}:{len(self._seen)}"
        match chance.choice(("nothing", "signal", "end", "end any")):
            case "signal":
                signal = SendSignal(
                    execution_id=state.id,
                    signal_id=f"signal {text}",
                    name=chance.choice(SHARED_SIGNALS),
                    data=raw(text),
                    by=SOMEBODY,
                )
                self._later(at, self._until_heard, state, "signal", signal)
            case "end" if wait.interaction_id is not None:
                self._later(at, self._answer, state, key, wait.interaction_id, text)
            case "end":
                self._later(at, self._end_wait, state, key, f"end {text}", text, 3)
            case "end any":
                self._later(at, self._end_wait, state, None, f"any {text}", text, 3)
            case _:
                pass

    # --- what is asked until it is so ------------------------------------------------------------

    def _until_heard(self, state: ExecutionState, kind: str, command: SendSignal) -> None:
        if state.is_terminal or command.signal_id in state.heard:
            return
        self.counts["signals sent"] += 1
        self._send(kind, state.id, command)
        self._later(AGAIN_S, self._until_heard, state, kind, command)

    def _until_closed(self, state: ExecutionState, command: EndWait) -> None:
        if state.is_terminal or command.interaction_id not in state.questions:
            return
        self._send("end_wait", state.id, command)
        self._later(AGAIN_S, self._until_closed, state, command)

    def _end_wait(
        self, state: ExecutionState, key: RunKey | None, signal_id: str, data: Any, times: int
    ) -> None:
        """Ask for the end of a node run's wait, or of the only one there is."""
        if state.is_terminal or not times:
            return
        self.counts["ends of waits asked"] += 1
        command = EndWait(
            execution_id=state.id,
            signal_id=signal_id,
            node_id=None if key is None else key[0],
            iteration=None if key is None else key[1],
            data=raw(data),
            by=SOMEBODY,
            reply_to=f"gateway.answer.{state.id}",
        )
        self._send("end_wait", state.id, command)
        self._later(AGAIN_S, self._end_wait, state, key, signal_id, data, times - 1)

    def _unpause(self, state: ExecutionState) -> None:
        self._unpausing.discard(state.id)
        if state.is_terminal or not state.paused:
            return
        command = UnpauseExecution(
            execution_id=state.id, by=SOMEBODY, reply_to=f"gateway.answer.{state.id}"
        )
        self._send("unpause", state.id, command)
        self._unpausing.add(state.id)
        self._later(AGAIN_S, self._unpause, state)
