"""The control socket, on a thread of its own: it answers while the main thread computes, and sends log records."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import zmq

from . import devices, forked, output, settings
from .door import Door, Refused, Shut, refusal
from .executor import Executor
from .link import Link, Malformed
from .ops import read_hello
from .records import Records, size_of
from .wire import MessageType, WireError, encode

# In seconds.
_LOOK_EVERY = 1
_UNUSED = 5
# Milliseconds after which the thread tries to send again.
_AGAIN = 50
# Seconds in which the last log records must leave.
_PATIENCE = 1.0
# Bytes sent that the client may not have read: it asks a question (PING) after each fourth part of it.
_MOST_UNREAD = 4 * 2**20


class Control(threading.Thread):
    """The thread of the control socket. It waits and answers, and never touches PyTorch."""

    def __init__(self, link: Link, door: Door, executor: Executor, grace: float | None) -> None:
        """`grace`: a client that is away for more seconds than that is dropped, and the process ends."""
        super().__init__(name="torchwire-control", daemon=True)
        self._link = link
        self._door = door
        self._executor = executor
        self._grace = grace
        self._peer: bytes | None = None
        self._looked = 0.0
        # Sending to a peer that is gone must be an error, and one that does not read must not hold this thread up.
        link.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        link.socket.setsockopt(zmq.SNDTIMEO, 0)
        self._busy_since: float | None = None
        self._records = Records()
        self._unread = 0
        # The time by which the last records must have left.
        self._ends_by: float | None = None
        self._finished = threading.Event()
        # Other threads wake this one through it: a socket of libzmq belongs to one thread.
        self._woken, self._wake = socket.socketpair()
        self._poller = zmq.Poller()
        self._poller.register(link.socket, zmq.POLLIN)
        self._watched: dict[int, Callable[[], None]] = {}
        for end in (self._woken, self._wake):
            end.setblocking(False)
            forked.own(end.fileno())
        self.watch(self._woken.fileno(), self._wakened)

    def busy(self) -> None:
        self._busy_since = time.monotonic()

    def idle(self) -> None:
        self._busy_since = None

    def watch(self, descriptor: int, act: Callable[[], None]) -> None:
        """Call `act` on this thread when `descriptor` can be read or its other end is gone.

        Call this before the thread starts, or from such an `act`.
        """
        self._watched[descriptor] = act
        self._poller.register(descriptor, zmq.POLLIN)

    def unwatch(self, descriptor: int) -> None:
        del self._watched[descriptor]
        self._poller.unregister(descriptor)

    def finish(self) -> None:
        """Return when all output and log records so far are on their way, and behind them the word that this was all.

        Nothing is answered after that.
        """
        output.finish()
        self._ends_by = time.monotonic() + _PATIENCE
        self._rouse()
        self._finished.wait(2 * _PATIENCE)

    def close(self) -> None:
        """End the thread, and free the port."""
        self.finish()
        if self.is_alive():
            self.join(_PATIENCE)
        self._link.end()

    def record(self, record: dict[str, Any]) -> None:
        """Queue a record of Python's logging, or a line of output."""
        self._records.put(record)
        self._rouse()

    def tell(self, message: str) -> None:
        """Queue a warning of the worker itself."""
        self.record({"level": 30, "logger": "torchwire", "message": message})

    def _rouse(self) -> None:
        # (A full socket already wakes the thread; after it is closed there is nobody to tell.)
        with contextlib.suppress(OSError):
            self._wake.send(b".")

    def _wakened(self) -> None:
        with contextlib.suppress(OSError):
            self._woken.recv(4096)

    def run(self) -> None:
        while not self._finished.is_set():
            every = None if self._grace is None else _LOOK_EVERY * 1000
            for ready, _ in self._poller.poll(every if self._records.first is None else _AGAIN):
                if ready is self._link.socket:
                    self._answer()
                elif ready in self._watched:
                    self._watched[ready]()
            self._send_records()
            if self._grace is not None:
                self._look_for_client(self._grace)

    def _answer(self) -> None:
        message = self._link.receive()
        # (A second client must not take the answer for its own. The client that has closed may still be waiting.)
        if message is None or (self._door.is_shut and message.peer != self._peer):
            return
        peer = message.peer
        try:
            if isinstance(message, Malformed):
                raise WireError(message.why)
            if message.header.type is MessageType.HELLO:
                self._door.enter(read_hello(message.meta), message.user, "control", message.header.session)
                self._peer, self._door.away_since = peer, None
                self._send(peer, encode(MessageType.WELCOME, {"worker": self._door.name}))
            elif peer != self._peer:
                # After a cut, a PING may overtake the greeting on the new connection. The client repeats a PING, but
                # not its end.
                if message.header.type is not MessageType.PING:
                    raise WireError("it came before a greeting")
            elif message.header.type is MessageType.PING:
                # The client has read everything before its PING.
                self._unread = 0
                self._send(peer, encode(MessageType.PONG, self._state(), message.header.seq))
            elif message.header.type is MessageType.CLOSE:
                self._door.is_shut = True
                self._send(peer, encode(MessageType.CLOSED, {}))
                # Give the answer time to leave.
                time.sleep(0.1)
                os._exit(0)
            else:
                raise WireError(f"message type {message.header.type.name} does not belong on the control link")
        except Shut:
            # The process is about to end: the next client must come again.
            return
        except WireError as error:
            self._send(peer, encode(MessageType.FATAL, refusal(error)))

    def _tell(self, message: bytes) -> bool:
        return self._peer is not None and self._send(self._peer, message)

    def _send(self, peer: bytes, message: bytes) -> bool:
        """Send, or return False if the peer is gone or does not read."""
        try:
            self._link.send(peer, message)
        except zmq.ZMQError:
            return False
        return True

    def _look_for_client(self, grace: float) -> None:
        """Drop a client that is gone. Heartbeats end its connection; after that, sending to it fails."""
        now, door = time.monotonic(), self._door
        if now - self._looked < _LOOK_EVERY:
            return
        self._looked = now
        if not door.holder or door.is_shut:
            return
        if door.is_revoked():
            self._tell(
                encode(
                    MessageType.FATAL,
                    refusal(Refused("REFUSED", "the worker does not let this key in any more: it was removed")),
                )
            )
            time.sleep(0.1)
            return door.drop("the key of %s was removed: its session is over", door.holder)
        # (The client may have greeted by the other socket alone, and be gone.)
        if self._tell(encode(MessageType.PONG, self._state())):
            door.away_since = None
        elif not door.is_settled:
            door.forget()
        elif door.away_since is None:
            door.away_since = now
        # A client that has run nothing yet loses nothing.
        elif now - door.away_since > (grace if self._executor.batches else min(grace, _UNUSED)):
            door.drop("the client %s was away for longer than %g s: its session is dropped", door.holder, grace)

    def _state(self) -> dict[str, Any]:
        since = self._busy_since
        return {
            "busy": None if since is None else time.monotonic() - since,
            "batches": self._executor.batches,
            "objects": self._executor.objects.kept,
            "rss": _resident_bytes(),
            "nondeterministic": settings.nondeterministic,
            "copies": devices.counts.told(),
        }

    def _send_records(self) -> None:
        while (record := self._records.first) is not None and self._unread < _MOST_UNREAD:
            if not self._tell(encode(MessageType.LOG, record)):
                break
            self._records.take()
            self._unread += size_of(record)
        if self._ends_by is None or (record is not None and time.monotonic() < self._ends_by):
            return
        if record is not None:
            self._tell(
                encode(
                    MessageType.LOG,
                    {
                        "level": 30,
                        "logger": "torchwire",
                        "message": "what came last was not read in time, and was dropped",
                    },
                )
            )
        self._tell(encode(MessageType.CLOSED, {}))
        self._finished.set()


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * _PAGE
    except OSError:
        # Windows has neither /proc nor `resource`.
        with contextlib.suppress(ImportError):
            import resource

            # macOS has no /proc. Its peak, in bytes, is the only figure there.
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return 0


_PAGE = 4096
