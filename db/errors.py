"""What can go wrong at the store, in words that do not depend on the driver.

    StoreError
    |-- StoreUnavailable    not now: no connection, shutdown, too many clients, read-only, timeout
    |-- CommitInDoubt       the answer of a commit was lost: whether it happened can only be read
    |-- InvalidValue        PostgreSQL cannot take a value: no uuid, out of range, a NUL character
    |-- NotFound            no such row, or not this user's, or deleted
    |-- RevisionMismatch    somebody else changed the workflow meanwhile
    |-- Conflict            a constraint says no: a name or id is taken, a row that others need is missing
    `-- SchemaError         the schema is not the one that this release knows

Everything else that the driver raises is a StoreError and a bug: of ours, or of the schema.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg


class StoreError(Exception):
    """The store refused, or could not be asked."""


class StoreUnavailable(StoreError):
    """The store could not be asked now; the same request may succeed later.

    A change whose answer was lost may have happened. What the engine writes through the pool has the effect of once, so that
    it can be asked for again.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the store is unavailable: {reason}")


class CommitInDoubt(StoreError):
    """A commit was sent and its answer lost. Read what happened before going on."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"nobody knows whether the commit happened: {reason}")


class InvalidValue(StoreError):
    """A value that PostgreSQL cannot store."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the store cannot take a value: {reason}")


class NotFound(StoreError):
    """There is no such row for this user."""

    def __init__(self, what: str, key: str) -> None:
        self.what = what
        self.key = key
        super().__init__(f"{what} {key} does not exist")


class RevisionMismatch(StoreError):
    """The workflow is not at the revision that the writer saw."""

    def __init__(self, workflow_id: str, *, expected: int, found: int) -> None:
        self.workflow_id = workflow_id
        self.expected = expected
        self.found = found
        super().__init__(f"workflow {workflow_id} is at revision {found}, not {expected}")


class Conflict(StoreError):
    """A constraint of the schema forbids the change."""

    def __init__(self, table: str, constraint: str, detail: str) -> None:
        self.table = table
        self.constraint = constraint
        self.detail = detail
        super().__init__(f"{constraint} of {table} forbids it: {detail}")


class SchemaError(StoreError):
    """The schema of the database does not fit this release."""


UNAVAILABLE: Final = (
    OSError,  # TimeoutError is one, too
    asyncpg.PostgresConnectionError,  # class 08
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.InsufficientResourcesError,  # class 53: too many connections, disk or memory full
    asyncpg.ReadOnlySQLTransactionError,  # a standby that is not promoted yet
    asyncpg.QueryCanceledError,  # past the server's statement timeout
    asyncpg.LockNotAvailableError,
    asyncpg.TransactionRollbackError,  # class 40: deadlock, serialization
    asyncpg.InternalClientError,  # a connection that broke in the middle of a statement
)


DRIVER_ERRORS: Final = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""Everything that the driver raises when something is wrong with the server or the connection."""


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the driver raises into the errors of this module."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise translate(error) from error


def translate(error: Exception) -> StoreError:
    """Return the error of this module that stands for one of the driver."""
    match error:
        case _ if isinstance(error, UNAVAILABLE) or _is_closed(error):
            return StoreUnavailable(describe(error))
        case asyncpg.IntegrityConstraintViolationError():
            detail = error.detail or describe(error)
            return Conflict(error.table_name or "", error.constraint_name or "", detail)
        case asyncpg.DataError():
            return InvalidValue(describe(error))
        case _:
            return StoreError(describe(error))


def _is_closed(error: Exception) -> bool:
    """The driver has one class for a connection that is gone and for being used wrongly; its words tell them apart."""
    return isinstance(error, asyncpg.InterfaceError) and "clos" in str(error)


def describe(error: Exception) -> str:
    """Return a line that says what happened also where the exception has no text of its own."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
