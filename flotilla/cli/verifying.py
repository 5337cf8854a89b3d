"""The command `verify`: checks the promises of a live installation, and repairs what is safe."""

from typing import TYPE_CHECKING, Annotated

import typer

from flotilla import settings as flotilla_settings
from flotilla.cli.exits import CommandFailed, Exit, settings_explained
from flotilla.cli.output import Format, FormatOption

if TYPE_CHECKING:
    from flotilla.verifying.findings import Report


def verify(
    fix: Annotated[
        bool, typer.Option("--fix", help="Repair what is safe, and say what was done.")
    ] = False,
    silent: Annotated[
        float,
        typer.Option(
            "--silent",
            min=0,
            metavar="SECONDS",
            help="How long an execution may be silent before its tasks are missed.",
        ),
    ] = 90.0,
    output: FormatOption = Format.TABLE,
) -> None:
    """Check that nothing is lost, stuck or left over: in PostgreSQL and NATS, of all executions."""
    import asyncio

    from bus.errors import BusError
    from db.errors import StoreError
    from flotilla.cli.output import emit, note
    from flotilla.telemetry import logs
    from flotilla.verifying import run
    from flotilla.verifying.verifier import Patience

    with settings_explained():
        settings = run.with_addresses(flotilla_settings.from_environment())
    logs.set_up("verify", level="ERROR", format=settings.log_format)
    try:
        report = asyncio.run(run.verify(settings, Patience(silent_s=silent), fix=fix))
    except (BusError, StoreError) as error:
        raise CommandFailed(str(error), Exit.UNREACHABLE) from error
    note(_summary(report))
    if report.findings or output is not Format.TABLE:
        import msgspec

        emit(msgspec.to_builtins(report), output, _table(report))
    if report.findings:
        raise typer.Exit(Exit.ERROR)


def _summary(report: "Report") -> str:
    found = f"{len(report.findings)} findings" if report.findings else "nothing is wrong"
    return (
        f"{report.executions} executions, {report.under_way} under way with "
        f"{report.outstanding} outstanding attempts, in {report.seconds:g} s: {found}"
    )


def _table(report: "Report") -> str:
    from contracts.ids import iteration_text
    from flotilla.cli.output import columns

    rows = [
        [
            each.check,
            each.execution_id,
            each.node_id,
            None if each.iteration is None else iteration_text(each.iteration),
            each.message,
            each.repaired,
        ]
        for each in report.findings
    ]
    return columns(("CHECK", "EXECUTION", "NODE", "ITERATION", "FINDING", "REPAIRED"), rows)
