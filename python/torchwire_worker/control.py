"""The control socket, on a thread of its own: it answers while the main thread computes, and carries log records away."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sys
import threading
import time
from typing import Any

import zmq

from . import errors, output, settings
from .door import Door, Refused, drop, refusal
from .executor import Executor
from .link import Link, Malformed
from .ops import read_hello
from .wire import MessageType, WireError, encode

# Seconds.
_LOOK_EVERY = 1
_UNUSED = 5
# Bytes of a log record's text.
_LONGEST_RECORD = 32 * 2**10


class Control(threading.Thread):
    """Blocks and answers; it never touches PyTorch."""

    def __init__(self, link: Link, door: Door, executor: Executor, grace: float | None) -> None:
        """A client that is away for longer than `grace` seconds is dropped: the process ends."""
        super().__init__(name="torchwire-control", daemon=True)
        self._link = link
        self._door = door
        self._executor = executor
        self._grace = grace
        self._peer: bytes | None = None
        self._looked = 0.0
        if grace is not None:
            # A peer that is not there (any more) is told as an error; one that does not read must not hold this thread up.
            link.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
            link.socket.setsockopt(zmq.SNDTIMEO, 0)
        self._busy_since: float | None = None
        self._records: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._finished = threading.Event()
        # Other threads' records reach this one through a pair of inproc sockets: a socket belongs to one thread.
        address = f"inproc://log-{id(self)}"
        context = link.socket.context
        self._wake_in = context.socket(zmq.PULL)
        self._wake_in.bind(address)
        self._wake_out = context.socket(zmq.PUSH)
        self._wake_out.connect(address)
        self._wake_lock = threading.Lock()

    def busy(self) -> None:
        self._busy_since = time.monotonic()

    def idle(self) -> None:
        self._busy_since = None

    def finish(self) -> None:
        """Returns when what was logged so far is on its way, and behind it that this was all."""
        output.finish()
        self.record(None)
        self._finished.wait(1)

    def record(self, record: dict[str, Any] | None) -> None:
        """A record of Python's logging, or a line of its output."""
        self._records.put(record)
        # (Where it is full there is waking enough on its way; where it is closed nobody is left to be told.)
        with self._wake_lock, contextlib.suppress(zmq.ZMQError):
            self._wake_out.send(b"", zmq.DONTWAIT)

    def run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._link.socket, zmq.POLLIN)
        poller.register(self._wake_in, zmq.POLLIN)
        every = None if self._grace is None else _LOOK_EVERY * 1000
        try:
            while True:
                for socket, _ in poller.poll(every):
                    if socket is self._wake_in:
                        self._wake_in.recv()
                        self._send_records()
                    else:
                        self._answer()
                if self._grace is not None:
                    self._look_for_client(self._grace)
        except zmq.ContextTerminated:
            for socket in (self._link.socket, self._wake_in, self._wake_out):
                socket.close(0)

    def _answer(self) -> None:
        message = self._link.receive()
        if message is None or self._door.is_shut:
            return
        peer = message.peer
        try:
            if isinstance(message, Malformed):
                raise WireError(message.why)
            if message.header.type is MessageType.HELLO:
                self._door.enter(read_hello(message.meta), message.user, "control", message.header.session)
                self._peer, self._door.away_since = peer, None
                self._send(peer, encode(MessageType.WELCOME, {}))
            elif peer != self._peer:
                # After a cut, a question may overtake the greeting on the new connection: it is asked again, the client's end is not.
                if message.header.type is not MessageType.PING:
                    raise WireError("it came before a greeting")
            elif message.header.type is MessageType.PING:
                self._send(peer, encode(MessageType.PONG, self._state(), message.header.seq))
            elif message.header.type is MessageType.CLOSE:
                self._door.is_shut = True
                self._send(peer, encode(MessageType.CLOSED, {}))
                # For it to be on its way.
                time.sleep(0.1)
                os._exit(0)
            else:
                raise WireError(f"message type {message.header.type.name} does not belong on the control link")
        except WireError as error:
            self._send(peer, encode(MessageType.FATAL, refusal(error)))

    def _tell(self, message: bytes) -> bool:
        return self._peer is not None and self._send(self._peer, message)

    def _send(self, peer: bytes, message: bytes) -> bool:
        """False where the peer is not there, or does not read."""
        try:
            self._link.send(peer, message)
        except zmq.ZMQError:
            return False
        return True

    def _look_for_client(self, grace: float) -> None:
        """Heartbeats end the connection of a client that is gone; nothing can be sent to it then."""
        now, door = time.monotonic(), self._door
        if now - self._looked < _LOOK_EVERY:
            return
        self._looked = now
        if not door.holder:
            return
        if door.is_revoked():
            self._tell(encode(MessageType.FATAL, refusal(Refused("REFUSED", "the worker does not let this key in any more: it was removed"))))
            time.sleep(0.1)
            drop("the key of %s was removed: its session is over", door.holder)
        # (It may have greeted by the other socket alone, and be gone.)
        if self._tell(encode(MessageType.PONG, self._state())):
            door.away_since = None
        elif not door.is_settled:
            door.forget()
        elif door.away_since is None:
            door.away_since = now
        # Of one that has run nothing yet nothing is lost.
        elif now - door.away_since > (grace if self._executor.batches else min(grace, _UNUSED)):
            drop("the client %s was away for longer than %g s: its session is dropped", door.holder, grace)

    def _state(self) -> dict[str, Any]:
        since = self._busy_since
        return {
            "busy": None if since is None else time.monotonic() - since,
            "batches": self._executor.batches,
            "objects": self._executor.objects.kept,
            "rss": _resident_bytes(),
            "nondeterministic": settings.nondeterministic,
        }

    def _send_records(self) -> None:
        while not self._records.empty():
            record = self._records.get()
            if record is None:
                self._tell(encode(MessageType.CLOSED, {}))
                self._finished.set()
            else:
                self._tell(encode(MessageType.LOG, record))


class LogHandler(logging.Handler):
    """Sends Python's log records to the client's logger."""

    def __init__(self, control: Control) -> None:
        super().__init__()
        self._control = control
        self._pid = os.getpid()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if os.getpid() == self._pid:
                # Its text is made here, on the thread that logs: its arguments may be tensors, and may not fit.
                meta = {
                    "level": max(0, min(int(record.levelno), 1000)),
                    "logger": errors.text(record.name, 1024),
                    "message": errors.text(record.getMessage(), _LONGEST_RECORD),
                }
                self._control.record(meta)
            else:
                # A forked child, a DataLoader's for one: the sockets are not its to use.
                sys.stderr.write(self.format(record) + "\n")
        except Exception:
            self.handleError(record)


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * _PAGE
    except OSError:
        # Windows has neither.
        with contextlib.suppress(ImportError):
            import resource

            # macOS has no /proc; its highest value, in bytes, is what there is.
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return 0


_PAGE = 4096
