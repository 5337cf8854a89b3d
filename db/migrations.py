"""Migrations: forward only, each applied once and by one runner, all or nothing.

A migration is never edited after it was merged: its checksum is kept, and another text under the same number stops the
start. Old code runs on a newer schema as long as it keeps running; it refuses to start on one.
"""

import hashlib
import re
from pathlib import Path
from typing import Final

import asyncpg
import msgspec

from contracts.specs import NodeSpec
from db import errors, node_types, queries
from db.store import Row, Session, connect

FOLDER: Final = Path(__file__).parent / "migrations"
_FILE: Final = re.compile(r"(\d{4})_(\w+)\.sql")
_SQL: Final = queries.load("migrations")


class Migration(msgspec.Struct, frozen=True):
    """One step of the schema."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """What tells another text from this one."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class SchemaTooNew(errors.SchemaError):
    """A newer release has migrated the database."""

    def __init__(self, *, found: int, known: int) -> None:
        self.found = found
        self.known = known
        super().__init__(
            f"the database has schema {found}, this release knows {known}: start a newer release"
        )


class SchemaTooOld(errors.SchemaError):
    """The database was not migrated to this release."""

    def __init__(self, *, found: int, known: int) -> None:
        self.found = found
        self.known = known
        super().__init__(
            f"the database has schema {found}, this release needs {known}: run `flotilla migrate`"
        )


class MigrationEdited(errors.SchemaError):
    """The database was migrated with another text than this release has."""

    def __init__(self, migration: Migration) -> None:
        self.version = migration.version
        super().__init__(f"migration {migration.version} ({migration.name}) is not the one applied")


async def migrate(url: str, specs: tuple[NodeSpec, ...]) -> None:
    """Bring the schema up to date, with partitions for the months ahead and the built-in node types.

    Repeating it changes nothing, and of several at once one does the work. Raises SchemaError, StoreUnavailable.
    """
    connection = await connect(url)
    try:
        await _create_vector(connection)
        with errors.translated():
            async with connection.transaction():
                session = Session(connection)
                await session.execute(_SQL["take_turns"])
                await session.execute(_SQL["create_schema_migrations"])
                await _apply_missing(session)
                await session.execute(_SQL["ensure_history_partitions"])
                await node_types.store(session, specs)
    finally:
        await connection.close()


async def check(url: str) -> None:
    """Refuse a schema that this release does not know. Raises SchemaError, StoreUnavailable."""
    connection = await connect(url)
    try:
        found = max(await _applied(Session(connection)), default=0)
    finally:
        await connection.close()
    latest = known()[-1].version
    if found > latest:
        raise SchemaTooNew(found=found, known=latest)
    if found < latest:
        raise SchemaTooOld(found=found, known=latest)


def known() -> tuple[Migration, ...]:
    """Return the migrations of this release, in order; no two have one number."""
    migrations = tuple(map(_read, sorted(FOLDER.glob("*.sql"))))
    assert len({migration.version for migration in migrations}) == len(migrations)
    return migrations


def _read(path: Path) -> Migration:
    match = _FILE.fullmatch(path.name)
    assert match is not None, f"{path.name} is not named NNNN_subject.sql"
    return Migration(int(match[1]), match[2], path.read_text())


async def _apply_missing(session: Session) -> None:
    applied = await _applied(session)
    migrations = known()
    latest = migrations[-1].version
    if max(applied, default=0) > latest:
        raise SchemaTooNew(found=max(applied), known=latest)
    for migration in migrations:
        if migration.version not in applied:
            await session.execute(migration.text)
            await session.execute(
                _SQL["insert_applied"], migration.version, migration.name, migration.checksum
            )
        elif applied[migration.version] != migration.checksum:
            raise MigrationEdited(migration)


async def _applied(session: Session) -> dict[int, str]:
    """Return the checksums of what was applied, by version; nothing for an empty database."""
    table = await session.fetch_row(_SQL["find_schema_migrations"])
    if table is None:
        return {}
    rows = await session.fetch(_SQL["load_applied"])
    return {row["version"]: row["checksum"] for row in rows}


async def _create_vector(connection: "asyncpg.Connection[Row]") -> None:
    """Create pgvector where the server has it and we may: only memories search by it."""
    try:
        if await connection.fetchval(_SQL["is_vector_missing"]):
            await connection.execute(_SQL["create_vector"])
    except (asyncpg.InsufficientPrivilegeError, asyncpg.UniqueViolationError):
        return  # not ours to create; or another runner was faster
    except errors.DRIVER_ERRORS as error:
        raise errors.translate(error) from error
