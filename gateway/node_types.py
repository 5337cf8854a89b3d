"""Operations on node types: what can run here, and who would run it."""

from collections import Counter
from typing import Any

import msgspec

import db.workers
from contracts.model import ConnectionKind, Delivery
from contracts.specs import CredentialSlot, NodeSpec, Port
from db.store import Store
from db.workers import WorkerFilters
from gateway.answers import Answer, ok
from gateway.bodies import Nothing
from gateway.calls import Call
from gateway.pages import DEFAULT_LIMIT, MAX_LIMIT, Cursor, Limit, is_number, page_of, read_cursor
from gateway.parameters import Text
from gateway.problems import not_found
from gateway.queries import NoQuery
from gateway.services import Gateway


class NodeTypesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a list of node types is narrowed to: a type (`ACTION`, `ACTION.HTTP_REQUEST`), words."""

    type: tuple[Text, ...] = ()
    search: Text | None = None
    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | None = None


class NodeType(msgspec.Struct, frozen=True, kw_only=True):
    """A node type; `parameters` is a JSON Schema, `timeout` in seconds."""

    type: str
    version: str
    title: str
    description: str
    parameters: dict[str, Any]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    pass_through: str | None
    lends: tuple[ConnectionKind, ...]
    borrows: tuple[ConnectionKind, ...]
    credentials: tuple[CredentialSlot, ...]
    timeout: float
    delivery: Delivery
    live_workers: int
    free_slots: int


class Fleet(msgspec.Struct, frozen=True):
    """The workers of one node type that take tasks now."""

    workers: int = 0
    free_slots: int = 0


async def list_node_types(gateway: Gateway, call: Call[NodeTypesQuery, Nothing]) -> Answer:
    """Answer with the node types that documents may use, by name."""
    query = call.query
    specs = [
        spec
        for spec in (await gateway.catalogue.current()).newest
        if _is_of_type(spec, query.type) and _mentions(spec, query.search)
    ]
    begin = int(read_cursor(query.cursor, is_number) or 0)
    end = begin + query.limit
    fleets = await _fleets(gateway.store)
    views = [node_type_of(spec, fleets.get(_served_as(spec), Fleet())) for spec in specs[begin:end]]
    return ok(page_of(views, str(end) if len(specs) > end else None))


async def get_node_type(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Answer with one node type."""
    name = call.path["node_type"]
    spec = (await gateway.catalogue.current()).get(name)
    if spec is None:
        spec = (await gateway.catalogue.refreshed()).get(name)
    if spec is None:
        raise not_found()
    fleets = await _fleets(gateway.store)
    return ok(node_type_of(spec, fleets.get(_served_as(spec), Fleet())))


def node_type_of(spec: NodeSpec, fleet: Fleet) -> NodeType:
    """Return a spec as the API shows it."""
    return NodeType(
        type=spec.type,
        version=spec.version,
        title=spec.title,
        description=spec.description,
        parameters=parameter_schema(spec),
        inputs=spec.inputs,
        outputs=spec.outputs,
        pass_through=spec.pass_through,
        lends=spec.lends,
        borrows=spec.borrows,
        credentials=spec.credentials,
        timeout=spec.timeout,
        delivery=spec.delivery,
        live_workers=fleet.workers,
        free_slots=fleet.free_slots,
    )


def parameter_schema(spec: NodeSpec) -> dict[str, Any]:
    """Return the JSON Schema of a node type's parameters, once rendered."""
    return {
        "type": "object",
        "properties": {
            parameter.name: _property(parameter.schema, parameter.description, parameter.default)
            for parameter in spec.parameters
        },
        "required": [parameter.name for parameter in spec.parameters if parameter.required],
        "additionalProperties": False,
    }


def _property(schema: dict[str, Any], description: str, default: Any) -> dict[str, Any]:
    found = dict(schema)
    if description:
        found["description"] = description
    if default is not None:
        found["default"] = default
    return found


def _served_as(spec: NodeSpec) -> str:
    return spec.preset_of or spec.type


def _is_of_type(spec: NodeSpec, wanted: tuple[str, ...]) -> bool:
    return not wanted or any(name.upper() in (spec.type, spec.family) for name in wanted)


def _mentions(spec: NodeSpec, words: str | None) -> bool:
    text = f"{spec.type} {spec.title} {spec.description}".lower()
    return all(word in text for word in (words or "").lower().split())


async def _fleets(store: Store) -> dict[str, Fleet]:
    """Return the fleet of every node type that has one."""
    workers, free_slots = Counter[str](), Counter[str]()
    after: str | None = None
    while True:
        alive = WorkerFilters(status=("ALIVE",))
        rows, after = await db.workers.page(store, alive, MAX_LIMIT, after)
        for row in rows:
            workers.update(row.node_types)
            for node_type in row.node_types:
                free_slots[node_type] += max(0, row.slots - row.busy)
        if after is None:
            return {name: Fleet(workers[name], free_slots[name]) for name in workers}
