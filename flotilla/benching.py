"""`flotilla bench`: servers and processes of its own, beside whatever runs, on the disk that the data are on.

The environment's settings hold for what is measured, but for addresses: nothing of a running installation is touched.
"""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

from bench import run as bench_run
from bench.options import Options
from bench.report import Report
from bench.surroundings import Surroundings
from flotilla import orphans, ports, processes, stopping
from flotilla import settings as flotilla_settings
from flotilla.embedded import stack
from flotilla.embedded.nats import NatsServer
from flotilla.embedded.passwords import kept_password
from flotilla.embedded.postgres import PostgresServer
from flotilla.installation import DEV_USER_ID
from flotilla.settings import Settings

PREFIX = "bench-"


def run(
    settings: Settings, options: Options, *, segments: bool, say: Callable[[str], None]
) -> Report:
    """Measure, and return what was found. Raises BenchError, and what servers raise that do not start.

    Without `segments`, nodes in a row each make their way through the queue, as with SEGMENTS=false.
    """

    async def measured(folder: Path) -> Report:
        more = {"SEGMENTS": "true" if segments and settings.segments else "false"}
        with _stopping_on_signals():
            async with _surroundings(folder, more) as found:
                return await bench_run.run(found, options, say)

    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX, dir=settings.data_dir.absolute()) as folder,
        asyncio.Runner(loop_factory=stopping.loop_factory()) as runner,
    ):
        os.chmod(folder, 0o711)  # noqa: S103  # the account of a PostgreSQL started by root passes through
        return runner.run(measured(Path(folder)))


@contextlib.asynccontextmanager
async def _surroundings(folder: Path, more: Mapping[str, str]) -> AsyncIterator[Surroundings]:
    """Start servers with all they keep in a folder, and migrate."""
    postgres, nats = PostgresServer(folder / "postgres"), NatsServer(folder / "nats")
    async with stack.running([postgres, nats]) as (database_url, nats_url):
        await processes.migrate(database_url, dev_user_id=DEV_USER_ID)
        assert postgres.pid is not None
        assert nats.pid is not None
        port = ports.free_port()
        token = kept_password(folder / "token")
        yield Surroundings(
            database_url=database_url,
            nats_url=nats_url,
            nats_monitoring_url=nats.monitoring_url,
            servers={"nats": nats.pid, "postgres": postgres.pid},
            command=(sys.executable, "-P", "-m", "flotilla"),
            environment={**_environment(database_url, nats_url, port, token), **more},
            at_birth=orphans.die_with_parent(signal.SIGTERM),
            gateway_port=port,
            token=token,
            user_id=DEV_USER_ID,
            log_folder=folder,
        )


def _environment(database_url: str, nats_url: str, port: int, token: str) -> dict[str, str]:
    """The environment of the processes: ours, with the addresses of the servers of the benchmark."""
    kept = {
        name: value
        for name, value in flotilla_settings.environment().items()
        if name not in ("NATS_CREDS", "REDIS_URL", "WORKER_TYPES", "FLOTILLA_TOKEN")
    }
    return {
        "LOG_LEVEL": "INFO",
        **kept,
        "DATABASE_URL": database_url,
        "NATS_URL": nats_url,
        "ENVIRONMENT": "development",
        "HOST": ports.LOOPBACK,
        "PORT": str(port),
        "DEV_TOKEN": token,
        "DEFAULT_NAMESPACE": DEV_USER_ID,
        "LOG_FORMAT": "json",
    }


@contextlib.contextmanager
def _stopping_on_signals() -> Iterator[None]:
    """Within, SIGINT and SIGTERM break the benchmark off, and everything it has started is stopped in order."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for each in stopping.STOP_SIGNALS:
        loop.add_signal_handler(each, task.cancel)
    try:
        yield
    finally:
        for each in stopping.STOP_SIGNALS:
            loop.remove_signal_handler(each)
