"""`verify`: what it prints, and how it ends."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from db import leases, verification
from db.store import Store
from flotilla.cli.exits import Exit
from flotilla.embedded.nats import NatsServer
from tests.support import servers
from tests.support.command_line import CommandLine

pytestmark = pytest.mark.component


@pytest.fixture
def nats_alone() -> Iterator[str]:
    """The URL of a NATS server of this test alone."""
    with servers.server_folder() as folder, servers.running(NatsServer(folder / "nats")) as url:
        yield url


@pytest.fixture
def verify(flotilla: CommandLine, database_url: str, nats_alone: str) -> CommandLine:
    """The command line, told of an installation in which a scheduler is at work, and no stream is there."""
    servers.wait_for(_scheduler_at_work(database_url))
    flotilla.set(DATABASE_URL=database_url, NATS_URL=nats_alone)
    return flotilla


async def _scheduler_at_work(database_url: str) -> None:
    store = await Store.open(database_url)
    await leases.acquire(store, "somebody", None, 600)
    await store.close()


async def _outcomes(database_url: str) -> dict[str, int]:
    store = await Store.open(database_url)
    try:
        return {each.check: each.findings for each in await verification.outcomes(store)}
    finally:
        await store.close()


def test_findings_are_told_repaired_and_then_gone(verify: CommandLine, database_url: str) -> None:
    found = verify("verify", "-o", "json")
    seen = servers.wait_for(_outcomes(database_url))
    repaired = verify("verify", "--fix")
    after = verify("verify")

    assert found.code == Exit.ERROR
    findings = json.loads(found.out)["findings"]
    assert {each["check"] for each in findings} == {"stream"}
    assert "stream TASKS is missing" in {each["message"] for each in findings}
    assert seen["stream"] == len(findings)
    assert seen["history"] == 0
    assert repaired.code == Exit.ERROR
    head, *lines = repaired.out.splitlines()
    assert head.split() == ["CHECK", "EXECUTION", "NODE", "ITERATION", "FINDING", "REPAIRED"]
    assert all(line.endswith("made as declared") for line in lines)
    assert (after.code, after.out) == (Exit.DONE, "")
    assert "nothing is wrong" in after.err
    assert servers.wait_for(_outcomes(database_url))["stream"] == 0


def test_without_servers_it_names_what_it_needs(flotilla: CommandLine) -> None:
    ended = flotilla("verify")

    assert ended.code == Exit.USAGE
    assert "DATABASE_URL" in ended.err
    assert "NATS_URL" in ended.err


def test_a_server_out_of_reach_ends_with_3(flotilla: CommandLine, tmp_path: Path) -> None:
    """The servers of `flotilla up` are found in DATA_DIR, whether they run or not."""
    for name in ("postgres", "nats"):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        (folder / "port").write_text("1\n")

    ended = flotilla("verify")

    assert (ended.code, ended.out) == (Exit.UNREACHABLE, "")
