"""The embedded Redis server."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from flotilla.embedded import binaries
from flotilla.embedded.conversation import conversation
from flotilla.embedded.passwords import kept_password, write_private
from flotilla.embedded.server import Server
from flotilla.ports import LOOPBACK


class RedisServer(Server):
    """redis-server with an append-only file in `folder`: at most the last second is lost with the power.

    It holds at most 512 MiB and then refuses writes, since the memory of users' nodes is no cache to be evicted.
    """

    name: ClassVar[str] = "redis"

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/0"

    @property
    def identity(self) -> str:
        return str(self._configuration)

    async def prepare(self) -> None:
        (self.folder / "data").mkdir(exist_ok=True)

    def command(self, port: int) -> Sequence[str]:
        settings = {
            "bind": LOOPBACK,
            "port": str(port),
            "requirepass": self._password,
            "protected-mode": "yes",
            "daemonize": "no",
            "dir": f'"{self.folder / "data"}"',
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            "maxmemory": "512mb",
            "maxmemory-policy": "noeviction",
            "loglevel": "warning",
            "set-proc-title": "no",  # the command line has to keep the folder's name: `identity`
        }
        text = "".join(f"{name} {value}\n" for name, value in settings.items())
        write_private(self._configuration, text)
        return [str(binaries.redis_server()), str(self._configuration)]

    async def is_ready(self, port: int) -> bool:
        """A server that still loads its data refuses the ping."""
        async with conversation(port) as (reader, writer):
            writer.write(f"AUTH {self._password}\r\nPING\r\n".encode())
            return [await reader.readline() for _ in range(2)] == [b"+OK\r\n", b"+PONG\r\n"]

    @property
    def _configuration(self) -> Path:
        return self.folder / "redis.conf"

    @property
    def _password(self) -> str:
        return kept_password(self.folder / "password")
