"""The command `flotilla`."""

import sys
from typing import Final

import typer

from flotilla.cli import benching, executions, processes, redriving, workflows
from flotilla.cli.exits import CommandFailed

app: Final = typer.Typer(
    name="flotilla",
    help="A durable workflow engine in which every node type is a queue.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("up")(processes.up)
app.command("gateway")(processes.gateway)
app.command("scheduler")(processes.scheduler)
app.command("worker")(processes.worker)
app.command("migrate")(processes.migrate)
app.command("apply")(workflows.apply)
app.command("run")(workflows.run)
app.command("validate")(workflows.validate)
app.command("redrive")(redriving.redrive)
app.command("bench")(benching.bench)
app.add_typer(executions.app, name="executions")


def main() -> None:
    """Run the command line; the process ends with an exit code of `flotilla.cli.exits`."""
    try:
        app()
    except CommandFailed as failed:
        sys.stderr.write(f"flotilla: {failed.message}\n")
        sys.exit(failed.code)
