"""Following an execution to its end: its events over SSE, taken up again where they broke off, and the exit code of its status."""

import asyncio
import time
from typing import Any, Final

import typer

from flotilla.cli import live, output
from flotilla.cli.exits import Exit
from flotilla.cli.output import Format, note
from flotilla.cli.progress import Progress
from flotilla.client import ApiProblem, Client, Unreachable

RECONNECT_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 60.0
NODE_RUNS: Final = 500

EXITS: Final = {"SUCCESS": Exit.DONE, "ERROR": Exit.ERROR, "CANCELED": Exit.CANCELED}


async def follow(
    client: Client, execution: dict[str, Any], *, seconds: float | None = None
) -> tuple[dict[str, Any], Exit]:
    """Show an execution until it is over, and return it with its exit code; TIMEOUT if that takes too long.

    Raises Unreachable once the gateway was away for a minute, and ApiProblem.
    """
    progress = Progress()
    title = f"execution {execution['id']}"
    try:
        async with asyncio.timeout(seconds):
            with live.view(progress, title) as view:
                progress.seed(await _node_runs(client, execution["id"]))
                await _Stream(client, execution["id"], progress, view).read()
            final: dict[str, Any] = await client.get(f"/v1/executions/{execution['id']}")
    except TimeoutError:
        note(f"{title} is not over after {seconds:g} s, and goes on; see it with:")
        note(f"  flotilla executions watch {execution['id']}")
        return execution, Exit.TIMEOUT
    return final, EXITS[final["status"]]


def conclude(execution: dict[str, Any], code: Exit, format: Format) -> None:
    """Print the output on stdout and how it ended on stderr, and exit by it."""
    if code is Exit.TIMEOUT:
        raise typer.Exit(code)
    note(f"execution {execution['id']}  {execution['status']}")
    if "failure" in execution:
        failure = execution["failure"]
        where = f" at node {failure['node_id']}" if failure.get("node_id") else ""
        note(f"{failure['kind']} {failure['code']}{where}: {failure['message']}")
    if "output" in execution:
        value = execution["output"]
        output.emit(value, format, output.as_json(value))
    raise typer.Exit(code)


async def _node_runs(client: Client, execution_id: str) -> list[dict[str, Any]]:
    found = await client.get(f"/v1/executions/{execution_id}/node-runs", {"limit": NODE_RUNS})
    items: list[dict[str, Any]] = found["items"]
    return items


class _Stream:
    """The events of one execution, over as many connections as it takes."""

    def __init__(
        self, client: Client, execution_id: str, progress: Progress, view: live.View
    ) -> None:
        self._client = client
        self._path = f"/v1/executions/{execution_id}/events"
        self._progress = progress
        self._view = view
        self._last_id: str | None = None
        self._heard_at = time.monotonic()

    async def read(self) -> None:
        """Return after the last event."""
        while self._progress.status not in EXITS:
            try:
                await self._read_once()
            except (ApiProblem, Unreachable) as error:
                if isinstance(error, ApiProblem) and error.status < 500:
                    raise
                if time.monotonic() - self._heard_at > PATIENCE_SECONDS:
                    raise
            if self._progress.status not in EXITS:
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _read_once(self) -> None:
        async for event in self._client.events(self._path, last_event_id=self._last_id):
            self._heard_at = time.monotonic()
            self._last_id = event.id or self._last_id
            self._view.show(self._progress.take(event))
