"""The session, with messages instead of sockets: what runs once, what is repeated after a cut, and to whom."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import pytest
from batches import call, js

from torchwire_worker.door import Door
from torchwire_worker.executor import Executor
from torchwire_worker.link import Malformed, Message
from torchwire_worker.ops import Settings
from torchwire_worker.session import Session
from torchwire_worker.settings import NoDevice
from torchwire_worker.wire import URGENT, Header, Limits, MessageType, read_header

LIMITS = Limits()


class Said(NamedTuple):
    to: bytes
    type: MessageType
    meta: Any


class Idle(Exception):
    """No more messages come."""


class World:
    """The link of a session, with everything that comes and goes by it."""

    def __init__(self) -> None:
        self.coming: deque[Message | Malformed] = deque()
        self.said: list[Said] = []
        # The frames of each.
        self.parts: list[list[Any]] = []
        self.executor = Executor(LIMITS)
        self.door = Door()
        self.no_device = False
        # A message comes when the session waits for it, and not before.
        self.is_slow = False
        quiet: Any = self
        self.session = Session(quiet, quiet, self.executor, LIMITS, self.door, self.welcome)

    def welcome(self, _: Settings) -> dict[str, Any]:
        if self.no_device:
            raise NoDevice("there is no such device")
        return {"pid": 1}

    # This is the part of a link.
    def receive(self) -> Message | Malformed:
        if not self.coming:
            raise Idle
        return self.coming.popleft()

    @property
    def has_more(self) -> bool:
        return bool(self.coming) and not self.is_slow

    def send(self, peer: bytes, head: bytes, frames: Any = ()) -> None:
        header = read_header(head, LIMITS)
        self.said.append(Said(peer, header.type, msgspec.msgpack.decode(head[-header.meta_bytes :])))
        self.parts.append([*frames])

    def comes_within(self, _: int) -> bool:
        if not self.coming:
            raise Idle
        return True

    # This is the part of the control thread.
    def busy(self) -> None:
        pass

    idle = finish = busy

    # This is the part of a client.
    def comes(
        self, peer: bytes, type: MessageType, seq: int = 0, ack: int = 0, session: int = 1, flags: int = 0, **meta: Any
    ) -> None:
        encoded = msgspec.msgpack.encode(meta)
        header = Header(type, flags, 0, session, 0, seq, ack, len(encoded), 0)
        self.coming.append(Message(peer, header, memoryview(encoded), []))

    def greets(self, peer: bytes, session: int, ack: int = 0, token: str = "t") -> None:
        self.comes(
            peer, MessageType.HELLO, session=session, ack=ack, token=token, client={}, limits={}, resumes=session > 1
        )

    def asks(self, peer: bytes, seq: int, ack: int = 0) -> None:
        """Return the answer to `seq`, as a value."""
        first = 16 + 3 * seq
        self.comes(
            peer, MessageType.BATCH, seq, ack, flags=URGENT, first=first, operations=[call("int", seq), js(first + 1)]
        )

    def run(self) -> list[Said]:
        """Return the answers to everything that has come."""
        before = len(self.said)
        with pytest.raises(Idle):
            self.session.run()
        return self.said[before:]

    def replies(self) -> list[tuple[bytes, int]]:
        return [
            (to, reply[0]) for to, type, meta in self.run() if type is MessageType.REPLY for reply in meta["replies"]
        ]


@pytest.fixture
def world() -> World:
    """Return a running session with the peer a."""
    world = World()
    world.greets(b"a", 1)
    assert world.run() == [Said(b"a", MessageType.WELCOME, {"pid": 1, "worker": world.door.name, "received": 0})]
    return world


def test_what_comes_again_is_run_once(world: World) -> None:
    for seq in (1, 2, 1, 2, 3, 3):
        world.asks(b"a", seq)
    assert world.replies() == [(b"a", 1), (b"a", 2), (b"a", 3)]
    assert world.executor.batches == 3


def test_what_comes_too_early_ends_it_and_is_not_run(world: World) -> None:
    world.asks(b"a", 1)
    world.asks(b"a", 3)
    world.session.run()
    *_, last = world.said
    assert last == Said(b"a", MessageType.FATAL, {"message": "message 3 came after 1: what was between is lost"})
    assert world.executor.batches == 1


def test_who_comes_again_is_told_what_is_here_and_what_it_has_not_heard(world: World) -> None:
    for seq in (1, 2, 3):
        world.asks(b"a", seq)
    world.run()
    world.greets(b"b", 2, ack=1)
    welcome, *replies = world.run()
    assert welcome == Said(b"b", MessageType.WELCOME, {"pid": 1, "worker": world.door.name, "received": 3})
    assert [(to, type, meta["replies"][0][0]) for to, type, meta in replies] == [
        (b"b", MessageType.REPLY, 2),
        (b"b", MessageType.REPLY, 3),
    ]
    # The values are the first ones: nothing was run again.
    assert [meta["replies"][0][1][1] for _, _, meta in replies] == [2, 3]
    assert world.executor.batches == 3
    # This is repeated until the client has received them.
    world.greets(b"c", 3, ack=2)
    assert world.replies() == [(b"c", 3)]


def test_what_the_client_has_heard_is_forgotten_by_whichever_message_says_so(world: World) -> None:
    for seq in (1, 2, 3):
        world.asks(b"a", seq)
    world.run()
    assert len(world.session._sent) == 3
    world.comes(b"a", MessageType.ACK, ack=1)
    assert world.run() == []
    assert len(world.session._sent) == 2
    world.asks(b"a", 4, ack=3)
    world.run()
    assert [seq for seq, *_ in world.session._sent] == [4]


def test_what_was_heard_is_told_in_32_bits(world: World) -> None:
    world.session._received = 2**32 - 2
    for seq in (2**32 - 1, 2**32, 2**32 + 1):
        world.asks(b"a", seq, ack=2**32 - 2)
    world.run()
    for ack, left in ((2**32 - 2, 3), (2**32 - 1, 2), (0, 1), (2**32 - 1, 1), (1, 0)):
        world.comes(b"a", MessageType.ACK, ack=ack)
        world.run()
        assert len(world.session._sent) == left


def test_who_greeted_last_is_listened_to_alone(world: World) -> None:
    world.greets(b"b", 2)
    world.run()
    world.asks(b"a", 1)
    assert world.run() == [Said(b"a", MessageType.FATAL, {"message": "it came before a greeting"})]
    world.asks(b"b", 1)
    assert world.replies() == [(b"b", 1)]
    assert world.executor.batches == 1


def test_a_greeting_amid_the_work_is_answered_and_the_work_is_done_for_it(world: World) -> None:
    # (The session reads the second while it runs the first.)
    world.comes(b"a", MessageType.BATCH, 1, first=16, operations=[call("int", 1)])
    world.comes(b"a", MessageType.BATCH, 2, first=18, operations=[call("int", 2)])
    world.greets(b"b", 2)
    world.asks(b"b", 3)
    said = world.run()
    assert said[0][:2] == (b"b", MessageType.WELCOME)
    assert said[0].meta["received"] == 2
    assert {to for to, *_ in said} == {b"b"}
    assert [reply[0] for _, type, meta in said if type is MessageType.REPLY for reply in meta["replies"]] == [1, 2, 3]


def test_a_stranger_is_told_so_and_nothing_is_disturbed(world: World) -> None:
    world.greets(b"x", 1, token="other")
    world.coming.append(Malformed(b"y", "it has no frame"))
    world.asks(b"z", 1)
    world.asks(b"a", 1)
    said = world.run()
    assert [(to, type) for to, type, _ in said if type is MessageType.FATAL] == [
        (peer, MessageType.FATAL) for peer in (b"x", b"y", b"z")
    ]
    assert [to for to, type, _ in said if type is MessageType.REPLY] == [b"a"]


def test_what_is_not_understood_ends_it_when_everything_before_is_answered(world: World) -> None:
    world.comes(b"a", MessageType.BATCH, 1, first=16, operations=[call("int", 1)])
    world.coming.append(Malformed(b"a", "it has no frame"))
    world.session.run()
    assert [type for _, type, _ in world.said[1:]] == [MessageType.REPLY, MessageType.FATAL]


def test_a_farewell_is_answered_when_all_is_done_and_the_door_is_shut(world: World) -> None:
    world.is_slow = True
    world.asks(b"a", 1)
    world.comes(b"a", MessageType.CLOSE, 2)
    world.comes(b"a", MessageType.ACK, ack=1)
    world.session.run()
    assert [type for _, type, _ in world.said[1:]] == [MessageType.REPLY, MessageType.CLOSED]
    assert world.door.is_shut


def test_after_a_farewell_it_stays_until_what_it_answered_has_arrived(world: World) -> None:
    world.is_slow = True
    world.asks(b"a", 1)
    world.comes(b"a", MessageType.CLOSE, 2)
    world.greets(b"b", 2)
    with pytest.raises(Idle):
        world.session.run()
    assert [(to, type) for to, type, _ in world.said[1:]] == [
        (b"a", MessageType.REPLY),
        (b"a", MessageType.CLOSED),
        (b"b", MessageType.WELCOME),
        (b"b", MessageType.REPLY),
        (b"b", MessageType.CLOSED),
    ]
    assert not world.door.is_shut


def test_who_is_shut_down_does_what_has_come_and_says_why_it_goes(world: World) -> None:
    world.asks(b"a", 1)
    world.session.leave("the worker was shut down")
    world.session.run()
    _, reply, last = world.said
    assert reply.type is MessageType.REPLY
    assert last.type is MessageType.FATAL
    assert last.meta["code"] == "WORKER_GONE"
    assert last.meta["message"].startswith("the worker was shut down; everything")
    assert world.door.is_shut


def test_whose_device_is_not_there_leaves_the_place_to_others() -> None:
    world = World()
    world.no_device = True
    world.greets(b"a", 1)
    assert world.run() == [Said(b"a", MessageType.FATAL, {"message": "there is no such device", "code": "NO_DEVICE"})]
    world.no_device = False
    world.greets(b"b", 1, token="other")
    assert [type for _, type, _ in world.run()] == [MessageType.WELCOME]
    world.asks(b"b", 1)
    assert world.replies() == [(b"b", 1)]


class Looked(deque[Any]):
    """Counts how many of its items are looked at, one after the other."""

    looks = 0

    def __iter__(self) -> Iterator[Any]:
        for item in super().__iter__():
            self.looks += 1
            yield item


def test_what_thousands_of_batches_tell_alike_is_looked_for_once(world: World) -> None:
    many = 1000
    sent = world.session._sent = Looked()
    # The client has issued them in one turn: it had no answer yet.
    for seq in range(1, many + 1):
        world.asks(b"a", seq)
    assert len(world.replies()) == len(sent) == many
    assert sent.looks < 10
    world.asks(b"a", many + 1, ack=many - 5)
    world.run()
    assert len(sent) == 6
    assert sent.looks < many + 10
