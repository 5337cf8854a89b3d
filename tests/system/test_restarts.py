"""Everything is killed with -9, gateway, scheduler, worker and servers, and started again on the same folder.

When that happens an execution waits for all that can be waited for; some of it comes while nothing runs.
"""

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flotilla import documents
from flotilla.client import Client
from tests.support import clients, servers
from tests.support.http_stub import Answer, HttpStub, Request, ok, serving
from tests.system.test_up import Stack, up

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

CHILD = """
name: Late child
nodes:
  - {id: start, type: TRIGGER.MANUAL}
  - {id: later, type: FLOW.DELAY, parameters: {duration: 4}}
  - {id: answer, type: FLOW.NOOP, parameters: {data: "{{ trigger.number * 2 }}"}}
connections: [{from: start, to: later}, {from: later, to: answer}]
"""

WAITING = """
name: Waits for everything
nodes:
  - {id: start, type: TRIGGER.MANUAL}
  - {id: short, type: FLOW.DELAY, parameters: {duration: 1}}
  - {id: long, type: FLOW.DELAY, parameters: {duration: 8}}
  - {id: each, type: FLOW.FOR_EACH, parameters: {items: "[3, 4, 5, 8]", max_parallel: 4}}
  - {id: pause, type: FLOW.DELAY, parameters: {duration: "{{ loop.item }}"}}
  - {id: call, type: ACTION.HTTP_REQUEST, parameters: {url: "{{ trigger.url }}/calls/{{ loop.index }}", method: POST}}
  - {id: before, type: FLOW.DELAY, parameters: {duration: 3}}
  - {id: kept, type: FLOW.WAIT, parameters: {wait_type: signal, signal: early}}
  - {id: go, type: FLOW.WAIT, parameters: {wait_type: signal, signal: go}}
  - id: closed
    type: ACTION.HTTP_REQUEST
    parameters: {url: "{{ trigger.url }}/closed-once", method: POST}
    retry_policy: {max_tries: 2, wait_between_tries: 6, jitter: false}
  - {id: child, type: FLOW.SUB_WORKFLOW, parameters: {workflow_id: Late child, input: {number: 21}}}
  - {id: review, type: HUMAN_IN_THE_LOOP.APP, parameters: {message: Shall we go on?}}
  - id: remind
    type: HUMAN_IN_THE_LOOP.APP
    parameters: {message: Still there?, reminders: [16]}
connections:
  - {from: start, to: short}
  - {from: start, to: long}
  - {from: start, to: each}
  - {from: each, from_port: iteration, to: pause}
  - {from: pause, to: call}
  - {from: call, to: each, to_port: loop_body, mapping: {type: TRANSFORM, expression: input.body}}
  - {from: start, to: before}
  - {from: before, to: kept}
  - {from: start, to: go}
  - {from: start, to: closed}
  - {from: start, to: child}
  - {from: start, to: review}
  - {from: start, to: remind}
"""
WAITS = 11  # short, long, pause four times, before, go, child, review, remind


class Scene(msgspec.Struct, frozen=True):
    """An execution that is over, its whole history, its children, and what the world outside saw of it."""

    execution: Any
    history: list[dict[str, Any]]
    children: list[dict[str, Any]]
    interactions: dict[str, Any]
    world: HttpStub

    def runs(self, kind: str, *facts: str) -> Counter[tuple[Any, ...]]:
        """How often each node run had an event of this kind, told apart by these facts of it."""
        return Counter(
            (*key_of(each), *(each["data"][fact] for fact in facts))
            for each in self.history
            if each["kind"] == kind
        )


def key_of(event: dict[str, Any]) -> tuple[Any, ...]:
    """The node and the iteration path of a node run."""
    return (event["node_id"], *event.get("iteration", ()))


@pytest.fixture(scope="module")
def world() -> Iterator[HttpStub]:
    """What nodes call: it counts, and is closed at the first call of one address."""
    stub = HttpStub()

    def closed_once(_: Request) -> Answer:
        return ok({}, status=503 if len(stub.asked("POST", "/closed-once")) == 1 else 200)

    stub.on("POST", r"/calls/(\d+)", lambda request: ok(int(request.groups[0])))
    stub.on("POST", "/closed-once", closed_once)
    with serving(stub):
        yield stub


@pytest.fixture(scope="module")
def scene(world: HttpStub) -> Iterator[Scene]:
    """An execution from its start, over the end of all processes, to its own."""
    with servers.server_folder() as parent:
        yield asyncio.run(play(parent / "data", world))


async def play(folder: Path, world: HttpStub) -> Scene:
    with up(folder, ALLOWED_PRIVATE_HOSTS="127.0.0.1") as stack:
        async with connected(stack) as client:
            execution_id = await begin(client, world)
        kill_everything(stack)
    with up(folder, ALLOWED_PRIVATE_HOSTS="127.0.0.1") as stack:
        async with connected(stack) as client:
            await answer(client, execution_id)
            execution = await clients.ended(client, execution_id)
            history = await clients.history(client, execution_id)
            query = {"parent_execution_id": execution_id}
            children = (await client.get("/v1/executions", query))["items"]
            asked = (await client.get("/v1/interactions", {"execution_id": execution_id}))["items"]
            interactions = {each["node_id"]: each for each in asked}
            return Scene(execution, history, children, interactions, world)


def connected(stack: Stack) -> Client:
    return Client(stack.url, stack.installation.token())


async def begin(client: Client, world: HttpStub) -> str:
    """Start the execution, and go on once it waits for everything."""
    await clients.published(client, read(CHILD))
    workflow_id = await clients.published(client, read(WAITING))
    execution_id = await clients.execute(client, workflow_id, {"url": world.url})
    await client.post(f"/v1/executions/{execution_id}/signal", {"name": "early", "data": "kept"})
    await clients.until(client, execution_id, "node_waiting", WAITS)
    await clients.until(client, execution_id, "node_failed")
    return execution_id


async def answer(client: Client, execution_id: str) -> None:
    """Give the execution what it cannot have by waiting."""
    await client.post(f"/v1/executions/{execution_id}/signal", {"name": "go", "data": 7})
    query = {"execution_id": execution_id}
    # One wait is that for the early signal, the other goes on after the reminder.
    await clients.until(client, execution_id, "node_waiting", WAITS + 2)
    for each in (await client.get("/v1/interactions", query))["items"]:
        await client.post(f"/v1/interactions/{each['id']}/respond", {"approved": True})


def read(text: str) -> Any:
    return documents.read(text.encode(), source="test").value


def kill_everything(stack: Stack) -> None:
    """Kill every process with -9; `up` itself is frozen before, or it would start again what is killed."""
    events = [json.loads(line) for line in stack.lines if line.startswith("{")]
    started = [each for each in events if each["event"] in ("process_started", "server_started")]
    assert len(started) == 6, started
    stack.signal(signal.SIGSTOP)
    for each in started:
        os.kill(each["pid"], signal.SIGKILL)
    stack.kill()


def test_it_ends_well_with_what_it_waited_for(scene: Scene) -> None:
    assert scene.execution["status"] == "SUCCESS", scene.execution
    output = scene.execution["output"]
    assert output["each"]["results"] == [0, 1, 2, 3]
    assert output["child"] == 42
    assert output["review"]["approved"] is True
    assert output["remind"]["approved"] is True
    signals = {name: output[name]["signal"]["data"] for name in ("kept", "go")}
    assert signals == {"kept": "kept", "go": 7}


def test_each_timer_fired_once(scene: Scene) -> None:
    waits = {("short", "WAIT"), ("long", "WAIT"), ("before", "WAIT"), ("closed", "RETRY")}
    pauses = {("pause", index, "WAIT") for index in range(4)}
    looks = {("remind", "REMINDER")}

    assert scene.runs("timer_fired", "timer") == dict.fromkeys(waits | pauses | looks, 1)


def test_people_were_reminded_and_answered_once(scene: Scene) -> None:
    asked = scene.interactions

    assert {name: each["status"] for name, each in asked.items()} == {
        "review": "ANSWERED",
        "remind": "ANSWERED",
    }
    assert (asked["review"]["reminders"], asked["remind"]["reminders"]) == (0, 1)
    answers = [each["node_id"] for each in scene.history if "answer" in each["data"]]
    assert sorted(answers) == ["remind", "review"]


def test_no_timer_fired_before_its_time(scene: Scene) -> None:
    due = {
        key_of(each): datetime.fromisoformat(each["data"]["wait"]["due_at"])
        for each in scene.history
        if each["kind"] == "node_waiting" and each["data"]["wait"]["kind"] == "TIMER"
    }
    fired = {
        key_of(each): datetime.fromisoformat(each["at"])
        for each in scene.history
        if each["kind"] == "timer_fired" and each["data"]["timer"] == "WAIT"
    }

    assert due.keys() == fired.keys()
    assert all(due[key] <= at for key, at in fired.items())


def test_nothing_ran_twice(scene: Scene) -> None:
    calls = [(request.path, request.headers["idempotency-key"]) for request in scene.world.requests]
    execution_id = scene.execution["id"]

    assert set(scene.runs("node_succeeded").values()) == {1}
    assert Counter(calls) == {
        ("/closed-once", f"{execution_id}:closed:_"): 2,  # it failed once
        **{(f"/calls/{index}", f"{execution_id}:call:{index}"): 1 for index in range(4)},
    }
    assert [each["status"] for each in scene.children] == ["SUCCESS"]


def test_its_history_has_no_gap(scene: Scene) -> None:
    seqs = [each["seq"] for each in scene.history]

    assert seqs == list(range(1, len(seqs) + 1))
