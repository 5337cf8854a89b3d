"""Starting an execution: of a file, whose draft runs, or of a workflow by name or id."""

from pathlib import Path
from typing import Any

from contracts.ids import is_uuid
from flotilla import documents
from flotilla.cli import applying
from flotilla.cli.exits import CommandFailed, Exit
from flotilla.cli.output import note
from flotilla.cli.session import place
from flotilla.client import Client


async def start(client: Client, workflow: str, value: Any) -> dict[str, Any]:
    """Start an execution with `value` as its input, and return it. Raises CommandFailed, ClientError."""
    if _is_file(workflow):
        workflow_id, version = await _applied(client, Path(workflow)), "draft"
    else:
        workflow_id, version = await workflow_id_of(client, workflow), None
    body = {"input": value, "version": version} if version else {"input": value}
    execution: dict[str, Any] = await client.post(f"/v1/workflows/{workflow_id}/execute", body)
    return execution


def _is_file(workflow: str) -> bool:
    return (
        Path(workflow).suffix in (documents.JSON_SUFFIX, *documents.YAML_SUFFIXES)
        or Path(workflow).is_file()
    )


async def _applied(client: Client, file: Path) -> str:
    """Apply a file; what hinders its execution is said with lines, before the gateway refuses it."""
    document = documents.read_file(file)
    applied = await applying.apply(client, document)
    if applied.action != "unchanged":
        note(f"{applied.action} {applied.name!r} ({applied.id})")
    for problem in applied.problems:
        note(f"{place(document, problem['pointer'])}: {problem['code']}: {problem['message']}")
    assert applied.id is not None
    return applied.id


async def workflow_id_of(client: Client, name: str) -> str:
    """The id of the workflow of that name, or of that id. Raises CommandFailed unless there is exactly one."""
    if is_uuid(name):
        return name
    found = (await client.get("/v1/workflows", {"name": name, "limit": 20}))["items"]
    if not found:
        raise CommandFailed(f"no workflow is named {name!r}", Exit.REFUSED)
    if len(found) > 1:
        ids = ", ".join(each["id"] for each in found)
        raise CommandFailed(f"several workflows are named {name!r}: {ids}", Exit.USAGE)
    identity: str = found[0]["id"]
    return identity
