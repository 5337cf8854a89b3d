"""The sweeper hands to the loop what nothing else will move, and spares what only waits here."""

import time
from collections.abc import Sequence

import nats
import pytest

from contracts import subjects
from contracts.ids import PARTITIONS
from contracts.messages import Task
from flotilla.embedded.nats import NatsServer
from scheduler import sweeper
from scheduler.admission import LEAST_WINDOW, Admission, Waiting
from scheduler.executions import Executions, Plans
from scheduler.families import Families
from scheduler.intake import Intake
from scheduler.sweeper import Knowledge, Sweeper
from tests.component.scheduler.conftest import Processes
from tests.support.engine import document, node
from tests.support.installation import Installation
from tests.support.plain_worker import Outcome, PlainWorker

pytestmark = pytest.mark.component

ANY = "CUSTOM.ANY"
ONE = document([node("a")], [])


class Scene:
    """A sweeper that owns everything, and what it knows."""

    def __init__(self, installation: Installation) -> None:
        store = installation.store
        self.store = store
        self.intake = Intake()
        self.admission = Admission(slots=lambda _: 0, now=time.monotonic)
        self.executions = Executions(store, Plans(store))
        knowledge = Knowledge(lambda: self.admission, self.executions)
        self.sweeper = Sweeper(store, self.intake, Families(store, self.intake), knowledge)

    async def begin(self) -> None:
        """Own all partitions, and make the first pass, which hands everything over."""
        self.sweeper.own(range(PARTITIONS))
        await self.sweeper.sweep()
        if len(self.intake):
            await self.intake.take(10_000)

    async def age(self, status: str) -> None:
        """Let all executions have been silent for an hour."""
        await self.store.execute(
            "update workflow_executions set status = $1, updated_at = now() - interval '1 hour'",
            status,
        )

    async def handed(self) -> list[str]:
        """Make a pass, and return what it handed to the loop."""
        await self.sweeper.sweep()
        if not len(self.intake):
            return []
        return [each.execution_id for each in await self.intake.take(10_000)]


@pytest.fixture
async def scene(installation: Installation) -> Scene:
    """A sweeper."""
    return Scene(installation)


async def offered(scene: Scene, started: Sequence[str]) -> None:
    """Offer a task of each execution."""
    for each in started:
        scene.admission.offer(Waiting((each, ("a", ()), 1), ANY, "namespace"))


async def test_what_stands_in_line_is_handed_over_once_in_many_passes_and_what_is_queued_in_each(
    installation: Installation, scene: Scene
) -> None:
    started = await installation.start(await installation.add(ONE), LEAST_WINDOW + 40, say=False)
    await scene.begin()
    await scene.age("RUNNING")
    await offered(scene, started)
    queued, in_line = set(started[:LEAST_WINDOW]), set(started[LEAST_WINDOW:])

    passes = [set(await scene.handed()) for _ in range(sweeper.PASSES_BETWEEN)]

    assert all(queued <= each for each in passes)
    assert sum(len(each & in_line) for each in passes) == len(in_line)


async def test_of_those_that_wait_for_one_slot_one_is_reminded_of(
    installation: Installation, scene: Scene
) -> None:
    ids = await installation.add(ONE)
    alike = await installation.start(ids, 20, say=False, slot=(1, "QUEUE"))
    await scene.begin()
    await scene.age("NEW")
    await scene.executions.load(alike)

    passes = [set(await scene.handed()) for _ in range(sweeper.PASSES_BETWEEN)]

    assert all(passes)
    assert sum(map(len, passes)) <= sweeper.PASSES_BETWEEN + len(alike)
    assert set.union(*passes) == set(alike)


async def test_executions_that_another_scheduler_took_further_are_not_spared(
    installation: Installation, scene: Scene
) -> None:
    ids = await installation.add(ONE)
    alike = await installation.start(ids, 5, say=False, slot=(1, "QUEUE"))
    await scene.begin()
    await scene.executions.load(alike)
    await scene.store.execute("update workflow_executions set version = 2")
    await scene.age("NEW")

    assert set(await scene.handed()) == set(alike)


async def test_suspended_executions_are_not_even_looked_at(
    installation: Installation, scene: Scene
) -> None:
    await installation.start(await installation.add(ONE), 5, say=False)
    await scene.begin()
    await scene.age("WAITING")

    assert await scene.handed() == []


async def test_tasks_for_which_the_stream_had_no_room_are_published_once_there_is_some(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    """Long before an execution counts as silent."""
    ids = await installation.add(ONE)

    def yields(node_id: str, _: Task) -> Outcome:
        return {"ports": {"main": node_id}}

    async with processes.scheduler():
        client = await nats.connect(nats_alone.url)
        context = client.jetstream()
        config = (await context.stream_info(subjects.TASKS)).config
        config.max_bytes = 2_000
        await context.update_stream(config)
        started = await installation.start(ids, 20)
        await installation.until(started, lambda row: row.status == "RUNNING")
        state = (await context.stream_info(subjects.TASKS)).state
        assert 0 < state.messages < len(started)
        await client.close()

        async with PlainWorker(nats_alone.url, ANY, yields):
            rows = await installation.finished(started, seconds=45)

    assert {row.status for row in rows} == {"SUCCESS"}
