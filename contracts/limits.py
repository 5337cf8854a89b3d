"""Limits of documents: each is a setting `LIMIT_<NAME>`, and the problem past it names it."""

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
