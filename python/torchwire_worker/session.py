"""The worker's one session, from a greeting to its end: how batches and replies take turns, and how it survives a cut
link.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Iterable
from typing import Any

from .calling import Calling
from .control import Control
from .door import Door, Refused, Shut, refusal
from .executor import Executor, Reply
from .link import Link, Malformed, Message
from .ops import Hello, Settings, read_batch, read_hello
from .outgoing import Held, Outgoing
from .settings import NoDevice
from .tensors import Frames
from .turns import Turns
from .wire import URGENT, Limits, MessageType, WireError, encode

# At most so many replies are held back, so that the client's credit comes back.
_MOST_HELD = 16
# So many messages are read ahead. Strangers must not be able to keep replies back, and what is not read costs nothing:
# libzmq has it either way.
_MOST_AHEAD = 64
# A reply of a call's log is held back as long as it is shorter.
_LONGEST_HELD = 4096
# While a reply waits for a GPU, and no message is there, the worker looks for both so often, in milliseconds.
_LOOK_EVERY = 1
# (An enumeration is slower to ask.)
_HELLO, _BATCH, _CLOSE, _ACK = MessageType.HELLO, MessageType.BATCH, MessageType.CLOSE, MessageType.ACK


class Session:
    def __init__(
        self, link: Link, control: Control, executor: Executor, limits: Limits, door: Door, welcome: Any
    ) -> None:
        """`welcome` makes the first message to a client, from the settings that it asks for."""
        self._link = link
        self._control = control
        self._executor = executor
        self._limits = limits
        self._door = door
        self._make_welcome = welcome
        self._welcome: dict[str, Any] | None = None
        self._peer: bytes | None = None
        # The number of the last message received. Messages come in order, and each once.
        self._received = 0
        self._waiting: deque[Message | Malformed] = deque()
        self._over = False
        self._is_running = False
        # The client has closed, and has every answer.
        self.is_closed = False
        self._leaving: str | None = None
        self._held: list[Held] = []
        self._outgoing = Outgoing(executor, self._reply)
        # Answers and calls that may not have arrived: the last batch of each (for a call, its negative id), the
        # message, its frames.
        self._sent: deque[tuple[int, bytes, list[Any]]] = deque()
        # The batch, and the call, up to which they were dropped last.
        self._forgotten = [0, 0]
        self._frames = Frames(limits, may_be_late=True)
        # While a batch is being run: the number of frames that belong to the replies before it.
        self._complete: int | None = None
        self._turns = Turns(link)
        self._calling = Calling(self, self._turns, executor, limits)
        # The client cannot be understood any more.
        self._is_broken = False
        executor.functions.ask = self._calling.call

    def leave(self, why: str) -> None:
        """Leave: run what is here, then tell the client. A signal handler calls this."""
        self._leaving = why

    def run(self) -> None:
        """Run until the client closes, or sends a message that is not understood: others may be lost with it.

        (A client that has closed continues to listen on the control link, to what Python says at its end.)
        """
        with self._turns:
            self._is_running = True
            try:
                self._run()
            finally:
                # Calls of other threads raise now.
                self._is_running = False

    def _run(self) -> None:
        while not self._over:
            message = self._next()
            if message is None:
                return self._farewell()
            try:
                self._handle(message)
            except WireError as error:
                self.send_held()
                # (The message may have come by a connection that is cut by now.)
                self._refuse(self._peer or message.peer, error)
                self._over = True

    def _next(self) -> Message | Malformed | None:
        """Return the next message, or None: nothing is left to run before the worker leaves."""
        waiting = self._waiting
        if not waiting:
            while not waiting and not self._door.is_dropped:
                self._await_device()
                if not self._outgoing:
                    self._control.idle()
                if self._leaving is not None and not self._link.has_more:
                    return None
                self.wait()
            # A burst is read while the caches are warm: the computation would cool them. (Behind a value that somebody
            # awaits there is none.)
            if waiting and not _is_urgent(waiting[-1]):
                self._read_ahead()
        return None if self._door.is_dropped else waiting.popleft()

    def _await_device(self) -> None:
        """Send the replies that wait for a device, each as soon as it is complete, until a message comes."""
        while self._outgoing and not self._door.is_dropped:
            self._outgoing.send(waits=False)
            if self._outgoing and self._link.comes_within(_LOOK_EVERY):
                return

    def wait(self) -> None:
        """Read one message, unless another thread does."""
        if self._turns.may_read():
            self._read()

    def _read(self) -> None:
        """Read one message. The client's messages wait their turn; a greeting or a stranger is answered at once."""
        message = self._link.receive()
        if message is None or self._door.is_shut:
            return
        if message.peer == self._peer and not _is_hello(message):
            return self._accept(message)
        try:
            if isinstance(message, Malformed):
                raise WireError(message.why)
            if not _is_hello(message):
                raise WireError("it came before a greeting")
            self._greeted(message)
        except Shut:
            # The process is about to end: the next client must come again.
            return
        except WireError as error:
            self._refuse(message.peer, error)

    def _greeted(self, message: Message) -> None:
        hello = read_hello(message.meta)
        limits = self._limits.smaller(hello.limits)
        self._door.enter(hello, message.user, "data", message.header.session)
        if self._welcome is None:
            self._welcome = self._begin(hello)
        if not self._held:
            self._frames.limits = limits
        self._calling.agreed = limits
        self._peer = message.peer
        welcome = {**self._welcome, "worker": self._door.name, "received": self._received}
        self._link.send(message.peer, encode(MessageType.WELCOME, welcome))
        self._forget(message.header.ack)
        for _, head, buffers in self._sent:
            self._link.send(message.peer, head, buffers)
        if self._over:
            self._say_closed()

    def _say_closed(self) -> None:
        if self._peer is not None:
            self._link.send(self._peer, encode(MessageType.CLOSED, {}))

    def _begin(self, hello: Hello) -> dict[str, Any]:
        try:
            welcome = self._make_welcome(hello.settings or Settings())
        except NoDevice as error:
            refused = Refused("NO_DEVICE", str(error))
            self._door.leave(refused)
            raise refused from None
        return welcome

    def _accept(self, message: Message | Malformed) -> None:
        if isinstance(message, Malformed):
            return self.give_back([message])
        header = message.header
        kind, call = header.type, header.parent_call
        self._forget(header.ack)
        if call:
            self._forget(-call)
        if kind is _ACK or 0 < header.seq <= self._received:
            # After a cut, the client may repeat it.
            return
        if kind is _BATCH or kind is _CLOSE:
            if header.seq != self._received + 1:
                why = f"message {header.seq} came after {self._received}: what was between is lost"
                return self.give_back([Malformed(message.peer, why)])
            self._received = header.seq
        if kind is _BATCH and not call:
            self._waiting.append(message)
        elif kind is not _BATCH or not self._calling.takes(message):
            if call > self._calling.last:
                return self.give_back([Malformed(message.peer, f"it serves call {call}, which there is not")])
            self.give_back([message])

    def _forget(self, last: int) -> None:
        """Drop what the client has: it was sent up to the answer to batch `last`, or up to the call `-last`.

        (Only the low 32 bits of a batch's number are told. The batches of a call are answered before those that wait
        for the call: the numbers do not ascend.)

        A client that issues thousands of batches in one turn tells the same in all of them: look for it once.
        """
        if self._forgotten[last < 0] == last:
            return
        self._forgotten[last < 0] = last
        sent = self._sent
        for i, (name, _, _) in enumerate(sent):
            if name == last or (name > 0 and last >= 0 and (name ^ last) & 0xFFFFFFFF == 0):
                for _ in range(i + 1):
                    sent.popleft()
                return

    def _refuse(self, peer: bytes, error: WireError) -> None:
        self._link.send(peer, encode(MessageType.FATAL, refusal(error)))

    def _handle(self, message: Message | Malformed) -> None:
        if isinstance(message, Malformed):
            raise WireError(message.why)
        header = message.header
        if header.type is _BATCH:
            self._control.busy()
            batch, operations = read_batch(message.meta, self._limits)
            self._complete = len(self._frames.buffers)
            run, functions = self._executor.run, self._executor.functions
            if batch.functions or functions.exist:
                with self._turns.released():
                    reply = run(header.seq, batch, operations, message.frames, self._frames)
                self._turns.share()
            else:
                # (As long as there are no functions, nobody else can want the turn.)
                reply = run(header.seq, batch, operations, message.frames, self._frames)
            self._complete = None
            self._held.append(Held(reply, (batch.lane, batch.generation), self._frames.take_copies()))
            self._outgoing.send(waits=False)
            if (
                header.flags & URGENT
                or reply[2] is not None
                or len(reply) > 3
                or self._frames.half_full
                or not self._may_hold()
            ):
                # (Other threads may want the socket: then nothing is done beside waiting.)
                self._send_held(waits=functions.exist)
        elif header.type is _CLOSE:
            self.send_held()
            self._over = True
            self._say_closed()
            # (Calls of other threads will not be answered any more.)
            self._sent = deque(each for each in self._sent if each[0] > 0)
            # The link may be cut just now: stay until the client has every answer.
            while self._sent and self._leaving is None and not self._door.is_dropped:
                self._read()
            self.is_closed = self._door.is_shut = True
        else:
            raise WireError(f"message type {header.type.name} does not belong on the data link")

    def _may_hold(self) -> bool:
        """Return whether more batches wait than replies are held: a message wakes threads that the computation needs.

        So the first half of what the client has in flight is answered by one message, and the other half keeps this
        side busy until its next burst is here.
        """
        held = len(self._held)
        if held >= _MOST_HELD:
            return False
        if len(self._waiting) <= held:
            self._read_ahead()
        return len(self._waiting) > held

    def _read_ahead(self) -> None:
        """Read what has come."""
        for _ in range(_MOST_AHEAD):
            if len(self._waiting) >= _MOST_AHEAD or not self._link.has_more:
                return
            self._read()

    def send_held(self) -> None:
        """Send all replies, and wait for those whose values a device still computes."""
        self._send_held(waits=True)

    def _send_held(self, waits: bool) -> None:
        frames, held, complete = self._frames, self._held, self._complete
        if held:
            self._held = []
            if complete is None:
                self._frames = Frames(frames.limits, may_be_late=True)
                self._outgoing.add(held, frames.buffers)
            else:
                # A batch is being run, and has told its values where their frames are: those that leave now stand empty
                # there.
                self._complete = 0
                self._outgoing.add(held, frames.buffers[:complete])
                frames.buffers[:complete] = [b""] * complete
        self._outgoing.send(waits)

    def _reply(self, replies: list[Reply], buffers: list[Any]) -> None:
        meta: dict[str, Any] = {"replies": replies}
        freed = self._executor.functions.take_freed()
        if freed:
            meta["freed"] = freed
        self.send(replies[-1][0], encode(MessageType.REPLY, meta, 0, len(buffers), sum(map(len, buffers))), buffers)

    def send(self, name: int, head: bytes, buffers: list[Any]) -> None:
        self._sent.append((name, head, buffers))
        if self._peer is not None:
            self._link.send(self._peer, head, buffers)

    def refuse_call(self) -> None:
        """Raise if nobody can answer a call."""
        if self._door.is_dropped:
            raise ConnectionError("the client is gone: nobody can run its function")
        if self._over or self._is_broken or not self._is_running:
            raise ConnectionError("the session is over: nobody can run the client's function")

    def answer(self, reply: Reply, frames: Frames, urgent: bool) -> None:
        """Send, or hold back, the reply to a batch of a call's log."""
        may_wait = not (urgent or frames.buffers or reply[2] is not None or len(reply) > 3)
        if may_wait and frames.meta_bytes < _LONGEST_HELD and len(self._held) < _MOST_HELD:
            return self._held.append(Held(reply, None, []))
        self.send_held()
        self._reply([reply], frames.buffers)

    def give_back(self, messages: Iterable[Message | Malformed]) -> None:
        """Let these wait for their turn: the call that they serve is over, or they are not understood."""
        for message in messages:
            self._is_broken = self._is_broken or isinstance(message, Malformed)
            self._waiting.append(message)

    def _farewell(self) -> None:
        if self._door.is_dropped:
            return
        self.send_held()
        self._door.is_shut = True
        self._control.finish()
        if self._peer is not None:
            self._refuse(
                self._peer,
                Refused("WORKER_GONE", f"{self._leaving}; everything that it had received was run and answered"),
            )


def leave_on_signals(session: Session) -> None:
    signal.signal(signal.SIGTERM, lambda *_: session.leave("the worker was shut down (SIGTERM)"))


def _is_hello(message: Message | Malformed) -> bool:
    return isinstance(message, Message) and message.header.type is _HELLO


def _is_urgent(message: Message | Malformed) -> bool:
    return isinstance(message, Message) and bool(message.header.flags & URGENT)
