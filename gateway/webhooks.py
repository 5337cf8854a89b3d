"""Deliveries at /v1/webhooks/{path}: whoever knows the path, and the secret behind it, starts its workflow.

An execution is committed before its sender is answered, whether or not NATS is there: a start that could not be published
is found by the scheduler's sweeper. A delivery that repeats the id of an earlier one starts nothing and is answered as that
one was.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import structlog
from msgspec import UNSET, UnsetType

import db.webhooks
from contracts.execution.trigger_scope import workflow_scope
from contracts.expressions.errors import ExpressionError
from contracts.expressions.interpreter import condition
from contracts.history import ExecutionCreated, TriggerNode
from contracts.payloads import KEY, holds_reserved_key
from contracts.senders import ID_HEADER, BadSecret, is_genuine
from contracts.slots import placed
from contracts.statuses import ExecutionStatus, Mode
from contracts.webhooks import WEBHOOK_TRIGGER
from db.executions import NewExecution
from db.webhooks import ArmedWebhook
from gateway.answers import Answer, Headers, created, ok
from gateway.calls import Call
from gateway.deliveries import headers_of, trigger_data
from gateway.executing import (
    REPLAYED,
    idempotency_key,
    location_of,
    started_before,
)
from gateway.execution_reading import folded, read_row
from gateway.executions import ended
from gateway.parameters import wrong
from gateway.problems import Refused, invalid_request, not_found
from gateway.queries import AnyQuery
from gateway.services import Gateway
from gateway.versions import CompiledVersion
from gateway.webhook_answers import answer_of
from gateway.webhook_secrets import secret_of
from gateway.workflows import new_id

log: Final = structlog.get_logger("gateway")


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a delivery: the execution that it started, or none because of the trigger's filter."""

    execution_id: str | None
    filtered: bool | UnsetType = UNSET


async def receive_webhook(gateway: Gateway, call: Call[AnyQuery, bytes]) -> Answer:
    """Start the workflow that listens at a path, and answer as its trigger says."""
    at = datetime.now(UTC)
    await _check_rate(gateway, call)
    webhook = await _armed(gateway, call)
    call.facts["workflow_id"] = webhook.workflow_id
    _check_sender(gateway, webhook, call, at)
    data = trigger_data(
        call.request,
        call.body,
        path=webhook.path,
        token_header=webhook.header,
        at=at,
        limits=gateway.settings.limits,
    )
    if holds_reserved_key(data):
        raise invalid_request(wrong("", f"`{KEY}` alone in an object is the engine's."))
    version = await gateway.versions.by_id(webhook.version_id)
    if not _passes(gateway, webhook, version, data, at):
        gateway.metrics.webhooks_filtered.inc()
        return ok(Received(execution_id=None, filtered=True))
    execution_id, headers = await _started(
        gateway, _new_execution(gateway, call, webhook, version, data, at)
    )
    call.facts["execution_id"] = execution_id
    if webhook.response_mode == "WAIT":
        final = await _final(gateway, webhook, execution_id, headers)
        if final is not None:
            return final
    received = Received(execution_id=execution_id)
    return created(received, location_of(execution_id), status=202, headers=headers)


async def _armed(gateway: Gateway, call: Call[AnyQuery, bytes]) -> ArmedWebhook:
    """Return what is received at the path by the method. Raises Refused."""
    path = call.path["path"]
    webhook = None if "\0" in path else await db.webhooks.find(gateway.store, path)
    if webhook is None:
        raise not_found()
    if call.request.method not in webhook.methods:
        allow = ", ".join(sorted(webhook.methods))
        raise Refused(
            "method_not_allowed", f"Here go {allow}.", headers=((b"allow", allow.encode()),)
        )
    return webhook


async def _check_rate(gateway: Gateway, call: Call[AnyQuery, bytes]) -> None:
    """Raise Refused for more deliveries at a path than it may get, whoever sends them and whether it is known."""
    wait = await gateway.delivery_rates.take(call.path["path"])
    if wait is not None:
        limit = gateway.settings.limits.requests_per_s
        detail = f"A path takes {limit} deliveries a second (LIMIT_REQUESTS_PER_S). Send it again."
        raise Refused("rate_limited", detail, retry_after=wait)


def _check_sender(
    gateway: Gateway, webhook: ArmedWebhook, call: Call[AnyQuery, bytes], at: datetime
) -> None:
    """Raise Refused unless the sender is who the trigger waits for."""
    try:
        genuine = is_genuine(
            webhook.authentication,
            secret=_secret(gateway, webhook, at),
            header=webhook.header,
            headers=headers_of(call.request),
            body=call.body,
            at=at,
        )
    except BadSecret as error:
        log.warning("webhook_secret_unusable", workflow_id=webhook.workflow_id, error=str(error))
        genuine = False
    if not genuine:
        raise Refused("unauthenticated", "The token or signature is missing, wrong or too old.")


def _secret(gateway: Gateway, webhook: ArmedWebhook, at: datetime) -> str | None:
    """Return what the sender must know, None where nobody can: the credential is gone or has expired.

    It was read with the webhook, so a change counts from the next delivery on. Raises Refused.
    """
    row = webhook.credential
    if row is None or webhook.authentication == "NONE":
        return None
    return secret_of(gateway, row, at)


def _passes(
    gateway: Gateway,
    webhook: ArmedWebhook,
    version: CompiledVersion,
    data: Mapping[str, Any],
    at: datetime,
) -> bool:
    """Whether the trigger's filter lets a delivery through; a failing filter starts nothing."""
    if webhook.filter is None:
        return True
    scope = {"message": data, "now": at, **workflow_scope(version.plan)}
    try:
        return condition(webhook.filter, scope, gateway.settings.limits.expressions, gateway.regex)
    except ExpressionError as error:
        log.warning(
            "trigger_filter_failed",
            workflow_id=webhook.workflow_id,
            node_id=webhook.node_id,
            error=str(error),
        )
        return False


def _new_execution(
    gateway: Gateway,
    call: Call[AnyQuery, bytes],
    webhook: ArmedWebhook,
    version: CompiledVersion,
    data: Mapping[str, Any],
    at: datetime,
) -> NewExecution:
    settings = version.document.settings
    value = msgspec.Raw(msgspec.json.encode(data))
    key = idempotency_key(call, ID_HEADER, "Idempotency-Key")
    created = ExecutionCreated(
        workflow_id=webhook.workflow_id,
        version_id=webhook.version_id,
        user_id=webhook.user_id,
        mode=Mode.WEBHOOK,
        input=value,
        trigger=TriggerNode(webhook.node_id, WEBHOOK_TRIGGER),
        priority=settings.priority,
        traceparent=call.trace.traceparent,
    )
    return NewExecution(
        id=new_id(),
        user_id=webhook.user_id,
        workflow_id=webhook.workflow_id,
        version_id=webhook.version_id,
        mode=Mode.WEBHOOK,
        priority=settings.priority,
        created=placed(created, settings, gateway.regex),
        at=at,
        # Whatever else differs: senders repeat a delivery with other headers, and some with another body.
        idempotency=None if key is None else (_route(webhook), key),
    )


def _route(webhook: ArmedWebhook) -> str:
    return f"webhook:{webhook.workflow_id}:{webhook.node_id}"


async def _started(gateway: Gateway, new: NewExecution) -> tuple[str, Headers]:
    """Return the execution of a delivery, a new one or that of an earlier delivery with its id."""
    if await gateway.starter.create(new):
        return new.id, ()
    execution_id, _ = await started_before(gateway, new)
    return execution_id, (REPLAYED,)


async def _final(
    gateway: Gateway, webhook: ArmedWebhook, execution_id: str, headers: Headers
) -> Answer | None:
    """Return what came of an execution, or None if it does not end in time. Raises Refused after a failure."""
    row = await read_row(gateway.store, webhook.user_id, execution_id)
    over = await ended(gateway, row, webhook.response_timeout)
    if over is None:
        return None
    if over.status != ExecutionStatus.SUCCESS:
        raise Refused(
            "execution_failed",
            f"The execution {execution_id} ended in {over.status}.",
            headers=(*headers, (b"location", location_of(execution_id).encode())),
            execution_id=execution_id,
        )
    output = (await folded(gateway, over)).state.output
    assert output is not None, "an execution that succeeded has an output"
    answer = answer_of(bytes(output))
    return msgspec.structs.replace(answer, headers=(*answer.headers, *headers))
