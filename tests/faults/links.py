"""A TCP proxy between two processes, which cuts, delays, throttles or swallows what goes through it."""

import asyncio
import contextlib
from enum import StrEnum
from typing import Final

CHUNK: Final = 64 * 1024


class Way(StrEnum):
    """A direction, seen from who connects."""

    THERE = "THERE"
    BACK = "BACK"


BOTH: Final = frozenset(Way)


class Link:
    """One link: whoever connects to `port` talks to the port of a server.

    `lost` bytes were swallowed, `cuts` connections were ended by us.
    """

    def __init__(self, name: str, server_port: int) -> None:
        self.name = name
        self.lost = 0
        self.cuts = 0
        self.port = 0
        self._server_port = server_port
        self._listener: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._swallowed: frozenset[Way] = frozenset()
        self._delay_s = 0.0
        self._bytes_per_s: float | None = None
        self._is_cut = False
        self._cut_answers = False

    async def open(self) -> None:
        """Begin to listen."""
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End everything."""
        self.cut()
        if self._listener is not None:
            self._listener.close()

    def cut(self) -> None:
        """End all connections, and refuse new ones until `heal`."""
        self._is_cut = True
        self.reset()

    def reset(self) -> None:
        """End all connections; new ones are welcome."""
        for connection in list(self._connections):
            self.cuts += 1
            connection.abort()

    def swallow(self, ways: frozenset[Way] = BOTH) -> None:
        """Let connections stay and bytes of these directions vanish, as behind a firewall that lost its mind.

        What was swallowed cannot be sent later: `heal` ends the connections.
        """
        self._swallowed = ways

    def slow(self, *, delay_s: float = 0.0, bytes_per_s: float | None = None) -> None:
        """Delay every chunk, or let no more bytes pass in a second."""
        self._delay_s, self._bytes_per_s = delay_s, bytes_per_s

    def cut_next_answer(self) -> None:
        """Hand on the next bytes to the server, and end the connection before its answer: was it done or not?"""
        self._cut_answers = True

    @property
    def is_waiting_to_cut(self) -> bool:
        """Whether nothing has come by since `cut_next_answer`."""
        return self._cut_answers

    def heal(self) -> None:
        """Be a good link again."""
        was_swallowing, self._swallowed = bool(self._swallowed), frozenset()
        self._is_cut = self._cut_answers = False
        self._delay_s, self._bytes_per_s = 0.0, None
        if was_swallowing:
            self.reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(writer, back)
        self._connections.add(connection)
        try:
            await asyncio.gather(
                self._pass_on(Way.THERE, reader, back, connection),
                self._pass_on(Way.BACK, there, writer, connection),
            )
        finally:
            self._connections.discard(connection)
            connection.abort()

    async def _pass_on(
        self,
        way: Way,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        connection: "_Connection",
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(CHUNK):
                await self._hold_up(len(data))
                if way in self._swallowed:
                    self.lost += len(data)
                    continue
                if way is Way.BACK and connection.is_doomed:
                    self.lost += len(data)
                    self.cuts += 1
                    connection.abort()
                    return
                target.write(data)
                await target.drain()
                if way is Way.THERE and self._cut_answers and len(data) > LEAST_REQUEST:
                    self._cut_answers = False
                    connection.is_doomed = True
        connection.abort()

    async def _hold_up(self, size: int) -> None:
        pause = self._delay_s
        if self._bytes_per_s is not None:
            pause += size / self._bytes_per_s
        if pause:
            await asyncio.sleep(pause)


LEAST_REQUEST: Final = 600
"""Smaller requests ask for little: what commits something is larger."""


class _Connection:
    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._writers = (client, server)
        self.is_doomed = False

    def abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
