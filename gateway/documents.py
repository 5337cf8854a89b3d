"""Documents as users send them: read in any spelling, validated, and refused with all that is wrong."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

import db.credentials
from contracts.document import Reading, read_document
from contracts.expressions.errors import ExpressionError
from contracts.expressions.regex import Regex
from contracts.history import Slot
from contracts.manifest import Manifest, manifest
from contracts.model import Document
from contracts.problems import Problem, pointer
from contracts.schedules import Calendar
from contracts.slots import slot_of
from contracts.specs import Catalogue
from contracts.validation import examine, validate
from contracts.webhooks import CHANCE_BYTES, keep_paths, make_paths
from db.store import Store
from gateway.catalogue import CatalogueCache
from gateway.input_schemas import InputSchemas
from gateway.problems import ErrorEntry, invalid_document, invalid_request
from gateway.settings import GatewayLimits

Read = Callable[[Any, Catalogue], Reading]

Credentials = Mapping[str, str]
"""The type of each credential of a user, by name and by id."""

NONE: Final[Credentials] = {}


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a document: its normalised form unless it cannot be saved, and all problems.

    Problems point into what was sent.
    """

    document: Document | None
    problems: tuple[Problem, ...]
    manifest: Manifest | None

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that refuse saving, publishing or execution."""
        return errors_of(self.problems)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The problems that refuse nothing."""
        return tuple(each for each in self.problems if each.severity == "warning")


class Documents:
    """Reads and validates documents against the node types there are."""

    def __init__(
        self,
        store: Store,
        catalogue: CatalogueCache,
        regex: Regex,
        schemas: InputSchemas,
        calendar: Calendar,
        limits: GatewayLimits,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._regex = regex
        self._schemas = schemas
        self._calendar = calendar
        self._limits = limits

    async def check(self, sent: Any, user_id: str) -> Checked:
        """Read and validate what a user sent."""
        credentials = await db.credentials.types(self._store, user_id)

        def read(sent: Any, catalogue: Catalogue) -> Reading:
            return self._examine(sent, catalogue, credentials)

        examined, catalogue = await self._read(sent, read)
        document = examined.document
        needed = None if document is None else manifest(document, catalogue)
        return Checked(document=document, problems=examined.problems, manifest=needed)

    async def savable(
        self, sent: Any, user_id: str, *, before: Document | None = None
    ) -> tuple[Document, tuple[Problem, ...]]:
        """Return what is stored, and what hinders publishing it. Raises Refused if it cannot be saved.

        That is the normalised form, and what is made up where it says nothing: the paths of webhooks, which
        stay those of the draft `before`.
        """
        reading, catalogue = await self._read(sent, self._read_only)
        if reading.document is None:
            raise invalid_document(errors_of(reading.problems))
        kept = reading.document if before is None else keep_paths(reading.document, before)
        document = make_paths(kept, os.urandom(CHANCE_BYTES))
        credentials = await self._credentials(document, user_id)
        return document, errors_of(self._validate(document, catalogue, credentials))

    async def check_stored(self, document: Document, user_id: str) -> None:
        """Raise Refused unless a user's stored document can be published and executed."""
        catalogue = await self._catalogue.refreshed()
        credentials = await self._credentials(document, user_id)
        errors = errors_of(self._validate(document, catalogue, credentials))
        if errors:
            raise invalid_document(errors)

    def slot(self, document: Document, value: msgspec.Raw) -> Slot | None:
        """Return the slot that an execution with this input needs. Raises Refused if its key cannot be evaluated."""
        try:
            return slot_of(document.settings, value, self._regex)
        except ExpressionError as error:
            message = f"The key of settings.concurrency: {error}"
            entry = ErrorEntry(pointer("input"), "invalid_value", message)
            raise invalid_request(entry) from error

    async def _credentials(self, document: Document, user_id: str) -> Credentials:
        """Return what a user's nodes may name; nothing is read where none names any."""
        if not any(node.credentials for node in document.nodes):
            return NONE
        return await db.credentials.types(self._store, user_id)

    async def _read(self, sent: Any, read: Read) -> tuple[Reading, Catalogue]:
        """Read a document; an unknown node type may have been announced just now."""
        catalogue = await self._catalogue.current()
        reading = read(sent, catalogue)
        if any(problem.code == "unknown_node_type" for problem in reading.problems):
            catalogue = await self._catalogue.refreshed()
            reading = read(sent, catalogue)
        return reading, catalogue

    def _read_only(self, sent: Any, catalogue: Catalogue) -> Reading:
        return read_document(sent, catalogue, self._limits.documents)

    def _examine(self, sent: Any, catalogue: Catalogue, credentials: Credentials) -> Reading:
        return examine(
            sent,
            catalogue,
            regex=self._regex,
            credentials=credentials,
            cron_fault=self._calendar.fault,
            schema_fault=self._schemas.judge(),
            limits=self._limits.documents,
            expression_limits=self._limits.expressions,
        )

    def _validate(
        self, document: Document, catalogue: Catalogue, credentials: Credentials
    ) -> tuple[Problem, ...]:
        return validate(
            document,
            catalogue,
            regex=self._regex,
            credentials=credentials,
            cron_fault=self._calendar.fault,
            schema_fault=self._schemas.judge(),
            limits=self._limits.documents,
            expression_limits=self._limits.expressions,
        )


def errors_of(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return the problems that are no mere warnings."""
    return tuple(each for each in problems if each.severity != "warning")
