"""Dead letters are put back to work, each once: tasks by a retry, messages as they came."""

import asyncio
from typing import Any

import httpx
import pytest

import db.dead_letters
from bus import api as jetstream
from bus.client import Bus
from bus.publisher import Publisher
from bus.tasks import get_message
from contracts import messages, subjects
from contracts.messages import StartExecution
from db.dead_letters import DeadLetter
from db.store import Store
from gateway import redriving
from tests.support.fleets import Fleet, end_of
from tests.support.gateways import (
    STRANGER,
    USER,
    SchedulerStandIn,
    make_execution,
    make_workflow,
    refused,
)

pytestmark = pytest.mark.component

LETTER = "019a0000-0000-7000-8000-0000000000"
UNKNOWN = "019a0000-0000-7000-8000-00000000ffff"
EVENT: dict[str, Any] = {
    "name": "Event",
    "nodes": [
        {"id": "start", "type": "TRIGGER.EVENT", "parameters": {"subject": "orders.>"}},
        {"id": "a", "type": "CUSTOM.ANY"},
    ],
    "connections": [{"from": "start", "to": "a"}],
}


async def keep(store: Store, number: int, source: str = "TASK", **fields: Any) -> str:
    """Keep a dead letter, and return its address."""
    given = {
        "user_id": USER if source == "TASK" else None,
        "reason": "UNREADABLE",
        "subject": "flotilla.task.x",
        "body": b"{}",
        **fields,
    }
    letter = DeadLetter(id=f"{LETTER}{number:02}", source=source, **given)
    await db.dead_letters.add(store, [letter])
    return f"/v1/dead-letters/{letter.id}"


async def canceled(api: httpx.AsyncClient, scheduler: SchedulerStandIn, workflow: str) -> str:
    """Return the id of an execution that can be retried."""
    execution_id = await make_execution(api, workflow)
    await scheduler.cancel_silently(execution_id)
    return execution_id


async def retries(api: httpx.AsyncClient) -> list[Any]:
    """Return the retries there are, newest first."""
    items: list[Any] = (await api.get("/v1/executions?mode=RETRY")).json()["items"]
    return items


async def stored(bus: Bus, stream: str) -> int:
    """Return how many messages a stream has ever taken."""
    info = await jetstream.ask(bus, f"STREAM.INFO.{stream}", answer=dict[str, Any])
    last: int = info["state"]["last_seq"]
    return last


class TestTasks:
    async def test_the_execution_is_retried_once_for_all_its_tasks(
        self, api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
    ) -> None:
        old = await canceled(api, scheduler, await make_workflow(api))
        one, other = [await keep(store, n, execution_id=old, node_id="hello") for n in (1, 2)]

        accepted = await api.post(f"{one}/redrive")
        again = await api.post(f"{one}/redrive", json={})
        neighbour = await api.post(f"{other}/redrive")

        (new,) = await retries(api)
        assert new["retry_of"] == old
        assert [each.status_code for each in (accepted, again, neighbour)] == [202, 202, 202]
        for each in (accepted, again, neighbour):
            assert each.headers["location"] == f"/v1/executions/{new['id']}"
            assert each.json()["redriven_as"] == new["id"]
            assert "redriven_at" in each.json()
        assert "idempotent-replayed" not in accepted.headers
        assert again.headers["idempotent-replayed"] == "true"
        assert neighbour.headers["idempotent-replayed"] == "true"

    async def test_of_many_at_once_one_starts_it(
        self, api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
    ) -> None:
        old = await canceled(api, scheduler, await make_workflow(api))
        letters = [await keep(store, n, execution_id=old) for n in (1, 2)]

        answers = await asyncio.gather(*(api.post(f"{each}/redrive") for each in letters * 4))

        (new,) = await retries(api)
        assert {each.status_code for each in answers} == {202}, answers[0].text
        assert {each.json()["redriven_as"] for each in answers} == {new["id"]}
        assert sum("idempotent-replayed" not in each.headers for each in answers) == 1

    async def test_what_cannot_be_retried_is_refused_as_there(
        self, api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
    ) -> None:
        workflow = await make_workflow(api)
        running, over = [await make_execution(api, workflow) for _ in range(2)]
        await scheduler.succeed(over)
        letters = [
            await keep(store, number, execution_id=each)
            for number, each in enumerate((running, over, UNKNOWN, None))
        ]

        answers = [await api.post(f"{each}/redrive") for each in letters]

        refused(answers[0], 409, "not_finished")
        refused(answers[1], 409, "already_finished")
        refused(answers[2], 404, "not_found")
        refused(answers[3], 404, "not_found")
        for each in letters:
            assert "redriven_at" not in (await api.get(each)).json()


class TestMessages:
    async def test_a_command_is_taken_in_again_once(
        self, api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
    ) -> None:
        subject = subjects.command("start", UNKNOWN)
        letter = await keep(
            store,
            1,
            "COMMAND",
            subject=subject,
            body=messages.encode(StartExecution(execution_id=UNKNOWN)),
        )

        answers = await asyncio.gather(*(api.post(f"{letter}/redrive") for _ in range(4)))

        assert {each.status_code for each in answers} == {202}, answers[0].text
        assert sum("idempotent-replayed" not in each.headers for each in answers) == 1
        assert all("location" not in each.headers for each in answers)
        assert (await asyncio.wait_for(scheduler.starts.get(), 5)).execution_id == UNKNOWN
        assert scheduler.starts.empty()
        assert "redriven_at" in (await api.get(letter)).json()

    async def test_an_event_is_stored_though_nats_remembers_its_id(
        self, api: httpx.AsyncClient, store: Store, bus: Bus
    ) -> None:
        subject = f"{subjects.TRIGGER_PREFIX}.nobody.waits"
        headers = {
            subjects.MESSAGE_ID_HEADER: "mine",
            "X-Shop": "7",
            "Nats-Expected-Last-Sequence": "99999",
        }
        letter = await keep(store, 1, "TRIGGER", subject=subject, headers=headers, body=b"\xff")
        async with Publisher(bus) as publisher:
            await publisher.store(subject, b"\xff", {subjects.MESSAGE_ID_HEADER: "mine"})
        before = await stored(bus, subjects.TRIGGERS)

        answer = await api.post(f"{letter}/redrive")

        assert answer.status_code == 202, answer.text
        assert await stored(bus, subjects.TRIGGERS) == before + 1
        message = await get_message(bus, subjects.TRIGGERS, before + 1)
        assert message is not None
        assert (message.subject, message.data) == (subject, b"\xff")
        assert message.headers == {subjects.MESSAGE_ID_HEADER: "mine", "X-Shop": "7"}

    async def test_an_event_starts_what_waits_for_it_once(
        self, api: httpx.AsyncClient, fleet: Fleet, store: Store
    ) -> None:
        await make_workflow(api, EVENT, publish=True)
        letter = await keep(
            store,
            1,
            "TRIGGER",
            reason="NO_NAMESPACE",
            subject=f"{subjects.TRIGGER_PREFIX}.orders.new",
            body=b'{"order": 7}',
        )

        await api.post(f"{letter}/redrive")
        # As if the first one had been in doubt, and was done again.
        await store.execute("update dead_letters set redriven_at = null")
        await api.post(f"{letter}/redrive")
        await api.post("/v1/dead-letters/bulk/redrive", json={"filter": {"source": "TRIGGER"}})
        later = await keep(
            store, 2, "TRIGGER", subject=f"{subjects.TRIGGER_PREFIX}.orders.later", body=b"2"
        )
        await api.post(f"{later}/redrive")

        async with asyncio.timeout(20):
            while len(found := (await api.get("/v1/executions")).json()["items"]) < 2:
                pass
        ended = [await end_of(api, each["id"]) for each in found]
        assert sorted(str(each["input"]["data"]) for each in ended) == ["2", "{'order': 7}"]
        assert fleet.ran["a"] == 2

    async def test_what_nats_does_not_take_stays(
        self, api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
    ) -> None:
        odd = await keep(store, 1, "COMMAND", subject="nobody.stores.this")
        good = await keep(store, 2, "COMMAND", subject=subjects.command("start", UNKNOWN))

        alone = await api.post(f"{odd}/redrive")
        many = await api.post(
            "/v1/dead-letters/bulk/redrive", json={"filter": {"source": "COMMAND"}}
        )

        refused(alone, 503, "unavailable")
        refused(many, 503, "unavailable")
        assert "redriven_at" not in (await api.get(odd)).json()
        assert "redriven_at" in (await api.get(good)).json()


class TestMany:
    async def test_what_fits_is_put_back_to_work(
        self, api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
    ) -> None:
        workflow = await make_workflow(api)
        old, older = [await canceled(api, scheduler, workflow) for _ in range(2)]
        running = await make_execution(api, workflow)
        for number, execution_id in enumerate((old, old, older, running, None)):
            await keep(store, number, execution_id=execution_id)
        await keep(store, 10, "COMMAND", subject=subjects.command("start", UNKNOWN))
        await keep(store, 11, user_id=STRANGER, execution_id=older)
        body = {"filter": {"reason": ["UNREADABLE"]}}
        path = "/v1/dead-letters/bulk/redrive"

        dry = await api.post(path, json={**body, "dry_run": True})
        done = await api.post(path, json=body)
        again = await api.post(path, json=body)

        assert dry.json() == {"matched": 6, "done": 0, "skipped": 0, "next_cursor": None}
        assert done.json() == {"matched": 6, "done": 4, "skipped": 2, "next_cursor": None}
        assert again.json() == {"matched": 6, "done": 0, "skipped": 6, "next_cursor": None}
        assert sorted(each["retry_of"] for each in await retries(api)) == sorted([old, older])

    async def test_a_page_ends_with_where_to_go_on(
        self,
        api: httpx.AsyncClient,
        scheduler: SchedulerStandIn,
        store: Store,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(redriving, "MOST", 2)
        for number in range(3):
            await keep(store, number, "COMMAND", subject=subjects.command("start", UNKNOWN))
        body = {"filter": {"source": "COMMAND"}}
        path = "/v1/dead-letters/bulk/redrive"

        first = (await api.post(path, json=body)).json()
        second = (await api.post(path, json={**body, "cursor": first["next_cursor"]})).json()

        assert (first["matched"], first["done"]) == (2, 2)
        assert (second["matched"], second["done"], second["next_cursor"]) == (1, 1, None)

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            pytest.param({"filter": {}}, "/filter", id="nothing asked for"),
            pytest.param({"filter": {"source": "MAIL"}}, "/filter/source", id="source"),
            pytest.param({"filter": {"source": "TASK"}, "cursor": "x"}, "/cursor", id="cursor"),
        ],
    )
    async def test_a_filter_has_to_be_one(
        self, api: httpx.AsyncClient, body: dict[str, Any], pointer: str
    ) -> None:
        refused(
            await api.post("/v1/dead-letters/bulk/redrive", json=body),
            422,
            "invalid_request",
            pointer,
        )


async def test_letters_of_others_are_neither_redriven_nor_deleted(
    api: httpx.AsyncClient, store: Store
) -> None:
    mine, nobodys = await keep(store, 1), await keep(store, 2, "COMMAND")
    foreign = await keep(store, 3, user_id=STRANGER)

    refused(await api.post(f"{foreign}/redrive"), 404, "not_found")
    refused(await api.delete(foreign), 404, "not_found")
    assert (await api.delete(mine)).status_code == 204
    assert (await api.delete(nobodys)).status_code == 204
    refused(await api.get(mine), 404, "not_found")
    refused(await api.delete(mine), 404, "not_found")
    left = await store.fetch("select id from dead_letters")
    assert [str(row["id"]) for row in left] == [foreign.rsplit("/", 1)[-1]]
