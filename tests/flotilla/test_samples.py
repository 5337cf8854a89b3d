"""The samples: created once, then left to their user, but for the gateway's address."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from flotilla import samples
from flotilla.client import Client
from flotilla.samples import Sample
from tests.support.http_stub import Answer, HttpStub, Request, ok


class Kept:
    """Workflows as they are kept, and how often each was published."""

    def __init__(self, api: HttpStub) -> None:
        self.workflows: dict[str, dict[str, Any]] = {}
        self.published: list[str] = []
        api.on("GET", "/v1/workflows", self._list)
        api.on("POST", "/v1/workflows", self._create)
        api.on(
            "GET", "/v1/workflows/([^/]+)", lambda request: ok(self.workflows[request.groups[0]])
        )
        api.on("PUT", "/v1/workflows/([^/]+)", self._update)
        api.on("POST", "/v1/workflows/([^/]+)/publish", self._publish)

    def _list(self, request: Request) -> Answer:
        return ok(
            {
                "items": [
                    each
                    for each in self.workflows.values()
                    if each["name"] in request.query["name"]
                ]
            }
        )

    def _create(self, request: Request) -> Answer:
        identity = f"w{len(self.workflows)}"
        self.workflows[identity] = request.json | {"id": identity}
        return ok(self.workflows[identity], 201)

    def _update(self, request: Request) -> Answer:
        self.workflows[request.groups[0]] |= request.json
        return ok(self.workflows[request.groups[0]])

    def _publish(self, request: Request) -> Answer:
        self.published.append(request.groups[0])
        return ok({"version": 1}, 201)


@pytest.fixture
def kept(api: HttpStub) -> Kept:
    return Kept(api)


def load(api: HttpStub, folder: Path = samples.FOLDER) -> list[Sample]:
    async def work() -> list[Sample]:
        async with Client(api.url, None) as client:
            return await samples.load(client, folder=folder)

    return asyncio.run(work())


def test_the_samples_are_created_and_published_with_the_gateways_address(
    api: HttpStub, kept: Kept
) -> None:
    loaded = load(api)

    assert [(each.name, each.workflow_id) for each in loaded] == [
        ("OpenAPI table", "w0"),
        ("Order received", "w1"),
    ]
    assert kept.published == ["w0", "w1"]
    assert kept.workflows["w0"]["static_data"]["url"] == f"{api.url}/openapi.json"


def test_a_second_time_changes_nothing(api: HttpStub, kept: Kept) -> None:
    first = load(api)
    kept.workflows["w0"]["description"] = "mine now"

    second = load(api)

    assert second == first
    assert kept.published == ["w0", "w1"]
    assert kept.workflows["w0"]["description"] == "mine now"


def test_an_address_that_has_changed_is_written_and_the_rest_is_left_alone(
    api: HttpStub, kept: Kept
) -> None:
    load(api)
    kept.workflows["w0"]["static_data"] = {"url": "http://127.0.0.1:1/openapi.json", "many": 3}

    load(api)

    assert kept.workflows["w0"]["static_data"] == {"url": f"{api.url}/openapi.json", "many": 3}
    assert kept.published == ["w0", "w1", "w0"]


def test_an_address_that_the_user_has_chosen_stays(api: HttpStub, kept: Kept) -> None:
    load(api)
    kept.workflows["w0"]["static_data"] = {"url": "https://api.example/openapi.json"}

    load(api)

    assert kept.workflows["w0"]["static_data"] == {"url": "https://api.example/openapi.json"}
    assert kept.published == ["w0", "w1"]


def test_without_a_clone_there_are_none(api: HttpStub, tmp_path: Path) -> None:
    assert load(api, tmp_path / "nowhere") == []
    assert api.requests == []
