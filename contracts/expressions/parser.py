"""Tokens into the syntax tree: precedence climbing, with every chain kept flat.

What can be told without a scope is told here: syntax, functions that do not exist, wrong counts
of arguments, and macros that are not written as macros.
"""

from typing import Final, NoReturn

from contracts.expressions import hints, syntax
from contracts.expressions.errors import ExpressionError
from contracts.expressions.functions.catalogue import FUNCTIONS
from contracts.expressions.lexer import Token, tokens
from contracts.expressions.syntax import Node, Step

LIST_MACROS: Final = {
    "all": (2, 2),
    "exists": (2, 2),
    "exists_one": (2, 2),
    "filter": (2, 2),
    "map": (2, 3),
    "sortBy": (2, 3),
}
"""Macros over a list or map, with how many arguments they take, the variable included."""

_LEVELS: Final = (
    frozenset({"==", "!=", "<", "<=", ">", ">=", "in"}),
    frozenset({"+", "-"}),
    frozenset({"*", "/", "%"}),
)
_INNER_BRACES: Final = "the expression without the inner braces"
_CONSTANTS: Final = {"true": True, "false": False, "null": None}
_RESERVED: Final = frozenset({"true", "false", "null", "in", "nodes", *hints.WORDS})


def parse(source: str, nesting: int) -> Node:
    """Return the syntax tree of a source; one pair of `{{ }}` around it is dropped."""
    start, end = _bounds(source)
    try:
        return _Parser(source, start, end, nesting).parse()
    except ExpressionError as error:
        if error.code == "syntax" and error.hint is None and "{{" in source[start:end]:
            raise ExpressionError(
                "syntax", error.message, position=error.position, hint=_INNER_BRACES
            ) from None
        raise


def _bounds(source: str) -> tuple[int, int]:
    """Return where the expression begins and ends inside the source."""
    start = len(source) - len(source.lstrip())
    if not source.startswith("{{", start):
        return 0, len(source)
    found = closing(source, start + 2, len(source))
    if found is None:
        raise ExpressionError("syntax", "{{ without its }}", position=start)
    if source[found + 2 :].strip():
        raise ExpressionError(
            "syntax",
            "{{ }} around a part of an expression",
            position=start,
            hint=_INNER_BRACES,
        )
    return start + 2, found


def closing(source: str, start: int, stop: int) -> int | None:
    """Return where the first `}}` outside quotes and open braces stands, before `stop`."""
    depth, position = 0, start
    while position < stop:
        character = source[position]
        if character in "'\"":
            position = _behind_string(source, position)
            continue
        if character == "{":
            depth += 1
        elif character == "}":
            if depth == 0 and source.startswith("}}", position):
                return position
            depth = max(depth - 1, 0)
        position += 1
    return None


def _behind_string(source: str, position: int) -> int:
    quote, raw = source[position], _is_raw(source, position)
    position += 1
    while position < len(source) and source[position] != quote:
        position += 1 if raw or source[position] != "\\" else 2
    return position + 1


def _is_raw(source: str, position: int) -> bool:
    before, earlier = source[position - 1 : position], source[position - 2 : position - 1]
    return before in ("r", "R") and not (earlier.isalnum() or earlier == "_")


class _Parser:
    """Reads one expression; each method returns the node of what it has read."""

    def __init__(self, source: str, start: int, end: int, nesting: int) -> None:
        self.source = source
        self.tokens = tokens(source, start, end)
        self.next = 0
        self.nesting = nesting
        self.depth = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.next]

    def parse(self) -> Node:
        if self.token.kind == "end":
            raise ExpressionError("syntax", "an empty expression", position=self.token.position)
        node = self._conditional()
        if self.token.kind != "end":
            self._unexpected()
        return node

    # What reads tokens

    def _take(self) -> Token:
        token = self.token
        self.next += 1
        return token

    def _accept(self, kind: str) -> bool:
        if self.token.kind != kind:
            return False
        self.next += 1
        return True

    def _expect(self, kind: str) -> Token:
        if self.token.kind != kind:
            self._unexpected(kind)
        return self._take()

    def _unexpected(self, wanted: str | None = None) -> NoReturn:
        token, before = self.token, self.tokens[self.next - 1] if self.next else self.token
        found = "the end" if token.kind == "end" else token.text[:40]
        message = f"unexpected {found}" + (f", expected {wanted}" if wanted else "")
        hint = hints.WORDS.get(token.text) or hints.WORDS.get(before.text)
        raise ExpressionError("syntax", message, position=token.position, hint=hint)

    def _enter(self) -> None:
        self.depth += 1
        if self.depth > self.nesting:
            message = f"the expression is nested deeper than {self.nesting} levels"
            raise ExpressionError("budget", message, position=self.token.position)

    def _leave(self) -> None:
        self.depth -= 1

    # Operators, from the lowest precedence up

    def _conditional(self) -> Node:
        condition = self._logical("||")
        if self.token.kind != "?":
            return condition
        position = self.token.position
        self._enter()
        cases: list[tuple[Node, Node]] = []
        while self._accept("?"):
            value = self._conditional()
            self._expect(":")
            cases.append((condition, value))
            condition = self._logical("||")
        self._leave()
        return syntax.Conditional(tuple(cases), condition, position)

    def _logical(self, operator: str) -> Node:
        operand = self._binary(0) if operator == "&&" else self._logical("&&")
        if self.token.kind != operator:
            return operand
        position, operands = self.token.position, [operand]
        while self._accept(operator):
            operands.append(self._binary(0) if operator == "&&" else self._logical("&&"))
        return syntax.Logical("&&" if operator == "&&" else "||", tuple(operands), position)

    def _binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self._unary()
        first = self._binary(level + 1)
        if not self._at_operator(level):
            return first
        position, rest = self.token.position, []
        while self._at_operator(level):
            operator = self._take()
            self._refuse_dash_in_id(first, operator)
            operand = self._binary(level + 1)
            rest.append(syntax.Operand(operator.text, operand, operator.position))
        return syntax.Chain(first, tuple(rest), position)

    def _at_operator(self, level: int) -> bool:
        token = self.token
        return token.text in _LEVELS[level] and (token.kind == token.text or token.text == "in")

    def _refuse_dash_in_id(self, first: Node, dash: Token) -> None:
        """Tell `nodes.my-node` from a difference, which a node run never takes part in."""
        if not isinstance(first, syntax.NodeReference) or dash.text != "-":
            return
        node_id, at = first.node_id, self.next - 1
        while self.tokens[at].text == "-" and self.tokens[at + 1].kind in ("name", "literal"):
            node_id, at = f"{node_id}-{self.tokens[at + 1].text}", at + 2
        raise ExpressionError(
            "syntax",
            "a node id with - stands in brackets",
            position=first.position,
            hint=f"nodes['{node_id[:100]}']",
        )

    def _unary(self) -> Node:
        if self.token.kind not in ("-", "!"):
            return self._postfix()
        operator = self._take()
        self._enter()
        operand = self._unary()
        self._leave()
        return syntax.Unary(operator.text, operand, operator.position)

    # Values and what follows them

    def _postfix(self) -> Node:
        position = self.token.position
        base = self._primary()
        steps: list[Step] = []
        while self.token.kind in (".", "["):
            steps.append(self._step())
        return syntax.Postfix(base, tuple(steps), position) if steps else base

    def _step(self) -> Step:
        opening = self._take()
        if opening.kind == "[":
            index = self._nested()
            self._expect("]")
            if isinstance(index, syntax.Literal) and isinstance(index.value, str):
                return syntax.Member(index.value, index.position)
            return syntax.Index(index, opening.position)
        name = self._expect("name")
        if self.token.kind != "(":
            return syntax.Member(name.text, name.position)
        return self._method(name)

    def _method(self, name: Token) -> Step:
        if name.text in LIST_MACROS:
            return self._macro(name)
        arguments = self._arguments()
        if name.text == "orValue":
            self._check_count(name, len(arguments), 1, 1)
            return syntax.OrValue(arguments[0], name.position)
        if name.text in ("has", "default"):
            hint = "has(x)" if name.text == "has" else "default(x, y) or x.orValue(y)"
            self._misplaced(name, hint)
        self._check_function(name, len(arguments) + 1)
        return syntax.Invoke(name.text, arguments, name.position)

    def _macro(self, name: Token) -> syntax.Macro:
        self._expect("(")
        variable = self._expect("name")
        if variable.text in _RESERVED:
            raise ExpressionError(
                "syntax", f"{variable.text} cannot be a variable", position=variable.position
            )
        arguments: tuple[Node, ...] = ()
        if not self._accept(")"):
            self._expect(",")
            arguments = self._items(")")
        self._check_count(name, len(arguments) + 1, *LIST_MACROS[name.text])
        return syntax.Macro(name.text, variable.text, arguments, name.position)

    def _primary(self) -> Node:
        token = self._take()
        match token.kind:
            case "literal":
                return syntax.Literal(token.value, token.position)
            case "name":
                return self._named(token)
            case "(":
                node = self._nested()
                self._expect(")")
                return node
            case "[":
                return syntax.ListLiteral(self._items("]"), token.position)
            case "{":
                return self._map_literal(token)
            case _:
                self.next -= 1
                return self._unexpected()

    def _named(self, token: Token) -> Node:
        if token.text in _CONSTANTS:
            return syntax.Literal(_CONSTANTS[token.text], token.position)
        if token.text == "nodes":
            return self._node_reference(token)
        if token.text == "in":
            self.next -= 1
            self._unexpected()
        if self.token.kind == "(":
            return self._call(token)
        return syntax.Name(token.text, token.position)

    def _node_reference(self, token: Token) -> Node:
        if self._accept("."):
            return syntax.NodeReference(self._expect("name").text, token.position)
        if self._accept("[") and isinstance(node_id := self._take().value, str):
            self._expect("]")
            return syntax.NodeReference(node_id, token.position)
        raise ExpressionError(
            "syntax",
            "nodes is followed by a constant id",
            position=token.position,
            hint="nodes.<id> or nodes['<id>']",
        )

    def _call(self, name: Token) -> Node:
        if name.text in LIST_MACROS or name.text == "orValue":
            example = "x.orValue(y)" if name.text == "orValue" else f"list.{name.text}(v, …)"
            self._misplaced(name, example)
        arguments = self._arguments()
        match name.text:
            case "has":
                self._check_count(name, len(arguments), 1, 1)
                return syntax.Has(arguments[0], name.position)
            case "default":
                self._check_count(name, len(arguments), 2, 2)
                fallback = syntax.OrValue(arguments[1], name.position)
                return syntax.Postfix(arguments[0], (fallback,), name.position)
            case "now":
                self._check_count(name, len(arguments), 0, 0)
                return syntax.Name("now", name.position)
            case _:
                self._check_function(name, len(arguments))
                return syntax.Call(name.text, arguments, name.position)

    def _map_literal(self, opening: Token) -> Node:
        self._enter()
        entries: list[tuple[Node, Node]] = []
        while not self._accept("}"):
            key = self._conditional()
            self._expect(":")
            entries.append((key, self._conditional()))
            if self.token.kind != "}":
                self._expect(",")
        self._leave()
        return syntax.MapLiteral(tuple(entries), opening.position)

    def _nested(self) -> Node:
        self._enter()
        node = self._conditional()
        self._leave()
        return node

    def _arguments(self) -> tuple[Node, ...]:
        self._expect("(")
        return self._items(")")

    def _items(self, end: str) -> tuple[Node, ...]:
        """Read what stands between commas; a comma before the end is fine."""
        self._enter()
        items: list[Node] = []
        while not self._accept(end):
            items.append(self._conditional())
            if self.token.kind != end:
                self._expect(",")
        self._leave()
        return tuple(items)

    # What is refused

    def _misplaced(self, name: Token, example: str) -> NoReturn:
        raise ExpressionError(
            "syntax", f"{name.text} is not written like this", position=name.position, hint=example
        )

    def _check_function(self, name: Token, count: int) -> None:
        function = FUNCTIONS.get(name.text)
        if function is None:
            raise ExpressionError(
                "unknown_name",
                f"there is no function {name.text[:40]}",
                position=name.position,
                hint=hints.for_function(name.text, FUNCTIONS),
            )
        self._check_count(name, count, function.least, function.most)

    def _check_count(self, name: Token, count: int, least: int, most: int | None) -> None:
        if least <= count and (most is None or count <= most):
            return
        if most is None:
            wanted = f"at least {least}"
        else:
            wanted = str(least) if least == most else f"{least} to {most}"
        message = f"{name.text} takes {wanted} arguments, found {count}"
        raise ExpressionError("type", message, position=name.position)
