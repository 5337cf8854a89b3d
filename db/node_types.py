"""Node types: the specs that are seeded at migration and that workers announce."""

from collections.abc import Sequence
from typing import Final

import msgspec

from contracts.specs import NodeSpec
from db import queries
from db.store import Session, Store

_SQL: Final = queries.load("node_types")
_decode: Final = msgspec.json.Decoder(NodeSpec).decode


async def store(store: Store | Session, specs: Sequence[NodeSpec]) -> None:
    """Keep specs, in place of those of the same type and major version; the last announcement counts."""
    newest = {(spec.family, _subtype(spec), spec.major): spec for spec in specs}
    if not newest:
        return
    ordered = sorted(
        newest
    )  # one order for all, so that two announcements never wait for each other in a circle
    families, subtypes, majors = zip(*ordered, strict=True)
    encoded = [msgspec.json.encode(newest[key]).decode() for key in ordered]
    await store.execute(_SQL["upsert_node_types"], families, subtypes, majors, encoded)


async def load(store: Store) -> tuple[NodeSpec, ...]:
    """Return every spec, by type and version."""
    rows = await store.fetch(_SQL["load_node_types"])
    return tuple(_decode(row["spec"]) for row in rows)


def _subtype(spec: NodeSpec) -> str:
    return spec.type.partition(".")[2]
