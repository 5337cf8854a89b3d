"""The command `flotilla bench`."""

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from flotilla import settings as flotilla_settings
from flotilla.cli.exits import CommandFailed, Exit, settings_explained
from flotilla.cli.output import note
from flotilla.telemetry import logs


def bench(
    only: Annotated[
        str | None, typer.Option("--only", help="Loads to run, such as W1,W2; all without it.")
    ] = None,
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, help="How often each load runs; the middle counts.")
    ] = 3,
    short: Annotated[
        bool, typer.Option("--short", help="Only see that everything runs, in a few seconds.")
    ] = False,
    schedulers: Annotated[int, typer.Option("--schedulers", min=1, help="How many run.")] = 1,
    workers: Annotated[int, typer.Option("--workers", min=1, help="How many run.")] = 1,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, help="How many attempts a worker runs at a time.")
    ] = 256,
    segments: Annotated[
        bool,
        typer.Option("--segments/--no-segments", help="Whether nodes in a row may run as one."),
    ] = True,
    waiting: Annotated[
        int,
        typer.Option(
            "--waiting",
            min=0,
            help="Look at the processes while so many executions wait; no other load without --only.",
        ),
    ] = 0,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write everything that was found to this file.")
    ] = None,
) -> None:
    """Measure the engine on this machine, beside what the machine could do, with servers of its own."""
    from bench import tables
    from bench.options import FULL, LOADS, SHORT, Options
    from bench.surroundings import BenchError
    from flotilla import benching
    from flotilla.embedded.binaries import MissingBinaryError
    from flotilla.embedded.server import ServerError

    with settings_explained():
        settings = flotilla_settings.from_environment()
    logs.set_up("bench", level="WARNING", format=settings.log_format)
    options = Options(
        only=_chosen(only, () if waiting else tuple(LOADS)),
        rounds=1 if short else rounds,
        sizes=SHORT if short else FULL,
        schedulers=schedulers,
        workers=workers,
        concurrency=concurrency,
        waiting=waiting,
    )
    try:
        report = benching.run(settings, options, segments=segments, say=note)
    except asyncio.CancelledError:  # by a signal, and everything has been stopped in order
        raise CommandFailed("broken off; nothing was measured", Exit.INTERRUPTED) from None
    except (BenchError, ServerError) as error:
        raise CommandFailed(str(error), Exit.UNREACHABLE) from error
    except MissingBinaryError as error:
        raise CommandFailed(str(error), Exit.USAGE) from error
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))
    tables.show(report, tables.console())


def _chosen(only: str | None, default: tuple[str, ...]) -> tuple[str, ...]:
    """Return the loads that were asked for. Raises CommandFailed for one that there is not."""
    from bench.options import LOADS

    if only is None:
        return default
    names = tuple(part.strip().upper() for part in only.split(",") if part.strip())
    unknown = [name for name in names if name not in LOADS]
    if unknown or not names:
        found = f"names {unknown[0]!r:.40}" if unknown else "names no load"
        raise CommandFailed(f"--only {found}; there are {', '.join(LOADS)}", Exit.USAGE)
    return names
