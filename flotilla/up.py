"""`flotilla up`: everything on one machine, from empty folder to green sample, and back to nothing.

Start: take the folder, start the servers that no URL replaces, migrate, start the children, wait until each says that it is ready, load
the samples, say where everything is. Stop: gateway, worker, scheduler, each with time to drain, then the servers. A second signal kills
the children that are still there; the servers stop in order even then.
"""

import asyncio
import base64
import signal
import sys
import time
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

import structlog

from bus.ending import end
from flotilla import children, ports, processes, samples, stopping, welcome
from flotilla import settings as flotilla_settings
from flotilla.children import Addresses, Told
from flotilla.client import Client
from flotilla.embedded import stack
from flotilla.embedded.lock import AlreadyRunningError, FolderLock
from flotilla.embedded.nats import NatsServer
from flotilla.embedded.passwords import write_private
from flotilla.embedded.postgres import PostgresServer
from flotilla.embedded.redis import RedisServer
from flotilla.embedded.server import Server
from flotilla.installation import DEV_USER_ID, Installation
from flotilla.settings import BadSetting, Settings, SettingsError, is_loopback
from flotilla.supervisor import Supervisor

log: Final = structlog.get_logger()

READY_SECONDS: Final = 120
KILL_SECONDS: Final = 5  # what children get beyond their own drain time before they are killed


class AlreadyUp(Exception):
    """Another `flotilla up` owns the folder."""

    def __init__(self, installation: Installation, pid: int | None) -> None:
        self.pid = pid
        self.url = installation.address()
        who = "another process" if pid is None else f"process {pid}"
        where = f" at {self.url}" if self.url else ""
        super().__init__(
            f"Flotilla is up already{where}: {who} owns {installation.folder}. "
            "Stop it with Ctrl-C in its terminal, or set DATA_DIR to another folder"
        )


def run(settings: Settings, *, output: TextIO = sys.stdout) -> None:
    """Run everything until SIGINT or SIGTERM, then end it in order.

    Raises AlreadyUp, SettingsError, and what servers, migration, children and samples raise when they cannot start.
    """
    _check(settings)
    installation = Installation(settings.data_dir.absolute())
    with _owned(installation):
        asyncio.run(Up(settings, installation, output).run())


def _check(settings: Settings) -> None:
    if settings.environment != "development" or not is_loopback(settings.host):
        found = f"`flotilla up` with ENVIRONMENT={settings.environment} and HOST={settings.host}"
        allowed = (
            "ENVIRONMENT=development and HOST on loopback, because its dev token opens everything"
        )
        raise SettingsError(BadSetting("ENVIRONMENT, HOST", found, allowed))


@contextmanager
def _owned(installation: Installation) -> Iterator[None]:
    """Hold the folder."""
    lock = FolderLock(installation.folder)
    try:
        lock.acquire()
    except AlreadyRunningError as error:
        raise AlreadyUp(installation, error.pid) from None
    try:
        yield
    finally:
        lock.release()


class Up:
    """One run of the whole stack."""

    def __init__(self, settings: Settings, installation: Installation, output: TextIO) -> None:
        self._settings = settings
        self._installation = installation
        self._output = output
        self._namespace = settings.default_namespace or DEV_USER_ID
        self._servers = _embedded_servers(settings, installation.folder)
        self._task: asyncio.Task[object] | None = None
        self._supervisor: Supervisor | None = None
        self._stop_asked = False
        self._failure: Exception | None = None

    async def run(self) -> None:
        """Run until a signal, or until something fails, which is raised once all is stopped."""
        started_at = time.monotonic()
        with self._stopping_on_signals():
            try:
                await self._run(started_at)
            except asyncio.CancelledError:
                if not self._stop_asked:
                    raise
        self._say("Flotilla is down; its data stay in " + str(self._installation.folder))
        if self._failure is not None:
            raise self._failure

    async def _run(self, started_at: float) -> None:
        self._say(f"Flotilla starts, with its data in {self._installation.folder}")
        async with stack.running(list(self._servers.values())) as urls:
            addresses = self._addresses(dict(zip(self._servers, urls, strict=True)))
            await processes.migrate(addresses.database_url, dev_user_id=self._namespace)
            told = self._told(addresses)
            self._installation.write_address(addresses.gateway_url)
            async with Client(addresses.gateway_url, told.dev_token) as client:
                await self._run_children(told, client, started_at)

    async def _run_children(self, told: Told, client: Client, started_at: float) -> None:
        self._supervisor = supervisor = Supervisor(
            children.specs(flotilla_settings.environment(), told, client),
            drain_seconds=self._settings.drain_seconds + KILL_SECONDS,
            output=self._output,
        )
        servers = list(self._servers.values())
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(self._or_stop(each), name=name)
                for name, each in {
                    "keep servers running": stack.keep_running(servers),
                    "welcome": self._welcome(told, client, started_at),
                }.items()
            ]
            await supervisor.run()
            await end(*background)

    async def _welcome(self, told: Told, client: Client, started_at: float) -> None:
        """Wait until everything is ready, load the samples, and say where everything is."""
        assert self._supervisor is not None
        await self._supervisor.wait_ready(seconds=READY_SECONDS)
        loaded = await samples.load(client)
        nats = self._servers.get("NATS_URL")
        text = welcome.text(
            told,
            loaded,
            given=frozenset(EMBEDDED) - frozenset(self._servers),
            monitoring_url=nats.monitoring_url if isinstance(nats, NatsServer) else None,
            seconds=time.monotonic() - started_at,
        )
        self._say(text)

    async def _or_stop(self, work: Coroutine[Any, Any, None]) -> None:
        """Do background work; if it fails, everything is stopped in order, and the failure raised after it."""
        try:
            await work
        except Exception as failure:  # noqa: BLE001 - raised again by `run`
            log.error("stopping_after_failure", error=str(failure))
            self._failure = failure
            self._ask_stop()

    @contextmanager
    def _stopping_on_signals(self) -> Iterator[None]:
        """Within, a signal stops what has been started so far; needs the main thread."""
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        for each in stopping.STOP_SIGNALS:
            loop.add_signal_handler(each, self._on_signal, each)
        try:
            yield
        finally:
            for each in stopping.STOP_SIGNALS:
                loop.remove_signal_handler(each)

    def _on_signal(self, number: signal.Signals) -> None:
        log.info("stop_asked", signal=number.name)
        self._ask_stop()

    def _ask_stop(self) -> None:
        """Stop in order what runs, or break off what is only starting; once more: kill the children."""
        if self._supervisor is not None:
            self._supervisor.stop()
        elif self._task is not None and not self._stop_asked:
            self._task.cancel()
        self._stop_asked = True

    def _addresses(self, embedded: Mapping[str, str]) -> Addresses:
        settings = self._settings
        return Addresses(
            host=settings.host,
            port=ports.first_free_port(settings.port, host=settings.host),
            database_url=settings.database_url or embedded["DATABASE_URL"],
            nats_url=settings.nats_url or embedded["NATS_URL"],
            redis_url=settings.redis_url or embedded["REDIS_URL"],
        )

    def _told(self, addresses: Addresses) -> Told:
        settings = self._settings
        if settings.dev_token is not None:  # client commands shall find the one that counts
            write_private(self._installation.token_file, settings.dev_token)
        return Told(
            addresses=addresses,
            dev_token=self._installation.kept_token(),
            secret_keys=self._secret_keys(),
            namespace=self._namespace,
            allowed_private_hosts=settings.allowed_private_hosts,
            log_format=settings.log_format or ("console" if self._output.isatty() else "json"),
            schedulers=settings.schedulers,
        )

    def _secret_keys(self) -> str:
        """What gateway and scheduler seal and open credentials by."""
        given = self._settings.secret_keys
        if not given:
            return self._installation.kept_secret_keys()
        return ",".join(f"{key_id}:{base64.b64encode(key).decode()}" for key_id, key in given)

    def _say(self, text: str) -> None:
        self._output.write(f"{text}\n")
        self._output.flush()


EMBEDDED: Final[Mapping[str, tuple[str, type[Server]]]] = {
    "DATABASE_URL": ("postgres", PostgresServer),
    "NATS_URL": ("nats", NatsServer),
    "REDIS_URL": ("redis", RedisServer),
}
"""Which server stands in for which variable, and its folder."""


def _embedded_servers(settings: Settings, folder: Path) -> Mapping[str, Server]:
    """The servers to start, by the variable that would replace each."""
    given = {
        "DATABASE_URL": settings.database_url,
        "NATS_URL": settings.nats_url,
        "REDIS_URL": settings.redis_url,
    }
    return {
        variable: server(folder / name)
        for variable, (name, server) in EMBEDDED.items()
        if given[variable] is None
    }
