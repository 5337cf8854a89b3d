"""Settings become what each process is told."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.expressions.budget import Limits as ExpressionLimits
from contracts.limits import CoreLimits, DocumentLimits
from contracts.payloads import PayloadLimits
from flotilla import processes
from flotilla.installation import DEV_USER_ID
from flotilla.settings import Limits, Settings, SettingsError

SETTINGS = Settings(
    database_url="postgresql://h/d",
    nats_url="nats://h",
    nats_creds=Path("/a.creds"),
    port=9,
    drain_seconds=7,
    worker_types=("FLOW",),
    worker_concurrency=3,
    allowed_private_hosts=("h",),
    secret_keys=(("a", b"k" * 32),),
    environment_credentials={"GITHUB_TOKEN": "t"},
    default_namespace=DEV_USER_ID,
    limits=Limits(
        body_bytes=1,
        document_bytes=2,
        json_depth=3,
        streams=4,
        value_bytes=5,
        inline_bytes=17,
        message_bytes=18,
        nodes=6,
        connections=7,
        tries=8,
        node_timeout_s=9,
        execution_timeout_s=10,
        loop_depth=11,
        max_parallel=12,
        expression_chars=13,
        expression_steps=14,
        expression_bytes=15,
        log_bytes=16,
        signals=19,
        child_depth=20,
        checkpoints=21,
        cache_bytes=22,
        requests_per_s=22,
    ),
)
EXPRESSIONS = ExpressionLimits(source_chars=13, steps=14, produced_bytes=15)

PAYLOADS = PayloadLimits(inline=17, message=18, value=5)


def test_the_gateway_is_told() -> None:
    told = processes.gateway_settings(SETTINGS)

    assert (told.port, told.drain_seconds, told.version) == (9, 7, processes.version())
    limits = told.limits
    assert (
        limits.body_bytes,
        limits.document_bytes,
        limits.json_depth,
        limits.streams_per_user,
    ) == (1, 2, 3, 4)
    assert limits.documents == DocumentLimits(
        nodes=6,
        connections=7,
        tries=8,
        node_timeout_s=9,
        execution_timeout_s=10,
        loop_depth=11,
        max_parallel=12,
    )
    assert (limits.expressions, limits.payloads) == (EXPRESSIONS, PAYLOADS)


def test_the_scheduler_is_told() -> None:
    told = processes.scheduler_settings(SETTINGS)

    assert (told.database_url, told.nats_url, told.nats_creds) == (
        "postgresql://h/d",
        "nats://h",
        "/a.creds",
    )
    assert (told.drain_seconds, told.payloads, told.cache_bytes) == (7, PAYLOADS, 22)
    assert told.limits == CoreLimits(signals=19, child_depth=20, checkpoints=21, value_bytes=5)


def test_a_worker_is_told() -> None:
    told = processes.worker_settings(SETTINGS)

    assert (told.node_types, told.concurrency, told.allowed_private_hosts) == (("FLOW",), 3, ("h",))
    assert (told.payloads, told.nats_creds) == (PAYLOADS, "/a.creds")
    assert (told.limits, told.log_bytes) == (EXPRESSIONS, 16)


@pytest.mark.parametrize(
    ("token", "namespace", "user"),
    [
        pytest.param(None, "n", None, id="no token, no user"),
        pytest.param("t", None, DEV_USER_ID, id="the dev user"),
        pytest.param("t", "n", "n", id="the default namespace"),
    ],
)
def test_whom_the_dev_token_stands_for(
    token: str | None, namespace: str | None, user: str | None
) -> None:
    assert processes.dev_user_id(Settings(dev_token=token, default_namespace=namespace)) == user


def test_a_worker_without_any_of_its_types_is_refused() -> None:
    with pytest.raises(
        SettingsError, match=r"WORKER_TYPES: no handler .*; allowed: .*FLOW.*FLOW\.NOOP"
    ):
        processes.run_worker(Settings(nats_url="nats://h", worker_types=("NOPE",)))


def test_node_types_of_other_modules_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "greetings.py").write_text(
        "from nodes.context import Outputs\n"
        "from nodes.parameters import NoParameters\n"
        "from nodes.registry import node\n"
        "@node('CUSTOM.GREET')\n"
        "async def greet(context, parameters: NoParameters):\n"
        "    'Greet.'\n"
        "    return Outputs(main='hello')\n"
        "HANDLERS = (greet,)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    types = [
        each.spec.type for each in processes.handlers_of(Settings(node_modules=("greetings",)))
    ]

    assert types[-1] == "CUSTOM.GREET"
    assert "FLOW.NOOP" in types


@pytest.mark.parametrize("module", ["no_such_module", "json"])
def test_a_module_without_node_types_is_refused(module: str) -> None:
    with pytest.raises(SettingsError, match="NODE_MODULES: "):
        processes.handlers_of(Settings(node_modules=(module,)))


def test_gateway_and_scheduler_get_the_keys() -> None:
    assert processes.gateway_settings(SETTINGS).keyring.sealing_key == "a"
    assert processes.scheduler_settings(SETTINGS).keyring.sealing_key == "a"
    assert processes.gateway_settings(SETTINGS).limits.requests_per_s == 22


@pytest.mark.parametrize(
    ("changes", "variables", "only_user"),
    [
        pytest.param({}, {"GITHUB_TOKEN": "t"}, DEV_USER_ID, id="development has one user"),
        pytest.param({"environment": "production"}, {"GITHUB_TOKEN": "t"}, None, id="production"),
        pytest.param(
            {"default_namespace": None}, {"GITHUB_TOKEN": "t"}, None, id="nobody is named"
        ),
        pytest.param({"allow_environment_credentials": False}, {}, DEV_USER_ID, id="turned off"),
    ],
)
def test_a_worker_is_told_what_stands_in_for_credentials(
    changes: dict[str, Any], variables: dict[str, str], only_user: str | None
) -> None:
    told = processes.worker_settings(msgspec.structs.replace(SETTINGS, **changes))

    assert told.environment.variables == variables
    assert told.environment.only_user == only_user


def test_resealing_needs_keys() -> None:
    with pytest.raises(SettingsError, match="SECRET_KEYS: is not set"):
        processes.run_migration(Settings(database_url="postgresql://h/d"), reseal=True)
