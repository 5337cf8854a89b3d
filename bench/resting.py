"""What the engine costs while nothing happens: W0, and with many executions that wait for a signal."""

import asyncio
import time
from typing import Any, Final

import msgspec

from bench import documents
from bench.figures import Figures, rounded
from bench.loads import CREATE_AT_ONCE, Scene
from bench.surroundings import BenchError
from bench.usage import Meter
from bus.client import CoreMessage
from bus.publisher import Outgoing
from contracts import subjects
from contracts.history import By
from contracts.messages import SendSignal, encode

SETTLE_SECONDS: Final = 2
SIGNALED: Final = 20
PATIENCE_SECONDS: Final = 60
IN_FLIGHT: Final = 1_000


async def rest(scene: Scene) -> Figures:
    """W0: look at the processes while nobody asks anything of them."""
    return await _at_rest(scene, {})


async def waiting(scene: Scene, count: int) -> Figures:
    """Hold executions that wait for a signal, look at the processes, and see that some of them still go on."""
    begun = _Waits()
    subject = subjects.events_of_kind("node_waiting")
    subscription = await scene.installation.bus.subscribe(subject, begun.receive)
    begin = time.perf_counter()
    ids = await _begin(scene, begun, count)
    seconds = time.perf_counter() - begin
    await subscription.unsubscribe()
    facts = {"waiting": count, "begun_per_s": round(count / seconds)}
    figures = await _at_rest(scene, facts)
    await _signal(scene, ids[:: max(1, count // SIGNALED)])
    return figures


async def _at_rest(scene: Scene, facts: dict[str, Any]) -> Figures:
    seconds = scene.sizes.rest_seconds
    await asyncio.sleep(min(SETTLE_SECONDS, seconds))
    meter = Meter(scene.pids)
    await asyncio.sleep(seconds)
    used = meter.read()
    return Figures(
        metric="seconds",
        operation="second",
        operations=1,
        seconds=seconds,
        per_s=0,
        cpu_percent={name: round(cpu / seconds * 100, 2) for name, cpu in used.cpu_s.items()},
        memory_mib=rounded(used.memory_mib),
        facts=facts,
    )


class _Waits:
    """Counts the waits that begin."""

    def __init__(self) -> None:
        self.count = 0
        self._heard = asyncio.Event()

    async def receive(self, _message: CoreMessage) -> None:
        """Take word of one."""
        self.count += 1
        self._heard.set()

    async def reach(self, count: int) -> None:
        """Return once so many have begun. Raises BenchError if no more do."""
        while self.count < count:
            self._heard.clear()
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._heard.wait()
            except TimeoutError:
                raise BenchError(f"only {self.count} executions began to wait") from None


async def _begin(scene: Scene, begun: _Waits, count: int) -> list[str]:
    """Start executions until so many wait."""
    workflow = await scene.workflow(documents.waiting())
    ids: list[str] = []
    while len(ids) < count:
        await begun.reach(len(ids) - IN_FLIGHT)
        ids += await scene.installation.start(workflow, min(CREATE_AT_ONCE, count - len(ids)))
    await begun.reach(count)
    return ids


async def _signal(scene: Scene, ids: list[str]) -> None:
    """Wake some of those that wait, and return once they have ended."""
    installation = scene.installation
    wanted = installation.ends.under_way - len(ids)
    await installation.publisher.publish_all(
        Outgoing(subjects.command("signal", each), encode(_signal_of(installation.user_id, each)))
        for each in ids
    )
    while installation.ends.under_way > wanted:
        await installation.ends.next()
    installation.ends.take()


def _signal_of(user_id: str, execution_id: str) -> SendSignal:
    return SendSignal(
        execution_id=execution_id,
        signal_id=execution_id,
        name=documents.SIGNAL,
        data=msgspec.Raw(b"null"),
        by=By("API", user_id),
    )
