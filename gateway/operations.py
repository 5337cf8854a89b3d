"""An operation: everything there is to know about one method on one path, in one value.

Routing, authorisation, reading of requests, and OpenAPI all follow from it. There is no operation
without a scope, and no answer that it does not declare.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, Literal, TypeVar

import msgspec

from gateway.answers import AnyAnswer
from gateway.auth import Scope
from gateway.bodies import Body
from gateway.calls import Call
from gateway.problems import CODES
from gateway.services import Gateway

Q = TypeVar("Q")
B = TypeVar("B")

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
Handler = Callable[[Gateway, Call[Q, B]], Awaitable[AnyAnswer]]


class Returns(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer of one status holds: a JSON contract, or text of a media type, or nothing."""

    description: str
    type: Any = None
    media_type: str = "application/json"
    headers: tuple[str, ...] = ()


class Operation(msgspec.Struct, Generic[Q, B], frozen=True, kw_only=True):
    """One method on one path.

    `returns` maps each status of a success; `problems` are the codes that are particular to it,
    besides those that follow from its shape; `request_headers` those it reads. `other` is an answer of
    any other status, where a user decides. `name` tells operations of one handler apart.
    `statuses` are those of codes that have another one here than elsewhere.
    """

    method: Method
    path: str
    scope: Scope
    tag: str
    summary: str
    handler: Handler[Q, B]
    query: type[Q]
    body: Body[B]
    returns: dict[int, Returns]
    problems: tuple[str, ...] = ()
    request_headers: tuple[str, ...] = ()
    description: str = ""
    example: Any = None
    other: Returns | None = None
    name: str = ""
    statuses: dict[str, int] = {}

    def status_of(self, code: str) -> int:
        """Return the status of a problem here."""
        return self.statuses.get(code) or CODES[code].status

    @property
    def takes_body(self) -> bool:
        """Whether a body is read."""
        return self.method in ("POST", "PUT") or self.body.is_raw

    @property
    def problem_codes(self) -> tuple[str, ...]:
        """Every code that it may answer with, in the order of their statuses."""
        codes = ["malformed_request", "invalid_request", "internal", *self.problems]
        if self.scope != "public":
            codes += ["unauthenticated", "forbidden", "unavailable"]
        if "{" in self.path:
            codes.append("not_found")
        if self.takes_body:
            codes += ["malformed_json", "body_too_large", "unsupported_media_type"]
        return tuple(dict.fromkeys(codes))
