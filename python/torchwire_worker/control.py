"""The control socket, on a thread of its own: it answers while the main thread computes, and carries log records away."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import queue
import sys
import threading
import time
from typing import Any

import zmq

from . import auth, errors, settings
from .executor import Executor
from .link import Link, Malformed
from .wire import Limits, MessageType, WireError, encode


class Control(threading.Thread):
    """Blocks and answers; it never touches PyTorch."""

    def __init__(self, context: zmq.Context[Any], endpoint: str, limits: Limits, token: str, executor: Executor, welcome: Any) -> None:
        super().__init__(name="torchwire-control", daemon=True)
        self._link = Link(context, endpoint, limits)
        self.endpoint = self._link.endpoint
        self._token = token
        self._executor = executor
        self._welcome = welcome
        self._peer: bytes | None = None
        self._busy_since: float | None = None
        self._records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        # Other threads' records reach this one through a pair of inproc sockets: a socket belongs to one thread.
        address = f"inproc://log-{id(self)}"
        self._wake_in = context.socket(zmq.PULL)
        self._wake_in.bind(address)
        self._wake_out = context.socket(zmq.PUSH)
        self._wake_out.connect(address)
        self._wake_lock = threading.Lock()

    def busy(self) -> None:
        self._busy_since = time.monotonic()

    def idle(self) -> None:
        self._busy_since = None

    def record(self, record: logging.LogRecord) -> None:
        self._records.put(record)
        with self._wake_lock:
            self._wake_out.send(b"", zmq.DONTWAIT)

    def run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._link.socket, zmq.POLLIN)
        poller.register(self._wake_in, zmq.POLLIN)
        try:
            while True:
                for socket, _ in poller.poll():
                    if socket is self._wake_in:
                        self._wake_in.recv()
                        self._send_records()
                    else:
                        self._answer()
        except zmq.ContextTerminated:
            for socket in (self._link.socket, self._wake_in, self._wake_out):
                socket.close(0)

    def _answer(self) -> None:
        message = self._link.receive()
        peer = message.peer
        try:
            if isinstance(message, Malformed):
                raise WireError(message.why)
            if message.header.type is MessageType.HELLO:
                auth.check_hello(message.meta, self._token)
                self._peer = peer
                self._link.send(peer, encode(MessageType.WELCOME, self._welcome))
            elif peer != self._peer:
                # After a cut, a question may overtake the greeting on the new connection: it is asked again, the client's end is not.
                if message.header.type is not MessageType.PING:
                    raise WireError("it came before a greeting")
            elif message.header.type is MessageType.PING:
                self._link.send(peer, encode(MessageType.PONG, self._state(), message.header.seq))
            else:
                raise WireError(f"message type {message.header.type.name} does not belong on the control link")
        except WireError as error:
            self._link.send(peer, encode(MessageType.FATAL, {"message": str(error)}))

    def _state(self) -> dict[str, Any]:
        since = self._busy_since
        return {
            "busy": None if since is None else time.monotonic() - since,
            "objects": self._executor.objects.kept,
            "rss": _resident_bytes(),
            "nondeterministic": settings.nondeterministic,
        }

    def _send_records(self) -> None:
        while not self._records.empty():
            record = self._records.get()
            if self._peer is not None:
                meta = {"level": record.levelno, "logger": errors.text(record.name), "message": record.getMessage()}
                self._link.send(self._peer, encode(MessageType.LOG, meta))


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
                made = copy.copy(record)
                made.msg, made.args = errors.text(record.getMessage()), None
                self._control.record(made)
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
