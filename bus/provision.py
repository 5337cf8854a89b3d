"""What has to exist on the server: streams and consumers as data, and how the server is brought there.

| stream       | holds                                  | deleted by                 | when full          |
|--------------|----------------------------------------|----------------------------|--------------------|
| `TASKS`      | tasks, one per attempt                 | the worker's ack, a cancel | refuses publishes  |
| `INBOX`      | results and commands for the scheduler | the scheduler's ack        | refuses publishes  |
| `TRIGGERS`   | events of outside producers            | the scheduler's ack        | refuses publishes  |
| `EVENTS`     | copies of recorded events              | age                        | drops the oldest   |
| `ADVISORIES` | tasks given up by the server           | age                        | drops the oldest   |

Anyone may call `ensure` at any time, several at once too: what is missing is created, what differs is
updated. Only the fields declared here are compared, so operators may add their own. The server refuses
to change some fields (retention, `max_consumers`, a consumer's `max_waiting`): that is a ProvisioningError.
"""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

import msgspec
import structlog

from bus import api
from bus.client import Bus
from bus.errors import ApiError, ProvisioningError
from contracts import subjects
from contracts.ids import PARTITIONS

log = structlog.get_logger()

MIB: Final = 1024 * 1024
PARALLEL_REQUESTS: Final = 16

NODE_TYPE_KEY: Final = "flotilla.node_type"
"""The metadata of a task consumer that names its node type."""

STREAM_EXISTS: Final = 10058
CONSUMER_EXISTS: Final = frozenset({10148, 10105})

# The server takes no less. It remembers a Nats-Msg-Id that long, whatever the namespace of the producer.
# Deduplication for 24 h within a namespace is the database's; here it would swallow a stranger's event.
SMALLEST_WINDOW: Final = timedelta(milliseconds=100)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much the streams may hold. The server sets the bytes aside: their sum has to fit its `max_file`."""

    tasks_bytes: int = 2048 * MIB
    inbox_bytes: int = 2048 * MIB
    triggers_bytes: int = 512 * MIB
    events_bytes: int = 1024 * MIB
    events_age: timedelta = timedelta(days=7)
    advisories_bytes: int = 64 * MIB
    replicas: int = 1


DEFAULT_LIMITS: Final = Limits()

UNCHANGEABLE: Final = frozenset({"mem_storage"})
"""Fields that matter when something is created, and are left as they are otherwise."""


class Consumer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A durable pull consumer, in JetStream's own words; durations in nanoseconds.

    With `mem_storage` a restarted server has forgotten the consumer. That suits the inbox, where a message taken twice changes
    nothing, and writing down what was delivered took a seventh of the server's time. It cannot be changed later, so older
    consumers keep what they have.
    """

    name: str
    durable_name: str
    filter_subject: str = ""
    ack_policy: str
    deliver_policy: str
    ack_wait: int
    max_deliver: int
    max_ack_pending: int
    max_waiting: int
    mem_storage: bool = False
    metadata: dict[str, str] = {}


class Stream(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A stream, in JetStream's own words; durations in nanoseconds."""

    name: str
    description: str
    subjects: tuple[str, ...]
    retention: str
    storage: str
    discard: str
    max_bytes: int
    num_replicas: int
    allow_direct: bool = False
    max_age: int = 0
    max_msgs_per_subject: int = 0
    discard_new_per_subject: bool = False
    max_consumers: int = 0
    duplicate_window: int = 0


class Declaration(msgspec.Struct, frozen=True):
    """A stream and the consumers on it."""

    stream: Stream
    consumers: tuple[Consumer, ...] = ()


def declarations(
    node_types: Iterable[str], limits: Limits = DEFAULT_LIMITS
) -> tuple[Declaration, ...]:
    """Return all that has to exist for an engine with these node types (`TYPE.SUBTYPE`)."""
    return (
        Declaration(_tasks(limits), tuple(task_consumer(each) for each in sorted(set(node_types)))),
        Declaration(_inbox(limits), tuple(_partition(each) for each in range(PARTITIONS))),
        Declaration(_triggers(limits), (_reader(subjects.TRIGGER_CONSUMER),)),
        Declaration(_events(limits)),
        Declaration(_advisories(limits), (_reader(subjects.ADVISORY_CONSUMER),)),
    )


def task_consumer(node_type: str) -> Consumer:
    """Return the consumer of a node type's fleet."""
    return _consumer(
        subjects.task_consumer(node_type),
        filter_subject=subjects.tasks_of_type(node_type),
        ack_wait=timedelta(seconds=30),
        max_deliver=5,  # a fuse against tasks that kill their worker; retries are the engine's
        max_waiting=8192,
        metadata={NODE_TYPE_KEY: node_type},
    )


def _partition(partition: int) -> Consumer:
    return _consumer(
        subjects.inbox_consumer(partition),
        filter_subject=subjects.inbox_partition(partition),
        ack_wait=timedelta(seconds=10),
        mem_storage=True,
    )


def _reader(name: str) -> Consumer:
    return _consumer(name, ack_wait=timedelta(seconds=30))


def _consumer(
    name: str,
    *,
    ack_wait: timedelta,
    filter_subject: str = "",
    max_deliver: int = -1,
    max_waiting: int = 512,
    mem_storage: bool = False,
    metadata: dict[str, str] | None = None,
) -> Consumer:
    return Consumer(
        name=name,
        durable_name=name,
        filter_subject=filter_subject,
        ack_policy="explicit",
        deliver_policy="all",
        ack_wait=api.nanoseconds(ack_wait),
        max_deliver=max_deliver,
        max_ack_pending=20_000,
        max_waiting=max_waiting,
        mem_storage=mem_storage,
        metadata=metadata or {},
    )


def _tasks(limits: Limits) -> Stream:
    return Stream(
        name=subjects.TASKS,
        description="Tasks for workers, one subject per attempt",
        subjects=(f"{subjects.TASK_PREFIX}.>",),
        retention="workqueue",
        storage="file",
        discard="new",
        max_bytes=limits.tasks_bytes,
        num_replicas=limits.replicas,
        allow_direct=True,
        # One message per subject: a task that is queued or in flight is not stored twice.
        max_msgs_per_subject=1,
        discard_new_per_subject=True,
        # The server's default of 1000 would be the limit of node types, and cannot be raised later.
        max_consumers=10_000,
    )


def _inbox(limits: Limits) -> Stream:
    return Stream(
        name=subjects.INBOX,
        description="Results and commands for the scheduler, by partition",
        subjects=(f"{subjects.INBOX_PREFIX}.*.result.>", f"{subjects.INBOX_PREFIX}.*.command.>"),
        retention="workqueue",
        storage="file",
        discard="new",
        max_bytes=limits.inbox_bytes,
        num_replicas=limits.replicas,
        allow_direct=True,
    )


def _triggers(limits: Limits) -> Stream:
    return Stream(
        name=subjects.TRIGGERS,
        description="Events of outside producers that may start executions",
        subjects=(f"{subjects.TRIGGER_PREFIX}.>",),
        retention="workqueue",
        storage="file",
        discard="new",
        max_bytes=limits.triggers_bytes,
        num_replicas=limits.replicas,
        allow_direct=True,
        duplicate_window=api.nanoseconds(SMALLEST_WINDOW),
    )


def _events(limits: Limits) -> Stream:
    return Stream(
        name=subjects.EVENTS,
        description="Copies of recorded events, for consumers outside",
        subjects=(f"{subjects.EVENT_PREFIX}.>",),
        retention="limits",
        storage="file",
        discard="old",
        max_bytes=limits.events_bytes,
        max_age=api.nanoseconds(limits.events_age),
        num_replicas=limits.replicas,
        allow_direct=True,
    )


def _advisories(limits: Limits) -> Stream:
    advisory = "$JS.EVENT.ADVISORY.CONSUMER"
    return Stream(
        name=subjects.ADVISORIES,
        description="Tasks that the server or a worker gave up",
        subjects=(
            f"{advisory}.MAX_DELIVERIES.{subjects.TASKS}.>",
            f"{advisory}.MSG_TERMINATED.{subjects.TASKS}.>",
        ),
        retention="limits",
        storage="file",
        discard="old",
        max_bytes=limits.advisories_bytes,
        max_age=api.nanoseconds(timedelta(days=7)),
        num_replicas=limits.replicas,
        allow_direct=True,
    )


async def ensure(bus: Bus, node_types: Iterable[str], limits: Limits = DEFAULT_LIMITS) -> None:
    """Create what is missing and update what differs. Does nothing a second time.

    Raises ProvisioningError, ApiError (such as 10047: the server has not so much storage), NoResponders
    (JetStream is off), BusUnavailable and BusClosed.
    """
    for declaration in declarations(node_types, limits):
        await _ensure_stream(bus, declaration.stream)
        await _ensure_consumers(bus, declaration.stream.name, declaration.consumers)


async def ensure_task_consumers(bus: Bus, node_types: Iterable[str]) -> None:
    """`ensure` for the consumers of node types alone; the stream has to be there."""
    consumers = [task_consumer(each) for each in sorted(set(node_types))]
    await _ensure_consumers(bus, subjects.TASKS, consumers)


async def verify(bus: Bus, node_types: Iterable[str], limits: Limits = DEFAULT_LIMITS) -> list[str]:
    """Return what differs from the declarations, a sentence each; empty if all is as it should be."""
    found: list[str] = []
    for declaration in declarations(node_types, limits):
        name = declaration.stream.name
        config = await _stream_config(bus, name)
        if config is None:
            found.append(f"stream {name} is missing")
            continue
        found += [f"stream {name}: {each}" for each in differences(declaration.stream, config)]
        configs = await _consumer_configs(bus, name)
        for consumer in declaration.consumers:
            title = f"consumer {name}/{consumer.name}"
            if consumer.name not in configs:
                found.append(f"{title} is missing")
                continue
            found += [f"{title}: {each}" for each in differences(consumer, configs[consumer.name])]
    return found


def differences(declared: Stream | Consumer, config: dict[str, Any]) -> list[str]:
    """Return which declared fields are otherwise in a server's `config`; a missing field has its zero value."""
    wanted: dict[str, Any] = msgspec.to_builtins(declared)
    return [
        f"{field} is {config.get(field)!r} instead of {value!r}"
        for field, value in wanted.items()
        if field not in UNCHANGEABLE and not _agrees(value, config.get(field))
    ]


def _agrees(wanted: Any, found: Any) -> bool:
    """The server adds metadata of its own, and the order of subjects means nothing."""
    if isinstance(wanted, dict):
        return wanted.items() <= (found or {}).items()
    if isinstance(wanted, list | tuple):
        return sorted(wanted) == sorted(found or ())
    return bool(wanted == found)


class _Named(msgspec.Struct):
    config: dict[str, Any]


class _Consumers(msgspec.Struct):
    total: int
    consumers: list[_Named] | None = None


async def _ensure_stream(bus: Bus, stream: Stream) -> None:
    config = await _stream_config(bus, stream.name)
    if config is None:
        config = await _create_stream(bus, stream)
    found = differences(stream, config)
    if not found:
        return
    merged = config | msgspec.to_builtins(stream)
    try:
        await api.ask(bus, f"STREAM.UPDATE.{stream.name}", merged, answer=_Named)
    except ApiError as error:
        raise ProvisioningError(
            f"stream {stream.name}", differences=found, reason=error.description
        ) from error
    log.info("stream_updated", stream=stream.name, differences=found)


async def _create_stream(bus: Bus, stream: Stream) -> dict[str, Any]:
    """Create a stream and return its settings: somebody else's, if somebody else was faster."""
    try:
        created = await api.ask(bus, f"STREAM.CREATE.{stream.name}", stream, answer=_Named)
    except ApiError as error:
        if error.code != STREAM_EXISTS:
            raise
        config = await _stream_config(bus, stream.name)
        assert config is not None, "it existed a moment ago"
        return config
    log.info("stream_created", stream=stream.name)
    return created.config


async def _ensure_consumers(bus: Bus, stream: str, consumers: Iterable[Consumer]) -> None:
    configs = await _consumer_configs(bus, stream)
    room = asyncio.Semaphore(PARALLEL_REQUESTS)
    try:
        async with asyncio.TaskGroup() as group:
            ensured = [
                group.create_task(_ensure_consumer(bus, stream, each, configs.get(each.name), room))
                for each in consumers
            ]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    if changed := sum(each.result() for each in ensured):
        log.info("consumers_ensured", stream=stream, changed=changed, of=len(ensured))


async def _ensure_consumer(
    bus: Bus,
    stream: str,
    consumer: Consumer,
    config: dict[str, Any] | None,
    room: asyncio.Semaphore,
) -> bool:
    """Create or update a consumer, and return whether anything differed; one request does either."""
    found = ["it is missing"] if config is None else differences(consumer, config)
    if not found:
        return False
    merged = (config or {}) | msgspec.to_builtins(consumer)
    if config is not None:
        merged |= {field: config.get(field) for field in UNCHANGEABLE}
        merged["metadata"] = config.get("metadata", {}) | consumer.metadata
    request = {"stream_name": stream, "config": merged, "action": ""}
    name = f"{stream}.{consumer.name}"
    try:
        async with room:
            await api.ask(bus, f"CONSUMER.CREATE.{name}", request, answer=_Named)
    except ApiError as error:
        if config is None:
            raise
        raise ProvisioningError(
            f"consumer {name}", differences=found, reason=error.description
        ) from error
    log.debug("consumer_ensured", consumer=name, differences=found)
    return True


async def _stream_config(bus: Bus, name: str) -> dict[str, Any] | None:
    try:
        return (await api.ask(bus, f"STREAM.INFO.{name}", answer=_Named)).config
    except ApiError as error:
        if error.code == api.STREAM_NOT_FOUND:
            return None
        raise


async def _consumer_configs(bus: Bus, stream: str) -> dict[str, dict[str, Any]]:
    configs: dict[str, dict[str, Any]] = {}
    while True:
        request = {"offset": len(configs)}
        page = await api.ask(bus, f"CONSUMER.LIST.{stream}", request, answer=_Consumers)
        configs |= {each.config["name"]: each.config for each in page.consumers or ()}
        if not page.consumers or len(configs) >= page.total:
            return configs
