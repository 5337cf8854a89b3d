"""The sample workflows: found in a clone, created through the REST API, published, and left alone afterwards.

A sample that exists already belongs to its user: only the address of the gateway, which may change from one start to the next, is written
into it again.
"""

from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from flotilla import documents
from flotilla.client import Client
from flotilla.documents import Document

log: Final = structlog.get_logger()

FOLDER: Final = Path(__file__).parent.parent / "examples"
TABLE_FILE: Final = "openapi-table.yaml"
EVENT_FILE: Final = "order-received.yaml"


class Sample(msgspec.Struct, frozen=True):
    """A sample as the gateway knows it."""

    name: str
    workflow_id: str
    file: Path


async def load(client: Client, *, folder: Path = FOLDER) -> list[Sample]:
    """Create and publish what is missing of the samples, and return them; none where there is no clone."""
    return [await _load(client, file) for file in _files(folder)]


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        log.info("samples_missing", folder=str(folder))
        return []
    return [folder / name for name in (TABLE_FILE, EVENT_FILE)]


async def _load(client: Client, file: Path) -> Sample:
    document = _addressed(documents.read_file(file), client.url)
    name = document["name"]
    found = (await client.get("/v1/workflows", {"name": name}))["items"]
    if not found:
        workflow = await client.post("/v1/workflows", document)
        await client.post(f"/v1/workflows/{workflow['id']}/publish", {})
        log.info("sample_created", name=name, workflow_id=workflow["id"])
        return Sample(name, workflow["id"], file)
    await _readdress(client, found[-1]["id"], document)
    return Sample(name, found[-1]["id"], file)


async def _readdress(client: Client, workflow_id: str, document: dict[str, Any]) -> None:
    """Write the gateway's address into a sample that has another one, unless its user took it out."""
    wanted = document.get("static_data", {})
    workflow = await client.get(f"/v1/workflows/{workflow_id}")
    stored = workflow["static_data"]
    changed = {key: value for key, value in wanted.items() if key in stored and key == "url"}
    if not changed or stored | changed == stored:
        return
    await client.ask("PUT", f"/v1/workflows/{workflow_id}", {"static_data": stored | changed})
    await client.post(f"/v1/workflows/{workflow_id}/publish", {})


def _addressed(document: Document, gateway_url: str) -> dict[str, Any]:
    """The document with this gateway's OpenAPI document as the address it reads."""
    static = document.value.get("static_data", {})
    if "url" not in static:
        return document.value
    return document.value | {"static_data": static | {"url": f"{gateway_url}/openapi.json"}}
