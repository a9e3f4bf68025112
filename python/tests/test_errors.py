"""The description of an exception for the client, which keeps nothing of it."""

from __future__ import annotations

import builtins
import gc
import sys
import types
import weakref
from typing import Any

import pytest
import torch
from batches import Client, call, get, js

from torchwire_worker.errors import describe, forget, type_name
from torchwire_worker.wire import MessageType, encode


def caught(run: Any) -> BaseException:
    try:
        run()
    except BaseException as error:
        return error
    raise AssertionError("it did not raise")


def raises(error: BaseException) -> None:
    raise error


class Custom(ValueError):
    pass


class TestDescription:
    def test_names_its_type_and_all_base_classes(self) -> None:
        found = describe(Custom("no"))
        assert found["type"] == f"{__name__}.Custom"
        assert found["mro"] == [f"{__name__}.Custom", "ValueError", "Exception", "BaseException", "object"]
        assert found["message"] == "no"

    def test_names_what_torch_raises_as_torch_does(self) -> None:
        assert type_name(torch.OutOfMemoryError) == "torch.OutOfMemoryError"
        error = caught(lambda: torch.ones(2, 3) @ torch.ones(2, 3))
        assert describe(error)["type"] == "RuntimeError"
        assert "shapes cannot be multiplied" in describe(error)["message"]

    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (KeyError("fc"), "fc"),
            (KeyError(1), "1"),
            (KeyError(), ""),
            (KeyError("a", "b"), "('a', 'b')"),
            (OSError(2, "No such file", "a.pt"), "[Errno 2] No such file: 'a.pt'"),
            (ValueError(), ""),
            (IndexError("größer 🙂"), "größer 🙂"),
        ],
    )
    def test_has_the_message_that_python_prints(self, error: BaseException, message: str) -> None:
        assert describe(error)["message"] == message

    def test_survives_an_error_whose_message_cannot_be_made(self) -> None:
        class Broken(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        assert describe(Broken())["message"] == "<its message cannot be made: RuntimeError>"

    def test_has_the_frames_from_the_outermost_to_where_it_was_raised(self) -> None:
        def inner() -> None:
            raise Custom

        def outer() -> None:
            inner()

        frames = describe(caught(outer))["frames"]
        assert [frame["name"] for frame in frames] == ["caught", "outer", "inner"]
        assert frames[-1]["file"] == __file__
        assert frames[-1]["source"] == "raise Custom"
        assert frames[-1]["line"] == inner.__code__.co_firstlineno + 1

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="notes came with Python 3.11")
    def test_has_its_notes(self) -> None:
        error = ValueError("no")
        error.add_note("in layer 3")
        error.add_note("of 5")
        assert describe(error)["notes"] == ["in layer 3", "of 5"]
        assert describe(ValueError("no"))["notes"] == []

    def test_has_the_causes_that_python_prints(self) -> None:
        def given() -> None:
            try:
                {}["a"]
            except KeyError as error:
                raise Custom("bad") from error

        def around() -> None:
            try:
                {}["a"]
            except KeyError:
                raise Custom("bad")  # noqa: B904

        def suppressed() -> None:
            try:
                {}["a"]
            except KeyError:
                raise Custom("bad") from None

        for run in (given, around):
            found = describe(caught(run))
            assert (found["cause"]["type"], found["cause"]["message"]) == ("KeyError", "a")
            assert found["cause"]["frames"][-1]["name"] == run.__name__
            assert found["cause"]["cause"] is None
        assert describe(caught(suppressed))["cause"] is None

    def test_cuts_a_long_chain_of_causes(self) -> None:
        error: BaseException = ValueError(0)
        for n in range(1, 100):
            error, error.__cause__ = ValueError(n), error
        found, depth = describe(error), 0
        while found["cause"] is not None:
            found, depth = found["cause"], depth + 1
        assert depth == 8

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="groups came with Python 3.11")
    def test_has_the_members_of_a_group_each_with_its_own(self) -> None:
        def inner() -> None:
            try:
                {}["a"]
            except KeyError as error:
                raise Custom("bad") from error

        group = builtins.ExceptionGroup("two", [caught(inner), builtins.ExceptionGroup("one", [ValueError(1)])])
        group.add_note("in layer 3")
        found = describe(caught(lambda: raises(group)))
        assert (found["type"], found["message"], found["notes"]) == (
            "ExceptionGroup",
            "two (2 sub-exceptions)",
            ["in layer 3"],
        )
        first, second = found["errors"]
        assert (first["message"], first["cause"]["type"], first["frames"][-1]["name"]) == ("bad", "KeyError", "inner")
        assert [each["message"] for each in second["errors"]] == ["1"]
        assert "errors" not in first

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="groups came with Python 3.11")
    def test_tells_no_more_of_a_group_than_python_prints_and_says_so(self) -> None:
        found = describe(builtins.ExceptionGroup("many", [ValueError(n) for n in range(100)]))
        assert [each["message"] for each in found["errors"]] == [str(n) for n in range(15)]
        assert found["notes"] == ["(85 of its 100 exceptions are not told)"]

        def nested(levels: int) -> Exception:
            return ValueError(0) if levels == 0 else builtins.ExceptionGroup("x", [nested(levels - 1)] * 15)

        def count(told: Any) -> int:
            return 1 + sum(map(count, told.get("errors", [])))

        assert count(describe(nested(5))) == 65
        deep: Exception = ValueError(0)
        for _ in range(100):
            deep = builtins.ExceptionGroup("x", [deep])
        assert count(describe(deep)) == 9

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="groups came with Python 3.11")
    def test_takes_the_members_that_are_there_whatever_a_class_makes_of_the_name(self) -> None:
        class Shy(builtins.ExceptionGroup[Exception]):
            @property
            def exceptions(self) -> Any:
                raise SystemExit

        found = describe(Shy("x", [ValueError(1)]))
        assert [each["message"] for each in found["errors"]] == ["1"]

    def test_knows_the_groups_of_the_package_for_older_pythons(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class BaseExceptionGroup(Exception):
            exceptions = property(lambda self: self.args[1])

        package = types.ModuleType("exceptiongroup")
        package.BaseExceptionGroup = BaseExceptionGroup  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "exceptiongroup", package)
        monkeypatch.setattr(sys, "version_info", (3, 10))
        found = describe(BaseExceptionGroup("x", [ValueError(1)]))
        assert [each["message"] for each in found["errors"]] == ["1"]

    def test_ends_also_where_a_chain_leads_back_to_itself(self) -> None:
        a, b = ValueError("a"), ValueError("b")
        a.__cause__, b.__cause__ = b, a
        assert describe(a)["cause"]["message"] == "b"
        forget(a)


class TestWhatIsKept:
    """A failed step must not hold its activations: nothing of the exception outlives its description."""

    @pytest.fixture
    def client(self) -> Client:
        return Client()

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="groups came with Python 3.11")
    def test_the_locals_of_a_group_s_members_are_freed(self) -> None:
        alive: list[weakref.ref[Any]] = []

        def inner() -> None:
            held = torch.ones(1)
            alive.append(weakref.ref(held))
            raise Custom

        group = builtins.ExceptionGroup("one", [caught(inner)])
        forget(group)
        assert alive[0]() is None

    def test_the_locals_of_every_failed_frame_are_freed(self, client: Client) -> None:
        alive: list[weakref.ref[Any]] = []

        def forward(x: torch.Tensor) -> None:
            hidden = x * 2
            alive.append(weakref.ref(hidden))
            try:
                local = hidden + 1
                alive.append(weakref.ref(local))
                raise KeyError("first")
            except KeyError as error:
                other = hidden + 2
                alive.append(weakref.ref(other))
                raise Custom("second") from error

        gc.disable()
        try:
            function, x = client.keep(forward), client.keep(torch.ones(3))
            answer = client.run(call("", [0, x], target=function))
            assert answer.failed["cause"]["message"] == "first"
            # It is freed without the garbage collector, which runs at any time.
            assert [found() for found in alive] == [None, None, None]
        finally:
            gc.enable()

    def test_an_error_that_somebody_keeps_holds_no_frames(self, client: Client) -> None:
        alive: list[weakref.ref[Any]] = []
        kept = [Custom("kept"), Custom("its context")]
        kept[0].__context__ = kept[1]

        def fail(error: BaseException) -> None:
            local = torch.ones(3)
            alive.append(weakref.ref(local))
            raise error

        caught(lambda: fail(kept[1]))
        kept[0].__cause__ = caught(lambda: fail(Custom("its cause")))
        client.run(call("", target=client.keep(lambda: fail(kept[0]))))
        assert [error.__traceback__ for error in (*kept, kept[0].__cause__)] == [None, None, None]
        assert [found() for found in alive] == [None, None, None]

    def test_the_frames_that_are_told_are_none_of_the_workers_own(self, client: Client) -> None:
        def fail() -> None:
            raise Custom

        answer = client.run(call("", target=client.keep(fail)))
        assert [frame["name"] for frame in answer.failed["frames"]] == ["fail"]
        assert client.run(call("int", "x"), generation=1).failed["frames"] == []
        missing = client.run([0, "no_such_module"], generation=2).failed
        assert missing["type"] == "ModuleNotFoundError"
        assert all("importlib" not in frame["file"] for frame in missing["frames"][1:])


class Stop:
    """A descriptor that answers every access with an exception that ends programs."""

    def __get__(self, *_: Any) -> Any:
        raise SystemExit


class Text(str):
    """A str that overrides every method."""

    def stop(self, *_: Any, **_more: Any) -> Any:
        raise KeyboardInterrupt

    __str__ = __getitem__ = __len__ = __format__ = __add__ = __radd__ = __iter__ = isascii = encode = strip = stop  # type: ignore[assignment]


def stop(*_: Any) -> Any:
    raise SystemExit


class Meta(type):
    __getattribute__ = stop  # type: ignore[assignment]


def again(error: Any) -> str:
    return str(error)


# Each is an exception that overrides something that a description reads.
HOSTILE: dict[str, Any] = {
    **{
        name: lambda name=name: type("Hostile", (Exception,), {name: Stop()})("x")
        for name in (
            "__class__",
            "__cause__",
            "__context__",
            "__suppress_context__",
            "__traceback__",
            "__notes__",
            "__dict__",
            "args",
            "with_traceback",
        )
    },
    "__str__": lambda: type("Hostile", (Exception,), {"__str__": stop})("x"),
    "__str__ that is none": lambda: type("Hostile", (Exception,), {"__str__": lambda _: 3})("x"),
    "__str__ without end": lambda: type("Hostile", (Exception,), {"__str__": again})("x"),
    "__getattribute__": lambda: type("Hostile", (Exception,), {"__getattribute__": stop})("x"),
    "__getattr__": lambda: type("Hostile", (Exception,), {"__getattr__": stop})("x"),
    "a text of its own": lambda: type("Hostile", (Exception,), {"__str__": lambda _: Text("x")})("x"),
    "notes": lambda: type(
        "Hostile", (Exception,), {"__notes__": [Text("note"), type("Note", (), {"__str__": stop})()]}
    )("x"),
    "a metaclass": lambda: Meta("Hostile", (Exception,), {})("x"),
    "the __dir__ of what has no such attribute": lambda: AttributeError(
        "x", name="y", obj=type("Hostile", (), {"__dir__": stop})()
    ),
    "the name of what has no such attribute": lambda: AttributeError("x", name=Text("y"), obj=3),
    "a key": lambda: KeyError(type("Hostile", (), {"__str__": stop, "__repr__": stop})()),
    "a type error": lambda: type("Hostile", (TypeError,), {"__class__": Stop(), "__str__": stop})("x"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_an_exception_that_answers_questions_by_exceptions_is_told_all_the_same(what: str) -> None:
    client = Client()

    def fails(error: Any = HOSTILE[what]) -> None:
        raise error()

    failed = client.run(call("", target=client.keep(fails))).failed
    assert type(failed["message"]) is str
    assert failed["mro"][-3:] == ["Exception", "BaseException", "object"]
    assert failed["frames"][-1]["name"] == "fails"
    # The wire can carry it, and the worker continues.
    encode(MessageType.REPLY, {"replies": [failed]})
    assert client.run(call("int", "3"), js(client.next + 1), generation=1).value == 3


class Named:
    __name__ = Stop()
    __class__ = Stop()  # type: ignore[assignment]


TARGETS: dict[str, Any] = {
    "a name": Named,
    "a metaclass": lambda: type.__call__(Meta, "Hostile", (), {})(),
    "__getattr__": type("Hostile", (), {"__getattr__": stop}),
}


@pytest.mark.parametrize("what", TARGETS)
def test_what_an_operation_is_called_on_may_answer_so_too(what: str) -> None:
    client = Client()
    failed = client.run(get(client.keep(TARGETS[what]()), "no_such_attribute")).failed
    assert failed["operation"].endswith(".no_such_attribute")
    encode(MessageType.REPLY, {"replies": [failed]})
