"""The engine under test: its servers, its processes, and the links between them, all of which can be broken."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit, urlunsplit

import msgspec

from bus.ending import end
from db.store import Store
from flotilla import ports, processes
from flotilla.embedded.nats import NatsServer
from flotilla.embedded.postgres import PostgresServer
from flotilla.embedded.server import Server
from flotilla.installation import DEV_USER_ID
from tests.faults import tallies
from tests.faults.ledger import Ledger
from tests.faults.links import Link
from tests.support import servers

TOKEN: Final = "token-of-the-fault-harness"
LINKS: Final = ("gateway-pg", "gateway-nats", "scheduler-pg", "scheduler-nats", "worker-nats")
PAUSE_S: Final = 0.2
STOP_S: Final = 45.0


MEMBERS: Final[Mapping[str, Mapping[str, str]]] = {
    "gateway-1": {},
    "scheduler-1": {},
    "scheduler-2": {},
    "worker-1": {},
    "worker-2": {},
    # Of its own, because its tasks take the process along that they are given to.
    "worker-3": {"WORKER_TYPES": "CUSTOM", "NODE_MODULES": "tests.faults.poison"},
}
"""The processes by name, and what each is told besides."""


class Crash(msgspec.Struct):
    """Where the next lives of a process end, and how many of them."""

    point: str
    lives: int = 3


class Member:
    """A process that is started again whenever it ends; `lives` counts how often it was."""

    def __init__(self, name: str, env: dict[str, str], folder: Path) -> None:
        self.name = name
        self.kind = name.partition("-")[0]
        self.lives = 0
        self.is_stopping = False
        self.crash: Crash | None = None
        self._env = env
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._running: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process, None between two lives."""
        is_alive = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process is not None and is_alive else None

    def start(self) -> None:
        """Begin to keep it running."""
        self._running = asyncio.create_task(self._run(), name=self.name)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it lives."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def stop(self) -> None:
        """End it in order, or else."""
        self.is_stopping = True
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        if self._running is not None:
            try:
                async with asyncio.timeout(STOP_S):
                    await asyncio.shield(self._running)
            except TimeoutError:
                self.signal(signal.SIGKILL)
                await end(self._running)

    async def _run(self) -> None:
        while not self.is_stopping:
            self.lives += 1
            with (self._folder / f"{self.name}.log").open("ab") as log:
                self._process = await self._spawn(log)
                await self._process.wait()
            await asyncio.sleep(PAUSE_S)

    async def _spawn(self, log: IO[bytes]) -> asyncio.subprocess.Process:
        tally = self._folder / f"{self.name}.{self.lives}.json"
        env = self._env | {"FAULTS_TALLY": str(tally)}
        if self.crash is not None and self.crash.lives > 0:
            env["FAULTS_CRASH"] = self.crash.point
            env["FAULTS_CRASH_AFTER"] = str(3 * self.crash.lives)
            self.crash.lives -= 1
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.faults.patched",
            self.kind,
            env=env,
            stdout=log,
            stderr=log,
        )


class Engine:
    """Everything that runs."""

    def __init__(self, folder: Path, ledger: Ledger, without: tuple[str, ...]) -> None:
        self.folder = folder
        self.tallies = folder / "tallies"
        self.ledger = ledger
        self.without = without
        self.database = PostgresServer(folder / "postgres")
        self.nats = NatsServer(folder / "nats")
        self.links: dict[str, Link] = {}
        self.members: dict[str, Member] = {}
        self.gateway_url = ""
        self.faults = 0
        self._reviving: list[asyncio.Task[None]] = []

    async def start(self, stack: AsyncExitStack) -> None:
        """Start servers, open links, start processes."""
        self.tallies.mkdir()
        await stack.enter_async_context(self.database)
        await stack.enter_async_context(self.nats)
        await processes.migrate(self.database.url, dev_user_id=DEV_USER_ID)
        for name in LINKS:
            server: Server = self.database if name.endswith("-pg") else self.nats
            link = Link(name, server.port)
            await link.open()
            self.links[name] = link
            stack.push_async_callback(link.close)
        self._reviving = [asyncio.create_task(self.database.keep_running())]
        stack.push_async_callback(self._stop_reviving)
        port = ports.free_port()
        self.gateway_url = f"http://127.0.0.1:{port}"
        for name in MEMBERS:
            self.members[name] = member = self._member(name, port)
            member.start()
        stack.push_async_callback(self._stop_members)

    async def _stop_members(self) -> None:
        await asyncio.gather(*(member.stop() for member in self.members.values()))

    async def _stop_reviving(self) -> None:
        await end(*self._reviving)

    def _member(self, name: str, port: int) -> Member:
        kind = name.partition("-")[0]
        env = {
            **os.environ,
            "NATS_URL": _through(self.nats.url, self.links[f"{kind}-nats"]),
            "DEFAULT_NAMESPACE": DEV_USER_ID,
            "LOG_FORMAT": "json",
            "FAULTS_WITHOUT": ",".join(self.without),
            "DRAIN_SECONDS": "10",
        }
        if kind != "worker":
            env["DATABASE_URL"] = _through(self.database.url, self.links[f"{kind}-pg"])
        if kind == "gateway":
            env |= {"PORT": str(port), "DEV_TOKEN": TOKEN}
        if kind == "worker":
            env |= {"ALLOWED_PRIVATE_HOSTS": "127.0.0.1"}
        return Member(name, {**env, **MEMBERS[name]}, self.tallies)

    # --- what rows do ------------------------------------------------------------------------

    def of_kind(self, *kinds: str) -> list[Member]:
        """Return the processes of some kinds."""
        return [member for member in self.members.values() if member.kind in kinds]

    def kill(self, member: Member) -> None:
        """Kill a process with -9; it is started again."""
        self.faults += 1
        member.signal(signal.SIGKILL)

    def crash_at(self, point: str, kind: str) -> None:
        """Have the next lives of the processes of a kind end at a point, and begin them."""
        for member in self.of_kind(kind):
            member.crash = Crash(point)
            self.kill(member)

    async def kill_server(self, server: Server) -> None:
        """Kill a server with -9, and come back when it runs again."""
        self.faults += 1
        pid = server.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        if server is self.database:  # `keep_running` brings it back
            while server.pid in (None, pid):  # noqa: ASYNC110 - nobody will tell us
                await asyncio.sleep(PAUSE_S)
        else:
            await server.wait()
            await server.stop()
            await server.start()

    async def with_nats_down(self, change: Callable[[Path], object]) -> None:
        """Kill NATS with -9, change its folder, and start it again."""
        self.faults += 1
        pid = self.nats.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await self.nats.wait()
        change(self.nats.folder / "jetstream")
        await self.nats.stop()
        await self.nats.start()

    def copy_of_jetstream(self) -> Path:
        """Return a copy of the store as it is at this instant."""
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        pid = self.nats.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            shutil.copytree(self.nats.folder / "jetstream", copy)
        finally:
            os.kill(pid, signal.SIGCONT)
        return copy

    async def owner(self) -> Member:
        """Return a scheduler that owns partitions."""
        while True:
            store = await Store.open(self.database.url, pool_size=1)
            try:
                rows = await store.fetch(
                    "select owner, count(*) from partition_leases "
                    "where expires_at > now() and owner is not null group by owner order by 2 desc"
                )
            finally:
                await store.close()
            pids = [int(row["owner"].split("-")[-2]) for row in rows]
            for member in self.of_kind("scheduler"):
                if member.pid in pids:
                    return member
            await asyncio.sleep(PAUSE_S)

    def tally(self) -> dict[str, int]:
        """Return what all processes counted, and what was broken."""
        counted = tallies.read(self.tallies)
        counted["faults"] = self.faults
        counted["restarts"] = sum(member.lives - 1 for member in self.members.values())
        counted["cuts"] = sum(link.cuts for link in self.links.values())
        counted["bytes_lost"] = sum(link.lost for link in self.links.values())
        return dict(counted)


@asynccontextmanager
async def running(ledger: Ledger, without: tuple[str, ...] = ()) -> AsyncIterator[Engine]:
    """Run an engine in a folder of its own."""
    with servers.server_folder() as folder:
        async with AsyncExitStack() as stack:
            engine = Engine(folder, ledger, without)
            await engine.start(stack)
            yield engine


def _through(url: str, link: Link) -> str:
    """Return a server's URL by way of a link."""
    parts = urlsplit(url)
    account = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{account}@127.0.0.1:{link.port}"))
