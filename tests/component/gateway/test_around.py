"""Everything around workflows and executions: node types, workers, dead letters, health, reference."""

from datetime import UTC, datetime

import httpx
import pytest

import db.dead_letters
import db.leases
import db.verification
import db.workers
from contracts.messages import Heartbeat
from db.dead_letters import DeadLetter
from db.store import Store
from gateway.routes import OPERATIONS
from tests.support.gateways import STRANGER, TOKEN, USER, refused

pytestmark = pytest.mark.component

LETTER = "019a0000-0000-7000-8000-00000000000"


def heartbeat(worker_id: str, *node_types: str, busy: int = 1) -> Heartbeat:
    """Return a worker's sign of life."""
    return Heartbeat(
        worker_id=worker_id,
        node_types=node_types,
        slots=4,
        busy=busy,
        version="1",
        host="h",
        started_at=datetime.now(UTC),
    )


def letter(number: int, user_id: str | None, source: str = "TASK") -> DeadLetter:
    """Return a dead letter."""
    return DeadLetter(
        id=f"{LETTER}{number}",
        user_id=user_id,
        source=source,
        reason="UNREADABLE",
        subject="s",
        headers={"a": "b"},
        body=b"\xff\x00",
        error="no JSON",
    )


async def test_oneself(api: httpx.AsyncClient) -> None:
    me = (await api.get("/v1/me")).json()

    assert me == {
        "id": USER,
        "email": "ada@example.com",
        "name": "Ada",
        "role": "admin",
        "scopes": ["admin", "execute", "read", "write"],
    }


async def test_node_types_and_who_runs_them(api: httpx.AsyncClient, store: Store) -> None:
    await db.workers.beat(
        store, [heartbeat("w1", "FLOW.LOOP", "FLOW.IF"), heartbeat("w2", "FLOW.IF")]
    )

    flow = (await api.get("/v1/node-types?type=flow&limit=500")).json()["items"]
    found = (await api.get("/v1/node-types?search=http request")).json()["items"]
    page = (await api.get("/v1/node-types?limit=1")).json()
    following = await api.get(f"/v1/node-types?limit=1&cursor={page['next_cursor']}")
    one = (await api.get("/v1/node-types/FLOW.IF")).json()
    preset = (await api.get("/v1/node-types/FLOW.FOR_EACH")).json()

    assert {each["type"].split(".")[0] for each in flow} == {"FLOW"}
    assert [each["type"] for each in found] == ["ACTION.HTTP_REQUEST"]
    assert following.json()["items"][0]["type"] > page["items"][0]["type"]
    assert (one["live_workers"], one["free_slots"]) == (2, 6)
    assert preset["live_workers"] == 1, "a preset is run by the fleet of what it stands for"
    assert one["parameters"]["required"] == ["condition"]
    assert [each["name"] for each in one["outputs"]] == ["true", "false"]
    refused(await api.get("/v1/node-types/FLOW.NOPE"), 404, "not_found")


async def test_workers(api: httpx.AsyncClient, store: Store) -> None:
    await db.workers.beat(store, [heartbeat(f"w{n}", f"CUSTOM.T{n}") for n in range(3)])

    page = (await api.get("/v1/workers?limit=2")).json()
    rest = (await api.get(f"/v1/workers?limit=2&cursor={page['next_cursor']}")).json()
    some = (await api.get("/v1/workers?node_type=CUSTOM.T1&status=ALIVE")).json()

    assert [each["id"] for each in page["items"] + rest["items"]] == ["w2", "w1", "w0"]
    assert [each["id"] for each in some["items"]] == ["w1"]
    assert some["items"][0]["status"] == "ALIVE"
    refused(await api.get("/v1/workers?status=DEAD"), 422, "invalid_request")


async def test_dead_letters(api: httpx.AsyncClient, store: Store) -> None:
    await db.dead_letters.add(
        store,
        [letter(1, USER), letter(2, USER, "RESULT"), letter(3, STRANGER), letter(4, None)],
    )

    mine = (await api.get("/v1/dead-letters")).json()["items"]
    results = (await api.get("/v1/dead-letters?source=RESULT")).json()["items"]
    whole = (await api.get(f"/v1/dead-letters/{LETTER}1")).json()
    nobodys = await api.get(f"/v1/dead-letters/{LETTER}4")

    assert [each["id"] for each in mine] == [f"{LETTER}4", f"{LETTER}2", f"{LETTER}1"]
    assert "body" not in mine[0]
    assert [each["source"] for each in results] == ["RESULT"]
    assert whole["body"] == "/wA="
    assert whole["headers"] == {"a": "b"}
    assert nobodys.status_code == 200, "admins see what belongs to nobody"
    refused(await api.get(f"/v1/dead-letters/{LETTER}3"), 404, "not_found")
    refused(await api.get("/v1/dead-letters/x"), 404, "not_found")


async def test_health_needs_no_token(address: str, store: Store) -> None:
    async with httpx.AsyncClient(base_url=address, trust_env=False) as anybody:
        degraded = await anybody.get("/health")
        await db.workers.beat(store, [heartbeat("w", "FLOW.IF")])
        await db.leases.acquire(store, "scheduler", None, 60)
        healthy = await anybody.get("/health")

        assert (await anybody.get("/health/live")).json() == {"status": "alive"}
        assert (await anybody.get("/health/ready")).json() == {"status": "ready"}
        assert (await anybody.head("/health/live")).status_code == 200

    assert (degraded.status_code, degraded.json()["status"]) == (200, "degraded")
    assert healthy.json()["status"] == "healthy"
    assert degraded.json()["checks"]["schedulers"] == "down"
    assert healthy.json()["checks"] == {
        "postgres": "up",
        "nats": "up",
        "schedulers": "up",
        "workers": "up",
    }


async def test_metrics_name_routes_and_no_ids(api: httpx.AsyncClient) -> None:
    await api.get(f"/v1/workflows/{LETTER}1")
    await api.request("PROPFIND", "/nothing")

    text = (await api.get("/metrics")).text

    assert (
        'requests_total{method="GET",route="/v1/workflows/{workflow_id}",status="404"} 1.0' in text
    )
    assert 'requests_total{method="other",route="none",status="404"} 1.0' in text
    assert 'request_seconds_count{method="GET",route="/v1/workflows/{workflow_id}"} 1.0' in text
    assert LETTER not in text
    assert TOKEN not in text


async def test_the_reference_shows_every_operation(api: httpx.AsyncClient) -> None:
    document = (await api.get("/openapi.json")).json()

    paths = {(method.upper(), path) for path, each in document["paths"].items() for method in each}
    assert paths == {(operation.method, operation.path) for operation in OPERATIONS}
    for page in ("/docs", "/redoc"):
        shown = await api.get(page)
        assert shown.status_code == 200
        assert shown.headers["content-type"] == "text/html; charset=utf-8"
        assert "/openapi.json" in shown.text
        head = shown.text.replace("http://www.w3.org", "")
        assert 'src="http' not in head, "the pages need no network but the gateway"
        assert 'href="http' not in head.split("<script>")[0]


async def test_metrics_tell_what_the_last_verification_found(
    api: httpx.AsyncClient, store: Store
) -> None:
    before = (await api.get("/metrics")).text
    await db.verification.record(store, {"task": 2, "history": 0})
    after = (await api.get("/metrics")).text

    assert "flotilla_verify_last_run_timestamp_seconds 0.0" in before
    assert 'flotilla_verify_findings{check="task"} 2.0' in after
    assert 'flotilla_verify_findings{check="history"} 0.0' in after
    assert "flotilla_verify_last_run_timestamp_seconds 0.0" not in after
