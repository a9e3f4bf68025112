"""Writes the steps of a recorded function as Python source (bridge/recording).

No text of the client's gets into the source as it is: a name is an identifier or it is not written, a constant is its
repr, and everything else is a closure variable. The order in which things are evaluated is that of the steps.
"""

from __future__ import annotations

import builtins
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from . import naming

Expression = list[Any]
Step = list[Any]

OPERATORS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "truediv": "/",
    "floordiv": "//",
    "mod": "%",
    "pow": "**",
    "matmul": "@",
    "and_": "&",
    "or_": "|",
    "xor": "^",
    "lshift": "<<",
    "rshift": ">>",
    "eq": "==",
    "ne": "!=",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "contains": "in",
    "is_": "is",
}

# A value that is used once is written in its place, up to this width of a line.
_WIDTH = 88
# Longer text is a closure variable.
_LONGEST_TEXT = 200
_INDENT = "    "


class Text(NamedTuple):
    source: str
    # Whether it must stand in parentheses before a dot and beside an operator.
    loose: bool = False

    @property
    def tight(self) -> str:
        return f"({self.source})" if self.loose else self.source


class Written(NamedTuple):
    """A function that makes the function, from the values of `outer`."""

    source: str
    maker: str
    name: str
    outer: list[Any]


def write(name: str, parameters: list[Any], steps: list[Step], result: Expression, outer: list[Any]) -> Written:
    names = naming.Names()
    own, maker = names.take(name, "function"), names.take("make")
    # An object that came by two references, as a module that was imported twice, is one variable.
    distinct = {id(value): value for value in outer}
    places = {key: i for i, key in enumerate(distinct)}
    outer_places = [places[id(value)] for value in outer]
    writer = _Writer(names, [*distinct.values()], outer_places, _uses(steps, result))
    for parameter in _parameters_in(parameters, steps):
        writer.variables[parameter[0]] = names.take(parameter[1], "x")
    writer.outer_names = [names.take(*naming.hints(value)) for value in writer.outer]
    lines = writer.function(own, parameters, steps, result)
    if writer.outer:
        lines.insert(1, _INDENT + "# From outside: " + ", ".join(map(naming.told, writer.outer_names, writer.outer)))
    source = [f"def {maker}({', '.join(writer.outer_names)}):", *(_INDENT + line for line in lines)]
    return Written("\n".join([*source, f"{_INDENT}return {own}", ""]), maker, own, writer.outer)


def _values_in(part: Any) -> Iterator[int]:
    """Yield the id of each value that is used in expressions, in the order in which Python would evaluate them."""
    if isinstance(part, dict):
        for one in part.values():
            yield from _values_in(one)
    elif isinstance(part, list) and part and part[0] == "value":
        yield part[1]
    elif isinstance(part, list) and not (part and part[0] == "constant"):
        for one in part:
            yield from _values_in(one)


def _uses(steps: list[Step], result: Expression) -> Counter[int]:
    """Count the uses of each value. One that a function within uses counts twice: it needs a variable."""
    uses: Counter[int] = Counter()
    for step in steps:
        if step[0] != "def":
            uses.update(_values_in(step[1:]))
            continue
        inside = {id for id, _ in step[3]} | {id for one in step[4] for id in _makes(one)}
        for id, count in _uses(step[4], step[5]).items():
            uses[id] += count if id in inside else 2
    uses.update(_values_in(result))
    return uses


def _makes(step: Step) -> list[int]:
    """Return the ids of the values that a step makes."""
    if step[0] == "unpack":
        return step[1]
    return [step[1]] if step[0] in ("get", "call", "item", "op", "def") else []


def _parameters_in(parameters: list[Any], steps: list[Step]) -> Iterator[Any]:
    yield from parameters
    for step in steps:
        if step[0] == "def":
            yield from _parameters_in(step[3], step[4])


class _Writer:
    def __init__(self, names: naming.Names, outer: list[Any], places: list[int], uses: Counter[int]) -> None:
        self.outer = outer
        self.outer_names: list[str] = []
        # The names of values that are variables.
        self.variables: dict[int, str] = {}
        self._names = names
        # The place in `outer` of each value that the client gave.
        self._places = places
        self._uses = uses
        # The names that values would have.
        self._hints: dict[int, str] = {}
        # Values that are used once and not written yet, in the order in which they are evaluated.
        self._pending: dict[int, Text] = {}
        self._lines: list[str] = []

    def function(self, name: str, parameters: list[Any], steps: list[Step], result: Expression) -> list[str]:
        self._lines, around = [], self._lines
        for step in steps:
            self._step(step)
        if result != ["constant", None]:
            self._statement(lambda: f"return {self._text(result).source}", [result])
        self._flush()
        body, self._lines = self._lines or ["pass"], around
        head = f"def {name}({', '.join(self.variables[id] for id, _ in parameters)}):"
        return [head, *(_INDENT + line for line in body)]

    def _step(self, step: Step) -> None:
        kinds: dict[str, Callable[..., None]] = {
            "get": self._get,
            "call": self._call,
            "item": self._item,
            "op": self._op,
            "unpack": self._unpack,
            "set": self._set,
            "del": self._del,
            "setitem": self._setitem,
            "delitem": self._delitem,
            "def": self._def,
        }
        kinds[step[0]](*step[1:])

    def _get(self, id: int, target: Expression, name: str) -> None:
        text = self._text
        if naming.is_name(name):
            self._value(id, name, lambda: Text(f"{text(target).tight}.{name}"), [target])
        else:
            self._value(id, name, lambda: Text(f"getattr({text(target).source}, {name!r})"), [target])

    def _call(self, id: int, target: Expression, args: list[Expression], named: dict[str, Expression]) -> None:
        hint = target[1] if target[0] == "builtin" else self._hints.get(target[1], "") if target[0] == "value" else ""

        def write() -> Text:
            function = self._text(target).tight
            given = [self._text(arg).source for arg in args]
            for name, value in named.items():
                text = self._text(value).source
                given.append(f"{name}={text}" if naming.is_name(name) else f"**{{{name!r}: {text}}}")
            return Text(f"{function}({', '.join(given)})")

        self._value(id, hint or "result", write, [target, *args, *named.values()])

    def _item(self, id: int, target: Expression, key: Expression) -> None:
        self._value(id, "item", lambda: Text(self._subscript(target, key)), [target, key])

    def _op(self, id: int, name: str, a: Expression, b: Expression) -> None:
        left, right = (b, a) if name == "contains" else (a, b)
        sign = OPERATORS[name]
        self._value(
            id,
            "value",
            lambda: Text(f"{self._text(left).tight} {sign} {self._text(right).tight}", loose=True),
            [left, right],
        )

    def _unpack(self, ids: list[int], value: Expression) -> None:
        def write() -> str:
            text = self._text(value).source
            parts = [self._variable(id, "item") for id in ids]
            # (An empty target takes no items, and says so of any other number.)
            return f"{', '.join(parts)}{',' * (len(parts) == 1)} = {text}" if parts else f"() = {text}"

        self._statement(write, [value])

    def _set(self, target: Expression, name: str, value: Expression) -> None:
        text = self._text
        if naming.is_name(name):
            # Python evaluates the value first.
            self._statement(lambda: f"{text(target).tight}.{name} = {text(value).source}", [value, target])
        else:
            self._statement(lambda: f"setattr({text(target).source}, {name!r}, {text(value).source})", [target, value])

    def _del(self, target: Expression, name: str) -> None:
        text = self._text
        self._statement(
            lambda: (
                f"del {text(target).tight}.{name}"
                if naming.is_name(name)
                else f"delattr({text(target).source}, {name!r})"
            ),
            [target],
        )

    def _setitem(self, target: Expression, key: Expression, value: Expression) -> None:
        self._statement(lambda: f"{self._subscript(target, key)} = {self._text(value).source}", [value, target, key])

    def _delitem(self, target: Expression, key: Expression) -> None:
        self._statement(lambda: f"del {self._subscript(target, key)}", [target, key])

    def _def(self, id: int, name: str, parameters: list[Any], steps: list[Step], result: Expression) -> None:
        self._flush()
        own = self._variable(id, name, "function")
        self._lines += self.function(own, parameters, steps, result)

    def _value(self, id: int, hint: str, write: Callable[[], Text], operands: list[Expression]) -> None:
        """Write a value that a step makes: in its place if it is used once, else as a statement."""
        self._hints[id] = hint
        text = self._written(write, operands)
        uses = self._uses[id]
        if uses == 1:
            self._pending[id] = text
            return
        self._flush()
        self._lines.append(text.source if uses == 0 else f"{self._variable(id, hint)} = {text.source}")

    def _statement(self, write: Callable[[], str], operands: list[Expression]) -> None:
        line = self._written(lambda: Text(write()), operands).source
        self._flush()
        self._lines.append(line)

    def _written(self, write: Callable[[], Text], operands: list[Expression]) -> Text:
        """Call `write`. Before that, make variables of pending values that it would evaluate in another order."""
        wanted = [id for operand in operands for id in _values_in(operand) if id in self._pending]
        if wanted != list(self._pending)[len(self._pending) - len(wanted) :]:
            self._flush()
        elif wanted and sum(len(self._pending[id].source) for id in wanted) > _WIDTH:
            self._flush()
        return write()

    def _flush(self) -> None:
        for id, text in [*self._pending.items()]:
            self._lines.append(f"{self._variable(id, self._hints[id])} = {text.source}")
        self._pending.clear()

    def _variable(self, id: int, *hints: str) -> str:
        name = self.variables[id] = self._names.take(*hints)
        return name

    def _subscript(self, target: Expression, key: Expression) -> str:
        kind, *parts = key
        if kind == "tuple" and parts:
            index = ", ".join(map(self._index, parts)) + "," * (len(parts) == 1)
        else:
            index = self._index(key)
        return f"{self._text(target).tight}[{index}]"

    def _index(self, key: Expression) -> str:
        if key[0] != "slice":
            return self._text(key).source
        start, stop, step = ("" if part == ["constant", None] else self._text(part).source for part in key[1:])
        return f"{start}:{stop}" + (f":{step}" if step else "")

    def _text(self, expression: Expression) -> Text:
        kind, *parts = expression
        if kind == "value":
            id = parts[0]
            return Text(self.variables[id]) if id in self.variables else self._pending.pop(id)
        if kind == "outer":
            return Text(self.outer_names[self._places[parts[0]]])
        if kind == "builtin":
            return Text(getattr(builtins, parts[0]).__name__)
        if kind == "constant":
            return self._constant(parts[0])
        if kind == "dict":
            pairs = (f"{self._text(key).source}: {self._text(value).source}" for key, value in parts)
            return Text("{" + ", ".join(pairs) + "}")
        items = ", ".join(self._text(part).source for part in parts)
        if kind == "list":
            return Text(f"[{items}]")
        return Text(f"({items}{',' * (len(parts) == 1)})" if kind == "tuple" else f"slice({items})")

    def _constant(self, value: Any) -> Text:
        if isinstance(value, (str, bytes)) and len(value) > _LONGEST_TEXT:
            self.outer.append(value)
            self.outer_names.append(self._names.take("text" if isinstance(value, str) else "data"))
            return Text(self.outer_names[-1])
        if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
            return Text(f'float("{value}")')
        # (Python refuses to write a long integer in decimal.)
        source = hex(value) if type(value) is int and value.bit_length() > 256 else repr(value)
        return Text(source, loose=source.startswith("-"))
