"""Calls of the client's functions: what runs while one waits, in which order it is answered, and what ends it."""

from __future__ import annotations

import contextlib
import gc
import threading
from typing import Any

import msgspec
import pytest
from batches import call, js
from test_session import Idle, World

from torchwire_worker.calls import Functions
from torchwire_worker.link import Malformed, Message
from torchwire_worker.turns import Reentered, Turns
from torchwire_worker.wire import URGENT, Header, MessageType


class Calling(World):
    """A world with a client whose functions can be called."""

    def __init__(self) -> None:
        self.frames: list[Any] = []
        super().__init__()
        turns: Any = self.session._turns
        # (There is no socket that other threads could wait for.)
        turns.share = lambda: None
        self.greets(b"a", 1)
        self.run()
        self.said.clear()
        self.seq = 0
        self.peer = b"a"

    def batch(self, *operations: Any, within: int = 0, functions: Any = (), flags: int = URGENT, first: int = 0) -> int:
        self.seq += 1
        first = first or 100 * self.seq
        meta = {"first": first, "operations": operations, "functions": functions, "lane": within}
        encoded = msgspec.msgpack.encode(meta)
        header = Header(MessageType.BATCH, flags, 0, 1, within, self.seq, 0, len(encoded), 0)
        self.coming.append(Message(self.peer, header, memoryview(encoded), []))
        return first

    def passes(self, *operations: Any) -> int:
        """`sorted([7, 8], key=f)`: the client's function is called twice, as calls 1 and 2."""
        return self.batch(call("sorted", [1, 7, 8], key=[8, 0]), *operations, functions=[[1, 1, "f"]])

    def send(self, peer: bytes, head: bytes, frames: Any = ()) -> None:
        super().send(peer, head, frames)
        self.frames.append([bytes(frame) for frame in frames])

    @property
    def has_more(self) -> bool:
        """(All but the program's own batches come when the session waits for them.)"""
        first = self.coming[0] if self.coming else None
        return isinstance(first, Message) and first.header.type is MessageType.BATCH and not first.header.parent_call

    def heard(self) -> list[Any]:
        """Return what was said, shortly: calls by their arguments, replies by their numbers and values."""
        with contextlib.suppress(Idle):
            self.session.run()
        said, self.said = self.said, []
        out: list[Any] = []
        for _, kind, meta in said:
            if kind is MessageType.CALL:
                out.append(("call", *meta["args"]))
            elif kind is MessageType.REPLY:
                out += [
                    (reply[0], reply[1][1::2] if reply[2] is None else reply[2]["type"]) for reply in meta["replies"]
                ]
            else:
                out.append((kind.name, meta))
        return out


@pytest.fixture
def world() -> Calling:
    return Calling()


def test_what_serves_a_call_runs_while_all_else_waits(world: Calling) -> None:
    first = world.passes(js(101))
    world.batch(call("abs", -3), js(201))
    world.batch(call("abs", -5), js(301), [11, 2], within=1)
    world.batch([11, [0, 302]], within=2, first=302)
    assert first == 100
    # The value of #302 was never made: the call raises, and what it is in fails.
    assert world.heard() == [("call", 7), (3, [5]), ("call", 8), (4, "torchwire_worker.objects.NoValue"),
                             (1, "torchwire_worker.objects.NoValue"), (2, [])]  # fmt: skip


def test_a_call_gives_what_its_log_returns(world: Calling) -> None:
    world.passes(js(101))
    world.batch([11, 2], within=1)
    world.batch(call("abs", -1), [11, [0, -2]], within=2)
    assert world.heard() == [("call", 7), (2, []), ("call", 8), (3, []), (1, [[1, 8, 7]])]


def test_an_error_of_the_clients_comes_out_with_its_number(world: Calling) -> None:
    world.passes()
    world.batch([12, 5, "Error: boom", "at train.ts:3"], within=1)
    with pytest.raises(Idle):
        world.session.run()
    failure = world.said[-1].meta["replies"][-1][2]
    assert (failure["type"], failure["message"], failure["thrown"]) == ("torchwire.JavaScriptError", "Error: boom", 5)


def test_a_malformed_message_ends_a_call_and_then_the_session(world: Calling) -> None:
    world.passes()
    world.coming.append(Malformed(b"a", "it has no frame"))
    assert world.heard() == [("call", 7), (1, "ConnectionError"), ("FATAL", {"message": "it has no frame"})]


def test_a_batch_of_a_call_that_is_none_ends_the_call_and_the_session(world: Calling) -> None:
    world.passes()
    world.batch([99], within=1)
    said = world.heard()
    assert said[:2] == [("call", 7), (1, "ConnectionError")]
    assert said[2][0] == "FATAL"


def test_a_message_of_a_call_that_there_is_not_is_refused(world: Calling) -> None:
    world.batch([11, 1], within=3)
    assert world.heard() == [("FATAL", {"message": "it serves call 3, which there is not"})]


def test_a_client_that_was_dropped_answers_no_call(world: Calling) -> None:
    world.passes()
    receive = world.receive

    def drop() -> Any:
        if world.coming:
            return receive()
        world.door.is_shut = world.door.is_dropped = True
        return None

    world.receive = drop  # type: ignore[method-assign]
    assert world.heard() == [("call", 7), (1, "ConnectionError")]


def test_a_call_is_said_again_until_a_message_names_it(world: Calling) -> None:
    world.passes()
    world.greets(b"b", 2)
    # (The link of this test ends the call then.)
    assert [entry[0] for entry in world.heard()] == ["call", "WELCOME", "call", 1]
    assert [name for name, *_ in world.session._sent] == [-1, 1]
    world.peer = b"b"
    world.batch([11, 1], within=1)
    world.heard()
    assert [name for name, *_ in world.session._sent] == [1, 2]


def test_values_that_were_told_already_keep_their_frames_when_earlier_replies_leave(world: Calling) -> None:
    array = [2, 3, ["tensor_of"], [[1, 1, 2], "uint8", None], {}]
    fetch = [8, -2, 2]
    # (Two wait behind it, so that its reply is held back.)
    world.batch(array, fetch, flags=0, first=100)
    world.batch([2, 3, ["tensor_of"], [[1, 3, 4], "uint8", None], {}], fetch,
                call("sorted", [1, 7], key=[8, 0]), functions=[[1, 1, "f"]], first=200)  # fmt: skip
    world.batch(call("abs", -1), first=400)
    world.batch([11, 1], within=1)
    said = world.heard()
    assert [entry[0] for entry in said] == [1, "call", 4, 2, 3]
    assert said[0][1] == [[4, 0, "uint8", [2]]]
    assert said[3][1] == [[4, 1, "uint8", [2]]]
    assert [frames for frames in world.frames if frames] == [[b"\1\2"], [b"", b"\3\4"]]


def test_a_function_is_one_object_as_long_as_python_has_it(world: Calling) -> None:
    functions = Functions()
    (one,) = functions.make([(1, 7, "f")])
    again, other = functions.make([(2, 7, "f"), (3, 8, "g")])
    assert again is one
    assert other is not one
    assert one.__name__ == "f"
    assert functions.take_freed() == [2]
    del one, again, other
    gc.collect()
    assert sorted(functions.take_freed()) == [1, 3]


def test_a_batch_that_is_not_run_frees_its_functions(world: Calling) -> None:
    world.batch(call("int", "x"), call("list", [1, [8, 0]]), functions=[[4, 4, "f"]])
    with pytest.raises(Idle):
        world.session.run()
    assert world.said[-1].meta["freed"] == [4]


def test_nobody_takes_a_turn_within_a_turn(world: Calling) -> None:
    link: Any = world
    turns = Turns(link)
    with turns:
        with pytest.raises(Reentered), turns:
            pass
        taken: list[int] = []

        def take() -> None:
            with turns:
                taken.append(1)

        thread = threading.Thread(target=take)
        thread.start()
        assert taken == []
        with turns.released():
            thread.join()
    assert taken == [1]


def test_a_finalizer_that_calls_in_the_middle_of_a_message_is_refused(world: Calling) -> None:
    world.passes()
    world.batch([11, 1], within=1)
    world.batch([11, 2], within=2)
    receive, refused = world.receive, []

    def finalise() -> Any:
        try:
            world.session._calling.call(1, (), {})
        except RuntimeError as error:
            refused.append(str(error))
        return receive()

    world.receive = finalise  # type: ignore[method-assign]
    assert world.heard()[-1] == (1, [])
    assert "by a finalizer, or a signal handler" in refused[0]
