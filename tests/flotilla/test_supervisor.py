"""Children are started, restarted, and stopped in order; the signals are their own."""

import asyncio
import contextlib
import io
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import structlog

from flotilla.supervisor import ChildSpec, NotReadyError, Supervisor, Terminal, lines_of, terminals
from tests.support import processes

PATIENCE_SECONDS = 20
OBEDIENT = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"


class FakeTime:
    """A clock that only sleeping moves; remembers the sleeps, and lets the one numbered `limit` last for ever."""

    def __init__(self, *, limit: int) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []
        self.limit = limit
        self.slept = asyncio.Event()
        self.enough = asyncio.Event()

    def clock(self) -> float:
        """The instant."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Pass the time at once."""
        self.sleeps.append(seconds)
        self.now += seconds
        self.slept.set()
        if len(self.sleeps) == self.limit:
            self.enough.set()
            await asyncio.Event().wait()


class FakeTerminal(io.StringIO):
    """A terminal that is read by the test."""

    def isatty(self) -> bool:
        return True


def child(
    name: str, source: str = OBEDIENT, *, stage: int = 0, ready_file: Path | None = None
) -> ChildSpec:
    """A Python program to supervise; with `ready_file`, ready once it has made that file."""
    return ChildSpec(
        name=name,
        argv=(sys.executable, "-c", source),
        env={},
        stop_stage=stage,
        probe=_probe_of(ready_file) if ready_file else None,
    )


def _probe_of(file: Path) -> Callable[[], asyncio.Future[bool]]:
    def probe() -> asyncio.Future[bool]:
        answer = asyncio.get_running_loop().create_future()
        answer.set_result(file.exists())
        return answer

    return probe


def ready_program(file: Path, source: str) -> str:
    """Source that announces itself through a file once its signal handling is in place."""
    return source.replace("print('up', flush=True)", f"open({str(file)!r}, 'w').close()")


@contextlib.asynccontextmanager
async def supervised(supervisor: Supervisor) -> AsyncIterator[asyncio.Task[object]]:
    """Run a supervisor, and stop it in a hurry in the end."""
    async with asyncio.TaskGroup() as group:
        run = group.create_task(supervisor.run())
        try:
            yield run
        finally:
            supervisor.stop()
            supervisor.stop()


def events(logs: list[structlog.typing.EventDict], process: str) -> list[str]:
    """The names of what was logged about one child."""
    return [entry["event"] for entry in logs if entry.get("process") == process]


async def test_a_child_runs_until_the_stop(tmp_path: Path) -> None:
    file = tmp_path / "ready"
    supervisor = Supervisor([child("a", ready_program(file, OBEDIENT), ready_file=file)])

    with structlog.testing.capture_logs() as logs:
        async with supervised(supervisor) as run:
            await supervisor.wait_ready(seconds=PATIENCE_SECONDS)
            pid = supervisor.children[0].pid
            supervisor.stop()
            codes = await run

    assert codes == {"a": -signal.SIGTERM}
    assert pid is not None
    assert not processes.is_running(pid)
    assert events(logs, "a") == ["process_started", "process_ready", "process_stopped"]


async def test_a_crashing_child_is_restarted_with_growing_delays() -> None:
    time = FakeTime(limit=4)
    supervisor = Supervisor([child("a", "raise SystemExit(3)")], sleep=time.sleep, clock=time.clock)

    with structlog.testing.capture_logs() as logs:
        async with supervised(supervisor), asyncio.timeout(PATIENCE_SECONDS):
            await time.enough.wait()

    assert time.sleeps == [0.5, 1, 2, 4]
    crashes = [entry for entry in logs if entry["event"] == "process_crashed"]
    assert [entry["exit_code"] for entry in crashes] == [3, 3, 3, 3]
    assert [entry["delay_seconds"] for entry in logs if entry["event"] == "process_restarting"] == [
        0.5,
        1,
        2,
        4,
    ]


async def test_a_child_that_ends_without_error_is_restarted_too() -> None:
    time = FakeTime(limit=2)
    supervisor = Supervisor([child("a", "pass")], sleep=time.sleep, clock=time.clock)

    async with supervised(supervisor), asyncio.timeout(PATIENCE_SECONDS):
        await time.enough.wait()

    assert time.sleeps == [0.5, 1]


async def test_a_child_that_waits_for_its_restart_is_stopped_at_once() -> None:
    time = FakeTime(limit=1)
    supervisor = Supervisor([child("a", "pass")], sleep=time.sleep, clock=time.clock)

    async with supervised(supervisor) as run, asyncio.timeout(PATIENCE_SECONDS):
        await time.enough.wait()
        supervisor.stop()

        assert await run == {"a": 0}


async def test_a_killed_child_comes_back_and_is_ready_again(tmp_path: Path) -> None:
    file = tmp_path / "ready"
    time = FakeTime(limit=2)
    supervisor = Supervisor(
        [child("a", ready_program(file, OBEDIENT), ready_file=file)],
        sleep=time.sleep,
        clock=time.clock,
    )

    async with supervised(supervisor):
        await supervisor.wait_ready(seconds=PATIENCE_SECONDS)
        first = supervisor.children[0].pid
        assert first is not None
        file.unlink()
        os.kill(first, signal.SIGKILL)
        assert await processes.ends(first)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await time.slept.wait()
        await supervisor.wait_ready(seconds=PATIENCE_SECONDS)

        assert first != supervisor.children[0].pid


async def test_stages_end_one_after_the_other(tmp_path: Path) -> None:
    names = {"gateway": 0, "scheduler": 1, "worker": 1, "last": 2}
    supervisor = Supervisor(
        [
            child(
                name,
                ready_program(tmp_path / name, OBEDIENT),
                stage=stage,
                ready_file=tmp_path / name,
            )
            for name, stage in reversed(names.items())
        ]
    )

    with structlog.testing.capture_logs() as logs:
        async with supervised(supervisor) as run:
            await supervisor.wait_ready(seconds=PATIENCE_SECONDS)
            supervisor.stop()
            await run

    ended = [entry["process"] for entry in logs if entry["event"] == "process_stopped"]
    assert ended[0] == "gateway"
    assert {"scheduler", "worker"} == set(ended[1:3])
    assert ended[3] == "last"


async def test_a_stubborn_child_is_killed_after_its_time(tmp_path: Path) -> None:
    file = tmp_path / "ready"
    supervisor = Supervisor(
        [child("a", ready_program(file, STUBBORN), ready_file=file)], drain_seconds=0.05
    )

    async with supervised(supervisor) as run:
        await supervisor.wait_ready(seconds=PATIENCE_SECONDS)
        supervisor.stop()

        assert await run == {"a": -signal.SIGKILL}


async def test_asking_twice_does_not_wait_for_a_stubborn_child(tmp_path: Path) -> None:
    file = tmp_path / "ready"
    supervisor = Supervisor(
        [child("a", ready_program(file, STUBBORN), ready_file=file)], drain_seconds=3600
    )

    async with supervised(supervisor) as run:
        await supervisor.wait_ready(seconds=PATIENCE_SECONDS)
        supervisor.stop()
        supervisor.stop()

        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await run == {"a": -signal.SIGKILL}


async def test_what_a_killed_child_has_started_goes_with_it(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    source = f"""
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
open({str(tmp_path / "draft")!r}, "w").write(str(grandchild.pid))
os.rename({str(tmp_path / "draft")!r}, {str(file)!r})
signal.pause()
"""
    supervisor = Supervisor([child("a", source, ready_file=file)], drain_seconds=0)

    async with supervised(supervisor) as run:
        await supervisor.wait_ready(seconds=PATIENCE_SECONDS)
        supervisor.stop()
        await run

    assert await processes.ends(int(file.read_text()))


async def test_who_is_not_ready_in_time_is_named(tmp_path: Path) -> None:
    supervisor = Supervisor([child("a"), child("b", ready_file=tmp_path / "never")])

    async with supervised(supervisor):
        await supervisor.children[0].ready.wait()
        with pytest.raises(NotReadyError, match=r"not ready after 0\.01 s: b"):
            await supervisor.wait_ready(seconds=0.01)


async def test_a_probe_that_cannot_connect_says_no(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def probe() -> bool:
        if asked.is_set():
            return True
        asked.set()
        raise ConnectionRefusedError

    spec = ChildSpec(name="a", argv=(sys.executable, "-c", OBEDIENT), env={}, probe=probe)
    supervisor = Supervisor([spec])

    async with supervised(supervisor):
        await supervisor.wait_ready(seconds=PATIENCE_SECONDS)

    assert asked.is_set()


async def test_a_program_that_is_missing_takes_the_others_down(tmp_path: Path) -> None:
    missing = ChildSpec(name="missing", argv=(str(tmp_path / "missing"),), env={})
    supervisor = Supervisor([child("a"), missing])

    with pytest.raises(ExceptionGroup) as failure:
        await supervisor.run()

    assert failure.group_contains(FileNotFoundError)
    assert all(each.ended.is_set() for each in supervisor.children)


async def test_cancelling_leaves_no_process() -> None:
    supervisor = Supervisor([child("a", STUBBORN)])
    run = asyncio.create_task(supervisor.run())
    await supervisor.wait_ready(seconds=PATIENCE_SECONDS)
    pid = supervisor.children[0].pid
    assert pid is not None

    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert not processes.is_running(pid)


async def test_on_a_terminal_lines_carry_the_name_in_colour() -> None:
    terminal = FakeTerminal()
    time = FakeTime(limit=1)
    source = "import sys; print('one'); print('two', file=sys.stderr); print('thrée', end='')"
    supervisor = Supervisor(
        [child("a", source), child("longer")],
        output=terminal,
        sleep=time.sleep,
        clock=time.clock,
    )

    async with supervised(supervisor), asyncio.timeout(PATIENCE_SECONDS):
        await time.enough.wait()

    lines = [line for line in terminal.getvalue().splitlines() if "a      |" in line]
    assert [f"\x1b[36ma      |\x1b[0m {word}" for word in ("one", "two", "thrée")] == lines


def test_elsewhere_lines_are_left_alone() -> None:
    assert terminals(["a", "b"], io.StringIO()) == [None, None]


def test_every_child_has_a_colour_even_if_they_run_out() -> None:
    names = [f"child-{number}" for number in range(20)]

    prefixes = {writer.prefix for writer in terminals(names, FakeTerminal()) if writer}

    assert len(prefixes) == 20


def test_bytes_that_are_no_text_are_shown_all_the_same() -> None:
    output = io.StringIO()

    Terminal("a | ", output).write(b"\xff")

    assert output.getvalue() == "a | �\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(b"a\nb\n", [b"a", b"b"], id="whole lines"),
        pytest.param(b"a\n\nb", [b"a", b"", b"b"], id="last line without end"),
    ],
)
async def test_lines(text: bytes, expected: list[bytes]) -> None:
    assert expected == [line async for line in lines_of(_reader_of(text))]


async def test_an_endless_line_comes_in_pieces() -> None:
    text = b"x" * 300_000

    pieces = [line async for line in lines_of(_reader_of(text))]

    assert text == b"".join(pieces)
    assert max(map(len, pieces)) < 200_000


def _reader_of(text: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(text)
    reader.feed_eof()
    return reader


SUPERVISING_PROGRAM = """
    import asyncio, sys
    from flotilla.supervisor import ChildSpec, Supervisor

    async def main():
        source = sys.argv[1]
        spec = ChildSpec(name="a", argv=(sys.executable, "-c", source), env={})
        supervisor = Supervisor([spec], drain_seconds=3600)
        async with asyncio.TaskGroup() as group:
            run = group.create_task(supervisor.run())
            with supervisor.stopping_on_signals():
                await supervisor.wait_ready(seconds=20)
                print(supervisor.children[0].pid, flush=True)
                codes = await run
        print(codes, flush=True)

    import structlog
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_stops_in_order(number: signal.Signals) -> None:
    with processes.program(SUPERVISING_PROGRAM, OBEDIENT) as program:
        lines = {program.line(), program.line()}  # the child's own line comes through untouched
        program.signal(number)

        assert "up" in lines
        assert program.line() == "{'a': -15}"
        assert program.wait() == 0


def test_a_second_signal_kills() -> None:
    with processes.program(SUPERVISING_PROGRAM, STUBBORN) as program:
        assert "up" in {program.line(), program.line()}
        program.signal(signal.SIGINT)
        program.signal(signal.SIGTERM)

        assert program.line() == "{'a': -9}"
        assert program.wait() == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="PR_SET_PDEATHSIG is Linux's")
async def test_children_do_not_outlive_a_killed_supervisor() -> None:
    with processes.program(SUPERVISING_PROGRAM, OBEDIENT) as program:
        lines = {program.line(), program.line()}
        (pid,) = (int(line) for line in lines if line.isdigit())

        program.kill()

        assert await processes.ends(pid)
