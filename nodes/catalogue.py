"""The node types that come with Flotilla, one line per module."""

from contracts.specs import NodeSpec
from nodes import data_transformation, flow, http_request, triggers
from nodes.registry import Handler


def builtin_handlers() -> tuple[Handler, ...]:
    """Return the handler of every built-in node type."""
    return (
        *triggers.HANDLERS,
        *flow.HANDLERS,
        *http_request.HANDLERS,
        *data_transformation.HANDLERS,
    )


def builtin_specs() -> tuple[NodeSpec, ...]:
    """Return the spec of every built-in node type: what a database is seeded with."""
    return tuple(handler.spec for handler in builtin_handlers())
