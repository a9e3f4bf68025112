"""What a client is told of an exception, and that nothing of it is kept."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

import pytest
import torch
from batches import Client, call
from torchwire_worker.errors import describe, forget, type_name


def caught(run: Any) -> BaseException:
    try:
        run()
    except BaseException as error:
        return error
    raise AssertionError("it did not raise")


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

    def test_ends_also_where_a_chain_leads_back_to_itself(self) -> None:
        a, b = ValueError("a"), ValueError("b")
        a.__cause__, b.__cause__ = b, a
        assert describe(a)["cause"]["message"] == "b"
        forget(a)


class TestWhatIsKept:
    """A failed step must not hold its activations: nothing of the exception outlives the telling of it."""

    @pytest.fixture
    def client(self) -> Client:
        return Client()

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
            # Without the help of the garbage collector, which comes when it pleases.
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
