"""Speak with Flotilla through any NATS client: publish a trigger event, and look at what the engine says and keeps.

    python examples/send_event.py nats://… [namespace]

Plain nats-py, nothing of Flotilla: what is shown here works from every language that NATS has a client for. `flotilla up` prints the
address and the namespace; with the sample "Order received" published, the event starts an execution of it.
"""
# ruff: noqa: T201 - printing is what it is for

import argparse
import asyncio
import json
import uuid
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext

ORDER = {
    "id": "A-7",
    "lines": [{"sku": "x1", "quantity": 2, "price": 640}, {"sku": "b2", "quantity": 1, "price": 49.5}],
}  # fmt: skip
PATIENCE_SECONDS = 10


async def main(url: str, namespace: str | None, subject: str, value: Any) -> None:
    """Show the streams, send the event, and print what follows from it."""
    client = await nats.connect(url)
    try:
        await list_streams(client.jetstream())
        await follow(client, namespace, subject, value)
    finally:
        await client.close()


async def list_streams(stream_context: JetStreamContext) -> None:
    """Print every stream and consumer: each node type is a queue."""
    for stream in await stream_context.streams_info():
        print(f"stream {stream.config.name}: {stream.state.messages} messages")
        for consumer in await stream_context.consumers_info(str(stream.config.name)):
            print(f"  consumer {consumer.name}: {consumer.num_pending} pending")


async def follow(client: Client, namespace: str | None, subject: str, value: Any) -> None:
    """Publish the event, and print the first task and all events of the execution that it starts."""
    tasks = await client.subscribe("flotilla.task.>")
    events = await client.subscribe(f"flotilla.event.{namespace or '*'}.>")
    headers = {"Nats-Msg-Id": str(uuid.uuid4())}  # sent twice, the event counts once
    if namespace is not None:
        headers["Flotilla-Namespace"] = namespace
    stored = await client.jetstream().publish(subject, json.dumps(value).encode(), headers=headers)
    print(f"published on {subject}: number {stored.seq} of stream {stored.stream}")

    execution_id = (await first_event(events))["execution_id"]
    show("task", await tasks.next_msg(PATIENCE_SECONDS))
    while True:
        message = await events.next_msg(PATIENCE_SECONDS)
        event = json.loads(message.data)
        if event["execution_id"] == execution_id:
            show("event", message)
            if event["kind"] in ("execution_succeeded", "execution_failed", "execution_canceled"):
                return


async def first_event(events: Subscription) -> Any:
    """The first event of a new execution; of older ones there may still come some."""
    while True:
        message = await events.next_msg(PATIENCE_SECONDS)
        event = json.loads(message.data)
        if event["kind"] in ("execution_created", "execution_started"):
            show("event", message)
            return event


def show(what: str, message: Msg) -> None:
    """Print a message: subject, and its JSON."""
    print(f"\n{what} on {message.subject}")
    print(json.dumps(json.loads(message.data), indent=2)[:1_000])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("nats_url", help="the address that `flotilla up` prints")
    parser.add_argument(
        "namespace", nargs="?", help="a user's id; without it the default namespace"
    )
    parser.add_argument("--subject", default="flotilla.trigger.orders.received")
    parser.add_argument("--data", type=json.loads, default=ORDER, help="JSON to send")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.nats_url, arguments.namespace, arguments.subject, arguments.data))
