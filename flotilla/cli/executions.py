"""Commands on executions: `list`, `show`, `watch`, and those of `steering`."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from flotilla.cli import steering
from flotilla.cli.exits import Exit
from flotilla.cli.output import Format, FormatOption
from flotilla.cli.steering import Id, label_of, path_of

if TYPE_CHECKING:
    from flotilla.client import Client

app: Final = typer.Typer(help="See, steer and retry executions.", no_args_is_help=True)

Statuses = Annotated[
    list[str] | None, typer.Option("--status", help="Only with this status; may be repeated.")
]


@app.command("list")
def list_executions(
    workflow: Annotated[
        str | None, typer.Option("--workflow", help="Only of this workflow, by name or id.")
    ] = None,
    status: Statuses = None,
    mode: Annotated[
        list[str] | None, typer.Option("--mode", help="MANUAL, WEBHOOK, TRIGGER or RETRY.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500)] = 50,
    output: FormatOption = Format.TABLE,
) -> None:
    """List executions, newest first."""
    from flotilla.cli import running, session
    from flotilla.cli.output import columns, emit

    async def work(client: "Client") -> list[dict[str, Any]]:
        workflow_id = None if workflow is None else await running.workflow_id_of(client, workflow)
        query = {"workflow_id": workflow_id, "status": status, "mode": mode, "limit": limit}
        items: list[dict[str, Any]] = (await client.get("/v1/executions", query))["items"]
        return items

    items = session.with_client(work)
    heads = ("ID", "STATUS", "MODE", "WORKFLOW", "CREATED", "TIME")
    emit(items, output, columns(heads, map(_row, items)))


@app.command("show")
def show(execution_id: Id, output: FormatOption = Format.TABLE) -> None:
    """Show an execution and its node runs."""
    from flotilla.cli import session
    from flotilla.cli.output import columns, emit, facts

    async def work(client: "Client") -> tuple[dict[str, Any], list[dict[str, Any]]]:
        path = path_of(execution_id)
        execution = await client.get(path)
        return execution, (await client.get(f"{path}/node-runs", {"limit": 500}))["items"]

    execution, node_runs = session.with_client(work)
    table = columns(("NODE", "STATUS", "ATTEMPT", "TIME", "FAILURE"), map(_node_row, node_runs))
    described = facts((name.replace("_", " "), value) for name, value in execution.items())
    emit({**execution, "node_runs": node_runs}, output, f"{described}\n\n{table}")


@app.command("watch")
def watch(
    execution_id: Id,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", min=0, metavar="S", help="Seconds until exit code 6."),
    ] = None,
    output: FormatOption = Format.JSON,
) -> None:
    """Follow an execution, print its output, and exit by its status."""
    from flotilla.cli import following, session

    async def work(client: "Client") -> tuple[dict[str, Any], Exit]:
        execution = await client.get(path_of(execution_id))
        return await following.follow(client, execution, seconds=timeout)

    following.conclude(*session.with_client(work), output)


app.command("cancel")(steering.cancel)
app.command("pause")(steering.pause)
app.command("resume")(steering.resume)
app.command("signal")(steering.send_signal)
app.command("retry")(steering.retry)
app.command("explain")(steering.explain)


def _row(execution: dict[str, Any]) -> tuple[Any, ...]:
    names = ("id", "status", "mode", "workflow_id", "created_at")
    return (*(execution[name] for name in names), _took(execution))


def _node_row(node_run: dict[str, Any]) -> tuple[Any, ...]:
    failure = node_run.get("failure")
    shown = f"{failure['code']}: {failure['message']}" if failure else None
    return (label_of(node_run), node_run["status"], node_run["attempt"], _took(node_run), shown)


def _took(timed: dict[str, Any]) -> str | None:
    """How long something took, None if it has not ended."""
    from flotilla.cli.live import duration

    if "started_at" not in timed or "finished_at" not in timed:
        return None
    started, finished = (
        datetime.fromisoformat(timed[name]) for name in ("started_at", "finished_at")
    )
    return duration(finished - started)
