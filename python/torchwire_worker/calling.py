"""Asks the client to run its functions, on whatever thread Python calls them, and runs what they do meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Protocol

from . import forked
from .calls import DEEPEST, Call, encode_call
from .executor import Executor, Reply
from .link import Malformed, Message
from .ops import read_batch
from .tensors import Frames
from .turns import Reentered, Turns
from .wire import URGENT, Limits, MessageType, WireError, encode


class Post(Protocol):
    """What the session does for calls. The thread that asks has the turn."""

    def refuse_call(self) -> None: ...
    def wait(self) -> None: ...
    def send(self, name: int, head: bytes, buffers: list[Any]) -> None: ...
    def send_held(self) -> None: ...
    def answer(self, reply: Reply, frames: Frames, urgent: bool) -> None: ...
    def give_back(self, messages: Iterable[Message | Malformed]) -> None: ...


class Calling:
    def __init__(self, post: Post, turns: Turns, executor: Executor, limits: Limits) -> None:
        self._post = post
        self._turns = turns
        self._executor = executor
        self._limits = limits
        # What both sides can take. It is known when the client has greeted.
        self.agreed = limits
        # The calls that wait, by their ids, and the innermost one of each thread.
        self._open: dict[int, Call] = {}
        self._innermost: dict[int, Call] = {}
        # The id of the last call.
        self.last = 0

    def takes(self, message: Message) -> bool:
        """Keep a message for the call that it serves. Return False if there is none, or if it is over."""
        call = self._open.get(message.header.parent_call)
        if call is not None:
            call.waiting.append(message)
        return call is not None

    def call(self, function: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Have the client run a function of its own, and run here what the function does, until it ends."""
        if forked.is_child:
            raise ConnectionError(
                "a function of the client's cannot be called in a forked process, which has no client: "
                "a DataLoader calls it with num_workers=0"
            )
        thread = threading.get_ident()
        within = self._innermost.get(thread)
        if within is not None and within.depth >= DEEPEST:
            raise RecursionError(f"functions of the client's call each other {DEEPEST} deep")
        meta, objects = encode_call(args, kwargs, Frames(self.agreed))
        call = Call(objects, within)
        meta["function"] = function
        if within is not None:
            meta["within"] = within.id
        if thread == threading.main_thread().ident:
            meta["holds"] = True
        try:
            with self._turns:
                self._ask(call, meta)
        except Reentered:
            raise RuntimeError(
                "a function of the client's was called while the worker was reading or sending a message: by a "
                "finalizer, or a signal handler"
            ) from None
        self._innermost[thread] = call
        try:
            while not call.is_over:
                with self._turns:
                    message = self._next_of(call)
                self._serve(call, message)
        finally:
            if within is None:
                self._innermost.pop(thread)
            else:
                self._innermost[thread] = within
            with self._turns:
                self._open.pop(call.id)
                # (An exception has ended the call. What is left of it runs in its turn.)
                self._post.give_back(call.waiting)
        return call.result()

    def _ask(self, call: Call, meta: dict[str, Any]) -> None:
        self._post.refuse_call()
        self._turns.share()
        # The function may await what was answered already.
        self._post.send_held()
        call.id = self.last + 1
        head = encode(MessageType.CALL, meta, parent_call=call.id)
        self.last = call.id
        self._open[call.id] = call
        self._post.send(-call.id, head, [])

    def _next_of(self, call: Call) -> Message:
        while not call.waiting:
            self._post.refuse_call()
            self._post.wait()
        message: Message = call.waiting.popleft()
        return message

    def _serve(self, call: Call, message: Message) -> None:
        """Run a batch of a call's log."""
        header, frames = message.header, Frames(self.agreed)
        try:
            batch, operations = read_batch(message.meta, self._limits)
        except WireError as error:
            with self._turns:
                self._post.give_back([Malformed(message.peer, str(error))])
            raise ConnectionError("the client sent a message that is not understood") from None
        reply = self._executor.run(header.seq, batch, operations, message.frames, frames, call)
        with self._turns:
            self._post.answer(reply, frames, bool(header.flags & URGENT))
