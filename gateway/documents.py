"""Documents as users send them: read in any spelling, validated, and refused with all that is wrong."""

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from contracts.document import Reading, read_document
from contracts.expressions.regex import Regex
from contracts.manifest import Manifest, manifest
from contracts.model import Document
from contracts.problems import Problem
from contracts.specs import Catalogue
from contracts.validation import examine, validate
from gateway.catalogue import CatalogueCache
from gateway.input_schemas import InputSchemas
from gateway.problems import invalid_document
from gateway.settings import GatewayLimits

Read = Callable[[Any, Catalogue], Reading]

CREDENTIALS: Final[frozenset[str]] = frozenset()
"""The credentials that exist: there is no way to save one, so naming any is a mistake."""


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
        self, catalogue: CatalogueCache, regex: Regex, schemas: InputSchemas, limits: GatewayLimits
    ) -> None:
        self._catalogue = catalogue
        self._regex = regex
        self._schemas = schemas
        self._limits = limits

    async def check(self, sent: Any) -> Checked:
        """Read and validate what was sent."""
        examined, catalogue = await self._read(sent, self._examine)
        document = examined.document
        needed = None if document is None else manifest(document, catalogue)
        return Checked(document=document, problems=examined.problems, manifest=needed)

    async def savable(self, sent: Any) -> tuple[Document, tuple[Problem, ...]]:
        """Return the normalised form, and what hinders publishing it. Raises Refused if it cannot be saved."""
        reading, catalogue = await self._read(sent, self._read_only)
        if reading.document is None:
            raise invalid_document(errors_of(reading.problems))
        return reading.document, errors_of(self._validate(reading.document, catalogue))

    async def check_stored(self, document: Document) -> None:
        """Raise Refused unless a stored document can be published and executed."""
        errors = errors_of(self._validate(document, await self._catalogue.refreshed()))
        if errors:
            raise invalid_document(errors)

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

    def _examine(self, sent: Any, catalogue: Catalogue) -> Reading:
        return examine(
            sent,
            catalogue,
            regex=self._regex,
            credentials=CREDENTIALS,
            schema_fault=self._schemas.judge(),
            limits=self._limits.documents,
            expression_limits=self._limits.expressions,
        )

    def _validate(self, document: Document, catalogue: Catalogue) -> tuple[Problem, ...]:
        return validate(
            document,
            catalogue,
            regex=self._regex,
            credentials=CREDENTIALS,
            schema_fault=self._schemas.judge(),
            limits=self._limits.documents,
            expression_limits=self._limits.expressions,
        )


def errors_of(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return the problems that are no mere warnings."""
    return tuple(each for each in problems if each.severity != "warning")
