"""What sweeping reads: nothing of executions that wait, however many there are."""

import json
from typing import Any, Final

import asyncpg
import pytest

from contracts.ids import PARTITIONS
from db import advances, queries
from db.store import SESSION, Store
from tests.component.db import builders
from tests.component.db.builders import Ids, Version

pytestmark = pytest.mark.component

WAITING: Final = 5_000
FINISHED: Final = 5_000
MOST_PAGES: Final = 30
ALL: Final = list(range(PARTITIONS))

LOOKS: Final[list[tuple[str, str, list[Any]]]] = [
    ("advances", "unfinished", [ALL, ["NEW"], None, 500, 10.0]),
    ("advances", "unfinished", [ALL, ["RUNNING"], None, 500, 60.0]),
    ("advances", "abandoned", [ALL, 500]),
    ("advances", "due_timers", [ALL, 1000]),
    ("families", "ended_children", [ALL, 5.0, 500]),
    ("families", "orphans", [ALL, 500]),
]


@pytest.fixture
async def crowd(direct: "asyncpg.Connection[asyncpg.Record]", workflow: Version) -> None:
    """Children that wait for a timer of tomorrow, their parents wait for them; and others that are over."""
    await direct.execute(
        """
        with parent as (
            insert into workflow_executions (id, user_id, workflow_id, version_id, status, version, mode)
            select new_uuid7(), user_id, id, $2, case when n <= $3 then 'WAITING' else 'SUCCESS' end, 3, 'MANUAL'
              from workflows, generate_series(1, $4::integer) as n
             where id = $1
         returning id, user_id, workflow_id, version_id, status
        ),
        child as (
            insert into workflow_executions (id, user_id, workflow_id, version_id, status, version, mode,
                                             parent_execution_id, parent_waits)
            select new_uuid7(), user_id, workflow_id, version_id, status, 3, 'TRIGGER', id,
                   case when status = 'WAITING' then 'YES' end
              from parent
         returning id, status
        )
        insert into timers (execution_id, key, kind, due_at)
        select id, 'wait', 'WAIT', now() + interval '1 day' from child where status = 'WAITING'
        """,
        workflow.workflow_id,
        workflow.version_id,
        WAITING,
        WAITING + FINISHED,
    )
    await direct.execute("analyze")


@pytest.mark.usefixtures("crowd")
async def test_sweeping_reads_next_to_nothing_while_thousands_wait_and_are_over(
    direct: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    for setting, value in SESSION.items():
        await direct.execute("select set_config($1, $2, false)", setting, value)

    pages = {}
    for number, (file, name, arguments) in enumerate(LOOKS):
        explain = f"explain (analyze, buffers, format json) {queries.load(file)[name]}"
        statement = await direct.prepare(explain)
        (plan,) = json.loads(await statement.fetchval(*arguments))
        read = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
        pages[f"{number} {name}"] = read

    assert {name: read for name, read in pages.items() if read > MOST_PAGES} == {}


async def test_executions_of_deleted_workflows_are_found_until_they_are_over(
    store: Store, direct: "asyncpg.Connection[asyncpg.Record]", ids: Ids, user_id: str
) -> None:
    gone = await builders.version(store, ids, user_id)
    there = await builders.version(store, ids, user_id)
    mine, elsewhere, over, other = (ids.new(partition) for partition in (1, 2, 1, 1))
    await builders.started(store, gone, [mine, elsewhere, over])
    await builders.started(store, there, [other])
    await direct.execute("update workflows set deleted_at = now() where id = $1", gone.workflow_id)
    await direct.execute("update workflow_executions set status = 'ERROR' where id = $1", over)

    assert await advances.abandoned(store, [1], 10) == (mine,)
    assert set(await advances.abandoned(store, [1, 2], 10)) == {mine, elsewhere}
    assert len(await advances.abandoned(store, [1, 2], 1)) == 1
