"""A client command: asynchronous work with the gateway, and what its refusals mean for the exit code."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from flotilla import settings as flotilla_settings
from flotilla.cli.exits import CommandFailed, Exit, of_status, settings_explained
from flotilla.client import ApiProblem, Client, Unreachable, connect
from flotilla.documents import Document, UnreadableDocument

T = TypeVar("T")


def with_client(work: Callable[[Client], Awaitable[T]]) -> T:
    """Do work with the gateway that the settings name. Raises CommandFailed."""
    with settings_explained():
        settings = flotilla_settings.from_environment()
    try:
        return asyncio.run(_with_client(connect(settings), work))
    except Unreachable as error:
        raise CommandFailed(str(error), Exit.UNREACHABLE) from None
    except ApiProblem as error:
        raise CommandFailed(_explained(error), of_status(error.status)) from None
    except UnreadableDocument as error:
        raise CommandFailed(str(error), Exit.USAGE) from None
    except KeyboardInterrupt:
        message = "interrupted; what the gateway was asked to do goes on"
        raise CommandFailed(message, Exit.INTERRUPTED) from None


async def _with_client(client: Client, work: Callable[[Client], Awaitable[T]]) -> T:
    async with client:
        return await work(client)


def refused_document(document: Document, errors: Sequence[Mapping[str, Any]]) -> CommandFailed:
    """The refusal of a document, each error with its line."""
    lines = [
        f"{place(document, each['pointer'])}: {each['code']}: {each['message']}" for each in errors
    ]
    return CommandFailed("\n".join(["the document is refused", *lines]), Exit.USAGE)


def place(document: Document, pointer: str) -> str:
    """Where something stands in a document's file: source, line if it is known, and JSON pointer."""
    line = document.line_of(pointer)
    where = document.source if line is None else f"{document.source}:{line}"
    return f"{where} {pointer}" if pointer else where


def _explained(error: ApiProblem) -> str:
    entries = [f"  {each.pointer}: {each.code}: {each.message}" for each in error.problem.errors]
    hint = (
        ["set FLOTILLA_TOKEN, or DATA_DIR to where `flotilla up` runs"]
        if error.status == 401
        else []
    )
    return "\n".join([str(error), *entries, *hint])
