"""Applying a document: the workflow of that name becomes what the file says, and a second time changes nothing."""

from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec

from contracts.webhooks import WEBHOOK_TRIGGER
from flotilla.cli.exits import CommandFailed, Exit
from flotilla.cli.session import refused_document
from flotilla.client import ApiProblem, Client
from flotilla.documents import Document

Action = Literal["created", "updated", "unchanged"]

LISTED: Final = 20


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a document. Under a dry run nothing happened, and a workflow to be created has no id."""

    action: Action
    name: str
    id: str | None
    problems: list[dict[str, Any]]
    published_version: int | None = None
    dry_run: bool = False

    def as_value(self) -> dict[str, Any]:
        """What is printed: fields that say something."""
        value: dict[str, Any] = msgspec.to_builtins(self)
        return {name: each for name, each in value.items() if each not in (None, [], False)}


async def apply(
    client: Client,
    document: Document,
    *,
    workflow_id: str | None = None,
    publish: bool = False,
    dry_run: bool = False,
) -> Applied:
    """Create or update the workflow of the document's name, or the one with that id. Raises CommandFailed, ClientError."""
    normalised = await _normalised(client, document)
    stored = await _stored(client, normalised["name"], workflow_id)
    wanted = normalised if stored is None else _with_paths(normalised, stored)
    action = _action(wanted, stored)
    if dry_run:
        problems = [] if stored is None else stored["problems"]
        identity = None if stored is None else stored["id"]
        return Applied(
            action=action, name=wanted["name"], id=identity, problems=problems, dry_run=True
        )
    workflow = await _write(client, wanted, stored, action)
    version = await _publish(client, document, workflow["id"]) if publish else None
    return Applied(
        action=action,
        name=workflow["name"],
        id=workflow["id"],
        problems=workflow["problems"],
        published_version=version,
    )


async def _normalised(client: Client, document: Document) -> dict[str, Any]:
    """The document as it would be stored. Raises CommandFailed for one that cannot be."""
    found = await client.post("/v1/workflows/validate", document.value)
    if found["document"] is None:
        raise refused_document(document, found["errors"])
    normalised: dict[str, Any] = found["document"]
    return normalised


async def _stored(client: Client, name: str, workflow_id: str | None) -> dict[str, Any] | None:
    """The workflow to update, None if there is none. Raises CommandFailed where the name does not tell."""
    if workflow_id is None:
        found = (await client.get("/v1/workflows", {"name": name, "limit": LISTED}))["items"]
        if len(found) > 1:
            ids = ", ".join(each["id"] for each in found)
            raise CommandFailed(
                f"several workflows are named {name!r}: choose one with --id: {ids}", Exit.USAGE
            )
        if not found:
            return None
        workflow_id = found[0]["id"]
    workflow: dict[str, Any] = await client.get(f"/v1/workflows/{quote(workflow_id, safe='')}")
    return workflow


def _with_paths(wanted: dict[str, Any], stored: dict[str, Any]) -> dict[str, Any]:
    """The document with what saving fills in: webhooks without a path keep the one that was made for them."""
    made = {
        each["id"]: each["parameters"].get("path")
        for each in stored["nodes"]
        if each["type"] == WEBHOOK_TRIGGER
    }
    return {**wanted, "nodes": [_with_path(each, made.get(each["id"])) for each in wanted["nodes"]]}


def _with_path(node: dict[str, Any], made: str | None) -> dict[str, Any]:
    if made is None or node["type"] != WEBHOOK_TRIGGER:
        return node
    path = node["parameters"].get("path")
    return {**node, "parameters": {**node["parameters"], "path": made if path is None else path}}


def _action(wanted: dict[str, Any], stored: dict[str, Any] | None) -> Action:
    if stored is None:
        return "created"
    return "unchanged" if wanted == {name: stored.get(name) for name in wanted} else "updated"


async def _write(
    client: Client, wanted: dict[str, Any], stored: dict[str, Any] | None, action: Action
) -> dict[str, Any]:
    if stored is None:
        workflow: dict[str, Any] = await client.post("/v1/workflows", wanted)
        return workflow
    if action == "unchanged":
        return stored
    headers = {"If-Match": f'"{stored["revision"]}"'}
    answer = await client.ask("PUT", f"/v1/workflows/{stored['id']}", wanted, headers=headers)
    updated: dict[str, Any] = answer.value
    return updated


async def _publish(client: Client, document: Document, workflow_id: str) -> int:
    try:
        version = await client.post(f"/v1/workflows/{workflow_id}/publish", {})
    except ApiProblem as error:
        if not error.problem.errors:
            raise
        raise refused_document(document, msgspec.to_builtins(error.problem.errors)) from None
    number: int = version["version"]
    return number
