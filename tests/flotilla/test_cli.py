"""What all commands share: help, usage, exit codes, tokens."""

from pathlib import Path

import pytest

from flotilla.cli.exits import Exit
from flotilla.installation import Installation
from tests.support.command_line import CommandLine
from tests.support.http_stub import Answer, HttpStub, ok, problem

COMMANDS = (
    "up",
    "gateway",
    "scheduler",
    "worker",
    "migrate",
    "apply",
    "run",
    "validate",
    "redrive",
    "bench",
    "executions",
)


@pytest.mark.parametrize("command", [(), *((each,) for each in COMMANDS)])
def test_every_command_explains_itself(flotilla: CommandLine, command: tuple[str, ...]) -> None:
    explained = flotilla(*command, "--help")

    assert explained.code == Exit.DONE
    assert explained.out.startswith("Usage: flotilla")


def test_help_names_all_commands(flotilla: CommandLine) -> None:
    text = flotilla("--help").out

    assert all(f"\n  {command} " in text for command in COMMANDS)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("rn",), id="unknown command"),
        pytest.param(("run",), id="missing argument"),
        pytest.param(("run", "x", "--nope"), id="unknown option"),
        pytest.param(("run", "x", "--timeout", "1"), id="timeout without wait"),
        pytest.param(("run", "x", "--input", "{"), id="input that is no JSON"),
        pytest.param(("run", "x", "--input", "@/nowhere"), id="input that is no file"),
        pytest.param(("executions", "list", "--limit", "0"), id="limit of nothing"),
        pytest.param(("executions", "list", "-o", "xml"), id="unknown format"),
        pytest.param(("worker", "--types", "A.B.C"), id="types that are none"),
        pytest.param(("up", "--schedulers", "17"), id="more schedulers than partitions"),
        pytest.param(("apply", "/nowhere.yaml"), id="file that is not there"),
    ],
)
def test_wrong_usage_ends_with_2(client_commands: CommandLine, arguments: tuple[str, ...]) -> None:
    ended = client_commands(*arguments)

    assert ended.code == Exit.USAGE
    assert ended.out == ""
    assert ended.err


@pytest.mark.parametrize("process", ["gateway", "scheduler", "worker", "migrate"])
def test_a_process_without_servers_names_the_variable(flotilla: CommandLine, process: str) -> None:
    ended = flotilla(process)

    assert ended.code == Exit.USAGE
    assert f"flotilla {process} needs " in ended.err
    assert "DATABASE_URL" in ended.err or "NATS_URL" in ended.err


def test_a_bad_setting_stops_any_command(client_commands: CommandLine) -> None:
    client_commands.set(PORT="many")

    ended = client_commands("executions", "list")

    assert ended.code == Exit.USAGE
    assert "PORT: 'many' is no whole number; allowed: 1 to 65535" in ended.err


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, 2), (401, 4), (403, 4), (404, 4), (409, 4), (412, 4), (413, 2), (415, 2), (422, 2), (429, 4), (500, 3), (503, 3)],
)  # fmt: skip
def test_a_refusal_decides_the_exit_code(
    client_commands: CommandLine, api: HttpStub, status: int, code: int
) -> None:
    errors = [{"pointer": "/limit", "code": "invalid_value", "message": "too much"}]
    api.on("GET", "/v1/executions", problem(status, "some_code", errors=errors))

    ended = client_commands("executions", "list")

    assert ended.code == code
    assert ended.out == ""
    assert "some_code: because of some_code" in ended.err
    assert "/limit: invalid_value: too much" in ended.err


def test_an_answer_of_somebody_else_is_no_gateways(
    client_commands: CommandLine, api: HttpStub
) -> None:
    api.on("GET", "/v1/executions", Answer(200, b"<html>", "text/html"))

    ended = client_commands("executions", "list")

    assert ended.code == Exit.UNREACHABLE
    assert "not one of Flotilla's gateway" in ended.err


def test_a_gateway_that_is_away_ends_with_3(flotilla: CommandLine) -> None:
    flotilla.set(FLOTILLA_URL="http://127.0.0.1:1")

    ended = flotilla("executions", "list")

    assert ended.code == Exit.UNREACHABLE
    assert "http://127.0.0.1:1 is out of reach" in ended.err
    assert "flotilla up" in ended.err


class TestToken:
    """Which token is sent, and where."""

    @pytest.fixture
    def installation(self, tmp_path: Path) -> Installation:
        installation = Installation(tmp_path / "data")
        installation.folder.mkdir()
        return installation

    def test_what_up_has_written_is_the_default(
        self, flotilla: CommandLine, api: HttpStub, installation: Installation
    ) -> None:
        api.on("GET", "/v1/executions", ok({"items": []}))
        installation.write_address(api.url)
        token = installation.kept_token()

        assert flotilla("executions", "list").code == Exit.DONE
        assert api.requests[0].headers["authorization"] == f"Bearer {token}"
        assert installation.token_file.stat().st_mode & 0o777 == 0o600

    def test_the_environment_wins(
        self, flotilla: CommandLine, api: HttpStub, installation: Installation
    ) -> None:
        api.on("GET", "/v1/executions", ok({"items": []}))
        installation.write_address("http://127.0.0.1:1")
        installation.kept_token()
        flotilla.set(FLOTILLA_URL=api.url, FLOTILLA_TOKEN="mine")

        flotilla("executions", "list")

        assert api.requests[0].headers["authorization"] == "Bearer mine"

    def test_the_dev_token_does_not_leave_the_machine(
        self, installation: Installation, tmp_path: Path
    ) -> None:
        from flotilla.client import connect
        from flotilla.settings import Settings

        installation.kept_token()

        elsewhere = connect(
            Settings(data_dir=tmp_path / "data", flotilla_url="http://flotilla.example")
        )
        here = connect(Settings(data_dir=tmp_path / "data", flotilla_url="http://localhost:8002"))

        assert not elsewhere.has_token
        assert here.has_token
