"""OpenAPI: derived from the table of operations, complete, and kept as a golden file."""

import json
import os
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from gateway import openapi
from gateway.routes import OPERATIONS

GOLDEN = Path(__file__).parents[1] / "golden" / "openapi.json"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(openapi.document(OPERATIONS, version="0.0.0")))
    return found


def walk(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in a JSON value."""
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from walk(each)
    elif isinstance(value, list):
        for each in value:
            yield from walk(each)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every path with each of its operations."""
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    references = {each["$ref"] for each in walk(document) if isinstance(each.get("$ref"), str)}

    assert references
    assert {each.removeprefix("#/components/schemas/") for each in references} <= set(schemas)


def test_every_name_of_a_component_is_allowed(document: dict[str, Any]) -> None:
    for name in document["components"]["schemas"]:
        assert re.fullmatch(r"[a-zA-Z0-9._-]+", name)


def test_every_operation_has_a_name_of_its_own(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]

    assert len(set(names)) == len(names)


def test_every_part_of_a_path_is_a_parameter(document: dict[str, Any]) -> None:
    for path, operation in operations(document):
        declared = [each["name"] for each in operation["parameters"] if each["in"] == "path"]

        assert sorted(declared) == sorted(re.findall(r"\{(\w+)\}", path))


def test_every_status_that_can_be_sent_is_declared(document: dict[str, Any]) -> None:
    for operation in OPERATIONS:
        entry = document["paths"][operation.path][operation.method.lower()]
        expected = {str(status) for status in operation.returns}
        expected |= {str(operation.status_of(code)) for code in operation.problem_codes}

        assert all(HTTPStatus(int(status)) for status in expected)
        expected |= {"default"} if operation.other else set()
        assert set(entry["responses"]) == expected


def test_every_refusal_is_a_problem(document: dict[str, Any]) -> None:
    for path, operation in operations(document):
        for status, answer in operation["responses"].items():
            if status >= "400" and status != "default" and path != "/health":
                assert list(answer["content"]) == ["application/problem+json"]


def test_only_public_operations_need_no_token(document: dict[str, Any]) -> None:
    assert document["security"] == [{"bearer": []}]
    for _, operation in operations(document):
        is_public = operation["x-flotilla-scope"] == "public"

        assert (operation.get("security") == []) == is_public


def test_golden_openapi(document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    if os.environ.get("GOLDEN") == "rewrite":
        GOLDEN.write_text(text)

    assert GOLDEN.read_text() == text
