"""The command `redrive`: dead letters go back to work, those that are named or all that fit."""

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from flotilla.cli.output import Format, FormatOption

if TYPE_CHECKING:
    from flotilla.client import Client


def redrive(
    letter_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Dead letters, or none: filters.")
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option("--source", help="TASK, RESULT, COMMAND or TRIGGER.")
    ] = None,
    reason: Annotated[
        list[str] | None,
        typer.Option("--reason", help="UNREADABLE, DELIVERIES_EXHAUSTED or NO_NAMESPACE."),
    ] = None,
    execution: Annotated[
        list[str] | None, typer.Option("--execution", metavar="ID", help="Of this execution.")
    ] = None,
    created_before: Annotated[
        str | None, typer.Option("--created-before", metavar="INSTANT", help="Older ones alone.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what fits the filters, and do nothing.")
    ] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Put dead letters back to work: a task by a retry of its execution, a message as it came."""
    filters = {
        "source": source,
        "reason": reason,
        "execution_id": execution,
        "created_before": created_before,
    }
    given = {name: value for name, value in filters.items() if value}
    if bool(letter_ids) == bool(given):
        raise typer.BadParameter("name dead letters, or say by filters which are meant")
    if dry_run and letter_ids:
        raise typer.BadParameter("only with filters", param_hint="--dry-run")
    if letter_ids:
        _redrive_each(letter_ids, output)
    else:
        _redrive_all(given, dry_run=dry_run, output=output)


def _redrive_each(letter_ids: list[str], output: Format) -> None:
    from flotilla.cli import session
    from flotilla.cli.output import columns, emit

    async def work(client: "Client") -> list[dict[str, Any]]:
        paths = [f"/v1/dead-letters/{quote(each, safe='')}/redrive" for each in letter_ids]
        return [await client.post(path, {}) for path in paths]

    letters = session.with_client(work)
    names = ("id", "source", "redriven_at", "redriven_as")
    rows = [[each.get(name) for name in names] for each in letters]
    emit(letters, output, columns(("ID", "SOURCE", "REDRIVEN", "EXECUTION"), rows))


def _redrive_all(filters: dict[str, Any], *, dry_run: bool, output: Format) -> None:
    from flotilla.cli import session
    from flotilla.cli.output import emit, facts

    async def work(client: "Client") -> dict[str, int]:
        sums = dict.fromkeys(("matched", "done", "skipped"), 0)
        body: dict[str, Any] = {"filter": filters, "dry_run": dry_run}
        while True:
            answered = await client.post("/v1/dead-letters/bulk/redrive", body)
            sums = {name: count + answered[name] for name, count in sums.items()}
            if answered["next_cursor"] is None:
                return sums
            body["cursor"] = answered["next_cursor"]

    sums = session.with_client(work)
    emit(sums, output, facts(sums.items()))
