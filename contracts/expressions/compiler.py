"""The syntax tree into closures.

Each node becomes a `Part`: a function of the evaluation, together with the steps of all that is
always evaluated with it. These are paid once, where evaluation of a part begins (the whole
expression, a branch, the body of a macro), which makes a plain expression cheap to run.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, assert_never

from contracts.expressions import access, macros, syntax
from contracts.expressions.errors import ExpressionError
from contracts.expressions.evaluation import Evaluation
from contracts.expressions.functions.catalogue import FUNCTIONS
from contracts.expressions.macros import Code, Part, StepCode
from contracts.expressions.operators import OPERATORS, Operator, negate
from contracts.expressions.syntax import Node, Step
from contracts.expressions.values import Value, type_error

_TRUTH_HINT: Final = "a comparison, has(x), size(x) > 0 or x != null"


class Program(NamedTuple):
    """A compiled expression, and how many variables its macros bind."""

    code: Code
    steps: int
    variables: int


def compile_tree(tree: Node) -> Program:
    """Return the program of a syntax tree."""
    compiler = _Compiler()
    code, steps = compiler.part(tree)
    return Program(code, steps, compiler.variables)


class _Compiler:
    """Turns nodes into parts; knows the variables of the macros around the node."""

    def __init__(self) -> None:
        self.slots: dict[str, int] = {}
        self.variables = 0

    def part(self, node: Node) -> Part:
        match node:
            case syntax.Literal():
                return access.constant(node.value), 1
            case syntax.Name():
                return self._name(node), 1
            case syntax.NodeReference():
                return access.node_reference(node), 1
            case syntax.ListLiteral():
                return self._list_literal(node)
            case syntax.MapLiteral():
                return self._map_literal(node)
            case syntax.Unary():
                return self._unary(node)
            case syntax.Chain():
                return self._chain(node)
            case syntax.Logical():
                return _logical(node, [self.part(operand) for operand in node.operands])
            case syntax.Conditional():
                return self._conditional(node)
            case syntax.Call():
                return self._call(node)
            case syntax.Has():
                return _has(*self.part(node.operand))
            case syntax.Postfix():
                return self._postfix(node)
        assert_never(node)

    def _parts(self, nodes: tuple[Node, ...]) -> tuple[tuple[Code, ...], int]:
        parts = [self.part(node) for node in nodes]
        return tuple(code for code, _ in parts), sum(steps for _, steps in parts)

    def _name(self, node: syntax.Name) -> Code:
        if node.name in self.slots:
            return access.variable(self.slots[node.name])
        return access.now if node.name == "now" else access.scope_name(node)

    def _list_literal(self, node: syntax.ListLiteral) -> Part:
        items, steps = self._parts(node.items)

        def run(evaluation: Evaluation) -> Value:
            evaluation.room_for_list(len(items))
            return evaluation.new_list([item(evaluation) for item in items])

        return run, steps + 1

    def _map_literal(self, node: syntax.MapLiteral) -> Part:
        keys, key_steps = self._parts(tuple(key for key, _ in node.entries))
        values, value_steps = self._parts(tuple(value for _, value in node.entries))
        entries = tuple(zip(keys, values, strict=True))

        def run(evaluation: Evaluation) -> Value:
            evaluation.room_for_map(len(entries))
            made: dict[str, Value] = {}
            for key, value in entries:
                name = access.map_key(key(evaluation), made, node.position)
                made[name] = value(evaluation)
            return evaluation.new_map(made)

        return run, key_steps + value_steps + 1

    def _unary(self, node: syntax.Unary) -> Part:
        operand, steps = self.part(node.operand)
        apply = negate if node.operator == "-" else _complement

        def run(evaluation: Evaluation) -> Value:
            try:
                return apply(operand(evaluation))
            except ExpressionError as error:
                raise access.placed(error, node.position) from None

        return run, steps + 1

    def _chain(self, node: syntax.Chain) -> Part:
        first, steps = self.part(node.first)
        links: list[tuple[Operator, Code, int]] = []
        for operand in node.rest:
            code, more = self.part(operand.node)
            links.append((OPERATORS[operand.operator], code, operand.position))
            steps += more + 1
        return (_pair(first, *links[0]) if len(links) == 1 else _fold(first, links)), steps

    def _conditional(self, node: syntax.Conditional) -> Part:
        cases = [(self.part(condition), self.part(value)) for condition, value in node.cases]
        otherwise, rest = self.part(node.otherwise)

        def run(evaluation: Evaluation) -> Value:
            for (condition, condition_steps), (value, value_steps) in cases:
                evaluation.spend(condition_steps)
                if _truth(condition(evaluation), node.position):
                    evaluation.spend(value_steps)
                    return value(evaluation)
            evaluation.spend(rest)
            return otherwise(evaluation)

        return run, 1

    def _call(self, node: syntax.Call) -> Part:
        function = FUNCTIONS[node.function]
        arguments, steps = self._parts(node.arguments)
        return _called(function.call, arguments, node.position), steps + function.steps

    def _postfix(self, node: syntax.Postfix) -> Part:
        base, steps = self.part(node.base)
        tails: list[tuple[Part, list[StepCode]]] = []
        head = current = list[StepCode]()
        for step in _joined(node.steps):
            if isinstance(step, syntax.OrValue):
                current = []
                tails.append((self.part(step.fallback), current))
                steps += 1
            else:
                code, more = self._step(step)
                current.append(code)
                steps += more
        start = _applied(base, head)
        return (_or_values(start, tails) if tails else start), steps

    def _step(self, step: "Step | tuple[syntax.Member, ...]") -> tuple[StepCode, int]:
        match step:
            case tuple():
                return access.members(step), len(step)
            case syntax.Index():
                index, steps = self.part(step.index)
                return access.index(index, step.position), steps + 1
            case syntax.Invoke():
                function = FUNCTIONS[step.function]
                arguments, steps = self._parts(step.arguments)
                code = _invoked(function.call, arguments, step.position)
                return code, steps + function.steps
            case syntax.Macro():
                return self._macro(step)
            case _:
                raise AssertionError(f"{step!r} is joined or split off before")

    def _macro(self, step: syntax.Macro) -> tuple[StepCode, int]:
        if step.macro == "sortBy" and len(step.arguments) == 2:
            order = self.part(step.arguments[1])
        else:
            order = access.constant("asc"), 0
        outside, slot = self.slots, self.variables
        self.slots, self.variables = {**outside, step.variable: slot}, slot + 1
        parts = [self.part(argument) for argument in step.arguments]
        self.slots = outside
        code = macros.compile_macro(step.macro, slot, parts, order)
        return _guarded(code, step.position), order[1] + 1


def _joined(steps: tuple[Step, ...]) -> "list[Step | tuple[syntax.Member, ...]]":
    """Return the steps with neighbouring members in one tuple."""
    joined: list[Step | tuple[syntax.Member, ...]] = []
    for step in steps:
        if not isinstance(step, syntax.Member):
            joined.append(step)
        elif joined and isinstance(joined[-1], tuple):
            joined[-1] = (*joined[-1], step)
        else:
            joined.append((step,))
    return joined


# Operators


def _complement(value: Value) -> bool:
    if isinstance(value, bool):
        return not value
    raise type_error("true or false behind !", value, hint=_TRUTH_HINT)


def _truth(value: Value, position: int) -> bool:
    if value is True:
        return True
    if value is False:
        return False
    raise access.placed(type_error("true or false", value, hint=_TRUTH_HINT), position)


def _pair(first: Code, operator: Operator, second: Code, position: int) -> Code:
    def run(evaluation: Evaluation) -> Value:
        a = first(evaluation)
        b = second(evaluation)
        try:
            return operator(evaluation, a, b)
        except ExpressionError as error:
            raise access.placed(error, position) from None

    return run


def _fold(first: Code, links: list[tuple[Operator, Code, int]]) -> Code:
    def run(evaluation: Evaluation) -> Value:
        value = first(evaluation)
        for operator, code, position in links:
            operand = code(evaluation)
            try:
                value = operator(evaluation, value, operand)
            except ExpressionError as error:
                raise access.placed(error, position) from None
        return value

    return run


def _logical(node: syntax.Logical, operands: list[Part]) -> Part:
    decisive = node.operator == "||"
    (first, steps), *rest = operands

    def run(evaluation: Evaluation) -> Value:
        if _truth(first(evaluation), node.position) is decisive:
            return decisive
        for operand, more in rest:
            evaluation.spend(more)
            if _truth(operand(evaluation), node.position) is decisive:
                return decisive
        return not decisive

    return run, steps + len(rest)


# Calls


def _called(function: Callable[..., Value], arguments: tuple[Code, ...], position: int) -> Code:
    def run(evaluation: Evaluation) -> Value:
        values = [argument(evaluation) for argument in arguments]
        try:
            return function(evaluation, *values)
        except ExpressionError as error:
            raise access.placed(error, position) from None

    return run


def _invoked(
    function: Callable[..., Value], arguments: tuple[Code, ...], position: int
) -> StepCode:
    def run(evaluation: Evaluation, value: Value) -> Value:
        values = [argument(evaluation) for argument in arguments]
        try:
            return function(evaluation, value, *values)
        except ExpressionError as error:
            raise access.placed(error, position) from None

    return run


def _guarded(step: StepCode, position: int) -> StepCode:
    def run(evaluation: Evaluation, value: Value) -> Value:
        try:
            return step(evaluation, value)
        except ExpressionError as error:
            raise access.placed(error, position) from None

    return run


def _applied(base: Code, steps: list[StepCode]) -> Code:
    if not steps:
        return base
    if len(steps) == 1:
        only = steps[0]
        return lambda evaluation: only(evaluation, base(evaluation))

    def run(evaluation: Evaluation) -> Value:
        value = base(evaluation)
        for step in steps:
            value = step(evaluation, value)
        return value

    return run


# What catches a missing value


def _has(operand: Code, steps: int) -> Part:
    def run(evaluation: Evaluation) -> Value:
        try:
            operand(evaluation)
        except ExpressionError as error:
            if error.code != "missing":
                raise
            return False
        return True

    return run, steps + 1


def _or_values(start: Code, tails: list[tuple[Part, list[StepCode]]]) -> Code:
    def run(evaluation: Evaluation) -> Value:
        value, missing = _tried(start, evaluation)
        for (fallback, steps), further in tails:
            if missing is not None or value is None:
                evaluation.spend(steps)
                value, missing = _tried(fallback, evaluation)
            if missing is None and further:
                value, missing = _tried(_applied(access.constant(value), further), evaluation)
        if missing is not None:
            raise missing
        return value

    return run


def _tried(code: Code, evaluation: Evaluation) -> tuple[Value, ExpressionError | None]:
    try:
        return code(evaluation), None
    except ExpressionError as error:
        if error.code != "missing":
            raise
        return None, error
