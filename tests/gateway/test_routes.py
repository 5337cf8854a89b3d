"""The table of operations: nothing without a scope, and nothing declared that is not so."""

import inspect
from typing import Any, get_type_hints

import pytest

from gateway.auth import PUBLIC_PATHS, PUBLIC_ROUTES
from gateway.openapi import PATH_PARAMETERS, REQUEST_HEADERS, RESPONSE_HEADERS
from gateway.operations import Operation
from gateway.problems import CODES
from gateway.routes import OPERATIONS

each_operation = pytest.mark.parametrize(
    "operation", OPERATIONS, ids=lambda operation: f"{operation.method} {operation.path}"
)


def test_an_operation_without_a_scope_cannot_be_made() -> None:
    given: dict[str, Any] = {
        name: getattr(OPERATIONS[0], name)
        for name in Operation.__struct_fields__
        if name != "scope"
    }

    with pytest.raises(TypeError, match="scope"):
        Operation(**given)


def test_public_operations_and_public_paths_are_the_same() -> None:
    public = {operation.path for operation in OPERATIONS if operation.scope == "public"}

    assert public == PUBLIC_PATHS | PUBLIC_ROUTES


def test_a_method_on_a_path_stands_once() -> None:
    seen = [(operation.method, operation.path) for operation in OPERATIONS]

    assert len(set(seen)) == len(seen)


@each_operation
def test_reading_needs_read_and_changing_needs_more(operation: Operation[Any, Any]) -> None:
    allowed = {"public", "read", "admin"} if operation.method == "GET" else {"execute", "write"}

    # A webhook verifies its sender by itself.
    assert operation.scope in ({"public"} if operation.body.is_raw else allowed)


@each_operation
def test_what_is_declared_is_what_the_handler_takes(operation: Operation[Any, Any]) -> None:
    call = get_type_hints(operation.handler)["call"]
    query, body = call.__args__

    assert query is operation.query
    assert body in (operation.body.type, Any)
    assert (body is Any) == operation.body.is_document
    assert inspect.getdoc(operation.handler)


@each_operation
def test_everything_that_is_named_is_known(operation: Operation[Any, Any]) -> None:
    headers = {name for returns in operation.returns.values() for name in returns.headers}
    parameters = {part[1:-1] for part in operation.path.split("/") if part.startswith("{")}

    assert set(operation.problem_codes) <= set(CODES)
    assert set(operation.request_headers) <= set(REQUEST_HEADERS)
    assert headers <= set(RESPONSE_HEADERS)
    assert parameters <= set(PATH_PARAMETERS)
