"""Which addresses nodes may call."""

from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from nodes.addresses import AddressRefused, AllowedHosts, Guard, is_public

REFUSED = [
    "0.0.0.0",  # noqa: S104  # nothing is bound
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::a9fe:a9fe",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:a9fe:a9fe::1",
    "2001:db8::1",
    "2002:a9fe:a9fe::1",
    "2002:7f00:1::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]
PUBLIC = [
    "1.1.1.1",
    "172.15.255.255",
    "172.32.0.1",
    "100.63.255.255",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450::1",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]


@pytest.mark.parametrize("text", REFUSED)
def test_an_address_that_is_not_public_is_refused(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_let_through(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize(
    ("entry", "host", "address", "port", "is_allowed"),
    [
        ("db.internal", "db.internal", "10.0.0.5", 80, True),
        ("DB.Internal.", "db.internal", "10.0.0.5", 80, True),
        ("db.internal", "DB.INTERNAL.", "10.0.0.5", 80, True),
        ("db.internal", "other.internal", "10.0.0.5", 80, False),
        ("db.internal:8080", "db.internal", "10.0.0.5", 8080, True),
        ("db.internal:8080", "db.internal", "10.0.0.5", 80, False),
        ("10.0.0.5", "db.internal", "10.0.0.5", 80, True),
        ("10.0.0.5", "db.internal", "10.0.0.6", 80, False),
        ("10.0.0.5:81", "db.internal", "10.0.0.5", 80, False),
        ("10.0.0.0/8", "db.internal", "10.9.9.9", 80, True),
        ("10.0.0.0/8", "db.internal", "192.168.0.1", 80, False),
        ("fd00::/8", "db.internal", "fd12::1", 80, True),
        ("[fd12::1]:81", "db.internal", "fd12::1", 81, True),
        ("[fd12::1]:81", "db.internal", "fd12::1", 80, False),
        ("fd12::1", "db.internal", "fd12::1", 80, True),
        ("127.0.0.1", "localhost", "::ffff:127.0.0.1", 80, True),
    ],
)
async def test_operators_allow_by_host_port_address_and_network(
    entry: str, host: str, address: str, port: int, is_allowed: bool
) -> None:
    guard = _guard([address], allowed=[entry])

    if is_allowed:
        assert await guard.addresses(host, port) == (address,)
    else:
        with pytest.raises(AddressRefused):
            await guard.addresses(host, port)


async def test_one_refused_address_refuses_the_host() -> None:
    guard = _guard(["1.1.1.1", "169.254.169.254"])

    with pytest.raises(AddressRefused) as caught:
        await guard.addresses("mixed.example", 80)

    assert caught.value.address == "169.254.169.254"
    assert "mixed.example" in str(caught.value)
    assert "ALLOWED_PRIVATE_HOSTS" in str(caught.value)


async def test_a_host_without_an_address_is_an_error_of_the_network() -> None:
    with pytest.raises(OSError, match="no address"):
        await _guard([]).addresses("nowhere.example", 80)


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost"])
async def test_every_spelling_of_this_machine_is_refused(host: str) -> None:
    with pytest.raises(AddressRefused):
        await Guard(AllowedHosts()).addresses(host, 80)


def test_an_entry_that_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/99"):
        AllowedHosts(["10.0.0.0/99"])


def _guard(addresses: Sequence[str], allowed: Sequence[str] = ()) -> Guard:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    return Guard(AllowedHosts(allowed), resolve)
