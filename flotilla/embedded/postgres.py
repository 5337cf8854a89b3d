"""The embedded PostgreSQL server, with pgvector.

The programs of the wheel are used directly, not its Python interface, which ties servers to interpreter exit and counts
handles in files. PostgreSQL refuses to run as root: then another account owns the data and runs it, see
`flotilla.embedded.accounts`.
"""

import shutil
import signal
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from flotilla.embedded import accounts, binaries, leftovers
from flotilla.embedded.conversation import conversation
from flotilla.embedded.passwords import kept_password
from flotilla.embedded.server import Server, ServerError, run
from flotilla.ports import LOOPBACK

USER = "flotilla"
DATABASE = "flotilla"
PROTOCOL = 3 << 16
SOCKET_PATH_BYTES = 100  # the kernels' limits are 103 (macOS) and 107 (Linux)

SETTINGS: Mapping[str, str] = {
    "listen_addresses": LOOPBACK,
    "max_connections": "100",
    "shared_buffers": "128MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "wal_compression": "on",
    "max_wal_size": "2GB",
    "jit": "off",  # our statements are short: compiling them costs more than it saves
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_messages": "warning",
    # The password is 192 random bits, which nobody guesses; the rounds would only cost 10 ms at every connection.
    "scram_iterations": "1",
}
FORGETFUL: Mapping[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
}


class PostgresServer(Server):
    """PostgreSQL 18 in `folder` with the database `flotilla`, owned by the superuser `flotilla`.

    Args:
        durable: False, for tests, is faster and survives the death of every process, but not of the machine.
    """

    name: ClassVar[str] = "postgres"
    # Fast shutdown: ends sessions, writes a checkpoint. Immediate: recovery at the next start. Plain SIGTERM would wait for
    # clients to go by themselves.
    stop_signals: ClassVar[Sequence[signal.Signals]] = (signal.SIGINT, signal.SIGQUIT)
    # Its pid file also names the shared memory, by which it notices sessions that outlived a killed server: hands off.
    writes_pid_file: ClassVar[bool] = True

    def __init__(
        self,
        folder: Path,
        *,
        durable: bool = True,
        start_seconds: float = 60,
        stop_seconds: float = 10,
    ) -> None:
        super().__init__(folder, start_seconds=start_seconds, stop_seconds=stop_seconds)
        self.durable = durable

    @property
    def url(self) -> str:
        return f"postgresql://{USER}:{self._password}@{LOOPBACK}:{self.port}/{DATABASE}"

    @property
    def identity(self) -> str:
        return str(self._data)

    @property
    def pid_file(self) -> Path:
        return self._data / "postmaster.pid"

    async def prepare(self) -> None:
        self._account = accounts.unprivileged_account(self._data)
        if self._account is not None:
            accounts.let_through(self._account, binaries.postgres("postgres").parent)
            accounts.let_through(self._account, self.folder)
        if self._data.exists():
            await self._forget_strangers()
        else:
            await self._initialise()

    def command(self, port: int) -> Sequence[str]:
        settings = {
            **SETTINGS,
            **({} if self.durable else FORGETFUL),
            "port": str(port),
            "unix_socket_directories": self._socket_folder(port),
        }
        return [
            str(binaries.postgres("postgres")),
            *("-D", str(self._data)),
            *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
        ]

    async def is_ready(self, port: int) -> bool:
        """A server that starts or recovers answers with an error, a ready one asks for the password."""
        if not self._has_its_port():
            return False
        async with conversation(port) as (reader, writer):
            writer.write(startup_message(user=USER, database=DATABASE))
            return await reader.readexactly(1) == b"R"

    async def _forget_strangers(self) -> None:
        """Remove lock files whose number belongs to somebody else by now, as after the restart of a container.

        PostgreSQL would take any living process of our user for its old server, even one that was just killed and that
        nobody has waited for, and refuse to start. If nobody has the number, the files are left to PostgreSQL, which
        also looks for sessions that are still there.
        """
        for file in (self.pid_file, *self._data.glob(".s.PGSQL.*.lock")):
            pid = leftovers.pid_in(file)
            if pid is not None and await leftovers.is_strangers(pid, self.identity):
                file.unlink()

    def _has_its_port(self) -> bool:
        """A stranger who took the port is not taken for our server, which notes its state in its pid file."""
        pid, *_, state = self.pid_file.read_text().split()
        return pid == str(self.pid) and state == "ready"

    async def _initialise(self) -> None:
        """Make the data under another name first: a start that is killed half-way leaves nothing that looks complete."""
        draft = self.folder / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        kept_password(self._password_file)
        if self._account is not None:
            self._account.own(draft)
            self._account.own(self._password_file)
        await self._run(
            "initdb",
            *("-D", str(draft), "-U", USER, "--pwfile", str(self._password_file)),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--no-instructions"),
            # Sorting is the same on every machine, and fast.
            *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *("-c", f"scram_iterations={SETTINGS['scram_iterations']}"),
            *(() if self.durable else ("--no-sync",)),
        )
        await self._run(
            "postgres",
            *("--single", "-D", str(draft), "-c", "log_checkpoints=off", "postgres"),
            stdin=f"create database {DATABASE}\n",
        )
        draft.rename(self._data)

    async def _run(self, program: str, *arguments: str, stdin: str = "") -> None:
        argv = [str(binaries.postgres(program)), *arguments]
        code = await run(argv, log_file=self.log_file, account=self._account, stdin=stdin)
        if code != 0:
            reason = f"could not be initialised: {program} ended with {code}"
            raise ServerError(self.name, reason, self.log_file)

    def _socket_folder(self, port: int) -> str:
        """The data folder, for `psql` by hand; none if its path is too long for a socket."""
        path = self._data / f".s.PGSQL.{port}"
        return str(self._data) if len(str(path).encode()) <= SOCKET_PATH_BYTES else ""

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _password_file(self) -> Path:
        return self.folder / "password"

    @property
    def _password(self) -> str:
        return kept_password(self._password_file)


def startup_message(*, user: str, database: str) -> bytes:
    """The first message of a client, as the PostgreSQL protocol 3.0 has it."""
    fields = "".join(
        f"{name}\0{value}\0" for name, value in (("user", user), ("database", database))
    )
    body = struct.pack("!I", PROTOCOL) + fields.encode() + b"\0"
    return struct.pack("!I", len(body) + 4) + body
