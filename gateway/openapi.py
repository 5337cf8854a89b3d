"""OpenAPI, derived: paths from the table of operations, schemas from the msgspec contracts."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from gateway.operations import Operation, Returns
from gateway.problems import CODES, ProblemBody

_REF: Final = "#/components/schemas/{name}"
_PROBLEM: Final = {"$ref": _REF.format(name="ProblemBody")}
_TEXT: Final = {"type": "string"}

DESCRIPTION: Final = """\
A durable workflow engine in which every node type is a queue.

Every answer that is no success is `application/problem+json` with a stable `code`. A list is
`{items, next_cursor}`, newest first. A 2xx is sent after the commit in PostgreSQL.
"""

PATH_PARAMETERS: Final = {
    "workflow_id": "Id of a workflow",
    "version": "Number of a version: 1, 2, …",
    "execution_id": "Id of an execution",
    "node_id": "Id of a node in its workflow",
    "interaction_id": "Id of an interaction",
    "schedule_id": "Id of a schedule",
    "node_type": "Name of a node type: `TYPE.SUBTYPE`",
    "payload_id": "Id of a large value: `sha256:` and 64 digits",
    "dead_letter_id": "Id of a dead letter",
    "credential_id": "Id of a credential",
    "integration_id": "Id of an integration",
    "path": "The path of a webhook",
}

REQUEST_HEADERS: Final = {
    "If-Match": "The revision that the change builds on, as its ETag says it; a stale one is 412",
    "Idempotency-Key": "1 to 255 characters: a repeated request is answered as the first was",
    "webhook-id": "The same as `Idempotency-Key`, by the name of Standard Webhooks",
    "Last-Event-ID": "The seq of the last event that was seen",
}

RESPONSE_HEADERS: Final = {
    "ETag": "The revision, for If-Match",
    "Location": "Path of what was made",
    "Idempotent-Replayed": "`true` if this is the answer to an earlier request with the same key",
    "Retry-After": "Seconds to wait before the request is repeated",
    "WWW-Authenticate": "`Bearer`",
}


_WITHOUT_CONTENT: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods whose content has no meaning that all agree on: OpenAPI shows none."""


def document(operations: Sequence[Operation[Any, Any]], *, version: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of these operations."""
    contracts = [ProblemBody, *_contracts(operations)]
    _, schemas = msgspec.json.schema_components(contracts, ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Flotilla", "version": version, "description": DESCRIPTION},
        "paths": _paths(operations),
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"bearer": []}],
    }


def _contracts(operations: Iterable[Operation[Any, Any]]) -> list[Any]:
    """Return every contract of a body once, in the order of first use."""
    found: dict[Any, None] = {}
    for operation in operations:
        if operation.takes_body and not operation.body.is_raw:
            found[operation.body.type] = None
        for returns in operation.returns.values():
            if returns.type is not None:
                found[returns.type] = None
    return list(found)


def _paths(operations: Iterable[Operation[Any, Any]]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return paths


def _operation(operation: Operation[Any, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "operationId": operation.name or operation.handler.__name__,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": _description(operation),
        "parameters": [*_path_parameters(operation), *_query(operation), *_headers(operation)],
        "responses": _responses(operation),
        "x-flotilla-scope": operation.scope,
    }
    if operation.scope == "public":
        entry["security"] = []
    if operation.takes_body and operation.method not in _WITHOUT_CONTENT:
        entry["requestBody"] = _request_body(operation)
    return entry


def _description(operation: Operation[Any, Any]) -> str:
    scope = "Public." if operation.scope == "public" else f"Scope: `{operation.scope}`."
    return f"{operation.description}\n\n{scope}".strip()


def _path_parameters(operation: Operation[Any, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "description": text, "schema": _TEXT}
        for name, text in PATH_PARAMETERS.items()
        if f"{{{name}}}" in operation.path
    ]


def _query(operation: Operation[Any, Any]) -> list[dict[str, Any]]:
    """Return the query parameters: the fields of the query's contract, its references resolved."""
    (reference,), components = msgspec.json.schema_components([operation.query], ref_template=_REF)
    schema = components[reference["$ref"].rsplit("/", 1)[-1]]
    required = schema.get("required", ())
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": field.get("description", ""),
            "schema": _inlined(field, components),
        }
        for name, field in schema.get("properties", {}).items()
    ]


def _inlined(schema: Any, components: dict[str, Any]) -> Any:
    """Return a schema without references; those of queries are flat, so this ends."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inlined(components[schema["$ref"].rsplit("/", 1)[-1]], components)
        return {name: _inlined(value, components) for name, value in schema.items()}
    if isinstance(schema, list):
        return [_inlined(value, components) for value in schema]
    return schema


def _headers(operation: Operation[Any, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "header",
            "required": False,
            "description": REQUEST_HEADERS[name],
            "schema": _TEXT,
        }
        for name in operation.request_headers
    ]


def _request_body(operation: Operation[Any, Any]) -> dict[str, Any]:
    schema = {} if operation.body.is_raw else _schema(operation.body.type)
    if operation.body.is_document:  # other spellings are read too
        schema = {"anyOf": [schema, {"type": "object"}]}
    content: dict[str, Any] = {"schema": schema}
    if operation.example is not None:
        content["example"] = operation.example
    return {
        "required": not operation.body.is_optional,
        "content": {"*/*" if operation.body.is_raw else "application/json": content},
    }


def _responses(operation: Operation[Any, Any]) -> dict[str, Any]:
    answers = {str(status): _success(each) for status, each in operation.returns.items()}
    by_status: dict[int, list[str]] = {}
    for code in operation.problem_codes:
        by_status.setdefault(operation.status_of(code), []).append(code)
    for status, codes in sorted(by_status.items()):
        answers.setdefault(str(status), _problem(status, codes))
    if operation.other is not None:
        answers["default"] = _success(operation.other)
    return answers


def _success(returns: Returns) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": returns.description}
    if returns.headers:
        answer["headers"] = _header_objects(returns.headers)
    if returns.type is not None:
        answer["content"] = {returns.media_type: {"schema": _schema(returns.type)}}
    return answer


def _problem(status: int, codes: list[str]) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": "; ".join(f"`{code}`: {CODES[code].title}" for code in codes),
        "content": {"application/problem+json": {"schema": _PROBLEM}},
    }
    if status in (429, 503):
        answer["headers"] = _header_objects(("Retry-After",))
    if status == 401:
        answer["headers"] = _header_objects(("WWW-Authenticate",))
    return answer


def _header_objects(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"description": RESPONSE_HEADERS[name], "schema": _TEXT} for name in names}


def _schema(contract: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([contract], ref_template=_REF)
    return dict(schema)
