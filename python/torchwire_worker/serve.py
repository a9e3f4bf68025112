"""From start to end: what is listened to, and how batches and their replies take turns."""

from __future__ import annotations

import logging
import os
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
import zmq

from . import auth, life, settings
from .control import Control, LogHandler
from .executor import Executor, Reply
from .link import Link, Malformed, Message
from .ops import read_batch
from .tensors import Frames
from .wire import URGENT, Limits, MessageType, WireError, encode

# A reply nobody awaits is held back while so many batches wait: each message sent wakes threads that the computation needs.
_HOLD_WHILE_WAITING = 2
# …but not for longer than this many, so that the client's credit comes back.
_MOST_HELD = 16


def serve(report: Callable[..., None]) -> None:
    config = msgspec.json.decode(life.read_line(0), type=settings.Config)
    life.start_guard(config.directory)
    life.ignore_interrupts()
    try:
        device = settings.apply(config)
    except settings.NoDevice as error:
        report(error={"code": "NO_DEVICE", "message": str(error)})
        raise SystemExit(1) from None
    except (ImportError, OSError) as error:
        message = f"{sys.executable} has a torch that cannot be loaded: {error}"
        report(error={"code": "ENVIRONMENT", "message": message, "command": "npx torchwire setup"})
        raise SystemExit(1) from None
    limits = config.limits
    executor = Executor(limits)
    context = zmq.Context()
    link = Link(context, _endpoint(config.directory, "data"), limits)
    welcome = {"pid": os.getpid(), "device": device, "versions": settings.versions(), "limits": limits}
    control = Control(context, _endpoint(config.directory, "control"), limits, config.token, executor, welcome)
    control.start()
    logging.getLogger().addHandler(LogHandler(control))
    report(ready={"data": link.endpoint, "control": control.endpoint})
    _Session(link, control, executor, limits, config.token, welcome).run()
    link.close()
    # Waits until the farewell is out, as long as the socket lingers; it also ends the control thread.
    context.term()
    os._exit(0)


def _endpoint(directory: str | None, name: str) -> str:
    return "tcp://127.0.0.1:*" if directory is None else f"ipc://{os.path.join(directory, name)}"


class _Session:
    def __init__(self, link: Link, control: Control, executor: Executor, limits: Limits, token: str, welcome: Any) -> None:
        self._link = link
        self._control = control
        self._executor = executor
        self._limits = limits
        self._token = token
        self._welcome = welcome
        self._peer: bytes | None = None
        self._waiting: deque[Message | Malformed] = deque()
        self._over = False
        self._held: list[Reply] = []
        self._frames = Frames(limits)

    def run(self) -> None:
        """Until the client closes, or says what is not understood: other messages may have been lost with that one."""
        while not self._over:
            message = self._next()
            try:
                self._handle(message)
            except WireError as error:
                self._send_held()
                self._refuse(message.peer, error)
                self._over = True

    def _next(self) -> Message | Malformed:
        waiting = self._waiting
        if not waiting:
            self._control.idle()
            while not waiting:
                self._read()
        return waiting.popleft()

    def _read(self) -> None:
        """Reads one message. What the client says waits its turn; a greeting, or a stranger, is answered at once."""
        message = self._link.receive()
        if message.peer == self._peer and not _is_hello(message):
            self._waiting.append(message)
            return
        try:
            if isinstance(message, Malformed):
                raise WireError(message.why)
            if not _is_hello(message):
                raise WireError("it came before a greeting")
            hello = auth.check_hello(message.meta, self._token)
            self._frames.limits = self._limits.smaller(hello.limits)
            self._peer = message.peer
            self._link.send(message.peer, encode(MessageType.WELCOME, self._welcome))
        except WireError as error:
            self._refuse(message.peer, error)

    def _refuse(self, peer: bytes, error: WireError) -> None:
        self._link.send(peer, encode(MessageType.FATAL, {"message": str(error)}))

    def _handle(self, message: Message | Malformed) -> None:
        if isinstance(message, Malformed):
            raise WireError(message.why)
        header = message.header
        if header.type is MessageType.BATCH:
            self._control.busy()
            batch, operations = read_batch(message.meta, self._limits)
            reply = self._executor.run(header.seq, batch, operations, message.frames, self._frames)
            self._held.append(reply)
            if header.flags & URGENT or reply[2] is not None or self._frames.half_full or not self._may_hold():
                self._send_held()
        elif header.type is MessageType.CLOSE:
            self._send_held()
            self._link.send(message.peer, encode(MessageType.CLOSED, {}))
            self._over = True
        else:
            raise WireError(f"message type {header.type.name} does not belong on the data link")

    def _may_hold(self) -> bool:
        # So many reads and no more: what strangers send must not keep replies back.
        for _ in range(_HOLD_WHILE_WAITING):
            if len(self._waiting) < _HOLD_WHILE_WAITING and self._link.has_more:
                self._read()
        return len(self._waiting) >= _HOLD_WHILE_WAITING and len(self._held) < _MOST_HELD

    def _send_held(self) -> None:
        if not self._held or self._peer is None:
            return
        frames, held = self._frames, self._held
        self._frames, self._held = Frames(frames.limits), []
        head = encode(MessageType.REPLY, {"replies": held}, 0, len(frames.buffers), frames.total_bytes)
        self._link.send(self._peer, head, frames.buffers)


def _is_hello(message: Message | Malformed) -> bool:
    return isinstance(message, Message) and message.header.type is MessageType.HELLO
