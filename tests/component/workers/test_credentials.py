"""Credentials of attempts while the schedulers are away, or refuse: the handler waits, or fails with a reason."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bus.services import Call, CallRefused, Endpoint, Service
from contracts import subjects
from contracts.credentials import Credential, CredentialAnswer, decode_credential_call
from contracts.messages import Result, encode
from flotilla.embedded.nats import NatsServer
from nodes.context import Context, Outputs
from nodes.registry import Handler, node
from tests.component.workers.rig import GATED, NoParameters, Rig, working

pytestmark = pytest.mark.component

GIVEN = Credential(type="http", data={"type": "BEARER", "token": "canary-of-the-worker"}, name="x")


def asking() -> Handler:
    """Return a handler that answers with the name of its credential, and with its secret."""

    async def ask(context: Context, _: NoParameters) -> Outputs:
        """Ask."""
        credential = await context.credentials.get("http")
        return Outputs(main=[credential.name, credential.data["token"]])

    return node(GATED)(ask)


@asynccontextmanager
async def desk(rig: Rig, *refusals: str) -> AsyncIterator[list[Call]]:
    """Stand in for a scheduler that refuses so often, and then gives a credential."""
    calls: list[Call] = []
    codes = iter(refusals)

    async def handle(call: Call) -> bytes:
        calls.append(call)
        code = next(codes, None)
        if code is not None:
            raise CallRefused(code, "the reason")
        return encode(CredentialAnswer(GIVEN))

    endpoints = (Endpoint("desk", subjects.CREDENTIAL_GET, handle),)
    async with Service(rig.bus, name="desk", version="1.0.0", description="", endpoints=endpoints):
        yield calls


async def reported(rig: Rig) -> Result:
    """Send a task, and return its result."""
    await rig.send()
    report = await rig.report()
    assert isinstance(report, Result)
    return report


async def test_a_handler_waits_for_its_credential(server: NatsServer, rig: Rig) -> None:
    async with desk(rig, "503", "500") as calls, working(server.url, asking()):
        result = await reported(rig)

    assert result.failure is None
    assert result.ports is not None
    assert bytes(result.ports["main"]) == b'["x","***"]'
    asked = [decode_credential_call(call.data) for call in calls]
    assert [each.slot for each in asked] == ["http"] * 3
    assert {each.claim.token for each in asked} == {"token-of-the-attempt"}


async def test_a_refusal_fails_the_attempt_with_its_reason(server: NatsServer, rig: Rig) -> None:
    async with desk(rig, "422") as calls, working(server.url, asking()):
        result = await reported(rig)

    assert len(calls) == 1
    assert result.failure is not None
    assert result.failure.code == "credential_unavailable"
    assert "the reason" in result.failure.message
