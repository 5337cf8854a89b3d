"""JSON, base64, hashes, URLs and derived ids."""

import base64
import binascii
import hashlib
import hmac
import json
import math
import re
import uuid
from typing import Final

from contracts.expressions.budget import VALUE_DEPTH, text_bytes
from contracts.expressions.errors import ExpressionError
from contracts.expressions.evaluation import Evaluation
from contracts.expressions.functions import arguments
from contracts.expressions.functions.signature import Function, Table
from contracts.expressions.values import JSON, Value, json_text

_STRUCTURE: Final = re.compile(r'"(?:[^"\\]|\\.?)*+(?:"|\Z)|[\[\]{},]', re.DOTALL)
"""Matches to the end where a string has none, so that no quote is looked at twice."""

_KEPT: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ENCODED: Final = {code: f"%{code:02X}" for code in range(256) if code not in _KEPT}
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2}|)")
_NAMESPACE: Final = uuid.NAMESPACE_URL


def to_json(evaluation: Evaluation, value: Value) -> str:
    """Return a value as JSON text."""
    return json_text(value, evaluation)


def parse_json(evaluation: Evaluation, value: Value) -> Value:
    """Return the value that JSON text stands for."""
    content = arguments.text(value)
    evaluation.produce(len(content))
    evaluation.read(content)
    try:
        _survey(evaluation, _text(content))
        return _DECODER.decode(content)
    except (ValueError, RecursionError):
        raise ExpressionError("value", "the text is no JSON") from None


def _survey(evaluation: Evaluation, content: str) -> None:
    """Check the sizes inside JSON text before any of its values is built."""
    counts: list[int] = []
    for match in _STRUCTURE.finditer(content):
        evaluation.spend(1)
        mark = match[0]
        if mark[0] == '"':
            _survey_text(evaluation, mark)
        elif mark in "[{":
            counts.append(1)
            if len(counts) > VALUE_DEPTH:
                raise ExpressionError("value", f"JSON nested deeper than {VALUE_DEPTH} levels")
        elif mark == ",":
            if counts:
                counts[-1] += 1
        elif counts:
            evaluation.room_for_list(counts.pop())


def _survey_text(evaluation: Evaluation, mark: str) -> None:
    evaluation.read(mark)
    if "\\u" in mark:
        evaluation.check_text(text_bytes(_text(_DECODER.decode(mark))))
    else:
        evaluation.check_text(text_bytes(mark) - 2 - mark.count("\\"))


def _object(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _text(content: str) -> str:
    if "\0" in content or (not content.isascii() and not _is_utf8(content)):
        raise ValueError("a NUL character or half of a surrogate pair")
    return content


def _is_utf8(content: str) -> bool:
    try:
        content.encode()
    except UnicodeEncodeError:
        return False
    return True


def _whole(digits: str) -> int:
    if len(digits) <= 20 and -(2**63) <= (value := int(digits)) < 2**64:
        return value
    raise ValueError("a whole number beyond 64 bits")


def _decimal(digits: str) -> float:
    value = float(digits) if len(digits) <= 400 else math.inf
    if math.isinf(value):
        raise ValueError("a number beyond binary64")
    return value


def _constant(name: str) -> JSON:
    raise ValueError(f"{name} is no JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_whole, parse_float=_decimal, parse_constant=_constant
)


def encode_base64(evaluation: Evaluation, value: Value) -> str:
    """Return the UTF-8 bytes of a string in base64."""
    content = _utf8(evaluation, value)
    evaluation.room_for_text((len(content) + 2) // 3 * 4)
    return base64.b64encode(content).decode()


def decode_base64(evaluation: Evaluation, value: Value) -> str:
    """Return the string whose UTF-8 bytes stand in base64."""
    content = arguments.text(value)
    evaluation.read(content)
    evaluation.room_for_text(len(content) * 3 // 4)
    try:
        return _decoded(base64.b64decode(content, validate=True))
    except (binascii.Error, ValueError):
        raise ExpressionError("value", "the text is no base64 of UTF-8") from None


def sha256(evaluation: Evaluation, value: Value) -> str:
    """Return the SHA-256 of a string in lower-case hex."""
    content = _utf8(evaluation, value)
    evaluation.room_for_text(64)
    return hashlib.sha256(content).hexdigest()


def hmac_sha256(evaluation: Evaluation, value: Value, key: Value) -> str:
    """Return the HMAC-SHA-256 of a string under a key in lower-case hex."""
    content, secret = _utf8(evaluation, value), _utf8(evaluation, key)
    evaluation.room_for_text(64)
    return hmac.digest(secret, content, "sha256").hex()


def url_encode(evaluation: Evaluation, value: Value) -> str:
    """Return a string with everything escaped that may not stand in a URL as it is."""
    content = _utf8(evaluation, value)
    evaluation.spend(len(content) >> 4)
    escaped = len(content) - len(content.translate(None, bytes(_ENCODED)))
    evaluation.room_for_text(len(content) + 2 * escaped)
    return content.decode("latin-1").translate(_ENCODED) if escaped else content.decode()


def url_decode(evaluation: Evaluation, value: Value) -> str:
    """Return a string with its escapes resolved."""
    content = _utf8(evaluation, value)
    evaluation.spend(content.count(b"%"))
    evaluation.room_for_text(len(content))
    try:
        return _decoded(_ESCAPE.sub(_byte, content))
    except ValueError:
        raise ExpressionError("value", "the text has escapes that are no UTF-8") from None


def _byte(escape: re.Match[bytes]) -> bytes:
    return bytes((int(escape[1], 16),))


def uuid_of(evaluation: Evaluation, seed: Value) -> str:
    """Return the UUID (version 5) that belongs to a seed."""
    content = arguments.text(seed)
    _utf8(evaluation, content)
    evaluation.room_for_text(36)
    return str(uuid.uuid5(_NAMESPACE, content))


def _utf8(evaluation: Evaluation, value: Value) -> bytes:
    content = arguments.text(value)
    evaluation.read(content)
    try:
        return content.encode()
    except UnicodeEncodeError:
        raise ExpressionError("value", "the text has half of a surrogate pair") from None


def _decoded(content: bytes) -> str:
    return _text(content.decode())


FUNCTIONS: Final[Table] = {
    "toJson": Function(to_json, 1, 1, steps=3),
    "parseJson": Function(parse_json, 1, 1, steps=6),
    "base64": Function(encode_base64, 1, 1),
    "base64Decode": Function(decode_base64, 1, 1),
    "sha256": Function(sha256, 1, 1),
    "hmac": Function(hmac_sha256, 2, 2, steps=2),
    "urlEncode": Function(url_encode, 1, 1, steps=2),
    "urlDecode": Function(url_decode, 1, 1, steps=2),
    "uuid": Function(uuid_of, 1, 1, steps=6),
}
