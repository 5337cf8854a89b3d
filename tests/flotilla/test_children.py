"""What the children of `flotilla up` are told, and what is said about them."""

from pathlib import Path

import msgspec
import pytest

from flotilla import children, settings, welcome
from flotilla.children import Addresses, Told
from flotilla.client import Client
from flotilla.installation import Installation
from flotilla.samples import Sample
from flotilla.supervisor import ChildSpec
from tests.support.http_stub import HttpStub, ok, problem

ADDRESSES = Addresses(
    host="127.0.0.1",
    port=8005,
    database_url="postgresql://u:secret-p@h:1/d",
    nats_url="nats://u:secret-n@h:2",
    redis_url="redis://:secret-r@h:3/0",
)
TOLD = Told(
    addresses=ADDRESSES,
    dev_token="to ken",
    secret_keys="up:a2V5",
    namespace="n",
    allowed_private_hosts=("10.0.0.0/8",),
    log_format="json",
)
BASE = {
    "PATH": "/bin",
    "DATABASE_URL": "old",
    "DEV_TOKEN": "old",
    "OPENAI_API_KEY": "k",
    "PORT": "1",
    "SECRET_KEYS": "old",
}


def specs(url: str = "http://127.0.0.1:1") -> dict[str, ChildSpec]:
    return {spec.name: spec for spec in children.specs(BASE, TOLD, Client(url, "t"))}


def test_each_child_is_told_what_it_needs_and_no_more() -> None:
    told = {name: spec.env for name, spec in specs().items()}

    assert {name for name, env in told.items() if "DATABASE_URL" in env} == {"gateway", "scheduler"}
    assert {name for name, env in told.items() if "DEV_TOKEN" in env} == {"gateway"}
    keys = {name: env["SECRET_KEYS"] for name, env in told.items() if "SECRET_KEYS" in env}
    assert keys == {"gateway": "up:a2V5", "scheduler": "up:a2V5"}
    assert {name for name, env in told.items() if "ALLOWED_PRIVATE_HOSTS" in env} == {"worker"}
    assert all(env["NATS_URL"] == ADDRESSES.nats_url for env in told.values())
    assert all(env["PATH"] == "/bin" for env in told.values())
    assert told["gateway"]["PORT"] == "8005"
    assert told["worker"]["ALLOWED_PRIVATE_HOSTS"] == "10.0.0.0/8,127.0.0.1:8005"


def test_several_schedulers_are_children_of_one_kind() -> None:
    told = msgspec.structs.replace(TOLD, schedulers=3)

    made = children.specs(BASE, told, Client("http://127.0.0.1:1", "t"))

    schedulers = [spec for spec in made if spec.argv[-1] == "scheduler"]
    assert [spec.name for spec in schedulers] == ["scheduler", "scheduler-2", "scheduler-3"]
    assert {spec.stop_stage for spec in schedulers} == {2}
    assert len({tuple(spec.env.items()) for spec in schedulers}) == 1


def test_the_door_closes_before_work_ends_and_who_records_it_goes_last() -> None:
    stages = sorted((spec.stop_stage, name) for name, spec in specs().items())

    assert [name for _, name in stages] == ["gateway", "worker", "scheduler"]


async def test_a_child_is_ready_when_the_gateway_says_so(api: HttpStub) -> None:
    probes = {name: spec.probe for name, spec in specs(api.url).items()}
    gateway, worker = probes["gateway"], probes["worker"]
    assert gateway is not None
    assert worker is not None

    api.on("GET", "/health/ready", problem(503, "unavailable"))
    api.on("GET", "/health", ok({"checks": {"workers": "down"}}))
    assert (await gateway(), await worker()) == (False, False)

    api.on("GET", "/health/ready", ok({}))
    api.on("GET", "/health", ok({"checks": {"workers": "up"}}))
    assert (await gateway(), await worker()) == (True, True)


async def test_no_child_is_ready_without_a_gateway() -> None:
    assert [await spec.probe() for spec in specs().values() if spec.probe] == [False, False, False]


def test_an_ipv6_address_stands_in_brackets() -> None:
    addresses = Addresses(host="::1", port=1, database_url="", nats_url="", redis_url="")

    assert addresses.gateway_url == "http://[::1]:1"


def text(*, given: frozenset[str] = frozenset(), samples: tuple[Sample, ...] = ()) -> str:
    return welcome.text(TOLD, samples, given=given, monitoring_url="http://h:4", seconds=3.21)


def test_the_welcome_names_addresses_token_and_time() -> None:
    shown = text()

    assert "Flotilla is ready at http://127.0.0.1:8005 after 3.2 s" in shown
    for expected in ("http://127.0.0.1:8005/docs", ADDRESSES.database_url, ADDRESSES.nats_url, "http://h:4", ADDRESSES.redis_url, "to ken"):  # fmt: skip
        assert expected in shown
    assert "Stop everything with Ctrl-C." in shown
    assert "clone" in shown


@pytest.mark.parametrize(
    ("variable", "secret"),
    [("DATABASE_URL", "secret-p"), ("NATS_URL", "secret-n"), ("REDIS_URL", "secret-r")],
)
def test_the_password_of_a_server_of_others_is_not_shown(variable: str, secret: str) -> None:
    assert secret in text()
    assert secret not in text(given=frozenset({variable}))


def test_lines_to_copy_are_quoted() -> None:
    shown = text(samples=(Sample("It's a sample", "w1", Path("x")),))

    assert "-H 'Authorization: Bearer to ken'" in shown
    assert "'http://127.0.0.1:8005/v1/workflows/w1/execute?wait=30'" in shown
    assert """flotilla run 'It'"'"'s a sample' --wait""" in shown


def test_a_worker_started_by_hand_may_reach_what_the_one_of_up_may() -> None:
    shown = text(samples=(Sample("Sample", "w1", Path("x")),))

    (line,) = [each for each in shown.splitlines() if " worker --types " in each]
    assert f"NATS_URL={ADDRESSES.nats_url} " in line
    assert ADDRESSES.authority in line.partition("ALLOWED_PRIVATE_HOSTS=")[2]
    given = text(samples=(Sample("Sample", "w1", Path("x")),), given=frozenset({"NATS_URL"}))
    assert "secret-n" not in given


def test_the_key_that_seals_credentials_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    installation = Installation(tmp_path)

    made = installation.kept_secret_keys()

    assert installation.kept_secret_keys() == made
    assert installation.secret_keys_file.stat().st_mode & 0o777 == 0o600
    ((key_id, key),) = settings.read({"SECRET_KEYS": made}).secret_keys
    assert (key_id, len(key)) == ("up", 32)
    other = Installation(tmp_path / "other")
    other.folder.mkdir()
    assert other.kept_secret_keys() != made
