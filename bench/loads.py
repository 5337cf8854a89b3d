"""The loads whose executions are started straight away: in rows, wide, and in loops."""

import time
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from bench import documents
from bench.figures import Figures, figures
from bench.installation import Installation, Workflow
from bench.jetstream import messages_of
from bench.options import Sizes
from bench.processes import Pids
from bench.surroundings import BenchError
from bench.timing import times_of
from bench.usage import Meter

CREATE_AT_ONCE: Final = 100
WARM_UP: Final = 200
STEPS: Final = 10


class Scene:
    """What a load works with: the engine, its processes, how much to do, and the workflows that are there already."""

    def __init__(self, installation: Installation, pids: Pids, sizes: Sizes) -> None:
        self.installation = installation
        self.pids = pids
        self.sizes = sizes
        self._workflows: dict[str, Workflow] = {}

    async def workflow(self, document: documents.Document) -> Workflow:
        """Return the workflow of a document, made at the first call."""
        name = document["name"]
        if name not in self._workflows:
            self._workflows[name] = await self.installation.publish(document)
        return self._workflows[name]

    async def nats_messages(self) -> int:
        """Return how many messages the server has taken and given so far."""
        return await messages_of(self.installation.surroundings.nats_monitoring_url)


async def alone(scene: Scene) -> Figures:
    """W1: ten nodes after each other, one execution at a time."""
    workflow = await scene.workflow(documents.line(STEPS))
    return await _measured(scene, workflow, scene.sizes.alone, 1, steps=STEPS, metric="p50_ms")


async def many(scene: Scene) -> Figures:
    """W2: ten nodes after each other, many executions at a time; completions are counted, not starts."""
    workflow = await scene.workflow(documents.line(STEPS))
    sizes = scene.sizes
    return await _measured(
        scene, workflow, sizes.many, sizes.in_flight, steps=STEPS, metric="per_s"
    )


async def fan_out(scene: Scene) -> Figures:
    """W3: one node, parallel ones after it, and one that waits for all of them."""
    branches = scene.sizes.branches
    workflow = await scene.workflow(documents.fan_out(branches))
    count = scene.sizes.fan_out
    return await _measured(scene, workflow, count, 1, steps=branches + 2, metric="p50_ms")


async def long(scene: Scene) -> Figures:
    """W4: many nodes after each other, one execution at a time."""
    steps = scene.sizes.long_nodes
    workflow = await scene.workflow(documents.line(steps))
    return await _measured(scene, workflow, scene.sizes.long, 1, steps=steps, metric="p50_ms")


async def loop(scene: Scene) -> Figures:
    """W6: a parallel loop and its join; raises BenchError unless every iteration counts exactly once."""
    workflow = await scene.workflow(documents.loop())
    count = scene.sizes.iterations
    await _run(scene, workflow, 1, 1, value=_count_of(10))
    meter, messages = Meter(scene.pids), await scene.nats_messages()
    seconds, ids = await _run(scene, workflow, 1, 1, value=_count_of(count))
    used, messages = meter.read(), await scene.nats_messages() - messages
    await _check_loop(scene.installation, ids[0], count)
    facts = {"iterations": count, "exact": True}
    return figures(
        "seconds", "iteration", count, seconds, usage=used, messages=messages, facts=facts
    )


async def _measured(
    scene: Scene,
    workflow: Workflow,
    count: int,
    in_flight: int,
    *,
    steps: int,
    metric: str,
) -> Figures:
    """Run executions after a few that are not measured, and return their figures."""
    warm_up = min(WARM_UP, count) if in_flight > 1 else min(5, count)
    await _run(scene, workflow, warm_up, in_flight)
    scene.installation.ends.take()
    meter, messages = Meter(scene.pids), await scene.nats_messages()
    seconds, ids = await _run(scene, workflow, count, in_flight)
    used, messages = meter.read(), await scene.nats_messages() - messages
    each = scene.installation.ends.take()
    sample = ids[:: max(1, count // scene.sizes.sample)]
    return figures(
        "per_s" if metric == "per_s" else "p50_ms",
        "step",
        count * steps,
        seconds,
        usage=used,
        each=each,
        messages=messages,
        times=await times_of(scene.installation, sample),
        facts={"executions": count, "in_flight": in_flight},
    )


async def _run(
    scene: Scene,
    workflow: Workflow,
    count: int,
    in_flight: int,
    *,
    value: msgspec.Raw | None = None,
) -> tuple[float, Sequence[str]]:
    """Run executions to their ends, at most `in_flight` at once; return the seconds it took, and their ids."""
    installation = scene.installation
    ends = installation.ends
    at_once = min(CREATE_AT_ONCE, in_flight)
    ids: list[str] = []
    begin = time.perf_counter()
    while len(ids) < count or ends.under_way:
        left = count - len(ids)
        room = min(left, in_flight - ends.under_way, at_once)
        if room > 0 and (room == left or room >= at_once // 2):
            given = () if value is None else (value,)
            ids += await installation.start(workflow, room, *given)
        else:
            await ends.next()
    return time.perf_counter() - begin, ids


def _count_of(count: int) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode({"count": count}))


class _Succeeded(msgspec.Struct):
    output: Mapping[str, object]


async def _check_loop(installation: Installation, execution_id: str, count: int) -> None:
    """Compare the loop's results, and its history, with what they have to be."""
    (end,) = await installation.history(execution_id, limit=2, kind="execution_succeeded")
    output = msgspec.json.decode(end.data, type=_Succeeded).output
    verdict = {"count": count, "failed": 0, "sum": count * (count - 1), "exact": True}
    wanted = {"check": verdict}
    ran = await installation.history(
        execution_id, limit=count + 1, kind="node_succeeded", node_id="double"
    )
    iterations = sorted(row.iteration for row in ran if row.iteration is not None)
    if output != wanted or iterations != [(number,) for number in range(count)]:
        raise BenchError(f"the loop gave {output} instead of {wanted}, by {len(ran)} node runs")
