"""A call: one request as an operation sees it, everything about it read and checked."""

from typing import Generic, TypeVar

import msgspec

from gateway.traces import Trace

Q = TypeVar("Q")
B = TypeVar("B")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """The request as it came, for operations that hand it on. Names of headers are in lower case, and may repeat."""

    method: str
    query_string: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    client_ip: str | None


class Call(msgspec.Struct, Generic[Q, B], frozen=True, kw_only=True):
    """Who asks, for what, with what.

    `path` holds the variable parts of the path; what an operation puts into `facts` goes into the log.
    """

    user_id: str
    scopes: frozenset[str]
    path: dict[str, str]
    query: Q
    body: B
    headers: dict[bytes, bytes]
    request: Request
    trace: Trace
    facts: dict[str, str]

    def header(self, name: bytes) -> str | None:
        """Return the text of a header (its name in lower case), or None."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1").strip()
