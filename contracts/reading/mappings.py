"""Reading the mapping of a connection, in today's form and as `data_mapping` of older documents.

Only names and spellings are settled here; whether a mapping makes sense is for validation to say,
so that a draft may hold an unfinished one.
"""

from typing import Any, Final

from contracts.problems import pointer
from contracts.reading.fields import Fields, Shape, open_fields
from contracts.reading.report import Report

MAPPING_TYPES: Final = ("DIRECT", "FIELD_MAPPING", "TEMPLATE", "TRANSFORM")

MAPPING_SHAPE: Final = Shape(
    what="mapping",
    names=frozenset(
        ("type", "fields", "template", "expression", "static_values", "transform_script")
    ),
    aliases={"field_mappings": "fields"},
)

FIELD_SHAPE: Final = Shape(
    what="a field of a mapping",
    names=frozenset(("from", "to", "required", "default", "transform")),
    aliases={"source_field": "from", "target_field": "to", "default_value": "default"},
)


def read_mapping(connection: Fields, report: Report) -> dict[str, Any] | None:
    """Return the mapping of a connection in its stored form, or None."""
    if connection.values.get("mapping") is None:
        return None
    raw = connection.mapping("mapping")
    fields = open_fields(
        _without_blanks(raw),
        MAPPING_SHAPE,
        report,
        sent=connection.at("mapping"),
        stored=f"{connection.stored}/mapping",
    )
    mapping_type = _mapping_type(fields)
    _settle_script(fields, mapping_type)
    values = {name: value for name, value in fields.values.items() if name != "type"}
    if isinstance(values.get("fields"), list):
        values["fields"] = _read_fields(fields, report)
    return {"type": mapping_type, **values}


_OLDER_NAMES: Final = frozenset(
    ("field_mappings", "fieldMappings", "transform_script", "transformScript")
)


def _without_blanks(raw: dict[str, Any]) -> dict[str, Any]:
    """Leave out what older documents carry empty: each of them wrote all fields, used or not."""
    return {
        key: value
        for key, value in raw.items()
        if key not in _OLDER_NAMES or value not in (None, "", [])
    }


def _mapping_type(fields: Fields) -> Any:
    value = fields.values.get("type", "DIRECT")
    if not isinstance(value, str):
        return value
    spelling = value.strip().upper().replace("-", "_")
    return spelling if spelling in MAPPING_TYPES else value


def _settle_script(fields: Fields, mapping_type: Any) -> None:
    """`transform_script` was the template of one type and the expression of the other."""
    if "transform_script" not in fields:
        return
    at = fields.at("transform_script")
    script = fields.values.pop("transform_script")
    fields.put("template" if mapping_type == "TEMPLATE" else "expression", script, at=at)


def _read_fields(mapping: Fields, report: Report) -> list[Any]:
    listed = []
    for index, raw in enumerate(mapping.values["fields"]):
        sent = mapping.at("fields") + pointer(index)
        stored = f"{mapping.stored}/fields/{index}"
        listed.append(_read_field(raw, report, sent, stored) if isinstance(raw, dict) else raw)
    return listed


def _read_field(raw: dict[str, Any], report: Report, sent: str, stored: str) -> dict[str, Any]:
    known = {
        key: value
        for key, value in raw.items()
        if key not in ("default_value", "defaultValue") or value is not None
    }
    field = open_fields(known, FIELD_SHAPE, report, sent=sent, stored=stored)
    _refuse_transform(field)
    return {"required": False, **field.values}


def _refuse_transform(field: Fields) -> None:
    transform = field.values.pop("transform", None)
    kind = transform.get("type") if isinstance(transform, dict) else transform
    if kind is None or (isinstance(kind, str) and kind.strip().upper() in ("", "NONE")):
        return
    message = (
        "a field has no transform of its own; write it as an expression in `from`, "
        "as {{ upper(input.name) }}"
    )
    field.problem("transform", "invalid_value", message)
