"""Workflows over HTTP: the draft, its validation, and the versions that are published from it."""

import httpx

from tests.support.gateways import HELLO


async def test_a_workflow_is_created_read_listed_and_deleted(api: httpx.AsyncClient) -> None:
    made = await api.post("/v1/workflows", json=HELLO)

    assert made.status_code == 201, made.text
    workflow = made.json()
    assert made.headers["location"] == f"/v1/workflows/{workflow['id']}"
    assert made.headers["etag"] == '"1"'
    assert workflow["valid"]
    assert workflow["active"]
    assert [node["type"] for node in workflow["nodes"]] == ["TRIGGER.MANUAL", "FLOW.NOOP"]

    read = await api.get(made.headers["location"])
    assert read.json() == workflow

    listed = await api.get("/v1/workflows", params={"name": "Hello"})
    assert [each["id"] for each in listed.json()["items"]] == [workflow["id"]]
    assert "nodes" not in listed.json()["items"][0]

    gone = await api.delete(made.headers["location"])
    assert gone.status_code == 204
    assert gone.content == b""
    assert (await api.get(made.headers["location"])).status_code == 404
