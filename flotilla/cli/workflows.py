"""Commands on workflows: `apply`, `run`, `validate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flotilla.cli.exits import Exit
from flotilla.cli.output import Format, FormatOption

if TYPE_CHECKING:
    from flotilla.client import Client

File = Annotated[Path, typer.Argument(help="A workflow as JSON or YAML.", show_default=False)]


def apply(
    file: File,
    workflow_id: Annotated[
        str | None,
        typer.Option("--id", help="Which workflow to update, where several share the name."),
    ] = None,
    publish: Annotated[bool, typer.Option("--publish", help="Publish the result.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Create the workflow of that name, or make it what the file says; a second time changes nothing."""
    from flotilla import documents
    from flotilla.cli import applying, session
    from flotilla.cli.output import emit, facts

    async def work(client: "Client") -> applying.Applied:
        document = documents.read_file(file)
        return await applying.apply(
            client, document, workflow_id=workflow_id, publish=publish, dry_run=dry_run
        )

    applied = session.with_client(work)
    value = applied.as_value()
    emit(value, output, facts((name.replace("_", " "), each) for name, each in value.items()))


def run(
    workflow: Annotated[
        str,
        typer.Argument(
            metavar="FILE|NAME",
            help="A file, which is applied and whose draft runs; or the name or id of a workflow, whose published version does.",
            show_default=False,
        ),
    ],
    input: Annotated[
        str, typer.Option("--input", metavar="JSON|@FILE", help="The input; @- reads stdin.")
    ] = "{}",
    wait: Annotated[
        bool,
        typer.Option(
            "--wait", help="Follow the execution, print its output, and exit by its status."
        ),
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout", min=0, metavar="S", help="With --wait: seconds until exit code 6."
        ),
    ] = None,
    output: FormatOption = Format.JSON,
) -> None:
    """Execute a workflow."""
    from flotilla.cli import following, running, session
    from flotilla.cli.output import emit
    from flotilla.cli.values import read_value

    value = read_value("--input", input)

    async def work(client: "Client") -> tuple[dict[str, Any], Exit]:
        execution = await running.start(client, workflow, value)
        if not wait:
            return execution, Exit.DONE
        return await following.follow(client, execution, seconds=timeout)

    if timeout is not None and not wait:
        raise typer.BadParameter("only with --wait", param_hint="--timeout")
    execution, code = session.with_client(work)
    if not wait:
        emit(execution, output, execution["id"])
    else:
        following.conclude(execution, code, output)


def validate(file: File, output: FormatOption = Format.TABLE) -> None:
    """Print everything that is wrong with a file, and everything that looks wrong."""
    from flotilla import documents
    from flotilla.cli import session
    from flotilla.cli.output import columns, emit

    async def work(client: "Client") -> tuple[documents.Document, dict[str, Any]]:
        document = documents.read_file(file)
        return document, await client.post("/v1/workflows/validate", document.value)

    document, found = session.with_client(work)
    rows = [
        (session.place(document, each["pointer"]), severity, each["code"], each["message"])
        for severity, entries in (("error", found["errors"]), ("warning", found["warnings"]))
        for each in entries
    ]
    table = columns(("PLACE", "SEVERITY", "CODE", "MESSAGE"), rows) if rows else f"{file}: valid"
    emit({name: found[name] for name in ("valid", "errors", "warnings")}, output, table)
    if not found["valid"]:
        raise typer.Exit(Exit.USAGE)
