"""From start to end: what is listened to, and how batches and their replies take turns."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
import zmq

from . import auth, life, settings
from .control import Control, LogHandler
from .executor import Executor, Reply
from .link import Link, Message
from .ops import decode_batch
from .tensors import Frames
from .wire import URGENT, Limits, MessageType, WireError, encode

# A reply nobody awaits is held back while so many batches wait: each message sent wakes threads that the computation needs.
_HOLD_WHILE_WAITING = 2
# …but not for longer than this many, so that the client's credit comes back.
_MOST_HELD = 16
_MOST_READ_AHEAD = 64


def serve(report: Callable[..., None]) -> None:
    config = msgspec.json.decode(life.read_line(0), type=settings.Config)
    life.start_guard(config.directory)
    life.ignore_interrupts()
    try:
        device = settings.apply(config)
    except settings.NoDevice as error:
        report(error={"code": "NO_DEVICE", "message": str(error)})
        raise SystemExit(1) from None
    limits = Limits()
    executor = Executor(limits)
    context = zmq.Context()
    link = Link(context, _endpoint(config.directory, "data"), limits)
    welcome = {"pid": os.getpid(), "device": device, "versions": settings.versions(), "limits": limits}
    control = Control(context, _endpoint(config.directory, "control"), limits, config.token, executor, welcome)
    control.start()
    logging.getLogger().addHandler(LogHandler(control))
    report(ready={})
    _Session(link, control, executor, config.token, welcome).run()
    link.close()
    # Linger lets the farewell out; the control thread holds nothing that must be saved.
    context.destroy(linger=1000) if not control.is_alive() else None
    os._exit(0)


def _endpoint(directory: str, name: str) -> str:
    return f"ipc://{os.path.join(directory, name)}"


class _Session:
    def __init__(self, link: Link, control: Control, executor: Executor, token: str, welcome: Any) -> None:
        self._link = link
        self._control = control
        self._executor = executor
        self._token = token
        self._welcome = welcome
        self._peer: bytes | None = None
        self._waiting: deque[Message] = deque()
        self._held: list[Reply] = []
        self._frames = Frames()

    def run(self) -> None:
        while True:
            try:
                message = self._next()
                if message.header.type is MessageType.CLOSE:
                    self._send_held()
                    self._link.send(message.peer, encode(MessageType.CLOSED, {}))
                    return
                self._handle(message)
            except WireError as error:
                if self._peer is not None:
                    self._link.send(self._peer, encode(MessageType.FATAL, {"message": str(error)}))
                return

    def _next(self) -> Message:
        link, waiting = self._link, self._waiting
        if not waiting:
            self._control.idle()
            waiting.append(link.receive())
        while len(waiting) < _MOST_READ_AHEAD and link.has_more:
            waiting.append(link.receive())
        return waiting.popleft()

    def _handle(self, message: Message) -> None:
        header = message.header
        if header.type is MessageType.HELLO:
            auth.check_hello(message.meta, self._token)
            self._peer = message.peer
            self._link.send(message.peer, encode(MessageType.WELCOME, self._welcome))
        elif message.peer != self._peer:
            raise WireError("it came before a greeting")
        elif header.type is MessageType.BATCH:
            self._control.busy()
            try:
                batch = decode_batch(message.meta)
            except msgspec.MsgspecError as error:
                raise WireError(f"a batch that is not one: {error}") from None
            reply = self._executor.run(header.seq, batch, message.frames, self._frames)
            self._held.append(reply)
            if header.flags & URGENT or reply[2] is not None or not self._may_hold():
                self._send_held()
        else:
            raise WireError(f"message type {header.type.name} does not belong on the data link")

    def _may_hold(self) -> bool:
        while len(self._waiting) < _HOLD_WHILE_WAITING and self._link.has_more:
            self._waiting.append(self._link.receive())
        return len(self._waiting) >= _HOLD_WHILE_WAITING and len(self._held) < _MOST_HELD

    def _send_held(self) -> None:
        if not self._held or self._peer is None:
            return
        frames, held = self._frames, self._held
        self._frames, self._held = Frames(), []
        head = encode(MessageType.REPLY, {"replies": held}, 0, len(frames.buffers), frames.total_bytes)
        self._link.send(self._peer, head, frames.buffers)
