"""Schedulers that share the partitions of the inbox: they give back in order and follow each other at once."""

import asyncio
from collections.abc import Iterator

import pytest

from contracts.ids import PARTITIONS
from contracts.messages import Task
from db import leases
from flotilla.embedded.nats import NatsServer
from scheduler import partitions
from tests.component.scheduler.conftest import Processes
from tests.support.engine import document, node, wire
from tests.support.installation import Installation
from tests.support.leases import held, shares_become
from tests.support.plain_worker import Outcome, PlainWorker

pytestmark = pytest.mark.component

ANY = "CUSTOM.ANY"
LINE = document([node("a"), node("b"), node("c")], [wire("a -> b"), wire("b -> c")])
ALL = frozenset(range(PARTITIONS))


@pytest.fixture
def leases_for_ever(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody gets a partition because a lease runs out, or because it was time to look."""
    monkeypatch.setattr(partitions, "LEASE_S", 3600.0)
    monkeypatch.setattr(partitions, "RENEW_S", 3600.0)
    return iter(())


def yields(node_id: str, _: Task) -> Outcome:
    """Answer on `main` with the node's name."""
    return {"ports": {"main": {"from": node_id}}}


async def nodes_of(installation: Installation, execution_id: str) -> list[str | None]:
    """Return the nodes that succeeded, in order, of a history without gaps."""
    history = await installation.history(execution_id)
    assert [row.seq for row in history] == list(range(1, len(history) + 1))
    return [row.node_id for row in history if row.kind == "node_succeeded"]


@pytest.mark.usefixtures("leases_for_ever")
async def test_a_newcomer_gets_its_share_at_once_and_gives_it_back_when_it_goes(
    installation: Installation, processes: Processes
) -> None:
    store = installation.store
    async with processes.scheduler("one"):
        assert await held(store) == {"one": ALL}

        async with processes.scheduler("two"), processes.scheduler("three"):
            shared = await shares_become(store, 6, 5, 5)
            assert frozenset.union(*shared.values()) == ALL

        assert await shares_become(store, 16) == {"one": ALL}


@pytest.mark.usefixtures("leases_for_ever")
async def test_partitions_change_hands_under_load_and_each_node_succeeds_once(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    store = installation.store
    ids = await installation.add(LINE)
    async with processes.scheduler("one"):
        started = await installation.start(ids, 100)
        async with PlainWorker(nats_alone.url, ANY, yields):
            async with processes.scheduler("two"):
                await shares_become(store, 8, 8)
                started += await installation.start(ids, 50)
                await installation.until(started[:20], lambda row: row.version > 2)
            await shares_become(store, 16)
            rows = await installation.finished(started)

    assert {row.status for row in rows} == {"SUCCESS"}
    for each in started:
        assert await nodes_of(installation, each) == ["a", "b", "c"]


async def test_leases_that_ran_out_are_somebody_elses_and_the_owner_lets_them_go(
    installation: Installation,
) -> None:
    """As after a SIGSTOP that lasted longer than a lease."""
    owned: list[frozenset[int]] = []
    let_go = asyncio.Event()

    async def changed(now: frozenset[int]) -> None:
        owned.append(now)

    async def finish(gone: frozenset[int]) -> None:
        assert gone == ALL
        let_go.set()

    async def tell() -> None:
        return

    store = installation.store
    slept = partitions.Partitions(store, "slept", changed, finish, tell)
    await slept.look()
    assert owned == [ALL]
    await store.execute("update partition_leases set expires_at = '-infinity'")
    await store.execute("update schedulers set expires_at = '-infinity'")
    await leases.keep(store, "other", {}, 60)
    taken = await leases.acquire(store, "other", None, 60)

    running = asyncio.create_task(slept.run())
    async with asyncio.timeout(20):
        await let_go.wait()
    running.cancel()
    await asyncio.wait([running])

    assert owned == [ALL, frozenset()]
    assert await leases.keep(store, "other", taken, 60) == ALL
