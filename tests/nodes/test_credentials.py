"""Where a node's credential comes from, and what is said where there is none."""

from typing import Any

import msgspec
import pytest

from contracts.credentials import Credential, CredentialAnswer
from contracts.failures import FailureKind
from contracts.payloads import Claim
from nodes.answers import Failed
from nodes.context import Context
from nodes.credentials import OperatorEnvironment
from tests.support.tasks import EXECUTION_ID, context, task_node

STORED = Credential(type="github", data={"token": "canary-stored"}, id="c1", name="ours")


class Store:
    """Stands where credentials are stored: gives what it was told, and remembers who asked."""

    def __init__(self, answer: CredentialAnswer | None = None) -> None:
        self.asked: list[tuple[Claim, str]] = []
        self._answer = answer or CredentialAnswer()

    async def get(self, claim: Claim, slot: str) -> CredentialAnswer:
        self.asked.append((claim, slot))
        return self._answer


def attempt(
    store: Store,
    variables: dict[str, str] | None = None,
    *,
    only_user: str | None = None,
    **node: Any,
) -> Context:
    environment = OperatorEnvironment(variables=variables or {}, only_user=only_user)
    stored = {"credentials": store, "environment": environment}
    return context(node=task_node(**node), stored=stored, iteration=(2,))


async def failed(made: Context, slot: str) -> Any:
    with pytest.raises(Failed) as raised:
        await made.credentials.get(slot)
    return raised.value.failure


async def test_what_is_stored_is_fetched_once_with_the_token_of_the_task() -> None:
    store = Store(CredentialAnswer(STORED))
    made = attempt(store, {"GITHUB_TOKEN": "of-the-operator"}, only_user="acme")

    first = await made.credentials.get("github")
    second = await made.credentials.get("github")

    assert first is second is STORED
    ((claim, slot),) = store.asked
    assert slot == "github"
    assert claim == Claim(
        execution_id=EXECUTION_ID,
        node_id="n1",
        iteration=(2,),
        attempt=1,
        token="token-of-the-attempt",
    )


async def test_the_environment_of_ai_providers_serves_everybody() -> None:
    made = attempt(Store(), {"OPENAI_API_KEY": "canary-key"})

    found = await made.credentials.get("openai")

    assert found.data == {"api_key": "canary-key"}
    assert made.masked("with canary-key") == "with ***"


@pytest.mark.parametrize(
    ("only_user", "is_found"), [("acme", True), ("other", False), (None, False)]
)
async def test_the_environment_of_other_services_serves_the_one_user(
    only_user: str | None, is_found: bool
) -> None:
    made = attempt(Store(), {"GITHUB_TOKEN": "canary-token"}, only_user=only_user)

    if is_found:
        assert (await made.credentials.get("github")).data == {"token": "canary-token"}
    else:
        assert (await failed(made, "github")).code == "no_credential"


async def test_a_credential_that_is_named_must_exist() -> None:
    store = Store(CredentialAnswer(reason="the credential 'ours' does not exist"))
    named = attempt(store, {"OPENAI_API_KEY": "k"}, credentials={"openai": "ours"})
    expired = attempt(store, {"OPENAI_API_KEY": "k"})
    silent = attempt(Store(), {"OPENAI_API_KEY": "k"}, credentials={"openai": "ours"})

    failure = await failed(named, "openai")

    assert (failure.kind, failure.code) == (FailureKind.CREDENTIALS_MISSING, "no_credential")
    assert "'ours' does not exist" in failure.message
    assert not failure.retryable
    assert (await failed(expired, "openai")).message == failure.message
    assert (await failed(silent, "openai")).code == "no_credential"


async def test_a_missing_credential_says_what_to_set_and_where() -> None:
    failure = await failed(attempt(Store()), "google")

    for part in ("n1", "google", "client_id and client_secret and refresh_token", "access_token"):
        assert part in failure.message
    for part in ("GOOGLE_REFRESH_TOKEN", "/v1/credentials", "/v1/integrations"):
        assert part in failure.message
    assert failure.details["slot"] == "google"
    assert ["access_token"] in failure.details["fields"]


async def test_what_was_fetched_is_masked_in_all_that_the_attempt_says() -> None:
    kept: dict[str, Any] = {}
    told: list[tuple[str, float | None]] = []
    made = context(
        stored={"credentials": Store(CredentialAnswer(STORED))}, kept=kept, progress=told
    )
    credential = await made.credentials.get("github")
    secret = credential.data["token"]

    class Holder:
        def __repr__(self) -> str:
            return f"Holder({secret})"

    made.log.info(f"of {secret}", token=secret, inside=[{"x": secret}], holder=Holder(), n=5)
    made.progress(f"at {secret}")

    async def call() -> Any:
        return {"token": secret}

    value = await made.checkpoints.once("call", call)

    assert isinstance(made.logs, msgspec.Raw)
    assert b"canary" not in bytes(made.logs)
    (entry,) = msgspec.json.decode(made.logs)
    assert (entry["event"], entry["token"], entry["n"]) == ("of ***", "***", 5)
    assert (entry["inside"], entry["holder"]) == ([{"x": "***"}], "Holder(***)")
    assert told == [("at ***", None)]
    assert kept == {"call": {"token": "***"}} == {"call": value}


async def test_the_workers_log_is_masked_too(capsys: pytest.CaptureFixture[str]) -> None:
    made = context(stored={"credentials": Store(CredentialAnswer(STORED))})
    credential = await made.credentials.get("github")

    made.log.error("refused", token=credential.data["token"], credential=credential)

    shown = capsys.readouterr().out
    assert "refused" in shown
    assert "canary" not in shown


def test_an_environment_shows_no_value() -> None:
    environment = OperatorEnvironment(variables={"OPENAI_API_KEY": "canary"})

    assert repr(environment) == "OperatorEnvironment(OPENAI_API_KEY)"
