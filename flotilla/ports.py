"""Free TCP ports on the loopback interface.

A port found free may be taken by somebody else before it is used: whoever starts a server on it has to be ready for
that and ask again.
"""

import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"
HIGHEST_PORT = 65_535


class NoFreePortError(Exception):
    """Every port that was tried is taken."""

    def __init__(self, first: int, last: int) -> None:
        self.first = first
        self.last = last
        super().__init__(f"no free port on {LOOPBACK} from {first} to {last}")


def free_port() -> int:
    """A port that nobody listens on, chosen by the operating system."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return _port_of(probe)


def is_free(port: int, *, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on this port right now."""
    with socket.socket() as probe:
        # As servers do: connections of a server that has just ended are no reason to give its port away.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
        return True


def first_free_port(first: int = 8002, *, host: str = LOOPBACK, tries: int = 100) -> int:
    """The lowest free port from `first` on; raises NoFreePortError when none of `tries` ports is free."""
    last = min(first + tries - 1, HIGHEST_PORT)
    for port in range(first, last + 1):
        if is_free(port, host=host):
            return port
    raise NoFreePortError(first, last)


def remembered_port(memory: Path) -> int:
    """The port written in the file `memory` if it is still free, else another one, which is then remembered.

    So addresses stay the same from one start to the next, and a port taken meanwhile does no harm.
    """
    port = kept_port(memory)
    if port is None or not is_free(port):
        port = free_port()
        memory.write_text(f"{port}\n")
    return port


def kept_port(memory: Path) -> int | None:
    """The port written in the file `memory`, whoever has it now; None if there is none."""
    try:
        port = int(memory.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return port if 0 < port <= HIGHEST_PORT else None


def _port_of(bound: socket.socket) -> int:
    port = bound.getsockname()[1]
    assert isinstance(port, int)
    return port
