"""The client: asks for executions over REST and NATS, repeats what it got no answer to, and keeps a journal of its own."""

import asyncio
import random
from typing import Any, Final, Literal

import msgspec

from bus.client import Bus
from bus.publisher import Publisher
from contracts import subjects
from flotilla import documents
from flotilla.client import ApiProblem, Client, ClientError
from tests.faults.engine import TOKEN, Engine

AGAIN_S: Final = 0.2
READY_S: Final = 180.0

Kind = Literal["line", "fan", "event", "poison"]

_LINE = """
name: line
nodes:
  - {id: start, type: TRIGGER.MANUAL}
  - {id: first, type: ACTION.HTTP_REQUEST, parameters: {url: "{{ trigger.url }}", method: POST, body: {n: "{{ trigger.n }}"}}}
  - {id: pause, type: FLOW.DELAY, parameters: {duration: "{{ trigger.pause }}"}}
  - {id: second, type: ACTION.HTTP_REQUEST, parameters: {url: "{{ trigger.url }}", method: POST, body: {n: "{{ trigger.n }}"}}}
  - {id: last, type: FLOW.NOOP}
connections:
  - {from: start, to: first}
  - {from: first, to: pause}
  - {from: pause, to: second}
  - {from: second, to: last}
"""

_FAN = """
name: fan
nodes:
  - {id: start, type: TRIGGER.MANUAL}
  - {id: each, type: FLOW.FOR_EACH, parameters: {items: "[0, 1, 2]", max_parallel: 2}}
  - {id: call, type: ACTION.HTTP_REQUEST, parameters: {url: "{{ trigger.url }}", method: POST, body: {n: "{{ trigger.n }}"}}}
  - {id: step, type: FLOW.NOOP}
  - {id: last, type: FLOW.NOOP}
connections:
  - {from: start, to: each}
  - {from: each, from_port: iteration, to: call}
  - {from: call, to: step}
  - {from: step, to: each, to_port: loop_body}
  - {from: each, from_port: complete, to: last}
"""

_EVENT = """
name: event
nodes:
  - {id: start, type: TRIGGER.EVENT, parameters: {subject: faults.>}}
  - {id: first, type: ACTION.HTTP_REQUEST, parameters: {url: "{{ trigger.data.url }}", method: POST, body: {n: "{{ trigger.data.n }}"}}}
  - {id: last, type: FLOW.NOOP}
connections:
  - {from: start, to: first}
  - {from: first, to: last}
"""

_POISON = """
name: poison
nodes:
  - {id: start, type: TRIGGER.MANUAL}
  - {id: poison, type: CUSTOM.POISON, parameters: {way: "{{ trigger.way }}"}}
connections:
  - {from: start, to: poison}
"""

DOCUMENTS: Final[dict[Kind, str]] = {
    "line": _LINE,
    "fan": _FAN,
    "event": _EVENT,
    "poison": _POISON,
}

EFFECTS: Final[dict[Kind, tuple[str, ...]]] = {
    "line": ("first:_", "second:_"),
    "fan": ("call:0", "call:1", "call:2"),
    "event": ("first:_",),
    "poison": (),
}
"""The effects of an execution, as its idempotency keys end."""


class Order(msgspec.Struct):
    """One line of the journal: what was asked for, and what was answered."""

    number: int
    kind: Kind
    input: dict[str, Any]
    execution_id: str | None = None
    is_taken: bool = False
    cancel: Literal["no", "asked", "done", "too late"] = "no"


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """How much is asked for, over how many seconds; `cancels` of it is ended again, `pause_s` is how long lines wait."""

    executions: int = 60
    seconds: float = 15.0
    kinds: tuple[Kind, ...] = ("line", "line", "fan", "event")
    cancels: float = 0.0
    pause_s: float = 1.0


class Caller:
    """Drives load into an engine; `journal` is what it may expect."""

    def __init__(self, engine: Engine, client: Client, bus: Bus, publisher: Publisher) -> None:
        self.journal: list[Order] = []
        self._engine = engine
        self._client = client
        self._bus = bus
        self._publisher = publisher
        self._workflows: dict[Kind, str] = {}

    async def prepare(self) -> None:
        """Publish the workflows, once everything answers."""
        await self._until_ready()
        for kind in DOCUMENTS:
            document = documents.read(DOCUMENTS[kind].encode(), source=kind).value
            workflow = await self._asked("POST", "/v1/workflows", document)
            self._workflows[kind] = workflow["id"]
            await self._asked("POST", f"/v1/workflows/{workflow['id']}/publish", {})

    async def _until_ready(self) -> None:
        async with asyncio.timeout(READY_S):
            while True:
                health = await self._asked("GET", "/health")
                types = await self._asked("GET", "/v1/node-types?search=poison")
                if set(health["checks"].values()) == {"up"} and types["items"]:
                    return
                await asyncio.sleep(AGAIN_S)

    async def drive(self, load: Load, chance: random.Random) -> None:
        """Ask for everything, spread over time, and return when all of it was taken."""
        async with asyncio.TaskGroup() as group:
            first = len(self.journal)
            for number in range(first, first + load.executions):
                order = self._order(number, load, chance)
                self.journal.append(order)
                at = chance.uniform(0, load.seconds)
                cancel_after = chance.uniform(0, 3) if chance.random() < load.cancels else None
                group.create_task(self._carry_out(order, at, cancel_after))

    def _order(self, number: int, load: Load, chance: random.Random) -> Order:
        given = {
            "n": number,
            "url": self._engine.ledger.url,
            "pause": round(chance.uniform(0.5, 1.5) * load.pause_s, 3),
            "way": ("segfault", "exit")[number % 2],
        }
        return Order(number, load.kinds[number % len(load.kinds)], given)

    async def _carry_out(self, order: Order, at: float, cancel_after: float | None) -> None:
        await asyncio.sleep(at)
        if order.kind == "event":
            await self._publish(order)
            return
        path = f"/v1/workflows/{self._workflows[order.kind]}/execute"
        headers = {"Idempotency-Key": f"order-{order.number}"}
        started = await self._asked("POST", path, {"input": order.input}, headers)
        order.execution_id, order.is_taken = started["id"], True
        if cancel_after is not None:
            await asyncio.sleep(cancel_after)
            await self._cancel(order)

    async def _publish(self, order: Order) -> None:
        subject = f"{subjects.TRIGGER_PREFIX}.faults.orders"
        headers = {subjects.MESSAGE_ID_HEADER: f"order-{order.number}"}
        data = msgspec.json.encode(order.input)
        while not (await self._publisher.publish(subject, data, headers)).is_good:  # noqa: ASYNC110 - nobody will tell us
            await asyncio.sleep(AGAIN_S)
        order.is_taken = True

    async def _cancel(self, order: Order) -> None:
        order.cancel = "asked"
        try:
            await self._asked("POST", f"/v1/executions/{order.execution_id}/cancel", {})
        except ApiProblem as problem:
            if problem.problem.code != "already_finished":
                raise
            order.cancel = "too late"
        else:
            order.cancel = "done"

    async def _asked(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Any:
        """Return the answer, asking again for as long as there is none that counts."""
        while True:
            try:
                return (await self._client.ask(method, path, body, headers=headers)).value
            except ApiProblem as problem:
                passing = problem.problem.code in ("idempotency_in_progress", "rate_limited")
                if problem.status < 500 and not passing:
                    raise
            except ClientError:
                pass  # no answer: it may have been done, and asking again has the effect of once
            await asyncio.sleep(AGAIN_S)


def client_of(engine: Engine) -> Client:
    """Return a client of the engine's gateway."""
    return Client(engine.gateway_url, TOKEN)
