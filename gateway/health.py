"""Operations for whoever watches over the process."""

import asyncio
from typing import Final, Literal

import msgspec

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
    has_workers = has_store and await _workers_live(gateway)
    checks: dict[str, Check] = {
        "postgres": _check(has_store),
        "nats": _check(gateway.bus.is_connected),
        "workers": _check(has_workers),
    }
    status: Status = "healthy" if has_workers else "degraded"
    if not has_store or not gateway.bus.is_connected:
        status = "unhealthy"
    health = Health(status=status, version=gateway.settings.version, checks=checks)
    return Answer(503 if status == "unhealthy" else 200, encode(health))


async def get_metrics(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Answer with the process' metrics."""
    return Answer(200, gateway.metrics.exposition(), media_type=MEDIA_TYPE)


def _check(is_up: bool) -> Check:
    return "up" if is_up else "down"


async def _store_answers(gateway: Gateway) -> bool:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await gateway.store.ping()
    except (StoreError, TimeoutError):
        return False
    return True


async def _workers_live(gateway: Gateway) -> bool:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            alive = WorkerFilters(status=("ALIVE",))
            rows, _ = await db.workers.page(gateway.store, alive, 1, None)
    except (StoreError, TimeoutError):
        return False
    return bool(rows)
