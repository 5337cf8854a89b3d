"""Order of the tests of the core: those that judge what all others exercised come last."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
LAST = "test_exercised.py"

_left_out: list[pytest.Item] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the judging tests to the end."""
    items.sort(key=lambda item: item.path == HERE / LAST)


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Note tests of the core that do not run this time."""
    _left_out.extend(item for item in items if item.path.parent == HERE)


@pytest.fixture
def all_ran(request: pytest.FixtureRequest) -> None:
    """Skip unless all tests of the core ran before, in this process."""
    ran = {item.path for item in request.session.items}
    missing = sorted(path.name for path in HERE.glob("test_*.py") if path not in ran)
    if missing or _left_out or request.session.config.getoption("numprocesses", None):
        pytest.skip("only all tests of the core together exercise everything")
