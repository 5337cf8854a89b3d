"""Named queries: each has a purpose, a user, and a plan."""

import re
from pathlib import Path

import asyncpg
import pytest

from db import queries

DB = queries.FOLDER.parent
SUBJECTS = sorted(path.stem for path in queries.FOLDER.glob("*.sql"))
NAMES = [(subject, name) for subject in SUBJECTS for name in queries.load(subject)]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_queries_of_a_subject_are_those_that_its_module_uses(subject: str) -> None:
    source = (DB / f"{subject}.py").read_text()

    used = set(re.findall(r'_SQL\["(\w+)"\]', source))

    assert used == set(queries.load(subject))


@pytest.mark.parametrize(("subject", "name"), NAMES)
def test_a_query_says_its_purpose(subject: str, name: str) -> None:
    purpose = queries.load(subject)[name].partition("\n")[0]

    assert re.fullmatch(r"-- [A-Z].*\.", purpose)


@pytest.mark.parametrize(("subject", "name"), NAMES)
def test_a_query_is_in_lower_case(subject: str, name: str) -> None:
    text = queries.load(subject)[name]

    code = re.sub(r"--.*|'[^']*'", "", text)

    assert code == code.lower()


@pytest.mark.component
async def test_postgres_understands_every_query(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    for text in (queries.load(subject)[name] for subject, name in NAMES):
        if "set local" not in text:  # several statements in one cannot be prepared
            await connection.prepare(text)
    await connection.close()


def test_migrations_stand_where_they_are_looked_for() -> None:
    assert (Path(DB) / "migrations" / "0001_initial.sql").exists()
