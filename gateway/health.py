"""Operations for whoever watches over the process."""

import asyncio
from collections.abc import Awaitable
from typing import Final, Literal

import msgspec

import db.leases
import db.verification
import db.workers
from db.errors import StoreError
from db.workers import WorkerFilters
from gateway.answers import Answer, encode, ok
from gateway.bodies import Nothing
from gateway.calls import Call
from gateway.metrics import MEDIA_TYPE
from gateway.problems import unavailable
from gateway.queries import NoQuery
from gateway.services import Gateway

CHECK_SECONDS: Final = 2.0

Status = Literal["healthy", "degraded", "unhealthy"]
Check = Literal["up", "down"]


class Alive(msgspec.Struct, frozen=True):
    """The process runs."""

    status: str = "alive"


class Ready(msgspec.Struct, frozen=True):
    """Requests may be sent here."""

    status: str = "ready"


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How the gateway and what it needs are; degraded: requests are served, but work may have to wait."""

    status: Status
    version: str
    checks: dict[str, Check]


async def get_liveness(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Answer that the process runs."""
    return ok(Alive())


async def get_readiness(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Answer whether requests may be sent here: not while draining, nor without the store."""
    if gateway.lifecycle.is_draining:
        raise unavailable("This process is about to stop and")
    if not await _store_answers(gateway):
        raise unavailable("PostgreSQL")
    return ok(Ready())


async def get_health(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Answer how everything is; 503 if requests cannot be served."""
    has_store = await _store_answers(gateway)
    has_schedulers = has_store and await _answered(_schedulers_live(gateway))
    has_workers = has_store and await _answered(_workers_live(gateway))
    checks: dict[str, Check] = {
        "postgres": _check(has_store),
        "nats": _check(gateway.bus.is_connected),
        "schedulers": _check(has_schedulers),
        "workers": _check(has_workers),
    }
    status: Status = "healthy" if has_schedulers and has_workers else "degraded"
    if not has_store or not gateway.bus.is_connected:
        status = "unhealthy"
    health = Health(status=status, version=gateway.settings.version, checks=checks)
    return Answer(503 if status == "unhealthy" else 200, encode(health))


async def get_metrics(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Answer with the process' metrics, and what the last verification found if the store can be asked."""
    await _answered(_outcomes_shown(gateway))
    return Answer(200, gateway.metrics.exposition(), media_type=MEDIA_TYPE)


def _check(is_up: bool) -> Check:
    return "up" if is_up else "down"


async def _store_answers(gateway: Gateway) -> bool:
    async def answers() -> bool:
        await gateway.store.ping()
        return True

    return await _answered(answers())


async def _schedulers_live(gateway: Gateway) -> bool:
    return bool(await db.leases.holders(gateway.store))


async def _workers_live(gateway: Gateway) -> bool:
    rows, _ = await db.workers.page(gateway.store, WorkerFilters(status=("ALIVE",)), 1, None)
    return bool(rows)


async def _outcomes_shown(gateway: Gateway) -> bool:
    gateway.metrics.verified(await db.verification.outcomes(gateway.store))
    return True


async def _answered(question: Awaitable[bool]) -> bool:
    """Return the store's answer; none in time is a no."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await question
    except (StoreError, TimeoutError):
        return False
