"""Commands that run a process: `up`, `gateway`, `scheduler`, `worker`, `migrate`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated

import msgspec
import typer

from flotilla import settings as flotilla_settings
from flotilla.cli.exits import CommandFailed, Exit, of_status, settings_explained
from flotilla.cli.output import note
from flotilla.settings import Settings

Types = Annotated[
    str | None,
    typer.Option(
        "--types", help="Node types or families to serve, such as ACTION,FLOW.IF; all without it."
    ),
]
Concurrency = Annotated[
    int | None, typer.Option("--concurrency", min=1, help="How many attempts may run at a time.")
]
Schedulers = Annotated[
    int | None, typer.Option("--schedulers", min=1, max=16, help="How many schedulers to start.")
]
Reseal = Annotated[
    bool,
    typer.Option("--reseal", help="Seal all credentials by the first of SECRET_KEYS as well."),
]


def up(schedulers: Schedulers = None) -> None:
    """Start everything on this machine: servers, gateway, scheduler, a worker, and the samples."""
    from flotilla import up as flotilla_up

    settings = _with_options(_logging("up"), {"SCHEDULERS": schedulers})
    with _up_explained():
        flotilla_up.run(settings)


def gateway() -> None:
    """Serve the REST API."""
    from flotilla import processes

    settings = _logging("gateway")
    with _explained():
        processes.run_gateway(settings)


def scheduler() -> None:
    """Advance executions."""
    from flotilla import processes

    settings = _logging("scheduler")
    with _explained():
        processes.run_scheduler(settings)


def worker(types: Types = None, concurrency: Concurrency = None) -> None:
    """Carry out tasks of some node types, or of all."""
    from flotilla import processes

    settings = _with_options(
        _logging("worker"), {"WORKER_TYPES": types, "WORKER_CONCURRENCY": concurrency}
    )
    with _explained():
        processes.run_worker(settings)


def migrate(reseal: Reseal = False) -> None:
    """Bring the schema of the database up to date."""
    from flotilla import processes

    settings = _logging("migrate")
    with _explained():
        resealed = processes.run_migration(settings, reseal=reseal)
    if reseal:
        note(f"{resealed} credentials that another key had sealed are sealed by the first one now")


def _logging(service: str) -> Settings:
    """Read the settings, and set up logs as they say."""
    from flotilla.telemetry import logs

    with settings_explained():
        settings = flotilla_settings.from_environment()
    logs.set_up(service, level=settings.log_level, format=settings.log_format)
    return settings


def _with_options(settings: Settings, options: Mapping[str, str | int | None]) -> Settings:
    """Settings with the options of the command line over them, by the variable that each stands for."""
    given = {name: str(value) for name, value in options.items() if value is not None}
    with settings_explained():
        read = flotilla_settings.read(given)
    changed = {
        field: getattr(read, field)
        for name in given
        for field in [flotilla_settings.VARIABLES[name].field]
    }
    return msgspec.structs.replace(settings, **changed)


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what keeps a process from starting into a sentence and an exit code."""
    from bus.errors import BusError
    from db.errors import StoreError

    with settings_explained():
        try:
            yield
        except (BusError, StoreError) as error:
            raise CommandFailed(str(error), Exit.UNREACHABLE) from error
        except OSError as error:  # the port is taken, or the address not ours
            raise CommandFailed(str(error), Exit.USAGE) from error


@contextmanager
def _up_explained() -> Iterator[None]:
    """The same for `up`, which starts servers of its own besides."""
    from flotilla.client import ApiProblem, ClientError
    from flotilla.documents import UnreadableDocument
    from flotilla.embedded.accounts import NoAccountError, UnreachableError
    from flotilla.embedded.binaries import MissingBinaryError
    from flotilla.embedded.lock import AlreadyRunningError
    from flotilla.embedded.server import ServerError
    from flotilla.ports import NoFreePortError
    from flotilla.supervisor import NotReadyError
    from flotilla.up import AlreadyUp

    try:
        with _explained():
            yield
    except (AlreadyUp, AlreadyRunningError) as error:
        raise CommandFailed(str(error), Exit.REFUSED) from None
    except ApiProblem as error:
        raise CommandFailed(f"a sample was refused: {error}", of_status(error.status)) from error
    except (MissingBinaryError, NoAccountError, UnreachableError, UnreadableDocument) as error:
        raise CommandFailed(str(error), Exit.USAGE) from error
    except (ClientError, NoFreePortError, NotReadyError, ServerError) as error:
        raise CommandFailed(str(error), Exit.UNREACHABLE) from error
