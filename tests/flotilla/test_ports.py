"""Free ports, and ports that stay the same."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from flotilla import ports


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.create_server((ports.LOOPBACK, 0)) as listener:
        yield listener.getsockname()[1]


def test_a_port_with_a_listener_is_not_free(taken_port: int) -> None:
    assert not ports.is_free(taken_port)


def test_the_port_chosen_by_the_system_is_free() -> None:
    assert ports.is_free(ports.free_port())


def test_the_first_free_port_is_after_a_taken_one(taken_port: int) -> None:
    assert ports.first_free_port(taken_port) > taken_port


def test_no_free_port_says_which_ports_were_tried(taken_port: int) -> None:
    with pytest.raises(ports.NoFreePortError, match=f"from {taken_port} to {taken_port}"):
        ports.first_free_port(taken_port, tries=1)


def test_ports_end_at_the_highest_one() -> None:
    with pytest.raises(ports.NoFreePortError, match="to 65535"):
        ports.first_free_port(ports.HIGHEST_PORT + 1)


def test_a_port_is_remembered(tmp_path: Path) -> None:
    memory = tmp_path / "port"

    first = ports.remembered_port(memory)

    assert first == ports.remembered_port(memory)


def test_a_remembered_port_that_was_taken_is_replaced_for_good(
    tmp_path: Path, taken_port: int
) -> None:
    memory = tmp_path / "port"
    memory.write_text(str(taken_port))

    replacement = ports.remembered_port(memory)

    assert taken_port != replacement
    assert replacement == ports.remembered_port(memory)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="cut off"),
        pytest.param("http", id="no number"),
        pytest.param("70000", id="too large"),
    ],
)
def test_an_unreadable_memory_is_replaced(tmp_path: Path, text: str) -> None:
    memory = tmp_path / "port"
    memory.write_text(text)

    assert str(ports.remembered_port(memory)) == memory.read_text().strip()
