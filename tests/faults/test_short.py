"""The short form of the fault harness, for every change: a few rows on one engine. The long form is `make faults`."""

import pytest

from tests.faults import trial
from tests.faults.rows import ROWS

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

SHORT = ("answers_cut", "forged", "crash_after_commit")
SECONDS = 8.0
EXECUTIONS = 12


async def test_an_engine_that_is_broken_under_load_keeps_its_promises() -> None:
    async with trial.prepared() as engine:
        verdicts = [
            await engine.run(name, ROWS[name], seed, EXECUTIONS, SECONDS)
            for seed, name in enumerate(SHORT)
        ]

    assert [each.row for each in verdicts if not each.has_bitten] == []
    assert [problem for each in verdicts for problem in (*each.violations, *each.findings)] == []
