"""What a workflow says it will need."""

from typing import Any

import pytest

from contracts.document import read_document
from contracts.manifest import Manifest, Needed, manifest
from tests.support.documents import START, document, node
from tests.support.specs import CATALOGUE


def needs(*nodes: Any) -> Manifest:
    reading = read_document(document([START, *nodes]), CATALOGUE)
    assert reading.document is not None
    return manifest(reading.document, CATALOGUE)


def test_node_types_and_credentials_are_listed() -> None:
    found = needs(
        node("a", "ACTION.HTTP_REQUEST", url="https://b.example/x") | {"credentials": {"http": "shop"}},
        node("b", "ACTION.HTTP_REQUEST", url="http://a.example"),
        node("c", "ACTION.DATABASE_OPERATION", query="select 1"),
    )  # fmt: skip

    assert found == Manifest(
        node_types=("ACTION.DATABASE_OPERATION", "ACTION.HTTP_REQUEST", "TRIGGER.MANUAL"),
        credentials=(
            Needed(node_id="a", slot="http", credential="shop", required=False),
            Needed(node_id="c", slot="postgresql", credential=None, required=True),
        ),
        hosts=("a.example", "b.example"),
    )


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        pytest.param("https://a.example/{{ input.id }}", ("a.example",), id="a path that is rendered"),
        pytest.param("https://A.example:8080?x={{ input.id }}", (), id="no slash before the expression"),
        pytest.param("https://{{ input.host }}/x", (), id="a host that is rendered"),
        pytest.param("https://a.{{ input.domain }}/x", (), id="half a host"),
        pytest.param("{{ input.url }}", (), id="all rendered"),
        pytest.param("https://user:pass@a.example:8080/x", ("a.example",), id="with port and user"),
        pytest.param("ftp://a.example/x", (), id="another scheme"),
        pytest.param("http://[broken", (), id="broken"),
    ],
)  # fmt: skip
def test_hosts_are_those_known_beforehand(url: str, hosts: tuple[str, ...]) -> None:
    assert needs(node("a", "ACTION.HTTP_REQUEST", url=url)).hosts == hosts
