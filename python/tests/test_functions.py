"""Recorded functions: their source, and that no text from the client becomes code."""

from __future__ import annotations

import functools
import gc
import inspect
import linecache
import operator
import random
from typing import Any

import pytest

from torchwire_worker.helpers import functions
from torchwire_worker.helpers.writing import OPERATORS


def value(id: int) -> list[Any]:
    return ["value", id]


def constant(of: Any) -> list[Any]:
    return ["constant", of]


def make(steps: list[Any], result: Any, outer: list[Any] | None = None, name: str = "f", site: str = "a.ts:1") -> Any:
    return functions.make(name, [[1, "x"]], steps, result, outer or [], site)


HOSTILE = [
    "__import__('os')._exit(3)",
    "a\nb",
    "a#b",
    "f):\n  pass #",
    "",
    "ﬁ",
    "class",
    "a" * 5000,
    "\u2028",
    "None",
    "1",
]


@pytest.mark.parametrize("text", HOSTILE)
class TestText:
    def test_as_an_attribute(self, text: str) -> None:
        class Box:
            pass

        box = Box()
        steps = [
            ["set", value(1), text, constant(3)],
            ["get", 2, value(1), text],
            ["del", value(1), text],
        ]
        assert make(steps, value(2))(box) == 3
        assert vars(box) == {}

    def test_as_a_keyword_and_a_constant(self, text: str) -> None:
        steps = [["call", 2, value(1), [constant({})], {text: constant([text, text.encode()])}]]
        assert make(steps, value(2))(dict) == {text: [text, text.encode()]}

    def test_as_the_name_of_a_function_of_a_parameter_and_of_a_line(self, text: str) -> None:
        f = functions.make(text, [[1, text]], [], value(1), [], text)
        assert f(4) == 4
        assert f.__name__.isidentifier()
        assert inspect.getsource(f).strip().startswith("def ")

    def test_as_the_name_of_a_class_and_a_module_from_outside(self, text: str) -> None:
        kind = type(text.replace("\0", ""), (), {})
        module = type(inspect)(text)
        f = make([], ["list", ["outer", 0], ["outer", 1], ["outer", 2]], [kind, kind(), module])
        assert f(0)[0] is kind
        assert f(0)[2] is module


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_an_operator_is_that_of_the_module(name: str) -> None:
    a, b = (frozenset({3, 5}), 5) if name == "contains" else (7, 2)
    if name == "matmul":
        numpy = pytest.importorskip("numpy")
        a, b = numpy.eye(2), numpy.ones(2)
    f = make([["op", 2, name, value(1), ["outer", 0]]], value(2), [b])
    expected = getattr(operator, name)(a, b)
    assert (f(a) == expected).all() if name == "matmul" else f(a) == expected


def test_what_is_beside_an_operator_stands_in_parentheses() -> None:
    steps = [
        ["op", 2, "sub", constant(-2), value(1)],
        ["op", 3, "pow", constant(-3), value(2)],
        ["op", 4, "lt", value(3), constant(5)],
        ["op", 5, "eq", constant(True), value(4)],
        ["get", 6, value(5), "real"],
    ]
    f = make(steps, value(6))
    assert f(-4) == int((True == ((-3) ** (-2 - -4) < 5)).real)  # noqa: E712
    assert inspect.getsource(f).strip().endswith("return (True == (((-3) ** ((-2) - x)) < 5)).real")


def test_unpacking_wants_as_many_as_there_are() -> None:
    for count in range(4):
        ids = [*range(2, 2 + count)]
        f = make([["unpack", ids, value(1)]], ["tuple", *map(value, ids)])
        assert f(range(count)) == tuple(range(count))
        with pytest.raises(ValueError, match="unpack"):
            f(range(count + 1))


def test_a_value_that_a_function_within_uses_is_made_before_it() -> None:
    steps = [
        ["get", 2, value(1), "real"],
        ["def", 3, "g", [[4, "x"]], [["op", 5, "add", value(4), value(2)]], value(5)],
        ["call", 6, value(3), [constant(1)], {}],
    ]
    f = make(steps, value(6))
    assert f(10) == 11
    assert "return x_2 + real" in inspect.getsource(f)


def test_what_comes_twice_from_outside_is_one_variable() -> None:
    f = make([], ["list", ["outer", 0], ["outer", 1], ["outer", 2]], [operator, 3, operator])
    assert f(0) == [operator, 3, operator]
    assert inspect.getsource(f).strip().endswith("return [operator, int_, operator]")


def test_a_value_that_answers_nothing_is_not_asked() -> None:
    class Silent:
        @property
        def __class__(self) -> Any:
            raise RuntimeError("not now")

    silent = Silent()
    assert make([], ["outer", 0], [silent])(0) is silent


def test_names_of_python_are_not_taken() -> None:
    f = functions.make(
        "print",
        [[1, "getattr"]],
        [["get", 2, value(1), "a b"], ["call", 3, ["builtin", "type"], [value(2)], {}]],
        ["list", value(2), value(3)],
        [],
        "",
    )
    box = type("Box", (), {"a b": 1})
    assert f(box) == [1, int]


def test_a_source_is_kept_as_long_as_a_function_has_it() -> None:
    f, g = make([], value(1), site="kept.ts:1"), make([], value(1), site="kept.ts:1")
    assert f.__code__ is g.__code__
    file = f.__code__.co_filename
    del f
    gc.collect()
    assert file in linecache.cache
    del g
    gc.collect()
    assert file not in linecache.cache


def test_a_step_of_no_kind_is_refused() -> None:
    with pytest.raises(KeyError):
        make([["flush"]], value(1))


class Noted:
    """Notes all that is done to it and to what comes of it."""

    def __init__(self, name: str, log: list[str]) -> None:
        vars(self).update(name=name, log=log)

    def _note(self, what: str) -> Noted:
        self.log.append(what)
        return Noted(f"({what})", self.log)

    def __getattr__(self, name: str) -> Noted:
        return self._note(f"{self.name}.{name}")

    def __setattr__(self, name: str, value: Any) -> None:
        self._note(f"{self.name}.{name} = {value!r}")

    def __delattr__(self, name: str) -> None:
        self._note(f"del {self.name}.{name}")

    def __getitem__(self, key: Any) -> Noted:
        return self._note(f"{self.name}[{key!r}]")

    def __setitem__(self, key: Any, value: Any) -> None:
        self._note(f"{self.name}[{key!r}] = {value!r}")

    def __delitem__(self, key: Any) -> None:
        self._note(f"del {self.name}[{key!r}]")

    def __call__(self, *args: Any, **named: Any) -> Noted:
        return self._note(f"{self.name}({args!r}, {named!r})")

    def __add__(self, other: Any) -> Noted:
        return self._note(f"{self.name} + {other!r}")

    def __iter__(self) -> Any:
        return iter([self._note(f"item {i} of {self.name}") for i in range(2)])

    def __repr__(self) -> str:
        return self.name


class Program:
    """A program by chance, as a client records one, with its run step by step."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.count = 2
        self.outer = 1
        self.steps = self.body([1], 12, 2)
        self.result = ["list", *(value(id) for id in self.random.sample(self.made, min(3, len(self.made))))]

    def body(self, known: list[int], length: int, depth: int) -> list[Any]:
        self.made = [*known]
        steps: list[Any] = []
        for _ in range(length):
            steps += self.step(depth)
        return steps

    def new(self) -> int:
        self.count += 1
        self.made.append(self.count)
        return self.count

    def any(self) -> list[Any]:
        # What was made last is mostly what is used next.
        return value(self.random.choice(self.made[-3:] if self.random.random() < 0.7 else self.made))

    def operand(self) -> list[Any]:
        kinds = [self.any, lambda: constant(self.random.choice([-1, "a", None, 1.5])), lambda: ["outer", 0]]
        kinds.append(lambda: ["tuple", self.any(), ["slice", constant(None), self.any(), constant(2)]])
        kinds.append(lambda: ["dict", [constant("k"), self.any()]])
        return self.random.choice(kinds)()

    def step(self, depth: int) -> list[Any]:
        kind = self.random.choice("get get get call call item op unpack set del setitem delitem def".split())
        name = self.random.choice(["real", "class", "a b", "mean"])
        a, b, c = self.any(), self.operand(), self.operand()
        if kind == "get":
            return [["get", self.new(), a, name]]
        if kind == "call":
            return [["call", self.new(), a, [b], {name: c}]]
        if kind == "item":
            key = self.any()
            return [["item", self.new(), a, key]]
        if kind == "op":
            return [["op", self.new(), "add", a, b]]
        if kind == "unpack":
            return [["unpack", [self.new(), self.new()], a]]
        if kind == "def" and depth == 0:
            return []
        if kind == "def":
            outer, argument, own = self.made, self.count + 1, self.count + 2
            self.count += 2
            steps = self.body([*outer, argument], 4, depth - 1)
            result, self.made = self.any(), [*outer, own]
            called = ["call", self.new(), value(own), [a], {}]
            self.made.remove(own)
            return [["def", own, "g", [[argument, "x"]], steps, result], called]
        return {
            "set": [["set", a, name, b]],
            "del": [["del", a, name]],
            "setitem": [["setitem", a, self.any(), b]],
            "delitem": [["delitem", a, self.any()]],
        }[kind]


def run(steps: list[Any], result: Any, values: dict[int, Any], outer: list[Any]) -> Any:
    def of(expression: Any) -> Any:
        kind, *parts = expression
        if kind == "value":
            return values[parts[0]]
        if kind in ("constant", "outer"):
            return parts[0] if kind == "constant" else outer[parts[0]]
        if kind == "dict":
            return {of(key): of(part) for key, part in parts}
        items = [of(part) for part in parts]
        return {"list": list, "tuple": tuple, "slice": lambda items: slice(*items)}[kind](items)

    def function(parameters: list[Any], steps: list[Any], result: Any) -> Any:
        ids = [id for id, _ in parameters]
        return lambda *args: run(steps, result, {**values, **dict(zip(ids, args))}, outer)

    for kind, *parts in steps:
        if kind == "get":
            values[parts[0]] = getattr(of(parts[1]), parts[2])
        elif kind == "call":
            values[parts[0]] = of(parts[1])(*map(of, parts[2]), **{name: of(one) for name, one in parts[3].items()})
        elif kind == "item":
            values[parts[0]] = of(parts[1])[of(parts[2])]
        elif kind == "op":
            values[parts[0]] = of(parts[2]) + of(parts[3])
        elif kind == "unpack":
            values.update(zip(parts[0], of(parts[1])))
        elif kind == "set":
            setattr(of(parts[0]), parts[1], of(parts[2]))
        elif kind == "del":
            delattr(of(parts[0]), parts[1])
        elif kind == "setitem":
            of(parts[0])[of(parts[1])] = of(parts[2])
        elif kind == "delitem":
            del of(parts[0])[of(parts[1])]
        elif kind == "def":
            values[parts[0]] = function(*parts[2:])
    return of(result)


def outcome(function: Any, log: list[str]) -> tuple[str, list[str]]:
    return repr(function(Noted("x", log))), log


@pytest.mark.parametrize("seeds", range(0, 400, 50))
def test_programs_by_chance_do_the_same_in_the_same_order(seeds: int) -> None:
    for seed in range(seeds, seeds + 50):
        program, written, stepped = Program(seed), [], []
        found = outcome(make(program.steps, program.result, [Noted("outer", written)]), written)
        noted = [Noted("outer", stepped)]
        expected = outcome(functools.partial(run_with, program.steps, program.result, noted), stepped)
        assert found == expected, seed
        assert len(stepped) > 3


def run_with(steps: list[Any], result: Any, outer: list[Any], x: Any) -> Any:
    return run(steps, result, {1: x}, outer)
