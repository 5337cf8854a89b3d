"""Templates: strings with `{{ expression }}` inside, anywhere in a JSON value but in keys.

A string that is one `{{ }}` and nothing else yields the expression's own value; any other string
is text, each `{{ }}` replaced by the text of its value.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache

import msgspec

from contracts.expressions import interpreter
from contracts.expressions.budget import (
    DEFAULT_LIMITS,
    LIST_ENTRY_BYTES,
    VALUE_DEPTH,
    Limits,
    exhausted,
    text_bytes,
)
from contracts.expressions.departure import Departure
from contracts.expressions.errors import ExpressionError
from contracts.expressions.parser import closing
from contracts.expressions.regex import Regex
from contracts.expressions.values import JSON

_SHORT_CHARS = 1_024


class Source(msgspec.Struct, frozen=True):
    """An expression inside a template, and where it begins there."""

    text: str
    position: int


Template = tuple[str | Source, ...]
"""What a string consists of: literal text and expressions, in turn."""


def render(
    value: JSON,
    scope: Mapping[str, object],
    limits: Limits = DEFAULT_LIMITS,
    regex: Regex | None = None,
) -> JSON:
    """Return the value with all templates in it rendered; a value without any is passed on."""
    if not contains_template(value):
        return value
    return _Rendering(scope, limits, regex).render(value, 0)


def contains_template(value: JSON) -> bool:
    """Return whether there is a template anywhere in a value."""
    pending = [value]
    while pending:
        entry = pending.pop()
        if isinstance(entry, str):
            if "{{" in entry:
                return True
        elif isinstance(entry, list):
            pending.extend(entry)
        elif isinstance(entry, dict):
            pending.extend(entry.values())
    return False


def sources(value: JSON) -> list[tuple[str, str]]:
    """Return all expressions in a value, each with the JSON pointer of its string."""
    return [
        (pointer, part.text)
        for pointer, text in strings(value)
        for part in parse(text)
        if isinstance(part, Source)
    ]


def strings(value: JSON, pointer: str = "") -> Iterator[tuple[str, str]]:
    """Yield all templates in a value with their JSON pointers, in document order."""
    pending = [(pointer, value)]
    while pending:
        pointer, entry = pending.pop()
        if isinstance(entry, str):
            if "{{" in entry:
                yield pointer, entry
        elif isinstance(entry, list):
            inside = [(f"{pointer}/{index}", part) for index, part in enumerate(entry)]
            pending.extend(reversed(inside))
        elif isinstance(entry, dict):
            inside = [(f"{pointer}/{_escaped(key)}", part) for key, part in entry.items()]
            pending.extend(reversed(inside))


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def parse(text: str, limits: Limits = DEFAULT_LIMITS) -> Template:
    """Return what a template consists of; raise for `{{` without its end."""
    return _cached(text, limits) if len(text) <= _SHORT_CHARS else _parse(text, limits)


@lru_cache(maxsize=1024)
def _cached(text: str, limits: Limits) -> Template:
    return _parse(text, limits)


def _parse(text: str, limits: Limits) -> Template:
    parts: list[str | Source] = []
    position = count = 0
    while (opening := text.find("{{", position)) >= 0:
        count += 1
        if count > limits.template_expressions:
            message = f"a template with more than {limits.template_expressions} expressions"
            raise ExpressionError("budget", message, position=opening, source=text)
        if opening > position:
            parts.append(text[position:opening])
        end = _end(text, opening, limits)
        parts.append(Source(text[opening + 2 : end], opening + 2))
        position = end + 2
    if position < len(text):
        parts.append(text[position:])
    return tuple(parts)


def _end(text: str, opening: int, limits: Limits) -> int:
    """Return where an expression ends, looking no further than one may reach."""
    stop = min(opening + 2 + limits.source_chars + 1, len(text))
    end = closing(text, opening + 2, stop)
    if end is not None:
        return end
    reach = "" if stop == len(text) else f" within {limits.source_chars} characters"
    message = "{{ without its }}" + reach
    raise ExpressionError("syntax", message, position=opening, source=text)


class _Rendering:
    """One rendering under way."""

    def __init__(self, scope: Mapping[str, object], limits: Limits, regex: Regex | None) -> None:
        self.scope = scope
        self.limits = limits
        self.regex = regex
        self.departure = Departure(limits)

    def render(self, value: JSON, depth: int) -> JSON:
        if depth > VALUE_DEPTH:
            raise exhausted(f"stands in a value nested deeper than {VALUE_DEPTH} levels")
        if isinstance(value, str):
            return self._string(value) if "{{" in value else self._literal(value)
        if isinstance(value, list):
            self._grow(len(value) * LIST_ENTRY_BYTES)
            return [self.render(entry, depth + 1) for entry in value]
        if isinstance(value, dict):
            self._grow(len(value) * LIST_ENTRY_BYTES)
            return {key: self.render(entry, depth + 1) for key, entry in value.items()}
        return value

    def _literal(self, text: str) -> str:
        self._grow(text_bytes(text))
        return text

    def _string(self, text: str) -> JSON:
        parts = parse(text, self.limits)
        only = parts[0]
        if len(parts) == 1 and isinstance(only, Source):
            value = interpreter.evaluate_into(
                self.departure, only.text, self.scope, self.limits, self.regex
            )
            self._grow(0)
            return value
        return "".join([self._text(part) for part in parts])

    def _text(self, part: str | Source) -> str:
        if isinstance(part, Source):
            part = interpreter.evaluate_text(part.text, self.scope, self.limits, self.regex)
        return self._literal(part)

    def _grow(self, size: int) -> None:
        self.departure.size += size
        self.departure.check_size()
