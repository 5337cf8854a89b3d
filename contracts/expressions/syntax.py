"""The abstract syntax of expressions: frozen nodes, each with its position in the source.

Chains stay flat (`a.b.c`, `a + b - c`, `a && b && c`, `x.orValue(y).orValue(z)`), so that how deep
a tree is depends on the nesting of brackets, calls, conditionals and unary operators alone.
"""

from typing import Literal as OneOf
from typing import TypeAlias

import msgspec


class Literal(msgspec.Struct, frozen=True):
    """A constant."""

    value: str | int | float | bool | None
    position: int


class Name(msgspec.Struct, frozen=True):
    """A name of the scope, or the variable of a macro around it."""

    name: str
    position: int


class NodeReference(msgspec.Struct, frozen=True):
    """`nodes.<id>`, the one way in which `nodes` may be used."""

    node_id: str
    position: int


class ListLiteral(msgspec.Struct, frozen=True):
    """`[a, b]`"""

    items: "tuple[Node, ...]"
    position: int


class MapLiteral(msgspec.Struct, frozen=True):
    """`{'k': v}`"""

    entries: "tuple[tuple[Node, Node], ...]"
    position: int


class Unary(msgspec.Struct, frozen=True):
    """`-a` or `!a`"""

    operator: str
    operand: "Node"
    position: int


class Operand(msgspec.Struct, frozen=True):
    """An operator and what stands on its right."""

    operator: str
    node: "Node"
    position: int


class Chain(msgspec.Struct, frozen=True):
    """Operators of one precedence, from left to right: `a + b - c`, `a < b`."""

    first: "Node"
    rest: tuple[Operand, ...]
    position: int


class Logical(msgspec.Struct, frozen=True):
    """`a && b && c` or `a || b || c`"""

    operator: OneOf["&&", "||"]
    operands: "tuple[Node, ...]"
    position: int


class Conditional(msgspec.Struct, frozen=True):
    """`c ? a : d ? b : otherwise`, as pairs of condition and value."""

    cases: "tuple[tuple[Node, Node], ...]"
    otherwise: "Node"
    position: int


class Call(msgspec.Struct, frozen=True):
    """`f(a, b)`"""

    function: str
    arguments: "tuple[Node, ...]"
    position: int


class Has(msgspec.Struct, frozen=True):
    """`has(x)`"""

    operand: "Node"
    position: int


class Member(msgspec.Struct, frozen=True):
    """`.name`"""

    name: str
    position: int


class Index(msgspec.Struct, frozen=True):
    """`[index]`"""

    index: "Node"
    position: int


class Invoke(msgspec.Struct, frozen=True):
    """`.f(a, b)`: the function with the value so far as its first argument."""

    function: str
    arguments: "tuple[Node, ...]"
    position: int


class Macro(msgspec.Struct, frozen=True):
    """`.map(v, e)` and its kin; `arguments` are evaluated with the variable bound."""

    macro: str
    variable: str
    arguments: "tuple[Node, ...]"
    position: int


class OrValue(msgspec.Struct, frozen=True):
    """`.orValue(y)`: y if what stands before is missing or null; `default(x, y)` is the same."""

    fallback: "Node"
    position: int


Step: TypeAlias = Member | Index | Invoke | Macro | OrValue


class Postfix(msgspec.Struct, frozen=True):
    """A value and what is applied to it, one step after the other."""

    base: "Node"
    steps: tuple[Step, ...]
    position: int


Node: TypeAlias = (
    Literal
    | Name
    | NodeReference
    | ListLiteral
    | MapLiteral
    | Unary
    | Chain
    | Logical
    | Conditional
    | Call
    | Has
    | Postfix
)
