"""Recorded functions: their source, and that no text from the client becomes code."""

from __future__ import annotations

import gc
import inspect
import linecache
import operator
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
