"""Rules that no import contract can state: where texts of a kind may stand, and what is absent on purpose."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "contracts",
    "nodes",
    "db",
    "bus",
    "scheduler",
    "workers",
    "gateway",
    "bench",
    "flotilla",
)
NAMELESS = {"utils.py", "common.py", "helpers.py", "manager.py", "misc.py"}

RULES = [
    pytest.param(
        r"[\"']flotilla\.(task|inbox|trigger|event|live|cancel|heartbeat|payload)\.",
        {"contracts/subjects.py"},
        id="subjects are built and parsed in contracts/subjects.py",
    ),
    pytest.param(
        r"(?i)[\"']\s*(select\s.+\sfrom|insert\s+into|update\s+\w+\s+set|delete\s+from)\s",
        set(),
        id="SQL stands in db/sql alone",
    ),
    pytest.param(
        r"os\.(environ|getenv)",
        {"flotilla/settings.py"},
        id="environment variables are read in flotilla/settings.py alone",
    ),
    pytest.param(r"\bpickle\b|yaml\.load\(|\beval\(|\bexec\(", set(), id="nothing evaluates text"),
    pytest.param(r"(?i)\bTODO\b|\bFIXME\b", set(), id="nothing is left to be done silently"),
]


def sources() -> Iterator[Path]:
    """Yield every source file of the product."""
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize(("pattern", "allowed"), RULES)
def test_source_rule(pattern: str, allowed: set[str]) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sources()
        if str(path.relative_to(ROOT)) not in allowed
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(pattern, line)
    ]

    assert found == []


def test_every_module_is_named_after_what_it_knows() -> None:
    assert [path for path in sources() if path.name in NAMELESS] == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        path for path in sources() if not path.read_text().lstrip().startswith(('"""', 'r"""'))
    ]

    assert silent == []


def test_lock_files_name_no_registry() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        assert "://" not in (ROOT / name).read_text()


def test_the_index_of_decision_records_is_complete() -> None:
    folder = ROOT / "docs" / "adr"
    index = (folder / "README.md").read_text()
    records = sorted(path.name for path in folder.glob("0*.md"))

    assert records
    assert [name for name in records if name not in index] == []
