"""A limit of executions that the scheduler was told reaches who runs into it."""

import asyncio

import httpx
import pytest

from contracts.limits import CoreLimits
from db import node_types
from db.store import Store
from nodes.regex import Re2
from scheduler.service import SchedulerSettings, run_scheduler
from tests.support.engine import ANY
from tests.support.fleets import line
from tests.support.gateways import CALENDAR, make_execution, make_workflow, refused

pytestmark = pytest.mark.component


async def test_signals_past_the_limit_are_refused(
    api: httpx.AsyncClient, store: Store, database_url: str, engine_nats: str
) -> None:
    await node_types.store(store, (ANY,))
    settings = SchedulerSettings(
        database_url=database_url, nats_url=engine_nats, limits=CoreLimits(signals=1)
    )
    stop, ready = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        run = run_scheduler(settings, regex=Re2(), calendar=CALENDAR, stop=stop, ready=ready)
        group.create_task(run)
        await ready.wait()
        path = f"/v1/executions/{await make_execution(api, await make_workflow(api, line('a')))}"

        kept = await api.post(f"{path}/signal", json={"name": "paid"})
        refusal = await api.post(f"{path}/signal", json={"name": "sent"})
        stop.set()

    assert kept.status_code == 200, kept.text
    refused(refusal, 409, "limit_exceeded")
    assert "the limit is 1 (LIMIT_SIGNALS)" in refusal.json()["detail"]
