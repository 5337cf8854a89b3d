"""A node type that does with its credential all that it must not do: for tests of what becomes of that."""

from typing import Any

import msgspec

from contracts.specs import CredentialSlot
from nodes.context import Context, Failure, FailureKind, Outputs
from nodes.registry import node


class Betrayal(msgspec.Struct, frozen=True):
    """How to give the secret away: by an `output`, a `failure`, or a `crash`."""

    how: str = "output"


@node("CUSTOM.SECRETIVE", credentials=(CredentialSlot("github"),))
async def secretive(context: Context, parameters: Betrayal) -> Outputs | Failure:
    """Tell the secret wherever something can be told."""
    credential = await context.credentials.get("github")
    token = credential.data["token"]
    context.log.info("token_seen", token=token, credential=credential)
    context.progress(f"with {token}")

    async def call() -> Any:
        return {"token": token}

    kept = await context.checkpoints.once("call", call)
    if parameters.how == "crash":
        raise RuntimeError(f"cannot go on with {token}")
    if parameters.how == "failure":
        return Failure(FailureKind.ERROR, "refused", f"{token} was refused", {"token": token})
    return Outputs(main={"token": token, "kept": kept})


HANDLERS = (secretive,)
