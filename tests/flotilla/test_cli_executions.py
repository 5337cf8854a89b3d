"""`run`, and the commands on executions, with a gateway that says what a test tells it to."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flotilla.cli.exits import Exit
from tests.support.command_line import CommandLine
from tests.support.http_stub import Answer, HttpStub, Request, ok, problem

ID = "01a204fa-1493-748f-8441-15093040d043"
AT = "2026-03-01T10:00:00.000000Z"
LATER = "2026-03-01T10:00:01.500000Z"
EXECUTION: dict[str, Any] = {
    "id": ID, "workflow_id": "w", "status": "NEW", "mode": "MANUAL", "created_at": AT,
}  # fmt: skip
NODE_RUNS = [
    {"node_id": "start", "iteration": [], "status": "SUCCESS", "attempt": 1, "started_at": AT, "finished_at": LATER},
    {"node_id": "work", "iteration": [3], "status": "ERROR", "attempt": 2,
     "failure": {"code": "refused", "message": "no\x1b[31m"}},
]  # fmt: skip

Event = tuple[int | None, str, dict[str, Any]]


def node_succeeded(seq: int, node_id: str, port: str = "main") -> Event:
    timing = {"started_at": AT, "finished_at": LATER}
    return seq, "node_succeeded", {"at": LATER, "node_id": node_id, "iteration": [], "data": {"ports": {port: 1}, "timing": timing}}  # fmt: skip


STARTED: Event = (2, "execution_started", {"at": AT, "data": {}})
SUCCEEDED: Event = (9, "execution_succeeded", {"at": LATER, "data": {"output": {"a": 1}}})
FAILED: Event = (9, "execution_failed", {"at": LATER, "data": {}})
CANCELED: Event = (9, "execution_canceled", {"at": LATER, "data": {}})


def framed(*events: Event) -> bytes:
    """Events as a stream has them, a comment between."""
    texts = []
    for seq, kind, data in events:
        identity = "" if seq is None else f"id: {seq}\n"
        texts.append(f"{identity}event: {kind}\ndata: {json.dumps(data)}\n\n: still here\n\n")
    return "".join(texts).encode()


class Executions:
    """One workflow and one execution of it, whose events come as `streams` has them, one list a connection."""

    def __init__(self, api: HttpStub) -> None:
        self.api = api
        self.final = {**EXECUTION, "status": "SUCCESS", "output": {"a": 1}}
        self.streams: list[bytes | Iterator[bytes]] = [framed(STARTED, SUCCEEDED)]
        api.on("GET", "/v1/workflows", ok({"items": [{"id": "w", "name": "Hello"}]}))
        api.on("POST", "/v1/workflows/w/execute", ok(EXECUTION, 202))
        api.on("GET", f"/v1/executions/{ID}", lambda _: ok(self.final))
        api.on("GET", f"/v1/executions/{ID}/node-runs", ok({"items": NODE_RUNS}))
        api.on("GET", f"/v1/executions/{ID}/events", self._events)

    @property
    def resumed_at(self) -> list[str | None]:
        """The Last-Event-ID of each connection."""
        asked = self.api.asked("GET", f"/v1/executions/{ID}/events")
        return [each.headers.get("last-event-id") for each in asked]

    def _events(self, _: Request) -> Answer:
        return Answer(200, self.streams.pop(0), "text/event-stream")


@pytest.fixture
def executions(api: HttpStub) -> Executions:
    return Executions(api)


class TestRun:
    """Starting, and waiting for the end."""

    def test_without_wait_the_execution_is_printed(
        self, client_commands: CommandLine, executions: Executions
    ) -> None:
        ended = client_commands("run", "Hello", "--input", '{"n": 1}')

        assert ended.code == Exit.DONE
        assert json.loads(ended.out)["id"] == ID
        (asked,) = executions.api.asked("POST", "/v1/workflows/w/execute")
        assert asked.json == {"input": {"n": 1}}

    def test_waiting_prints_the_output_alone_on_stdout(
        self, client_commands: CommandLine, executions: Executions
    ) -> None:
        executions.streams = [framed(STARTED, node_succeeded(3, "work", "true"), SUCCEEDED)]

        ended = client_commands("run", "Hello", "--wait")

        assert ended.code == Exit.DONE
        assert json.loads(ended.out) == {"a": 1}
        assert "SUCCESS      1.5 s  work  → true" in ended.err
        assert f"execution {ID}  SUCCESS" in ended.err

    def test_the_output_comes_as_yaml_if_wanted(
        self, client_commands: CommandLine, executions: Executions
    ) -> None:
        assert client_commands("run", "Hello", "--wait", "-o", "yaml").out == "a: 1\n"

    @pytest.mark.parametrize(
        ("last", "status", "code"),
        [(SUCCEEDED, "SUCCESS", 0), (FAILED, "ERROR", 1), (CANCELED, "CANCELED", 5)],
        ids=["succeeded", "failed", "canceled"],
    )
    def test_the_status_is_the_exit_code(
        self,
        client_commands: CommandLine,
        executions: Executions,
        last: Event,
        status: str,
        code: int,
    ) -> None:
        failure = {"kind": "ERROR", "code": "refused", "message": "no", "node_id": "work"}
        executions.final = {**EXECUTION, "status": status, "failure": failure}
        executions.streams = [framed(STARTED, last)]

        ended = client_commands("run", "Hello", "--wait")

        assert (ended.code, ended.out) == (code, "")
        assert "ERROR refused at node work: no" in ended.err

    def test_a_file_is_applied_and_its_draft_runs(
        self, client_commands: CommandLine, executions: Executions, tmp_path: Path
    ) -> None:
        file = tmp_path / "hello.yaml"
        file.write_text("name: Hello\nnodes: []\n")
        stored = {"name": "Hello", "nodes": [], "id": "w", "revision": 1, "problems": []}
        executions.api.on(
            "POST", "/v1/workflows/validate", ok({"document": {"name": "Hello", "nodes": []}})
        )
        executions.api.on("GET", "/v1/workflows/w", ok(stored))

        assert client_commands("run", file).code == Exit.DONE
        (asked,) = executions.api.asked("POST", "/v1/workflows/w/execute")
        assert asked.json == {"input": {}, "version": "draft"}

    def test_the_input_may_stand_in_a_file(
        self, client_commands: CommandLine, executions: Executions, tmp_path: Path
    ) -> None:
        (tmp_path / "input.json").write_text('[1, "é"]')

        client_commands("run", "Hello", "--input", f"@{tmp_path / 'input.json'}")

        (asked,) = executions.api.asked("POST", "/v1/workflows/w/execute")
        assert asked.json == {"input": [1, "é"]}

    def test_an_unknown_name_ends_with_4_and_an_ambiguous_one_with_2(
        self, client_commands: CommandLine, api: HttpStub
    ) -> None:
        api.on("GET", "/v1/workflows", ok({"items": []}))
        unknown = client_commands("run", "Hello")
        api.on("GET", "/v1/workflows", ok({"items": [{"id": "a"}, {"id": "b"}]}))
        ambiguous = client_commands("run", "Hello")

        assert (unknown.code, ambiguous.code) == (Exit.REFUSED, Exit.USAGE)
        assert "a, b" in ambiguous.err


class TestFollow:
    """The stream of events, in spite of what happens to it."""

    def test_a_stream_that_breaks_is_taken_up_where_it_broke(
        self, client_commands: CommandLine, executions: Executions
    ) -> None:
        dispatched: Event = (None, "node_dispatched", {"at": AT, "node_id": "work"})
        executions.streams = [
            framed(STARTED, node_succeeded(3, "a"), dispatched),
            b"",
            framed(node_succeeded(4, "b"), SUCCEEDED),
        ]

        ended = client_commands("executions", "watch", ID)

        assert ended.code == Exit.DONE
        assert executions.resumed_at == [None, "3", "3"]
        assert [line.split()[3] for line in ended.err.splitlines()[:2]] == ["a", "b"]

    def test_a_gateway_that_restarts_is_waited_for(
        self, client_commands: CommandLine, executions: Executions
    ) -> None:
        answers = [problem(503, "unavailable"), Answer(200, framed(SUCCEEDED), "text/event-stream")]
        executions.api.on("GET", f"/v1/executions/{ID}/events", lambda _: answers.pop(0))

        assert client_commands("executions", "watch", ID).code == Exit.DONE

    def test_a_refusal_is_not_repeated(
        self, client_commands: CommandLine, executions: Executions
    ) -> None:
        executions.api.on("GET", f"/v1/executions/{ID}/events", problem(429, "rate_limited"))

        assert client_commands("executions", "watch", ID).code == Exit.REFUSED
        assert len(executions.resumed_at) == 1

    def test_past_the_timeout_the_execution_goes_on(
        self, client_commands: CommandLine, executions: Executions
    ) -> None:
        executions.streams = [framed(STARTED)] * 100

        ended = client_commands("executions", "watch", ID, "--timeout", "0.2")

        assert (ended.code, ended.out) == (Exit.TIMEOUT, "")
        assert f"flotilla executions watch {ID}" in ended.err

    def test_a_retry_and_a_skip_show(
        self, client_commands: CommandLine, executions: Executions
    ) -> None:
        failure = {"code": "refused", "message": "no"}
        retry: Event = (
            3,
            "node_failed",
            {"at": AT, "node_id": "a", "data": {"failure": failure, "retry_at": LATER}},
        )
        skip: Event = (
            4,
            "nodes_skipped",
            {"at": AT, "data": {"node_runs": [{"node_id": "b"}], "reason": "DEAD"}},
        )
        executions.streams = [framed(STARTED, retry, skip, CANCELED)]
        executions.final = {**EXECUTION, "status": "CANCELED"}

        err = client_commands("executions", "watch", ID).err

        assert "RETRY               a  refused: no" in err
        assert "SKIPPED             b  DEAD" in err
        assert "CANCELED            a" in err


class TestCommands:
    """Reading and canceling."""

    def test_filters_are_options(self, client_commands: CommandLine, api: HttpStub) -> None:
        api.on("GET", "/v1/workflows", ok({"items": [{"id": "w"}]}))
        api.on("GET", "/v1/executions", ok({"items": [EXECUTION]}))

        ended = client_commands(
            "executions", "list", "--workflow", "Hello", "--status", "NEW", "--status", "ERROR",
            "--mode", "MANUAL", "--limit", "7",
        )  # fmt: skip

        assert api.requests[-1].query == {
            "workflow_id": ["w"], "status": ["NEW", "ERROR"], "mode": ["MANUAL"], "limit": ["7"],
        }  # fmt: skip
        assert ended.out.splitlines()[0].split() == [
            "ID",
            "STATUS",
            "MODE",
            "WORKFLOW",
            "CREATED",
            "TIME",
        ]
        assert ended.out.splitlines()[1].split() == [ID, "NEW", "MANUAL", "w", AT, "-"]

    def test_show_tells_about_the_node_runs(
        self, client_commands: CommandLine, executions: Executions
    ) -> None:
        table = client_commands("executions", "show", ID).out
        as_json = client_commands("executions", "show", ID, "-o", "json").out

        assert "start    SUCCESS  1        1.5 s" in table
        assert "work[3]  ERROR    2        -" in table
        assert json.loads(as_json)["node_runs"] == NODE_RUNS

    def test_what_others_wrote_does_not_steer_the_terminal(
        self, client_commands: CommandLine, executions: Executions
    ) -> None:
        assert "\x1b" not in client_commands("executions", "show", ID).out

    def test_cancel_gives_the_reason(self, client_commands: CommandLine, api: HttpStub) -> None:
        api.on("POST", f"/v1/executions/{ID}/cancel", ok({**EXECUTION, "status": "CANCELED"}))

        ended = client_commands("executions", "cancel", ID, "--reason", "enough")

        assert (ended.code, ended.out) == (Exit.DONE, f"{ID}  CANCELED\n")
        assert api.requests[-1].json == {"reason": "enough"}

    def test_what_is_typed_as_an_id_stays_one(
        self, client_commands: CommandLine, api: HttpStub
    ) -> None:
        assert client_commands("executions", "cancel", "../workflows/w").code == Exit.REFUSED
        assert api.requests[-1].path == "/v1/executions/..%2Fworkflows%2Fw/cancel"


class TestSteering:
    """Commands that change where an execution is, or start another one."""

    @pytest.mark.parametrize(
        ("arguments", "what", "body"),
        [
            pytest.param(("pause",), "pause", {}, id="pause"),
            pytest.param(("pause", "--reason", "lunch"), "pause", {"reason": "lunch"}, id="why"),
            pytest.param(("resume",), "resume", {}, id="end of a pause"),
            pytest.param(
                ("resume", "--node", "a", "--iteration", "4-17", "--data", '{"n": 1}'),
                "resume",
                {"node_id": "a", "iteration": "4-17", "data": {"n": 1}},
                id="end of a wait",
            ),
            pytest.param(
                ("resume", "--interaction", "i", "--reject", "--reason", "no"),
                "resume",
                {"interaction_id": "i", "approved": False, "reason": "no"},
                id="answer",
            ),
            pytest.param(("resume", "--signal", "s"), "resume", {"signal": "s"}, id="signal wait"),
            pytest.param(
                ("signal", "paid", "--data", "[1]", "--signal-id", "s-1"),
                "signal",
                {"name": "paid", "data": [1], "signal_id": "s-1"},
                id="signal",
            ),
            pytest.param(("retry",), "retry", {"from": "FAILED", "version": "same"}, id="retry"),
            pytest.param(
                ("retry", "--from", "START", "--version", "3"),
                "retry",
                {"from": "START", "version": 3},
                id="rerun",
            ),
        ],
    )
    def test_what_is_typed_is_asked_for(
        self,
        client_commands: CommandLine,
        api: HttpStub,
        arguments: tuple[str, ...],
        what: str,
        body: dict[str, Any],
    ) -> None:
        api.on("POST", f"/v1/executions/{ID}/{what}", ok({**EXECUTION, "paused": True}))
        command, *rest = arguments

        ended = client_commands("executions", command, ID, *rest)

        assert (ended.code, ended.out) == (Exit.DONE, f"{ID}  NEW  paused\n")
        assert api.requests[-1].json == body

    def test_a_wrong_state_is_refused(self, client_commands: CommandLine, api: HttpStub) -> None:
        api.on("POST", f"/v1/executions/{ID}/resume", problem(409, "not_paused"))

        ended = client_commands("executions", "resume", ID)

        assert ended.code == Exit.REFUSED
        assert "not_paused" in ended.err

    def test_data_must_be_json(self, client_commands: CommandLine) -> None:
        ended = client_commands("executions", "signal", ID, "paid", "--data", "{")

        assert ended.code == Exit.USAGE
        assert "--data" in ended.err

    def test_causes_are_listed(self, client_commands: CommandLine, api: HttpStub) -> None:
        causes = [
            {"code": "paused", "message": "it is paused", "since": AT, "details": {}},
            {
                "code": "waiting_timer",
                "message": "it waits",
                "since": AT,
                "until": LATER,
                "node_id": "work",
                "iteration": [3],
                "details": {},
            },
        ]
        explained = {"status": "WAITING", "summary": "WAITING: it is paused", "causes": causes}
        api.on("GET", f"/v1/executions/{ID}/explain", ok(explained))

        table = client_commands("executions", "explain", ID).out.splitlines()
        as_json = client_commands("executions", "explain", ID, "-o", "json").out

        assert table[0] == "WAITING: it is paused"
        assert table[2].split() == ["CAUSE", "NODE", "SINCE", "UNTIL", "MESSAGE"]
        assert table[3].split() == ["paused", "-", AT, "-", "it", "is", "paused"]
        assert table[4].split() == ["waiting_timer", "work[3]", AT, LATER, "it", "waits"]
        assert json.loads(as_json) == explained


def test_what_a_retry_takes_over_shows_as_done(
    client_commands: CommandLine, executions: Executions
) -> None:
    carried: Event = (
        2,
        "outputs_carried",
        {"at": AT, "data": {"node_runs": [{"node_id": "start", "ports": {"main": 1}}]}},
    )
    executions.streams = [framed(carried, STARTED, SUCCEEDED)]

    ended = client_commands("executions", "watch", ID)

    assert ended.code == Exit.DONE
    assert "SUCCESS             start  carried" in ended.err
