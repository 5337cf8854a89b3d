"""Embedded servers start, keep their data, end in order, and take over from a killed owner."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import httpx
import msgspec
import nats
import pytest
import redis.asyncio

from flotilla import ports
from flotilla.embedded import stack
from flotilla.embedded.conversation import conversation
from flotilla.embedded.lock import AlreadyRunningError
from flotilla.embedded.nats import NatsServer
from flotilla.embedded.postgres import PostgresServer, startup_message
from flotilla.embedded.redis import RedisServer
from flotilla.embedded.server import LOG_BYTES, Server, ServerError, rotate
from tests.support import processes, servers

pytestmark = pytest.mark.component


class Kind(msgspec.Struct, frozen=True):
    """One of the servers, and how a client keeps something in it."""

    make: Callable[[Path], Server]
    keep: Callable[[str], Awaitable[None]]
    kept: Callable[[str], Awaitable[bool]]
    spoil: Callable[[Path], None]


def make_postgres(folder: Path) -> PostgresServer:
    """Processes are killed here, not machines."""
    return PostgresServer(folder, durable=False)


async def keep_in_nats(url: str) -> None:
    client = await nats.connect(url)
    await client.jetstream().add_stream(name="KEPT", subjects=["kept"])
    await client.jetstream().publish("kept", b"kept")
    await client.close()


async def kept_in_nats(url: str) -> bool:
    client = await nats.connect(url)
    message = await client.jetstream().get_last_msg("KEPT", "kept")
    await client.close()
    return message.data == b"kept"


async def keep_in_postgres(url: str) -> None:
    session = await asyncpg.connect(url)
    await session.execute("create table kept as select 1 as one")
    await session.close()


async def kept_in_postgres(url: str) -> bool:
    session = await asyncpg.connect(url)
    kept = await session.fetchval("select one = 1 from kept")
    await session.close()
    return kept is True


async def keep_in_redis(url: str) -> None:
    async with redis.asyncio.from_url(url) as client:
        await client.set("kept", "kept")


async def kept_in_redis(url: str) -> bool:
    async with redis.asyncio.from_url(url) as client:
        return bool(await client.get("kept") == b"kept")


def spoil_nats(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "jetstream").write_text("not a folder")


def spoil_postgres(folder: Path) -> None:
    (folder / "data").mkdir(parents=True)


def spoil_redis(folder: Path) -> None:
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "appendonly.aof").write_text("*not redis\r\n" * 10)


KINDS = [
    pytest.param(Kind(NatsServer, keep_in_nats, kept_in_nats, spoil_nats), id="nats"),
    pytest.param(
        Kind(make_postgres, keep_in_postgres, kept_in_postgres, spoil_postgres), id="postgres"
    ),
    pytest.param(Kind(RedisServer, keep_in_redis, kept_in_redis, spoil_redis), id="redis"),
]
every_kind = pytest.mark.parametrize("kind", KINDS)

OWNER = """
    import asyncio, pathlib, signal, sys
    import structlog
    from flotilla import orphans
    from flotilla.embedded import nats, postgres, redis

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    kinds = {"nats": nats.NatsServer, "postgres": postgres.PostgresServer, "redis": redis.RedisServer}
    folder, name, orphaned_by = sys.argv[1:]
    if orphaned_by == "nobody":
        orphans.die_with_parent = lambda death_signal: None
    server = kinds[name](pathlib.Path(folder), **({"durable": False} if name == "postgres" else {}))
    print(asyncio.run(server.start()), flush=True)
    print(server.pid, flush=True)
    signal.pause()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of one test that servers can reach."""
    with servers.server_folder() as folder:
        yield folder / "server"


def pid_of(server: Server) -> int:
    """The process of a server that runs."""
    assert server.pid is not None
    return server.pid


@every_kind
async def test_data_survive_a_restart_at_the_same_address(kind: Kind, folder: Path) -> None:
    async with kind.make(folder) as server:
        first_url, first_pid = server.url, pid_of(server)
        await kind.keep(server.url)
    assert not processes.is_running(first_pid)

    async with kind.make(folder) as server:
        assert first_url == server.url
        assert await kind.kept(server.url)


@every_kind
async def test_a_folder_has_one_server(kind: Kind, folder: Path) -> None:
    async with kind.make(folder) as server:
        with pytest.raises(AlreadyRunningError, match=f"process {os.getpid()}"):
            await kind.make(folder).start()

        assert processes.is_running(pid_of(server))


@every_kind
async def test_a_server_has_a_session_of_its_own(kind: Kind, folder: Path) -> None:
    async with kind.make(folder) as server:
        assert pid_of(server) == os.getsid(pid_of(server))


@every_kind
async def test_a_new_owner_takes_over_from_a_killed_one(kind: Kind, folder: Path) -> None:
    """Without the help of the Linux kernel, which would stop the server by itself."""
    new = kind.make(folder)
    with processes.program(OWNER, folder, new.name, "nobody") as owner:
        url, old_pid = owner.line(), int(owner.line())
        await kind.keep(url)
        owner.kill()
        assert processes.is_running(old_pid)

        async with new:
            assert not processes.is_running(old_pid)
            assert await kind.kept(new.url)
            assert url == new.url


@every_kind
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="PR_SET_PDEATHSIG is Linux's")
async def test_a_server_does_not_outlive_a_killed_owner(kind: Kind, folder: Path) -> None:
    with processes.program(OWNER, folder, kind.make(folder).name, "kernel") as owner:
        _, pid = owner.line(), int(owner.line())

        owner.kill()

        assert await processes.ends(pid)


@every_kind
async def test_a_killed_server_recovers_at_the_next_start(kind: Kind, folder: Path) -> None:
    server = kind.make(folder)
    await kind.keep(await server.start())
    os.kill(pid_of(server), signal.SIGKILL)
    assert await server.wait() == -signal.SIGKILL
    await server.stop()

    async with kind.make(folder) as server:
        assert await kind.kept(server.url)


@every_kind
async def test_a_killed_server_recovers_before_anybody_has_waited_for_its_end(
    kind: Kind, folder: Path
) -> None:
    """Its number still counts as living then, and PostgreSQL would not start beside it."""
    server = kind.make(folder)
    await kind.keep(await server.start())
    os.kill(pid_of(server), signal.SIGKILL)
    server._lock.release()

    async with kind.make(folder) as successor:
        assert await kind.kept(successor.url)

    assert await server.wait() == -signal.SIGKILL


@every_kind
async def test_a_killed_server_is_kept_running(
    kind: Kind, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restarted = asyncio.Event()
    monkeypatch.setattr("flotilla.embedded.server.backoff_seconds", lambda crashes: 0.0)
    async with kind.make(folder) as server:
        await kind.keep(server.url)
        first_pid, first_url = pid_of(server), server.url
        original_start = server._start

        async def start_and_tell() -> None:
            await original_start()
            restarted.set()

        monkeypatch.setattr(server, "_start", start_and_tell)
        keeper = asyncio.create_task(stack.keep_running([server]))
        os.kill(first_pid, signal.SIGKILL)
        async with asyncio.timeout(processes.PATIENCE_SECONDS):
            await restarted.wait()
        keeper.cancel()
        await asyncio.wait([keeper])

        assert first_pid != pid_of(server)
        assert first_url == server.url
        assert await kind.kept(server.url)


@every_kind
async def test_a_pid_file_that_names_somebody_else_is_no_leftover(kind: Kind, folder: Path) -> None:
    server = kind.make(folder)
    with processes.program("import signal; print('up', flush=True); signal.pause()") as innocent:
        assert innocent.line() == "up"
        server.pid_file.parent.mkdir(parents=True)
        server.pid_file.write_text(f"{innocent.process.pid}\n")
        if isinstance(server, PostgresServer):  # whose pid file is among its data
            server.pid_file.unlink()
            server.pid_file.parent.rmdir()
            async with kind.make(folder):
                pass
            server.pid_file.write_text(f"{innocent.process.pid}\n" * 5)

        async with server:
            assert processes.is_running(innocent.process.pid)


@every_kind
async def test_a_server_that_ends_at_the_start_says_why(kind: Kind, folder: Path) -> None:
    kind.spoil(folder)
    server = kind.make(folder)

    with pytest.raises(ServerError, match="ended while it started") as failure:
        await server.start()

    assert failure.value.log_tail
    assert failure.value.log_tail in str(failure.value)
    assert server.pid is None


@every_kind
async def test_a_server_that_is_late_is_stopped(kind: Kind, folder: Path) -> None:
    server = kind.make(folder)
    server.start_seconds = 0

    with pytest.raises(ServerError, match="was not ready after 0 s"):
        await server.start()

    assert server.pid is None
    server.start_seconds = 60
    async with server:
        assert processes.is_running(pid_of(server))


@every_kind
async def test_a_port_that_was_taken_in_between_is_replaced(
    kind: Kind, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as listener:
        taken_port = listener.getsockname()[1]
        choices = iter([taken_port, ports.free_port()])
        monkeypatch.setattr(ports, "remembered_port", lambda memory: next(choices))
        server = kind.make(folder)
        async with server:
            assert taken_port != server.port


@every_kind
async def test_stopping_twice_or_without_a_start_does_nothing(kind: Kind, folder: Path) -> None:
    server = kind.make(folder)
    await server.stop()
    async with server:
        pass
    await server.stop()


@every_kind
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="environments are seen in /proc")
async def test_secrets_of_the_environment_stay_out_of_a_server(
    kind: Kind, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("PGDATA", "/nowhere")

    async with kind.make(folder) as server:
        assert b"sk-secret" not in _environment_of(pid_of(server))


def _environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


@every_kind
async def test_its_password_is_for_the_owner_alone(kind: Kind, folder: Path) -> None:
    async with kind.make(folder):
        assert (folder / "password").stat().st_mode & 0o077 == 0


async def test_nats_refuses_who_does_not_know_the_password(folder: Path) -> None:
    async with NatsServer(folder) as server, conversation(server.port) as (reader, writer):
        assert (await reader.readline()).startswith(b"INFO ")
        writer.write(b"CONNECT {}\r\nPING\r\n")

        assert await reader.readline() == b"-ERR 'Authorization Violation'\r\n"


async def test_nats_is_monitored_over_http(folder: Path) -> None:
    async with NatsServer(folder) as server, httpx.AsyncClient() as client:
        answer = await client.get(f"{server.monitoring_url}/healthz")

    assert answer.json() == {"status": "ok"}


async def test_nats_has_limits(folder: Path) -> None:
    async with NatsServer(folder) as server, httpx.AsyncClient() as client:
        jetstream = (await client.get(f"{server.monitoring_url}/varz")).json()["jetstream"]

    assert jetstream["config"]["max_memory"] == 256 * 1024**2
    assert jetstream["config"]["max_storage"] == 10 * 1024**3
    assert jetstream["config"]["sync_interval"] == 1_000_000_000


async def test_redis_refuses_who_does_not_know_the_password(folder: Path) -> None:
    async with RedisServer(folder) as server, conversation(server.port) as (reader, writer):
        writer.write(b"PING\r\n")

        assert (await reader.readline()).startswith(b"-NOAUTH ")


async def test_postgres_refuses_who_does_not_know_the_password(folder: Path) -> None:
    async with PostgresServer(folder) as server:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(
                host="127.0.0.1", port=server.port, user="flotilla", password="guessed"
            )


async def test_postgres_is_durable_and_knows_vectors(folder: Path) -> None:
    async with PostgresServer(folder) as server:
        session = await asyncpg.connect(server.url)
        await session.execute("create extension vector")
        distance = await session.fetchval("select '[1,0]'::vector <-> '[1,3]'::vector")
        durability = [
            await session.fetchval(f"show {name}") for name in ("fsync", "synchronous_commit")
        ]
        await session.close()

    assert distance == 3
    assert durability == ["on", "on"]


async def test_postgres_stops_while_clients_are_connected(folder: Path) -> None:
    server = PostgresServer(folder)
    session = await asyncpg.connect(await server.start())
    pid = pid_of(server)

    await server.stop()

    assert not processes.is_running(pid)
    session.terminate()


async def test_postgres_works_where_the_path_is_too_long_for_a_socket(folder: Path) -> None:
    async with PostgresServer(folder / ("long" * 30)) as server:
        session = await asyncpg.connect(server.url)
        assert await session.fetchval("show unix_socket_directories") == ""
        await session.close()


async def test_an_initialisation_that_was_cut_off_begins_anew(folder: Path) -> None:
    (folder / "data.new").mkdir(parents=True)
    (folder / "data.new" / "PG_VERSION").write_text("18\n")

    async with PostgresServer(folder):
        assert (folder / "data" / "PG_VERSION").exists()
        assert not (folder / "data.new").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL under another account")
async def test_root_lets_the_account_of_postgres_through_a_private_folder(folder: Path) -> None:
    private = folder / "private"
    private.mkdir(parents=True, mode=0o700)

    async with PostgresServer(private / "postgres") as server:
        assert _user_of(pid_of(server)) != 0

    assert private.stat().st_mode & 0o007 == 0


def _user_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


async def test_servers_start_together_and_end_together(folder: Path) -> None:
    everything = [
        NatsServer(folder / "nats"),
        PostgresServer(folder / "postgres"),
        RedisServer(folder / "redis"),
    ]

    async with stack.running(everything) as urls:
        assert [server.url for server in everything] == urls
        pids = [pid_of(server) for server in everything]

    assert not any(processes.is_running(pid) for pid in pids)


async def test_one_server_that_does_not_start_stops_the_others(folder: Path) -> None:
    spoiled = folder / "nats"
    spoil_nats(spoiled)
    other = RedisServer(folder / "redis")

    with pytest.raises(ServerError, match=r"^nats ended while it started"):
        async with stack.running([NatsServer(spoiled), other]):
            pass

    assert other.pid is None


def test_a_large_log_is_put_aside(tmp_path: Path) -> None:
    log_file = tmp_path / "log"
    with log_file.open("wb") as file:
        file.truncate(LOG_BYTES + 1)

    rotate(log_file)
    rotate(log_file)

    assert not log_file.exists()
    assert (tmp_path / "log.1").stat().st_size == LOG_BYTES + 1


def test_the_first_message_of_a_postgres_client() -> None:
    expected = b"\0\0\0\x1d" + b"\0\x03\0\0" + b"user\0me\0" + b"database\0it\0" + b"\0"

    assert expected == startup_message(user="me", database="it")
