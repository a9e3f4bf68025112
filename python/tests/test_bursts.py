"""Bursts of batches: in how many messages they are answered, and whether the worker ever waits for the next one."""

from __future__ import annotations

from typing import Any

import pytest
from batches import call
from test_session import World

from torchwire_worker.wire import MessageType


class Bursts(World):
    """A client that keeps `most` batches in flight: it waits until half of them are answered, then issues as many. Its
    batches arrive when the worker has run `late` more.
    """

    def __init__(self, most: int, steps: int, late: int = 0) -> None:
        super().__init__()
        self.most, self.left, self.late = most, steps, late
        self.issued = self.answered = 0
        # By the number of batches that the worker has run when they arrive: the batches of a burst.
        self.under_way: dict[int, int] = {}
        self.messages: list[int] = []
        # The batches that the worker had run when it waited.
        self.waits: list[int] = []
        self.greets(b"a", 1)

    def receive(self) -> Any:
        if not self.coming:
            self.waits.append(self.executor.batches)
            if not self.under_way:
                return super().receive()
            self.arrives(min(self.under_way))
        return super().receive()

    @property
    def has_more(self) -> bool:
        for due in [due for due in self.under_way if due <= self.executor.batches]:
            self.arrives(due)
        return bool(self.coming)

    def arrives(self, due: int) -> None:
        for _ in range(self.under_way.pop(due)):
            self.issued += 1
            self.comes(b"a", MessageType.BATCH, self.issued, first=14 + 2 * self.issued, operations=[call("int", 1)])

    def send(self, peer: bytes, head: bytes, frames: Any = ()) -> None:
        super().send(peer, head, frames)
        if self.said[-1].type is MessageType.REPLY:
            self.messages.append(len(self.said[-1].meta["replies"]))
            self.answered += self.messages[-1]
        in_flight = self.issued + sum(self.under_way.values()) - self.answered
        if self.left and in_flight <= self.most // 2:
            more = min(self.left, self.most - in_flight)
            self.left -= more
            self.under_way[self.executor.batches + self.late] = more


@pytest.mark.parametrize("most", [2, 4, 16, 32])
def test_half_of_what_is_in_flight_is_answered_by_one_message(most: int) -> None:
    world = Bursts(most, 10 * most)
    world.run()
    half = most // 2
    bursts = world.messages[: 2 * 10 - 2]
    assert bursts == [half] * len(bursts)
    # The last ones, behind which nothing comes, are answered sooner.
    assert sum(world.messages) == 10 * most


@pytest.mark.parametrize(("most", "late"), [(16, 0), (16, 1), (16, 4), (32, 8), (4, 1)])
def test_the_worker_never_waits_for_the_next_burst(most: int, late: int) -> None:
    world = Bursts(most, 10 * most, late)
    world.run()
    # It waited for the greeting (none of it counts), and at the end.
    assert [ran for ran in world.waits if 0 < ran < 10 * most] == []


def test_three_in_flight_are_answered_two_at_a_time() -> None:
    world = Bursts(3, 30)
    world.run()
    assert set(world.messages[:-2]) == {2}


def test_a_flood_is_answered_before_it_ends() -> None:
    world = Bursts(1000, 1000)
    world.run()
    assert max(world.messages) == 16
