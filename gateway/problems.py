"""Refusals: every exit that is no success is one `application/problem+json` body (RFC 9457).

A code has one status and one title, in the table below; whoever refuses adds what is particular to
this occurrence. Nothing in a problem tells about internals.
"""

from typing import Final, NamedTuple

import msgspec

from contracts.problems import Problem

MEDIA_TYPE: Final = b"application/problem+json"
RETRY_SECONDS: Final = 1
"""What a client is told to wait when a server behind the gateway is away."""


class Meaning(NamedTuple):
    """What a code stands for."""

    status: int
    title: str


CODES: Final[dict[str, Meaning]] = {
    "malformed_json": Meaning(400, "The body is not JSON that can be accepted"),
    "malformed_request": Meaning(400, "The request cannot be read"),
    "unauthenticated": Meaning(401, "A valid bearer token is needed"),
    "forbidden": Meaning(403, "The token does not allow this"),
    "not_found": Meaning(404, "There is nothing of that name or id"),
    "method_not_allowed": Meaning(405, "The resource does not take this method"),
    "already_finished": Meaning(409, "The execution is over"),
    "not_finished": Meaning(409, "The execution is not over"),
    "not_paused": Meaning(409, "The execution is not paused"),
    "not_waiting": Meaning(409, "Nothing waits for this"),
    "ambiguous_target": Meaning(409, "Several node runs wait"),
    "already_answered": Meaning(409, "Somebody has answered before"),
    "node_not_reached": Meaning(409, "The execution did not come to this node"),
    "not_published": Meaning(409, "The workflow has no published version"),
    "name_taken": Meaning(409, "The name belongs to another one"),
    "in_use": Meaning(409, "Something else uses this"),
    "idempotency_in_progress": Meaning(409, "The first request with this key is under way"),
    "webhook_path_taken": Meaning(409, "The path of a webhook belongs to another workflow"),
    "revision_mismatch": Meaning(412, "The workflow was changed meanwhile"),
    "body_too_large": Meaning(413, "The body is larger than its limit"),
    "unsupported_media_type": Meaning(415, "The body has a type that is not read here"),
    "invalid_request": Meaning(422, "The request does not fit its contract"),
    "invalid_document": Meaning(422, "The workflow document has errors"),
    "idempotency_key_reused": Meaning(422, "The key was used with another body"),
    "limit_exceeded": Meaning(422, "A limit is exceeded"),
    "rate_limited": Meaning(429, "There are too many requests at once"),
    "internal": Meaning(500, "The gateway made a mistake"),
    "execution_failed": Meaning(500, "The execution did not succeed"),
    "unavailable": Meaning(503, "A server behind the gateway is away"),
}


class ErrorEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong with a request; `pointer` (RFC 6901) points into what was sent."""

    pointer: str
    code: str
    message: str
    node_id: str | None = None


class ProblemBody(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The body of every answer that is no success."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    trace_id: str
    errors: tuple[ErrorEntry, ...] = ()
    retry_after: float | None = None
    execution_id: str | None = None
    first_answer: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Refused(Exception):
    """The request is refused with a problem of this code.

    `status` is that of the code, unless the operation declares another one; `first_answer` is what somebody
    said before to the same question.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: tuple[ErrorEntry, ...] = (),
        retry_after: float | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        execution_id: str | None = None,
        status: int | None = None,
        first_answer: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET,
    ) -> None:
        self.code = code
        self.detail = detail
        self.errors = errors
        self.retry_after = retry_after
        self.headers = headers
        self.execution_id = execution_id
        self.status = CODES[code].status if status is None else status
        self.first_answer = first_answer
        super().__init__(f"{code}: {detail}")


def not_found() -> Refused:
    """Return the one answer for unknown, foreign and malformed ids."""
    return Refused("not_found", "Nothing was found here. Check the path and the id.")


def unavailable(server: str) -> Refused:
    """Return the refusal of work that needs a server which does not answer."""
    return Refused(
        "unavailable",
        f"{server} does not answer. Nothing is lost; repeat the request.",
        retry_after=RETRY_SECONDS,
    )


def invalid_request(*errors: ErrorEntry) -> Refused:
    """Return the refusal of a request that does not fit its contract."""
    return Refused("invalid_request", _summary(errors), errors=errors)


def invalid_document(problems: tuple[Problem, ...]) -> Refused:
    """Return the refusal of a document, with everything that is wrong with it."""
    errors = tuple(map(entry_of, problems))
    return Refused("invalid_document", _summary(errors), errors=errors)


def entry_of(problem: Problem) -> ErrorEntry:
    """Return what validation found as an entry of a problem."""
    return ErrorEntry(problem.pointer, problem.code, problem.message, problem.node_id)


def body_of(refused: Refused, trace_id: str) -> bytes:
    """Return the bytes of a refusal."""
    meaning = CODES[refused.code]
    return msgspec.json.encode(
        ProblemBody(
            type=f"urn:flotilla:problem:{refused.code}",
            title=meaning.title,
            status=refused.status,
            detail=refused.detail,
            instance=f"urn:flotilla:request:{trace_id}",
            code=refused.code,
            trace_id=trace_id,
            errors=refused.errors,
            retry_after=refused.retry_after,
            execution_id=refused.execution_id,
            first_answer=refused.first_answer,
        )
    )


def headers_of(refused: Refused) -> list[tuple[bytes, bytes]]:
    """Return the headers of a refusal, besides those of every answer."""
    headers = [(b"content-type", MEDIA_TYPE), *refused.headers]
    if refused.retry_after is not None:
        headers.append((b"retry-after", str(max(1, round(refused.retry_after))).encode()))
    return headers


def _summary(errors: tuple[ErrorEntry, ...]) -> str:
    first = errors[0]
    more = f" And {len(errors) - 1} more." if len(errors) > 1 else ""
    return f"{first.pointer or 'The body'}: {first.message}{more}"
