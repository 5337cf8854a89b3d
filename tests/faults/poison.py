"""Node types whose handlers take their worker along: loaded by NODE_MODULES, in runs of the row `poison` alone."""

import os
import signal
from typing import Annotated

import msgspec

from nodes.context import Context, Outputs
from nodes.parameters import parameter
from nodes.registry import node


class Poison(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of CUSTOM.POISON."""

    way: Annotated[str, parameter(description="segfault or exit")]


@node("CUSTOM.POISON", title="Poison")
async def poison(context: Context, parameters: Poison) -> Outputs:
    """End the process of the worker."""
    if parameters.way == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGSEGV)
    return Outputs(main=None)


HANDLERS = (poison,)
