"""`flotilla up` as a user meets it: ready, green, robust against kills, gone without a trace, and back with its data."""

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from flotilla.installation import Installation
from flotilla.settings import VARIABLES
from tests.support import processes, servers
from tests.support.http_stub import Answer, HttpStub, serving
from tests.support.spans import spans_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

PATIENCE_SECONDS = 90.0
SAMPLE = "OpenAPI table"


class Stack:
    """A running `flotilla up` with a folder of its own, read line by line."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.installation = Installation(folder)
        self._process = subprocess.Popen(
            command("up"),
            env=environment(folder, **environ),
            cwd=folder.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._unread = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def url(self) -> str:
        address = self.installation.address()
        assert address is not None
        return address

    def until(self, pattern: str) -> re.Match[str]:
        """Read on until a line matches; fails with all lines if none comes in time."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (line := self._line(deadline)) is not None:
            self.lines.append(line)
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"no line matches {pattern!r}:\n" + "\n".join(self.lines[-60:]))

    def event(self, name: str, **facts: Any) -> dict[str, Any]:
        """Read on until a log event of that name, and with these facts, is written."""
        while True:
            event: dict[str, Any] = json.loads(
                self.until(rf'^\{{.*"event":"{name}"')[0] and self.lines[-1]
            )
            if all(event.get(key) == value for key, value in facts.items()):
                return event

    def pid_of(self, child: str) -> int:
        """The process of a child, as the log has it last."""
        pattern = rf'"process":"{child}","pid":(\d+),"event":"process_started"'
        return int([match[1] for line in self.lines if (match := re.search(pattern, line))][-1])

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """Read to the end, and return the exit code."""
        with contextlib.suppress(AssertionError):
            self.until("(?!)")
        return self._process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE_SECONDS)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _line(self, deadline: float) -> str | None:
        output = self._process.stdout
        assert output is not None
        while b"\n" not in self._unread:
            readable, _, _ = select.select([output], [], [], max(deadline - time.monotonic(), 0))
            chunk = os.read(output.fileno(), 65_536) if readable else b""
            if not chunk:
                return None
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "flotilla", *arguments]


def environment(folder: Path, **more: str) -> Mapping[str, str]:
    """Our own environment without settings, and a folder."""
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return {**kept, "DATA_DIR": str(folder), **more}


def flotilla(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a client command."""
    return subprocess.run(
        command(*arguments),
        env=environment(folder, **more),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


@contextlib.contextmanager
def up(folder: Path, **environ: str) -> Iterator[Stack]:
    """A stack that is ready; killed in the end if it still runs."""
    stack = Stack(folder, **environ)
    try:
        stack.until(r"^Flotilla is ready at ")
        stack.until(r"^Stop everything with Ctrl-C")
        yield stack
    finally:
        stack.kill()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with servers.server_folder() as parent:
        yield parent / "data"


@pytest.fixture(scope="module")
def stack(folder: Path) -> Iterator[Stack]:
    with up(folder) as stack:
        yield stack


class TestUp:
    """One stack, used by one test after the other in the order in which they stand here."""

    def test_everything_has_an_address(self, stack: Stack) -> None:
        shown = "\n".join(stack.lines)

        for expected in (
            "/docs",
            "postgresql://",
            "nats://",
            "redis://",
            "curl -sS",
            "flotilla run",
        ):
            assert expected in shown
        assert str(stack.installation.token()) in shown
        assert stack.installation.token_file.stat().st_mode & 0o777 == 0o600

    def test_the_sample_makes_a_table_of_the_gateways_own_operations(
        self, stack: Stack, folder: Path
    ) -> None:
        ended = flotilla(folder, "run", SAMPLE, "--wait")

        assert ended.returncode == 0, ended.stderr
        answer = json.loads(ended.stdout)["answer"]
        document = httpx.get(f"{stack.url}/openapi.json").json()
        methods = [
            each
            for path in document["paths"].values()
            for each in path
            if each in ("get", "post", "put", "patch", "delete")
        ]
        assert answer["source"] == f"{stack.url}/openapi.json"
        assert (
            answer["operations"]
            == len(methods)
            == sum(row["operations"] for row in answer["table"])
        )
        counts = [row["operations"] for row in answer["table"]]
        assert counts == sorted(counts, reverse=True)
        assert re.search(r"SKIPPED +listed +DEAD", ended.stderr)

    @pytest.mark.parametrize("line", ["wait for its table", "as they happen"])
    def test_the_lines_to_copy_work(self, stack: Stack, line: str) -> None:
        here = next(number for number, each in enumerate(stack.lines) if line in each)

        done = subprocess.run(
            ["/bin/bash", "-c", stack.lines[here + 1]],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )

        assert "execution_succeeded" in done.stdout or '"status":"SUCCESS"' in done.stdout

    def test_a_few_operations_take_the_other_branch(
        self, stack: Stack, folder: Path, tmp_path: Path
    ) -> None:
        text = Path("examples/openapi-table.yaml").read_text()
        file = tmp_path / "few.yaml"
        file.write_text(
            text.replace("many: 10", "many: 10000")
            .replace("name: OpenAPI table", "name: Few")
            .replace("http://127.0.0.1:8002", stack.url)
        )

        ended = flotilla(folder, "run", str(file), "--wait")

        assert ended.returncode == 0, ended.stderr
        assert re.search(r"SKIPPED +ranked +DEAD", ended.stderr)

    def test_a_message_of_any_nats_client_starts_the_other_sample(self, stack: Stack) -> None:
        nats_url = next(line.split()[1] for line in stack.lines if line.startswith("  NATS "))

        sent = subprocess.run(
            [sys.executable, "examples/send_event.py", nats_url],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

        assert sent.returncode == 0, sent.stdout + sent.stderr
        assert "stream TASKS" in sent.stdout
        assert "task on flotilla.task.ACTION.DATA_TRANSFORMATION." in sent.stdout
        assert ".execution_succeeded" in sent.stdout
        assert '"next": "review"' in sent.stdout

    def test_a_document_is_applied_once_and_found_again(
        self, stack: Stack, folder: Path, tmp_path: Path
    ) -> None:
        file = tmp_path / "twice.yaml"
        file.write_text(
            "name: Twice\nnodes:\n  - {id: start, type: manual trigger, subtype: manual}\n  - {id: a, type: flow.noop}\nconnections: [{from: start, to: a}]\n".replace(
                "manual trigger", "trigger"
            )
        )

        actions = [
            json.loads(flotilla(folder, "apply", str(file), "--publish", "-o", "json").stdout)
            for _ in range(2)
        ]

        assert [each["action"] for each in actions] == ["created", "unchanged"]
        assert actions[0] | {"action": "unchanged"} == actions[1]

    def test_a_bad_document_is_refused_with_lines(
        self, stack: Stack, folder: Path, tmp_path: Path
    ) -> None:
        file = tmp_path / "bad.yaml"
        file.write_text(
            "name: Bad\nnodes:\n  - {id: a, type: FLOW.NOOP}\nconnections:\n  - {from: a, to: c}\n"
        )

        ended = flotilla(folder, "validate", str(file))

        assert ended.returncode == 2
        assert f"{file}:5 /connections/0/to" in ended.stdout

    def test_a_failing_execution_ends_with_1_and_a_canceled_one_with_5(
        self, stack: Stack, folder: Path, tmp_path: Path
    ) -> None:
        file = tmp_path / "refused.yaml"
        file.write_text(
            "name: Refused\nnodes:\n  - {id: start, type: TRIGGER.MANUAL}\n"
            "  - {id: call, type: ACTION.HTTP_REQUEST, parameters: {url: 'http://127.0.0.1:9/'},"
            " retry_policy: {max_tries: 2, wait_between_tries: 600, retry_on: [ANY]}}\n"
            "connections: [{from: start, to: call}]\n"
        )
        failing = tmp_path / "failing.yaml"
        failing.write_text(
            file.read_text().replace("max_tries: 2", "max_tries: 1").replace("Refused", "Failing")
        )

        failed = flotilla(folder, "run", str(failing), "--wait")
        late = flotilla(folder, "run", str(file), "--wait", "--timeout", "1")
        (listed, *_) = json.loads(flotilla(folder, "executions", "list", "-o", "json").stdout)
        canceled = flotilla(folder, "executions", "cancel", listed["id"])
        watched = flotilla(folder, "executions", "watch", listed["id"])

        assert (failed.returncode, late.returncode) == (1, 6)
        assert "REJECTED address_refused at node call" in failed.stderr
        assert (canceled.returncode, watched.returncode) == (0, 5)

    def test_a_second_up_on_the_folder_says_so(self, stack: Stack, folder: Path) -> None:
        second = flotilla(folder, "up")

        assert second.returncode == 4
        assert (
            f"Flotilla is up already at {stack.url}: process {stack.pid} owns {folder}"
            in second.stderr
        )

    def test_another_token_is_refused(self, stack: Stack, folder: Path) -> None:
        assert flotilla(folder, "executions", "list", FLOTILLA_TOKEN="wrong").returncode == 4

    @pytest.mark.parametrize("child", ["worker", "scheduler", "gateway"])
    def test_a_killed_process_is_started_again_and_said_so(
        self, stack: Stack, folder: Path, child: str
    ) -> None:
        before = stack.pid_of(child)

        os.kill(before, signal.SIGKILL)

        assert stack.event("process_crashed", process=child)["exit_code"] == -signal.SIGKILL
        assert stack.event("process_restarting", process=child)["delay_seconds"] > 0
        stack.event("process_ready", process=child)
        assert stack.pid_of(child) != before
        assert flotilla(folder, "run", SAMPLE, "--wait").returncode == 0

    def test_the_worker_sees_neither_database_nor_token(self, stack: Stack) -> None:
        seen = Path(f"/proc/{stack.pid_of('worker')}/environ").read_bytes().decode()

        assert "DATABASE_URL=" not in seen
        assert "DEV_TOKEN=" not in seen
        assert f"ALLOWED_PRIVATE_HOSTS={stack.url.removeprefix('http://')}\0" in seen

    def test_ctrl_c_drains_in_order_and_leaves_nothing(self, stack: Stack) -> None:
        begin = len(stack.lines)

        stack.signal(signal.SIGINT)

        assert stack.wait() == 0
        events = [json.loads(line) for line in stack.lines[begin:] if line.startswith("{")]
        stopped = [
            each.get("process", each.get("server"))
            for each in events
            if each["event"] in ("process_stopped", "server_stopped")
        ]
        assert stopped[:3] == ["gateway", "worker", "scheduler"]
        assert {*stopped[3:]} == {"postgres", "nats", "redis"}
        assert all(each["exit_code"] == 0 for each in events if each["event"] == "process_stopped")
        assert leftovers(stack) == []

    def test_what_was_there_is_there_again(self, stack: Stack, folder: Path) -> None:
        token = stack.installation.token()

        with up(folder) as second:
            listed = json.loads(flotilla(folder, "executions", "list", "-o", "json").stdout)
            again = flotilla(folder, "run", SAMPLE, "--wait")
            second.signal(signal.SIGTERM)

            assert second.wait() == 0
        assert token == second.installation.token()
        assert {"SUCCESS", "ERROR", "CANCELED"} <= {each["status"] for each in listed}
        assert again.returncode == 0
        assert leftovers(second) == []


@pytest.mark.skipif(
    not sys.platform.startswith("linux"),
    reason="Linux alone tells children about the end of a parent",
)
async def test_nothing_outlives_a_killed_up() -> None:
    with servers.server_folder() as parent, up(parent / "data") as stack:
        pids = [stack.pid_of(child) for child in ("gateway", "scheduler", "worker")]

        stack.signal(signal.SIGKILL)

        for pid in pids:
            assert await processes.ends(pid)


def test_a_port_that_is_taken_is_passed_over() -> None:
    with (
        servers.server_folder() as parent,
        up(parent / "one") as first,
        up(parent / "two") as second,
    ):
        assert first.url != second.url
        assert flotilla(parent / "one", "run", SAMPLE, "--wait").returncode == 0
        assert flotilla(parent / "two", "run", SAMPLE, "--wait").returncode == 0


def test_two_schedulers_are_started_if_they_are_asked_for_and_both_are_stopped() -> None:
    with servers.server_folder() as parent, up(parent / "data", SCHEDULERS="2") as stack:
        assert len({stack.pid_of("scheduler"), stack.pid_of("scheduler-2")}) == 2
        assert flotilla(parent / "data", "run", SAMPLE, "--wait").returncode == 0
        stack.signal(signal.SIGINT)
        assert stack.wait() == 0

    stopped = [json.loads(line) for line in stack.lines if '"event":"process_stopped"' in line]
    assert {each["process"]: each["exit_code"] for each in stopped} == dict.fromkeys(
        ("gateway", "worker", "scheduler", "scheduler-2"), 0
    )


def test_one_trace_spans_request_attempts_and_calls() -> None:
    collector = HttpStub()
    collector.on("POST", "/v1/traces", Answer(200, b"", "application/x-protobuf"))
    with (
        serving(collector),
        servers.server_folder() as parent,
        up(parent / "data", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as stack,
    ):
        assert flotilla(parent / "data", "run", SAMPLE, "--wait").returncode == 0
        stack.signal(signal.SIGINT)
        assert stack.wait() == 0
    spans = spans_of(collector)

    (request,) = [each for each in spans if each.name == "POST /v1/workflows/{workflow_id}/execute"]
    trace = [each for each in spans if each.trace == request.trace]
    attempts = [each for each in trace if each.parent == request.id]
    assert len(attempts) == 7  # the trigger needs no worker, and one branch is skipped
    assert {each.service for each in attempts} == {"flotilla-worker"}
    (fetch,) = [each for each in attempts if each.name == "ACTION.HTTP_REQUEST"]
    (call,) = [each for each in trace if each.parent == fetch.id]
    assert (call.service, call.name) == ("flotilla-gateway", "GET /openapi.json")


def test_servers_that_are_given_are_used(database_url: str, nats_url: str, redis_url: str) -> None:
    given = {"DATABASE_URL": database_url, "NATS_URL": nats_url, "REDIS_URL": redis_url}
    with servers.server_folder() as parent, up(parent / "data", **given) as stack:
        assert flotilla(parent / "data", "run", SAMPLE, "--wait").returncode == 0
        stack.signal(signal.SIGTERM)
        assert stack.wait() == 0

    shown = "\n".join(stack.lines)
    assert "server_started" not in shown
    assert "postgresql://flotilla:***@" in shown
    assert sorted(each.name for each in (parent / "data").glob("*/")) == []


def test_a_signal_while_it_starts_leaves_nothing() -> None:
    with servers.server_folder() as parent:
        stack = Stack(parent / "data")
        try:
            stack.event("server_started")
            stack.signal(signal.SIGINT)

            assert stack.wait() == 0
            assert leftovers(stack) == []
        finally:
            stack.kill()


def leftovers(stack: Stack) -> list[str]:
    """Command lines and environments of processes that still know the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            if str(stack.folder).encode() in told and int(process.name) != os.getpid():
                found.append(told.replace(b"\0", b" ").decode(errors="replace")[:200])
    return found
