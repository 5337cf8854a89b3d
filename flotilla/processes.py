"""What each process is made of: the composition roots of gateway, scheduler, worker and migration.

Here, and nowhere below, settings become arguments and concrete things are chosen. Each function runs one process to its end; imports
stand inside, because no process needs what the others are made of.
"""

import asyncio
import importlib
import importlib.metadata
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import structlog

from flotilla import settings as flotilla_settings
from flotilla import stopping
from flotilla.installation import DEV_USER_EMAIL, DEV_USER_ID
from flotilla.settings import BadSetting, Settings, SettingsError

if TYPE_CHECKING:
    from contracts.expressions.budget import Limits as ExpressionLimits
    from contracts.payloads import PayloadLimits
    from flotilla.telemetry.traces import SpanTracer
    from gateway.settings import GatewaySettings
    from nodes.credentials import OperatorEnvironment
    from nodes.registry import Handler
    from scheduler.service import SchedulerSettings
    from workers.worker import WorkerSettings

log: Final = structlog.get_logger()


def run_gateway(settings: Settings) -> None:
    """Serve the REST API until told to stop. Raises MissingSettings and SettingsError."""
    flotilla_settings.check(settings, "gateway")
    with tracer_of(settings, "flotilla-gateway") as tracer:
        stopping.run_until_stopped(lambda stop: _gateway(settings, tracer, stop))


def run_scheduler(settings: Settings) -> None:
    """Advance executions until told to stop. Raises MissingSettings and SettingsError."""
    from contracts.schedules import Calendar
    from flotilla.cron import read_cron
    from nodes.regex import Re2
    from scheduler import service

    flotilla_settings.check(settings, "scheduler")
    made = scheduler_settings(settings)
    calendar = Calendar(read_cron)
    stopping.run_until_stopped(
        lambda stop: service.run_scheduler(made, regex=Re2(), calendar=calendar, stop=stop)
    )


def run_worker(settings: Settings) -> None:
    """Carry out tasks until told to stop. Raises MissingSettings and SettingsError."""
    from workers import worker

    flotilla_settings.check(settings, "worker")
    made = worker_settings(settings)
    handlers = handlers_of(settings)
    try:
        worker.serving(handlers, made.node_types)
    except ValueError as error:
        raise SettingsError(BadSetting("WORKER_TYPES", str(error), _types_of(handlers))) from None
    with tracer_of(settings, "flotilla-worker") as tracer:
        stopping.run_until_stopped(lambda stop: worker.run_worker(made, handlers, stop, tracer))


def run_migration(settings: Settings, *, reseal: bool = False) -> int:
    """Bring the schema up to date, with the built-in specs and the user that the dev token stands for.

    With `reseal`, seal all credentials by the first of SECRET_KEYS; returns how many others had sealed.
    """
    flotilla_settings.check(settings, "migrate")
    if reseal and not settings.secret_keys:
        allowed = flotilla_settings.VARIABLES["SECRET_KEYS"].allowed
        raise SettingsError(BadSetting("SECRET_KEYS", "is not set", allowed))
    return asyncio.run(_migration(settings, reseal=reseal))


async def _migration(settings: Settings, *, reseal: bool) -> int:
    assert settings.database_url is not None
    await migrate(settings.database_url, dev_user_id=dev_user_id(settings))
    return await _resealed(settings) if reseal else 0


async def _resealed(settings: Settings) -> int:
    from db import credentials
    from db.sealing import Keyring
    from db.store import Store

    assert settings.database_url is not None
    store = await Store.open(settings.database_url, pool_size=1)
    try:
        return await credentials.reseal(store, Keyring(settings.secret_keys))
    finally:
        await store.close()


async def migrate(database_url: str, *, dev_user_id: str | None) -> None:
    """Migrate a database, and make sure of the dev user if there is one. Raises StoreError."""
    from db import migrations, users
    from db.store import Store
    from nodes.catalogue import builtin_specs

    await migrations.migrate(database_url, builtin_specs())
    if dev_user_id is not None:
        store = await Store.open(database_url, pool_size=1)
        try:
            await users.ensure(store, dev_user_id, DEV_USER_EMAIL, "Developer", role="admin")
        finally:
            await store.close()


async def _gateway(settings: Settings, tracer: "SpanTracer | None", stop: asyncio.Event) -> None:
    from bus.client import Bus
    from contracts.schedules import Calendar
    from db.store import Store
    from flotilla.cron import read_cron
    from flotilla.telemetry.requests import traced
    from gateway.app import create_app
    from gateway.server import serve
    from nodes.regex import Re2

    assert settings.database_url is not None
    assert settings.nats_url is not None
    made = gateway_settings(settings)
    store = await Store.open(settings.database_url)
    try:
        async with await Bus.connect(
            settings.nats_url, name="flotilla-gateway", credentials=_credentials(settings)
        ) as bus:
            app = create_app(made, store, bus, Re2(), Calendar(read_cron))
            if tracer is not None:
                app.middleware_stack = traced(app.build_middleware_stack(), tracer)
            await serve(app, made, stop)
    finally:
        await store.close()


def gateway_settings(settings: Settings) -> "GatewaySettings":
    """What the gateway is told."""
    from contracts.limits import DocumentLimits
    from db.sealing import Keyring
    from gateway.settings import GatewayLimits, GatewaySettings

    limits = settings.limits
    return GatewaySettings(
        host=settings.host,
        port=settings.port,
        environment=settings.environment,
        version=version(),
        dev_token=settings.dev_token,
        dev_user_id=dev_user_id(settings),
        drain_seconds=settings.drain_seconds,
        keyring=Keyring(settings.secret_keys),
        limits=GatewayLimits(
            body_bytes=limits.body_bytes,
            document_bytes=limits.document_bytes,
            webhook_bytes=limits.webhook_bytes,
            json_depth=limits.json_depth,
            streams_per_user=limits.streams,
            requests_per_s=limits.requests_per_s,
            documents=DocumentLimits(
                nodes=limits.nodes,
                connections=limits.connections,
                tries=limits.tries,
                node_timeout_s=limits.node_timeout_s,
                execution_timeout_s=limits.execution_timeout_s,
                loop_depth=limits.loop_depth,
                max_parallel=limits.max_parallel,
            ),
            expressions=expression_limits(settings),
            payloads=payload_limits(settings),
        ),
    )


def scheduler_settings(settings: Settings) -> "SchedulerSettings":
    """What a scheduler is told."""
    from contracts.limits import CoreLimits
    from db.sealing import Keyring
    from scheduler.service import SchedulerSettings

    assert settings.database_url is not None
    assert settings.nats_url is not None
    return SchedulerSettings(
        database_url=settings.database_url,
        nats_url=settings.nats_url,
        nats_creds=_credentials(settings),
        default_namespace=settings.default_namespace,
        drain_seconds=settings.drain_seconds,
        version=version(),
        payloads=payload_limits(settings),
        keyring=Keyring(settings.secret_keys),
        limits=CoreLimits(
            signals=settings.limits.signals,
            child_depth=settings.limits.child_depth,
            checkpoints=settings.limits.checkpoints,
            value_bytes=settings.limits.value_bytes,
        ),
        cache_bytes=settings.limits.cache_bytes,
        in_segments=settings.segments,
    )


def worker_settings(settings: Settings) -> "WorkerSettings":
    """What a worker is told."""
    from contracts.limits import NodeLimits
    from workers.worker import WorkerSettings

    assert settings.nats_url is not None
    return WorkerSettings(
        nats_url=settings.nats_url,
        nats_creds=_credentials(settings),
        node_types=settings.worker_types,
        concurrency=settings.worker_concurrency,
        drain_seconds=settings.drain_seconds,
        allowed_private_hosts=settings.allowed_private_hosts,
        version=version(),
        environment=operator_environment(settings),
        limits=expression_limits(settings),
        payloads=payload_limits(settings),
        log_bytes=settings.limits.log_bytes,
        node_limits=NodeLimits(
            loop_items=settings.limits.loop_items,
            max_parallel=settings.limits.max_parallel,
            wait_s=settings.limits.wait_s,
        ),
    )


def operator_environment(settings: Settings) -> "OperatorEnvironment":
    """What stands in for credentials, and for whom: where development has one user, all services are served for that one."""
    from nodes.credentials import OperatorEnvironment

    is_one_user = settings.environment == "development"
    return OperatorEnvironment(
        variables=settings.environment_credentials
        if settings.allow_environment_credentials
        else {},
        only_user=settings.default_namespace if is_one_user else None,
    )


def expression_limits(settings: Settings) -> "ExpressionLimits":
    """What one evaluation may take."""
    from contracts.expressions.budget import Limits as ExpressionLimits

    limits = settings.limits
    return ExpressionLimits(
        source_chars=limits.expression_chars,
        steps=limits.expression_steps,
        produced_bytes=limits.expression_bytes,
    )


def payload_limits(settings: Settings) -> "PayloadLimits":
    """How large values may be, and from where on they are stored apart."""
    from contracts.payloads import PayloadLimits

    limits = settings.limits
    return PayloadLimits(
        inline=limits.inline_bytes, message=limits.message_bytes, value=limits.value_bytes
    )


def handlers_of(settings: Settings) -> "tuple[Handler, ...]":
    """The handlers that a worker may serve: the built-in ones, and those of NODE_MODULES. Raises SettingsError."""
    from nodes.catalogue import builtin_handlers

    further = (_handlers_in(module) for module in settings.node_modules)
    return (*builtin_handlers(), *itertools.chain.from_iterable(further))


def _handlers_in(module: str) -> "Sequence[Handler]":
    try:
        handlers: Sequence[Handler] = importlib.import_module(module).HANDLERS
    except (ImportError, AttributeError) as error:
        allowed = "modules that can be imported and have a sequence HANDLERS of node types"
        raise SettingsError(BadSetting("NODE_MODULES", str(error), allowed)) from error
    return handlers


def dev_user_id(settings: Settings) -> str | None:
    """The user that the dev token stands for, None without a dev token."""
    return None if settings.dev_token is None else settings.default_namespace or DEV_USER_ID


def version() -> str:
    """The version of this distribution."""
    return importlib.metadata.version("flotilla")


@contextmanager
def tracer_of(settings: Settings, service: str) -> "Iterator[SpanTracer | None]":
    """What makes spans, None where nobody collects them; what waits is sent at the end."""
    if settings.traces_endpoint is None:
        yield None
        return
    from flotilla.telemetry import traces

    with traces.tracer(settings.traces_endpoint, service=service, version=version()) as tracer:
        yield tracer


def _types_of(handlers: "Sequence[Handler]") -> str:
    families = dict.fromkeys(each.spec.family for each in handlers)
    return ", ".join((*families, *(each.spec.type for each in handlers)))


def _credentials(settings: Settings) -> str | None:
    return None if settings.nats_creds is None else str(settings.nats_creds)
