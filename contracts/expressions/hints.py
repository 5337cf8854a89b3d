"""What to write instead of what other languages write."""

import difflib
import re
from collections.abc import Iterable
from typing import Final

WORDS: Final = {
    "and": "&&",
    "or": "||",
    "not": "!",
    "True": "true",
    "False": "false",
    "None": "null",
    "undefined": "null",
}
OPERATORS: Final = {
    "===": "==",
    "!==": "!=",
    "=": "==",
    "&": "&&",
    "|": "||",
    "??": "default(x, y)",
    "?.": "get(x, path) or default(x, y)",
    "=>": "list.map(v, expression)",
    "**": "x * x",
    "`": "'text' + string(value)",
}
FUNCTIONS: Final = {
    "len": "size(x)",
    "length": "size(x)",
    "count": "size(x)",
    "includes": "y in x, x.contains(y)",
    "toLowerCase": "lower(s)",
    "toUpperCase": "upper(s)",
    "str": "string(x)",
    "float": "number(x)",
    "typeof": "type(x)",
    "substr": "substring(s, from, to)",
    "strip": "trim(s)",
    "some": "exists(v, condition)",
    "every": "all(v, condition)",
    "JSON": "toJson(x), parseJson(s)",
    "not": "!",
}
IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)

_NODE_CALL: Final = re.compile(r"""\$node\[\s*["']([^"'\]]{1,100})["']\s*\]((?:\.\w{1,100})?)""")
_ROOTED: Final = re.compile(r"\$(?:json|input)?((?:\.\w{1,100}|\[[^\]]{0,100}\])*)", re.ASCII)


def for_name(name: str, *, field_of_input: bool = True) -> str | None:
    """Return the hint for a name that is not in scope."""
    if name in WORDS:
        return WORDS[name]
    return f"input.{name}" if field_of_input else None


def for_function(name: str, known: Iterable[str]) -> str | None:
    """Return the hint for a function that does not exist."""
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75) if len(name) <= 40 else []
    return near[0] if near else None


def for_dollar(rest: str) -> str:
    """Return the hint for source that begins with `$`, as other engines write their names."""
    if found := _NODE_CALL.match(rest):
        return f"{node_reference(found[1])}.output{found[2]}"
    if (found := _ROOTED.match(rest)) and found[1]:
        return f"input{found[1]}"
    return "input"


def node_reference(node_id: str) -> str:
    """Return how to write a reference to a node."""
    if IDENTIFIER.fullmatch(node_id):
        return f"nodes.{node_id}"
    return f"nodes['{node_id}']"
