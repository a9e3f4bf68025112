"""Replies between the run of their batches and their way to the client, in order.

A reply whose values a GPU still computes waits for them, and all later ones wait behind it. The worker runs the next
batches meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from . import devices
from .devices import Copy
from .executor import Executor, Reply


class Held:
    """The reply to one batch, the lane and generation of it, and the copies that bring its values."""

    __slots__ = ("copies", "lane", "reply")

    def __init__(self, reply: Reply, lane: tuple[int, int] | None, copies: list[Copy]) -> None:
        self.reply = reply
        # None: it belongs to the log of a call.
        self.lane = lane
        self.copies = copies


class Outgoing:
    """Messages of replies that leave one after the other, each as soon as all of its values are here."""

    def __init__(self, executor: Executor, send: Callable[[list[Reply], list[Any]], None]) -> None:
        self._executor = executor
        self._send = send
        self._messages: deque[tuple[list[Held], list[Any]]] = deque()
        # Lanes, with their generations, that failed on a device when later batches of theirs had been run.
        self._failed: set[tuple[int, int]] = set()

    def __bool__(self) -> bool:
        return bool(self._messages)

    def add(self, held: list[Held], buffers: list[Any]) -> None:
        """Add a message, with the frames of all its replies."""
        self._messages.append((held, buffers))

    def send(self, waits: bool) -> None:
        """Send what is complete. With `waits`, wait until all is."""
        while self._messages:
            held, buffers = self._messages[0]
            if not all(self._is_complete(each, waits) for each in held):
                return
            self._messages.popleft()
            self._send([each.reply for each in held], buffers)

    def _is_complete(self, held: Held, waits: bool) -> bool:
        if not held.copies and not self._failed:
            return True
        try:
            if held.copies and not devices.finish(held.copies, waits):
                return False
        except Exception as error:
            # (Who asks first hears what went wrong on the device, in this batch or in one before it.)
            if held.lane is not None and held.lane not in self._failed and held.reply[1]:
                self._failed.add(held.lane)
                held.reply = self._executor.failed_late(held.reply, held.lane, error)
                held.lane = None
        held.copies = []
        if held.lane in self._failed:
            # The client takes it for a batch that was not run, behind the one that failed.
            held.reply = held.reply[0], [], None
        return True
