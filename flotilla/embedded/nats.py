"""The embedded NATS server, with JetStream."""

import functools
import json
import secrets
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from flotilla.embedded import binaries
from flotilla.embedded.conversation import conversation
from flotilla.embedded.passwords import kept_password, write_private
from flotilla.embedded.server import Server
from flotilla.ports import LOOPBACK

USER = "flotilla"
MEMORY_BYTES = 256 * 1024 * 1024
FILE_BYTES = 10 * 1024 * 1024 * 1024
PAYLOAD_BYTES = 8 * 1024 * 1024  # nats-server discourages more


class NatsServer(Server):
    """nats-server with JetStream in `folder`, at most 256 MiB of memory and 10 GiB of files for streams.

    `monitoring_url` is its HTTP interface for people and metrics, on a port of its own that changes with every start.
    """

    name: ClassVar[str] = "nats"
    stop_signals: ClassVar[Sequence[signal.Signals]] = (signal.SIGTERM,)

    @property
    def url(self) -> str:
        return f"nats://{USER}:{self._password}@{LOOPBACK}:{self.port}"

    @property
    def monitoring_url(self) -> str:
        """`http://127.0.0.1:<port>`; below it `/healthz`, `/varz`, `/jsz` and others, without password."""
        assert self.pid is not None, "nats has not started"
        (listed,) = self._ports_folder.glob(f"*_{self.pid}.ports")
        (address,) = json.loads(listed.read_text())["monitoring"]
        return f"http://{LOOPBACK}:{urlsplit(address).port}"

    @property
    def identity(self) -> str:
        return str(self._configuration)

    async def prepare(self) -> None:
        self._ports_folder.mkdir(exist_ok=True)
        for old in self._ports_folder.iterdir():
            old.unlink()

    def command(self, port: int) -> Sequence[str]:
        configuration = {
            "server_name": self._server_name,
            "listen": f"{LOOPBACK}:{port}",
            "http": f"{LOOPBACK}:-1",
            "ports_file_dir": str(self._ports_folder),
            "authorization": {"user": USER, "password": self._password},
            "max_payload": PAYLOAD_BYTES,
            "jetstream": {
                "store_dir": str(self.folder / "jetstream"),
                "max_mem": MEMORY_BYTES,
                "max_file": FILE_BYTES,
                # The default is two minutes, all of which a power failure would take away.
                "sync_interval": "1s",
            },
        }
        write_private(self._configuration, json.dumps(configuration, indent=2))  # NATS reads JSON
        return [str(binaries.nats_server()), "--config", str(self._configuration)]

    async def is_ready(self, port: int) -> bool:
        """The server greets with what it is, and opens its port after its streams are restored."""
        async with conversation(port) as (reader, _):
            greeting = await reader.readuntil(b"\r\n")
        verb, _, text = greeting.partition(b" ")
        if verb != b"INFO":
            return False
        information = json.loads(text)
        return bool(information["server_name"] == self._server_name and information["jetstream"])

    @functools.cached_property
    def _server_name(self) -> str:
        """Unlike any other, so that a stranger who took the port is not taken for our server."""
        return f"flotilla-{secrets.token_hex(4)}"

    @property
    def _configuration(self) -> Path:
        return self.folder / "nats.conf"

    @property
    def _ports_folder(self) -> Path:
        return self.folder / "ports"

    @property
    def _password(self) -> str:
        return kept_password(self.folder / "password")
