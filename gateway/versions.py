"""Workflow versions, read and compiled once: a version never changes, so it may be kept for ever."""

from collections import OrderedDict
from typing import Final, Generic, TypeVar

import msgspec

import db.versions
from contracts.execution.plan import Plan, VersionFacts, compile_plan
from contracts.model import Document
from db.errors import NotFound
from db.store import Store
from gateway.catalogue import CatalogueCache

K = TypeVar("K")
V = TypeVar("V")

KEPT: Final = 500


class Recent(Generic[K, V]):
    """The values used last, up to a number of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        """Return a value that is kept, or None."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def keep(self, key: K, value: V) -> None:
        """Keep a value, and let go of the one that was not used for longest."""
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._limit:
            self._values.popitem(last=False)


class CompiledVersion(msgspec.Struct, frozen=True):
    """A version with its plan; `number` is None for the snapshot of a draft."""

    id: str
    number: int | None
    document: Document
    plan: Plan


class Versions:
    """Versions by id, and which snapshot stands for which revision of a draft."""

    def __init__(self, store: Store, catalogue: CatalogueCache) -> None:
        self._store = store
        self._catalogue = catalogue
        self._compiled: Recent[str, CompiledVersion] = Recent(KEPT)
        self._snapshots: Recent[tuple[str, int], str] = Recent(KEPT)

    async def by_id(self, version_id: str) -> CompiledVersion:
        """Return a version. Whose it is was checked before. Raises NotFound."""
        compiled = self._compiled.get(version_id)
        if compiled is None:
            compiled = await self._compile(version_id)
            self._compiled.keep(version_id, compiled)
        return compiled

    def snapshot(self, workflow_id: str, revision: int) -> str | None:
        """Return the version that a draft was kept as, if this gateway has kept or seen it."""
        return self._snapshots.get((workflow_id, revision))

    def keep_snapshot(self, workflow_id: str, revision: int, version_id: str) -> None:
        """Remember the version that a valid draft was kept as."""
        self._snapshots.keep((workflow_id, revision), version_id)

    async def _compile(self, version_id: str) -> CompiledVersion:
        stored = await db.versions.load(self._store, version_id)
        if stored is None:
            raise NotFound("version", version_id)
        facts = VersionFacts(
            version_id=stored.version_id, workflow_id=stored.workflow_id, version=stored.version
        )
        plan = compile_plan(stored.document, facts, await self._catalogue.current())
        return CompiledVersion(stored.version_id, stored.version, stored.document, plan)
