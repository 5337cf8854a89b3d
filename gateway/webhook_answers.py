"""What the output of an execution answers to the sender of a delivery who waits for it.

The answer is the value of the only leaf, else all values by leaf. A leaf whose value is exactly `{status, headers, body}`
says the whole answer.
"""

from typing import Annotated, Any, Final

import msgspec

from gateway.answers import JSON, Answer, Headers

_NAME: Final = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z"
_TEXT: Final = r"^[\t\x20-\x7e\xa0-\xff]*\Z"
_PLAIN_TEXT: Final = b"text/plain; charset=utf-8"
_WITHOUT_BODY: Final = frozenset({204, 205, 304})

OURS: Final = frozenset(
    {
        "connection",
        "content-length",
        "content-security-policy",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "set-cookie",
        "te",
        "trailer",
        "traceparent",
        "transfer-encoding",
        "upgrade",
        "x-content-type-options",
    }
)
"""Headers that no workflow sets: they frame the answer, or are about the origin that all workflows share."""

GUARDS: Final = (
    (b"content-security-policy", b"sandbox allow-forms allow-popups allow-scripts"),
    (b"x-content-type-options", b"nosniff"),
)
"""A page that a workflow answers is of the same origin as the API, and must not act as it."""


class LeafAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The value of a leaf that is an answer."""

    status: Annotated[int, msgspec.Meta(ge=200, le=599)]
    headers: dict[
        Annotated[str, msgspec.Meta(pattern=_NAME)],
        Annotated[str, msgspec.Meta(pattern=_TEXT)] | bool | int | float,
    ]
    body: msgspec.Raw


_read_output: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_answer: Final = msgspec.json.Decoder(LeafAnswer).decode


def answer_of(output: bytes) -> Answer:
    """Return the answer that the output of an execution, its values by leaf, stands for."""
    leaves = _read_output(output)
    for value in leaves.values():
        told = _told(value)
        if told is not None:
            return told
    body = next(iter(leaves.values())) if len(leaves) == 1 else output
    return Answer(200, bytes(body), GUARDS)


def _told(value: msgspec.Raw) -> Answer | None:
    try:
        told = _read_answer(value)
    except msgspec.ValidationError:
        return None
    given = {name.lower(): _text(text) for name, text in told.headers.items()}
    body, media_type = _content(told)
    headers: Headers = tuple(
        (name.encode(), text)
        for name, text in given.items()
        if name not in OURS and name != "content-type"
    )
    return Answer(told.status, body, (*headers, *GUARDS), given.get("content-type", media_type))


def _content(told: LeafAnswer) -> tuple[bytes, bytes | None]:
    """Return the bytes of a body and the media type that they have by themselves: a text is sent as it is."""
    value: Any = bytes(told.body)
    if told.status in _WITHOUT_BODY or value == b"null":
        return b"", None
    if value.startswith(b'"'):
        return msgspec.json.decode(value, type=str).encode(), _PLAIN_TEXT
    return value, JSON


def _text(value: str | bool | float) -> bytes:
    return value.encode("latin-1") if isinstance(value, str) else msgspec.json.encode(value)
