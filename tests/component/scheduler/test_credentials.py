"""Credentials of tasks: given to who holds the token, as the stored version names them, while the execution goes on."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from bus.claims import ClaimRefused
from bus.credentials import CredentialClient
from contracts.credentials import Credential
from contracts.payloads import Claim
from db import credentials, integrations, node_types, secrets, users
from db.credentials import CredentialRow
from db.integrations import IntegrationRow
from db.sealing import Keyring, Sealed
from flotilla.embedded.nats import NatsServer
from nodes.catalogue import builtin_handlers, builtin_specs
from scheduler.tokens import SECRET_NAME, Tokens
from tests.component.scheduler.conftest import Processes
from tests.component.workers.rig import working
from tests.support.engine import document, node, wire
from tests.support.http_server import Reply, serving
from tests.support.installation import Installation, new_id

pytestmark = pytest.mark.component

KEYRING = Keyring([("test", b"k" * 32)])
DATA = {"type": "BEARER", "token": "canary-of-the-task"}


@pytest.fixture(autouse=True)
async def running(installation: Installation, processes: Processes) -> AsyncIterator[None]:
    """A scheduler that has the keys."""
    await node_types.store(installation.store, builtin_specs())
    processes.keyring = KEYRING
    async with processes.scheduler():
        yield


async def store(installation: Installation, name: str = "shop", **fields: Any) -> CredentialRow:
    """Store a credential of the user, or of another one."""
    given = {"user_id": installation.user_id, "type": "http", **fields}
    row = CredentialRow(id=new_id(), name=name, sealed=Sealed("", b""), fields=(), **given)
    return await credentials.create(installation.store, row.with_data(DATA, KEYRING))


async def claim_of(installation: Installation, node_id: str = "call", **named: str) -> Claim:
    """Start an execution of which one node waits for a worker, and return the claim of that attempt."""
    ids = await installation.add(
        document(
            [
                node("start", "TRIGGER.MANUAL"),
                node(
                    "call", "ACTION.HTTP_REQUEST", parameters={"url": "http://x"}, credentials=named
                ),
            ],
            [wire("start -> call")],
        )
    )
    (execution_id,) = await installation.start(ids)
    tokens = Tokens(await secrets.get_or_create(installation.store, SECRET_NAME, b"x" * 32))
    token = tokens.make(execution_id, (node_id, ()), 1)
    return Claim(execution_id=execution_id, node_id=node_id, attempt=1, token=token)


async def test_the_token_of_a_task_opens_what_its_node_names(installation: Installation) -> None:
    row = await store(installation, allowed_hosts=("shop.example",))
    client = CredentialClient(installation.bus)

    for named in (row.id, "shop"):
        answer = await client.get(await claim_of(installation, http=named), "http")

        assert answer.credential == Credential(
            type="http", data=DATA, id=row.id, name="shop", allowed_hosts=("shop.example",)
        )


async def test_without_the_token_nothing_is_given(installation: Installation) -> None:
    await store(installation)
    claim = await claim_of(installation, http="shop")
    client = CredentialClient(installation.bus)

    for other in ({"token": "x" * 24}, {"attempt": 2}, {"node_id": "start"}):
        with pytest.raises(ClaimRefused) as refused:
            await client.get(msgspec.structs.replace(claim, **other), "http")
        assert refused.value.code == "403"


async def test_a_token_opens_no_other_slot_and_no_foreign_credential(
    installation: Installation,
) -> None:
    stranger = new_id()
    await users.ensure(installation.store, stranger, "eve@example.org", "Eve")
    await store(installation, "theirs", user_id=stranger)
    await store(installation, "shop")
    client = CredentialClient(installation.bus)

    foreign = await client.get(await claim_of(installation, http="theirs"), "http")
    other_slot = await client.get(await claim_of(installation, http="shop"), "github")

    assert foreign.credential is None
    assert "'theirs' does not exist" in foreign.reason
    assert other_slot.credential is None
    assert other_slot.reason == ""


async def test_the_default_integration_serves_a_node_that_names_none(
    installation: Installation,
) -> None:
    row = await store(installation)
    one = IntegrationRow(
        id=new_id(),
        user_id=installation.user_id,
        provider="http",
        name="Ours",
        credential_id=row.id,
        is_default=True,
    )
    await integrations.create(installation.store, one)
    client = CredentialClient(installation.bus)

    default = await client.get(await claim_of(installation), "http")
    missing = await client.get(await claim_of(installation, http="gone"), "http")

    assert default.credential is not None
    assert default.credential.id == row.id
    assert missing.credential is None, "what is named must exist"


async def test_once_the_execution_is_over_its_tokens_open_nothing(
    installation: Installation,
) -> None:
    await store(installation)
    claim = await claim_of(installation, http="shop")
    await installation.cancel(claim.execution_id)
    await installation.finished([claim.execution_id])

    with pytest.raises(ClaimRefused, match="over"):
        await CredentialClient(installation.bus).get(claim, "http")


async def test_what_cannot_be_opened_is_refused_with_the_key_that_is_missing(
    installation: Installation,
) -> None:
    row = await store(installation)
    other = row.with_data(DATA, Keyring([("other", b"o" * 32)]))
    await credentials.update(installation.store, row.user_id, row.id, lambda _: other)

    with pytest.raises(ClaimRefused, match="`other`"):
        await CredentialClient(installation.bus).get(
            await claim_of(installation, http="shop"), "http"
        )


async def test_what_is_no_question_is_refused(installation: Installation) -> None:
    answer = await installation.bus.request("flotilla.credential.get", b"{}")

    assert answer.headers["Nats-Service-Error-Code"] == "400"


async def test_a_worker_calls_with_the_credential_and_history_does_not_know_it(
    installation: Installation, nats_alone: NatsServer
) -> None:
    await store(installation)

    def echo(received: Any) -> Reply:
        body = msgspec.json.encode(received.headers)
        return Reply(200, body, {"content-type": "application/json"})

    async with (
        serving(echo) as server,
        working(nats_alone.url, *builtin_handlers(), allowed_private_hosts=("127.0.0.0/8",)),
    ):
        call = node(
            "call",
            "ACTION.HTTP_REQUEST",
            parameters={"url": server.url("/x")},
            credentials={"http": "shop"},
        )
        ids = await installation.add(
            document([node("start", "TRIGGER.MANUAL"), call], [wire("start -> call")])
        )
        (execution_id,) = await installation.start(ids)
        (row,) = await installation.finished([execution_id])

    assert server.received[0].headers["authorization"] == "Bearer canary-of-the-task"
    history = await installation.history(execution_id)
    output = msgspec.json.decode(history[-1].data)["output"]["call"]
    assert row.status == "SUCCESS"
    assert output["body"]["authorization"] == "Bearer ***"
    assert not any("canary" in str(event.data) for event in history)
