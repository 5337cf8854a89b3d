"""Limits of documents, node runs and executions: each is a setting `LIMIT_<NAME>`, and what refuses past it names it."""

from typing import Final

import msgspec


class DocumentLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How large a document and its numbers may be; times in seconds."""

    nodes: int = 1_000
    connections: int = 5_000
    node_timeout_s: float = 86_400
    execution_timeout_s: float = 31_536_000
    tries: int = 10
    loop_depth: int = 8
    max_parallel: int = 1_000


class NodeLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one node run may ask for: items of a loop, iterations at a time, seconds of one wait."""

    loop_items: int = 100_000
    max_parallel: int = 1_000
    wait_s: float = 31_536_000


class CoreLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one execution may keep or start.

    Signals that nothing waits for yet, children of children inside each other, checkpoints of one node run, bytes of
    what a loop yields in the end.
    """

    signals: int = 1_000
    child_depth: int = 8
    checkpoints: int = 10_000
    value_bytes: int = 16 * 1024 * 1024


CORE_LIMITS: Final = CoreLimits()
"""What holds where no setting says otherwise."""
