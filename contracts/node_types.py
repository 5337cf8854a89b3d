"""Names of node types: `TYPE.SUBTYPE`, and the other spellings that documents use for them.

What is known is handed in, so the same rules serve every catalogue. A spelling that is known as it
stands always wins; prefixes, suffixes and aliases are tried after it.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from contracts.spelling import nearest

FAMILIES: Final = (
    "TRIGGER",
    "AI_AGENT",
    "ACTION",
    "EXTERNAL_ACTION",
    "FLOW",
    "HUMAN_IN_THE_LOOP",
    "TOOL",
    "MEMORY",
    "CUSTOM",
)

_FAMILY_ALIASES: Final = {
    "AGENT": "AI_AGENT",
    "AI": "AI_AGENT",
    "EXTERNAL": "EXTERNAL_ACTION",
    "HUMAN": "HUMAN_IN_THE_LOOP",
    "HUMAN_LOOP": "HUMAN_IN_THE_LOOP",
}

_PREFIXES: Final = (
    "TRIGGER_", "AI_", "ACTION_", "EXTERNAL_", "FLOW_", "HUMAN_", "TOOL_", "MEMORY_",
)  # fmt: skip

_SUBTYPE_ALIASES: Final[dict[str, dict[str, str]]] = {
    "TRIGGER": {
        **dict.fromkeys(("SCHEDULE", "SCHEDULED"), "CRON"),
        **dict.fromkeys(("MESSAGE", "NATS"), "EVENT"),
    },
    "AI_AGENT": {
        **dict.fromkeys(("OPENAI_CHATGPT", "CHATGPT", "GPT"), "OPENAI"),
        **dict.fromkeys(("ANTHROPIC_CLAUDE", "ANTHROPIC"), "CLAUDE"),
        **dict.fromkeys(("GOOGLE_GEMINI", "GOOGLE"), "GEMINI"),
    },
    "ACTION": {
        **dict.fromkeys(("SEND_HTTP_REQUEST", "HTTP"), "HTTP_REQUEST"),
        **dict.fromkeys(("CODE_EXECUTION", "CODE"), "RUN_CODE"),
        "DATA_TRANSFORM": "DATA_TRANSFORMATION",
    },
    "HUMAN_IN_THE_LOOP": dict.fromkeys(("IN_APP_APPROVAL", "IN_APP"), "APP"),
    "TOOL": dict.fromkeys(("IN_APP_APPROVAL", "IN_APP"), "APP"),
    "MEMORY": {
        **dict.fromkeys(("KEY_VALUE", "KEY_VALUE_STORE"), "SIMPLE"),
        "CONVERSATION_BUFFER": "BUFFER",
        **dict.fromkeys(("VECTOR_DB", "VECTOR_DATABASE"), "VECTOR_STORE"),
        "DOCUMENT_STORE": "DOCUMENT",
        "KNOWLEDGE_BASE": "KNOWLEDGE",
    },
}

_SUFFIXES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "HUMAN_IN_THE_LOOP": (("_INTERACTION", ""), ("_MCP_TOOL", "_MCP")),
    "TOOL": (("_INTERACTION", ""), ("_MCP_TOOL", "_MCP")),
    "MEMORY": (("_MEMORY", ""),),
}
"""Endings that an alias has and its subtype has not, and what stands in their place."""

_SEPARATORS: Final = re.compile(r"[-\s]")


class UnknownNodeType(ValueError):
    """A spelling that names no known node type. `code` is that of the problem to report."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def read_node_type(node_type: str, subtype: str | None, names: frozenset[str]) -> str:
    """Return the known name that these spellings mean. Raises UnknownNodeType."""
    found = _find(node_type[:_LONGEST], subtype and subtype[:_LONGEST], names)
    if isinstance(found, UnknownNodeType):
        raise UnknownNodeType(found.code, found.message)
    return found


_LONGEST: Final = 200
"""Characters of a spelling that are looked at, so that what is remembered stays small."""


@lru_cache(maxsize=4096)
def _find(node_type: str, subtype: str | None, names: frozenset[str]) -> str | UnknownNodeType:
    family, part = _parts(node_type, subtype)
    if not part:
        return _without_subtype(family, node_type, names)
    for candidate in _candidates(family, part):
        if f"{family}.{candidate}" in names:
            return f"{family}.{candidate}"
    return _unknown(f"{family}.{part}", names)


def _parts(node_type: str, subtype: str | None) -> tuple[str, str]:
    """Return family and subtype, upper case, the family by its own name."""
    if subtype is None or not subtype.strip():
        node_type, _, subtype = node_type.partition(".")
    family = _plain(node_type).removesuffix("_NODE")
    return _FAMILY_ALIASES.get(family, family), _plain(subtype)


def _plain(text: str) -> str:
    return _SEPARATORS.sub("_", text.strip().upper())


def _candidates(family: str, part: str) -> Iterator[str]:
    """Yield the subtypes that `part` may mean, the most literal one first."""
    spellings = tuple(_bare(family, part))
    yield from spellings
    for spelling in spellings:
        yield from _aliased(family, spelling)


def _bare(family: str, part: str) -> Iterator[str]:
    """Yield `part` as it stands and without `_NODE`, then without each prefix that it has."""
    spellings = dict.fromkeys((part, part.removesuffix("_NODE")))
    yield from spellings
    for spelling in spellings:
        for prefix in (f"{family}_", *_PREFIXES):
            if spelling.startswith(prefix):
                yield spelling.removeprefix(prefix)


def _aliased(family: str, spelling: str) -> Iterator[str]:
    """Yield what a spelling stands for, step by step: CONVERSATION_BUFFER_MEMORY is BUFFER."""
    for ending, replacement in _SUFFIXES.get(family, ()):
        if spelling.endswith(ending):
            shorter = spelling.removesuffix(ending) + replacement
            yield shorter
            yield from _table(family, shorter)
    yield from _table(family, spelling)


def _table(family: str, spelling: str) -> Iterator[str]:
    if (subtype := _SUBTYPE_ALIASES.get(family, {}).get(spelling)) is not None:
        yield subtype


def _without_subtype(family: str, node_type: str, names: frozenset[str]) -> UnknownNodeType:
    subtypes = sorted(name.split(".", 1)[1] for name in names if name.startswith(f"{family}."))
    if not subtypes:
        return _unknown(node_type, names)
    listed = ", ".join(subtypes)
    message = f"type {family} needs a subtype, as {family}.{subtypes[0]}; there are {listed}"
    return UnknownNodeType("subtype_missing", message)


def _unknown(spelling: str, names: frozenset[str]) -> UnknownNodeType:
    near = ", ".join(nearest(spelling, names, 3)) or "none"
    message = f"there is no node type {spelling:.100}; the nearest are {near}"
    return UnknownNodeType("unknown_node_type", message)
