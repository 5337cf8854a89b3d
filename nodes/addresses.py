"""Which addresses nodes may call: public ones, and what the operator allows by name.

`ipaddress.is_private` and `is_global` are no such check: they call NAT64, 6to4 and compatible forms of
169.254.169.254 global. So the refused ranges stand here, and IPv6 forms that embed an IPv4 address are
judged by it or refused altogether.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the addresses of a host name, for a port. Raises OSError."""

REFUSED_V4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by carriers
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local: metadata services of clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)

GLOBAL_V6: Final = IPv6Network("2000::/3")
"""All that is assigned for use in the open; unique-local, link-local, multicast and the rest lie outside."""

REFUSED_V6: Final = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, Teredo and benchmarks among them
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)

EMBEDDING_V6: Final = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
"""Mapped addresses and NAT64: the last 32 bits are the IPv4 address that is really called."""


class AddressRefused(Exception):
    """A host that must not be called. `address` is the one that is to blame."""

    def __init__(self, host: str, address: str) -> None:
        super().__init__(host, address)
        self.host = host
        self.address = address

    def __str__(self) -> str:
        return (
            f"{self.host} is at {self.address}, which is not public; an operator may allow it "
            "by ALLOWED_PRIVATE_HOSTS"
        )


class AllowedHosts:
    """What an operator allows besides public addresses: `host`, `host:port`, an IP, `IP:port`, or a network."""

    def __init__(self, entries: Sequence[str] = ()) -> None:
        self._networks: list[tuple[Network, int | None]] = []
        self._hosts: set[tuple[str, int | None]] = set()
        for entry in entries:
            self._add(entry.strip())

    def has_host(self, host: str, port: int) -> bool:
        """Whether a name is allowed, wherever it leads."""
        name = host.casefold().rstrip(".")
        return (name, None) in self._hosts or (name, port) in self._hosts

    def has_address(self, address: Address, port: int) -> bool:
        """Whether an address is allowed."""
        return any(
            address.version == network.version
            and address in network
            and allowed_port in (None, port)
            for network, allowed_port in self._networks
        )

    def _add(self, entry: str) -> None:
        host, port = _split_port(entry)
        try:
            self._networks.append((ip_network(host, strict=False), port))
        except ValueError:
            if "/" in host:
                raise ValueError(f"{entry!r} is no host, host:port, address or network") from None
            self._hosts.add((host.casefold().rstrip("."), port))


class Guard:
    """Resolves names once and lets through only what may be called. For every protocol, not HTTP alone."""

    def __init__(self, allowed: AllowedHosts, resolve: Resolver | None = None) -> None:
        self._allowed = allowed
        self._resolve = resolve or resolve_by_system

    async def addresses(self, host: str, port: int) -> tuple[str, ...]:
        """Return the addresses to connect to, in order; one refused address refuses the host.

        Raises AddressRefused, and OSError for a name that does not resolve.
        """
        found = tuple(dict.fromkeys(await self._resolve(host, port)))
        if not found:
            raise OSError(f"{host} has no address")
        if not self._allowed.has_host(host, port):
            for text in found:
                if not self._may_call(ip_address(text), port):
                    raise AddressRefused(host, text)
        return found

    def _may_call(self, address: Address, port: int) -> bool:
        if is_public(address) or self._allowed.has_address(address, port):
            return True
        embedded = _embedded(address)
        return embedded is not None and self._allowed.has_address(embedded, port)


def is_public(address: Address) -> bool:
    """Whether anybody on the internet could call this address."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in REFUSED_V4)
    if (embedded := _embedded(address)) is not None:
        return is_public(embedded)
    return address in GLOBAL_V6 and not any(address in network for network in REFUSED_V6)


async def resolve_by_system(host: str, port: int) -> Sequence[str]:
    """Ask the system for all addresses of a host; numeric forms such as 0x7f.1 come out as addresses."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def _embedded(address: Address) -> IPv4Address | None:
    if isinstance(address, IPv6Address) and any(address in each for each in EMBEDDING_V6):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def _split_port(entry: str) -> tuple[str, int | None]:
    """Split `host:port` and `[IPv6]:port`; an IPv6 address without brackets has no port."""
    host, colon, port = entry.rpartition(":")
    is_split = colon and port.isdigit() and (":" not in host or host.endswith("]"))
    bare, number = (host, int(port)) if is_split else (entry, None)
    return bare.removeprefix("[").removesuffix("]"), number
