"""The closed formula language of rule data: expressions over named values, never program text.

Allowed: comparisons (chained, `in`), `and or not`, arithmetic on numbers, `v[i]`, list literals, the functions below,
and `metadata.x` for the one name `metadata`. Everything is bounded: rule data may come from outside the package.
"""

import ast
import math
import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeGuard

from laptime.errors import UserError

TOLERANCE = 1e-5  # integer tests of the official checker (facts: rules/README, "Column conventions")
MAX_LENGTH = 500  # characters of one formula
MAX_DEPTH = 32  # nested operations
MAX_BITS = 4096  # of any integer that a power may make

SCALARS = frozenset({int, float, str, type(None)})  # types that are no list, which is faster to tell so

Names = Mapping[str, object]
Node = Callable[[Names], object]


class FormulaError(UserError):
    """A formula that cannot be computed from the values at hand. `name`: the name that is missing, "" otherwise."""

    def __init__(self, message: str, *, name: str = "") -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True)
class Formula:
    """An expression, parsed when made. Raises UserError (naming the text) where the text is not in the language."""

    text: str

    def __post_init__(self) -> None:
        _parsed(self.text)

    @cached_property
    def _node(self) -> Node:
        return _parsed(self.text)[0]

    def value(self, names: Names) -> object:
        """The value of the expression. Raises FormulaError for a missing name or values of the wrong type."""
        try:
            return self._node(names)
        except FormulaError as error:
            raise FormulaError(f"formula '{self.text}': {error}", name=error.name) from None

    def holds(self, names: Names) -> bool:
        """Whether the expression is true; it must be a truth value."""
        value = self.value(names)
        if not isinstance(value, bool):
            raise FormulaError(f"formula '{self.text}': expected true or false, found {_shown(value)}")
        return value

    def names(self) -> frozenset[str]:
        """The names that the expression reads."""
        return _parsed(self.text)[1]

    def __str__(self) -> str:
        return self.text


@lru_cache(maxsize=4096)
def _parsed(text: str) -> tuple[Node, frozenset[str]]:
    if len(text) > MAX_LENGTH:
        raise UserError(f"expected a formula of at most {MAX_LENGTH} characters, found {len(text)}: '{text[:40]}...'")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # odd literals such as 1if: refused, not remarked upon
            tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"expected a formula, found '{text}' ({type(error).__name__})") from None
    try:
        node = _build(tree, 0)
    except UserError as error:
        raise UserError(f"formula '{text}': {error}") from None
    read = {part.id for part in ast.walk(tree) if isinstance(part, ast.Name)}
    return node, frozenset(read - FUNCTIONS.keys())


def _build(tree: ast.expr, depth: int) -> Node:
    """The tree as a closure. Raises UserError for any form that is not listed here."""
    if depth > MAX_DEPTH:
        raise UserError(f"expected at most {MAX_DEPTH} nested operations")
    builder = BUILDERS.get(type(tree))
    if builder is None:
        raise UserError(f"{type(tree).__name__} is not part of the formula language")
    return builder(tree, depth + 1)


def _constant(tree: ast.Constant, _depth: int) -> Node:
    value = tree.value
    if not isinstance(value, bool | int | float | str):
        raise UserError(f"expected a number, text or truth value, found {_shown(value)}")
    return lambda names: value


def _name(tree: ast.Name, _depth: int) -> Node:
    name = tree.id
    if name in FUNCTIONS:
        raise UserError(f"'{name}' is a function; write {name}(...)")
    constant = {"true": True, "false": False}.get(name)
    return (lambda names: constant) if constant is not None else (lambda names: _looked_up(names, name))


def _looked_up(names: Names, name: str) -> object:
    if name not in names:
        raise FormulaError(f"'{name}' is missing", name=name)
    return names[name]


def _attribute(tree: ast.Attribute, _depth: int) -> Node:
    if not isinstance(tree.value, ast.Name) or tree.value.id != "metadata":
        raise UserError(f"'.{tree.attr}' is not part of the formula language (only metadata.x is)")
    name = tree.attr

    def read(names: Names) -> object:
        metadata = _looked_up(names, "metadata")
        if not isinstance(metadata, Mapping) or name not in metadata:
            raise FormulaError(f"'metadata.{name}' is missing", name=f"metadata.{name}")
        return metadata[name]

    return read


def _subscript(tree: ast.Subscript, depth: int) -> Node:
    of, index = _build(tree.value, depth), _build(tree.slice, depth)

    def read(names: Names) -> object:
        container, at = of(names), index(names)
        try:
            if _is_list(container) and isinstance(at, int) and not isinstance(at, bool):
                return container[at]
            if isinstance(container, Mapping) and isinstance(at, str):
                return container[at]
        except LookupError:
            raise FormulaError(f"{_shown(container)} has no element {at!r}") from None
        raise FormulaError(f"{_shown(container)} has no element {_shown(at)}")

    return read


def _list(tree: ast.List, depth: int) -> Node:
    items = [_build(item, depth) for item in tree.elts]
    return lambda names: [item(names) for item in items]


def _bool_op(tree: ast.BoolOp, depth: int) -> Node:
    parts, until = [_build(part, depth) for part in tree.values], isinstance(tree.op, ast.Or)

    def decide(names: Names) -> object:
        for part in parts:
            if _truth(part(names)) is until:
                return until
        return not until

    return decide


def _unary(tree: ast.UnaryOp, depth: int) -> Node:
    of = _build(tree.operand, depth)
    if isinstance(tree.op, ast.Not):
        return lambda names: not _truth(of(names))
    if isinstance(tree.op, ast.USub):
        return lambda names: -_number(of(names))
    if isinstance(tree.op, ast.UAdd):
        return lambda names: _number(of(names))
    raise UserError(f"{type(tree.op).__name__} is not part of the formula language")


def _bin_op(tree: ast.BinOp, depth: int) -> Node:
    left, right = _build(tree.left, depth), _build(tree.right, depth)
    compute = ARITHMETIC.get(type(tree.op))
    if compute is None:
        raise UserError(f"{type(tree.op).__name__} is not part of the formula language")
    return lambda names: _computed(compute, _number(left(names)), _number(right(names)))


def _computed(compute: Callable[..., object], *values: object) -> object:
    try:
        result = compute(*values)
    except (ArithmeticError, ValueError) as error:
        raise FormulaError(f"cannot compute with {', '.join(map(_shown, values))}: {error}") from None
    if isinstance(result, complex):
        raise FormulaError(f"cannot compute with {', '.join(map(_shown, values))}: not a real number")
    return result


def _power(base: float, exponent: float) -> object:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > MAX_BITS:
        raise FormulaError(f"{_shown(base)} to the power {_shown(exponent)} is too big")
    return base ** exponent


def _compare(tree: ast.Compare, depth: int) -> Node:
    first, rest = _build(tree.left, depth), [_build(part, depth) for part in tree.comparators]
    unknown = [type(op).__name__ for op in tree.ops if type(op) not in COMPARISONS]
    if unknown:
        raise UserError(f"{unknown[0]} is not part of the formula language")
    tests = [COMPARISONS[type(op)] for op in tree.ops]
    if len(tests) == 1:
        only, other = tests[0], rest[0]
        if only is _contains and isinstance(tree.left, ast.Constant) and isinstance(tree.comparators[0], ast.Name):
            return _member(tree.left.value, first, other)
        return lambda names: only(first(names), other(names))

    def decide(names: Names) -> object:
        left = first(names)
        for test, part in zip(tests, rest, strict=True):
            right = part(names)
            if not test(left, right):
                return False
            left = right
        return True

    return decide


def _member(item: object, first: Node, container: Node) -> Node:
    """`'text' in name`, which rules ask of every line of a log: short where the name is an object."""
    if not isinstance(item, str):
        return lambda names: _contains(first(names), container(names))

    def decide(names: Names) -> object:
        holder = container(names)
        return item in holder if type(holder) is dict else _contains(item, holder)

    return decide


def _call(tree: ast.Call, depth: int) -> Node:
    if not isinstance(tree.func, ast.Name) or tree.func.id not in FUNCTIONS:
        raise UserError(f"unknown function; the language has {', '.join(sorted(FUNCTIONS))}")
    if tree.keywords:
        raise UserError("functions take no named arguments")
    function, least, most = FUNCTIONS[tree.func.id]
    if not least <= len(tree.args) <= most:
        raise UserError(f"{tree.func.id} takes {least}{f' to {most}' if most > least else ''} values")
    arguments = [_build(argument, depth) for argument in tree.args]
    return lambda names: _computed(function, *(argument(names) for argument in arguments))


def same(left: object, right: object) -> bool:
    """Equality of JSON values in which a truth value is never a number: 1 == 1.0, true != 1, (1, 2) == [1, 2]."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if type(left) not in SCALARS and _is_list(left) and _is_list(right):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def is_integer(value: object, tolerance: object = TOLERANCE) -> bool:
    """Whether a number is an integer, up to `tolerance`."""
    number = _number(value)
    return math.isfinite(number) and abs(number - round(number)) <= _number(tolerance)


def close(left: object, right: object, tolerance: object = TOLERANCE) -> bool:
    """Whether two numbers are equal up to an absolute `tolerance`."""
    return abs(_number(left) - _number(right)) <= _number(tolerance)


def is_type(value: object, kind: object) -> bool:
    """Whether a JSON value is of `kind`: "boolean", "integer", "number", "text", "list" or "object"."""
    tests: dict[object, bool] = {
        "boolean": isinstance(value, bool),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "text": isinstance(value, str),
        "list": _is_list(value),
        "object": isinstance(value, Mapping),
    }
    if kind not in tests:
        raise FormulaError(f"expected a type among {', '.join(map(str, tests))}, found {_shown(kind)}")
    return tests[kind]


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _number(value: object) -> int | float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise FormulaError(f"expected a number, found {_shown(value)}")
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise FormulaError(f"expected true or false, found {_shown(value)}")
    return value


def _ordered(test: Callable[[float, float], bool]) -> Callable[[object, object], bool]:
    return lambda left, right: test(_number(left), _number(right))


def _contains(item: object, container: object) -> bool:
    if isinstance(container, dict | Mapping):  # dict first, which is fast to tell
        return isinstance(item, str) and item in container
    if not _is_list(container):
        raise FormulaError(f"expected a list or an object, found {_shown(container)}")
    return any(same(item, other) for other in container)


def _length(value: object) -> int:
    if isinstance(value, str | Mapping) or _is_list(value):
        return len(value)
    raise FormulaError(f"expected text, a list or an object, found {_shown(value)}")


def _of_number(function: Callable[[float], object]) -> Callable[[object], object]:
    return lambda value: function(_number(value))


def _extreme(function: Callable[[list[float]], object]) -> Callable[..., object]:
    def compute(*values: object) -> object:
        first = values[0]
        return function([_number(item) for item in (first if len(values) == 1 and _is_list(first) else values)])

    return compute


def _shown(value: object) -> str:
    text = repr(value) if not isinstance(value, int) or value.bit_length() < MAX_BITS else "a huge integer"
    return text if len(text) <= 60 else f"{text[:57]}..."


# The numeric functions refuse what Python would silently take: text, truth values, lists of anything else.
FUNCTIONS: dict[str, tuple[Callable[..., object], int, int]] = {
    "len": (_length, 1, 1),
    "abs": (_of_number(abs), 1, 1),
    "sqrt": (_of_number(math.sqrt), 1, 1),
    "log2": (_of_number(math.log2), 1, 1),
    "ceil": (_of_number(math.ceil), 1, 1),
    "floor": (_of_number(math.floor), 1, 1),
    "min": (_extreme(min), 1, 8),
    "max": (_extreme(max), 1, 8),
    "is_integer": (is_integer, 1, 2),
    "close": (close, 2, 3),
    "is_type": (is_type, 2, 2),
}
ARITHMETIC: dict[type[ast.operator], Callable[..., object]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: _power,
}
COMPARISONS: dict[type[ast.cmpop], Callable[[object, object], bool]] = {
    ast.Eq: same, ast.NotEq: lambda left, right: not same(left, right),
    ast.Lt: _ordered(operator.lt), ast.LtE: _ordered(operator.le),
    ast.Gt: _ordered(operator.gt), ast.GtE: _ordered(operator.ge),
    ast.In: _contains, ast.NotIn: lambda left, right: not _contains(left, right),
}
BUILDERS: dict[type[ast.expr], Callable[..., Node]] = {
    ast.Constant: _constant, ast.Name: _name, ast.Attribute: _attribute, ast.Subscript: _subscript, ast.List: _list,
    ast.BoolOp: _bool_op, ast.UnaryOp: _unary, ast.BinOp: _bin_op, ast.Compare: _compare, ast.Call: _call,
}
