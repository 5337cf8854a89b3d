"""Commands that steer an execution, try it again, or ask why it is where it is."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from flotilla.cli.output import Format, FormatOption

if TYPE_CHECKING:
    from flotilla.client import Client

Id = Annotated[str, typer.Argument(metavar="ID", help="An execution.", show_default=False)]
Reason = Annotated[str | None, typer.Option("--reason", help="Kept in its history.")]
Data = Annotated[
    str | None,
    typer.Option("--data", metavar="JSON|@FILE", help="What comes with it; @- reads stdin."),
]


class From(StrEnum):
    """Where a retry begins."""

    FAILED = "FAILED"
    START = "START"


def cancel(execution_id: Id, reason: Reason = None, output: FormatOption = Format.TABLE) -> None:
    """End an execution: nothing new starts, and what runs is told to stop."""
    _command(execution_id, "cancel", {"reason": reason}, output)


def pause(execution_id: Id, reason: Reason = None, output: FormatOption = Format.TABLE) -> None:
    """Hold back what comes next; what runs may finish."""
    _command(execution_id, "pause", {"reason": reason}, output)


def resume(
    execution_id: Id,
    node: Annotated[
        str | None, typer.Option("--node", help="End the wait of this node, not a pause.")
    ] = None,
    iteration: Annotated[
        str | None, typer.Option("--iteration", metavar="4-17", help="In this iteration.")
    ] = None,
    signal: Annotated[
        str | None, typer.Option("--signal", help="End the wait for this signal.")
    ] = None,
    interaction: Annotated[
        str | None, typer.Option("--interaction", help="Answer this question.")
    ] = None,
    approved: Annotated[
        bool | None, typer.Option("--approve/--reject", help="The answer to a question.")
    ] = None,
    data: Data = None,
    reason: Reason = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """End a pause; or, with an option, the one wait that fits."""
    body = {
        "node_id": node,
        "iteration": iteration,
        "signal": signal,
        "interaction_id": interaction,
        "approved": approved,
        "reason": reason,
        **_data(data),
    }
    _command(execution_id, "resume", body, output)


def send_signal(
    execution_id: Id,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal.", show_default=False)],
    data: Data = None,
    signal_id: Annotated[
        str | None, typer.Option("--signal-id", help="A signal of the same id is applied once.")
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Send a signal; it is kept if nothing waits for it yet."""
    body = {"name": name, "signal_id": signal_id, **_data(data)}
    _command(execution_id, "signal", body, output)


def retry(
    execution_id: Id,
    from_: Annotated[
        From, typer.Option("--from", help="FAILED keeps what succeeded, START nothing.")
    ] = From.FAILED,
    version: Annotated[
        str, typer.Option("--version", help="same, published, draft, or a number.")
    ] = "same",
    output: FormatOption = Format.TABLE,
) -> None:
    """Start a new execution that tries an old one again, and print its id."""
    asked: Any = int(version) if version.isdecimal() else version
    _command(execution_id, "retry", {"from": from_.value, "version": asked}, output)


def explain(execution_id: Id, output: FormatOption = Format.TABLE) -> None:
    """Say why an execution is where it is."""
    from flotilla.cli import session
    from flotilla.cli.output import columns, emit

    async def work(client: "Client") -> dict[str, Any]:
        explained: dict[str, Any] = await client.get(f"{path_of(execution_id)}/explain")
        return explained

    explained = session.with_client(work)
    table = columns(
        ("CAUSE", "NODE", "SINCE", "UNTIL", "MESSAGE"), map(_cause_row, explained["causes"])
    )
    emit(explained, output, f"{explained['summary']}\n\n{table}")


def path_of(execution_id: str) -> str:
    """The path of an execution, whatever was typed."""
    return f"/v1/executions/{quote(execution_id, safe='')}"


def label_of(node_run: dict[str, Any]) -> str:
    """A node run by its node, and its iteration path inside loops."""
    iteration = "-".join(map(str, node_run.get("iteration") or ()))
    return f"{node_run['node_id']}[{iteration}]" if iteration else str(node_run["node_id"])


def _command(execution_id: str, what: str, body: dict[str, Any], output: Format) -> None:
    """Ask for something, and print the execution that is answered with."""
    from flotilla.cli import session
    from flotilla.cli.output import emit

    given = {name: value for name, value in body.items() if value is not None}

    async def work(client: "Client") -> dict[str, Any]:
        answered: dict[str, Any] = await client.post(f"{path_of(execution_id)}/{what}", given)
        return answered

    answered = session.with_client(work)
    paused = "  paused" if answered.get("paused") else ""
    emit(answered, output, f"{answered['id']}  {answered['status']}{paused}")


def _data(text: str | None) -> dict[str, Any]:
    from flotilla.cli.values import read_value

    return {} if text is None else {"data": read_value("--data", text)}


def _cause_row(cause: dict[str, Any]) -> tuple[Any, ...]:
    node = label_of(cause) if "node_id" in cause else None
    return (cause["code"], node, cause["since"], cause.get("until"), cause["message"])
