"""The node types that come with Flotilla, one line per module."""

from contracts.specs import NodeSpec
from nodes import data_transformation, http_request, human, triggers
from nodes.flow import branching, lists, looping, merging, plain, waiting
from nodes.registry import Handler


def builtin_handlers() -> tuple[Handler, ...]:
    """Return the handler of every built-in node type."""
    return (
        *triggers.HANDLERS,
        *branching.HANDLERS,
        *merging.HANDLERS,
        *lists.HANDLERS,
        *looping.HANDLERS,
        *waiting.HANDLERS,
        *plain.HANDLERS,
        *human.HANDLERS,
        *http_request.HANDLERS,
        *data_transformation.HANDLERS,
    )


def builtin_specs() -> tuple[NodeSpec, ...]:
    """Return the spec of every built-in node type: what a database is seeded with."""
    return tuple(spec for handler in builtin_handlers() for spec in handler.specs)
