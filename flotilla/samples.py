"""The sample workflows: found in a clone, created through the REST API, published, and left alone afterwards.

A sample that exists already belongs to its user: only the address of the gateway, which may change from one start to the next, is written
into it again.
"""

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import structlog

from flotilla import documents
from flotilla.client import Client
from flotilla.documents import Document
from flotilla.settings import is_loopback

log: Final = structlog.get_logger()

FOLDER: Final = Path(__file__).parent.parent / "examples"
TABLE_FILE: Final = "openapi-table.yaml"
EVENT_FILE: Final = "order-received.yaml"
DOCUMENT_PATH: Final = "/openapi.json"


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
    """Write the gateway's address into a sample that still has the one of an earlier start."""
    url = document.get("static_data", {}).get("url")
    stored = (await client.get(f"/v1/workflows/{workflow_id}"))["static_data"]
    if url is None or stored.get("url") == url or not _is_ours(stored.get("url")):
        return
    changed = {"static_data": stored | {"url": url}}
    await client.ask("PUT", f"/v1/workflows/{workflow_id}", changed)
    await client.post(f"/v1/workflows/{workflow_id}/publish", {})


def _is_ours(url: Any) -> bool:
    """Whether an address may be that of a gateway that `up` has started, and not one that the user has chosen."""
    parts = urlsplit(url) if isinstance(url, str) else None
    return parts is not None and is_loopback(parts.hostname or "") and parts.path == DOCUMENT_PATH


def _addressed(document: Document, gateway_url: str) -> dict[str, Any]:
    """The document with this gateway's OpenAPI document as the address it reads."""
    static = document.value.get("static_data", {})
    if "url" not in static:
        return document.value
    return document.value | {"static_data": static | {"url": gateway_url + DOCUMENT_PATH}}
