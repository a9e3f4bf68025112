"""A socket for whole messages. One thread alone uses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import zmq

from . import forked
from .wire import HEADER_BYTES, Header, Limits, MessageType, WireError, check_frames, read_header

# In messages, not bytes. The client's credit bounds the bytes in flight, well below this.
_HIGH_WATER_MARK = 100_000
# The last replies, large ones too, have so long to leave. If the client is gone, the guard ends the wait.
_LINGER_MS = 30_000
# (An enumeration is slower to ask.)
_EVENTS, _POLLIN, _SNDMORE = int(zmq.EVENTS), int(zmq.POLLIN), int(zmq.SNDMORE)
_HELLO = MessageType.HELLO


class Message(NamedTuple):
    peer: bytes
    header: Header
    meta: memoryview
    frames: list[Any]
    # For a greeting: the public key of the connection, or nothing.
    user: str = ""


class Malformed(NamedTuple):
    """Something that is not a valid message."""

    peer: bytes
    why: str


class Keys(Protocol):
    def configure(self, socket: zmq.Socket[Any]) -> None: ...


class Link:
    """A ROUTER socket, which tells its peers apart: it ignores one that has not said the token. It has a context of its
    own.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        endpoint: str,
        limits: Limits,
        longest: int | None = None,
        keys: Keys | None = None,
        wake_ms: int | None = None,
        heartbeats: bool = False,
        unguard: Callable[[], object] = lambda: None,
    ) -> None:
        """`longest` is the most bytes of one part. `receive` returns after `wake_ms` of silence. `unguard` is called
        after the socket is closed.
        """
        socket = context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.LINGER, _LINGER_MS)
        socket.setsockopt(zmq.SNDHWM, _HIGH_WATER_MARK)
        socket.setsockopt(zmq.RCVHWM, _HIGH_WATER_MARK)
        # This limit also holds before a handshake is done.
        socket.setsockopt(zmq.MAXMSGSIZE, longest or limits.longest_part)
        if wake_ms is not None:
            socket.setsockopt(zmq.RCVTIMEO, wake_ms)
        if heartbeats:
            # A stopped peer counts as gone, though its kernel answers for it. A busy one does not: libzmq answers on
            # its own thread.
            socket.setsockopt(zmq.HEARTBEAT_IVL, 5000)
            socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 15_000)
        if endpoint.startswith("tcp:"):
            _guard_port(socket)
        if endpoint.startswith("tcp://["):
            socket.setsockopt(zmq.IPV6, 1)
        if keys is not None:
            keys.configure(socket)
        socket.bind(endpoint)
        self.socket = socket
        self._context = context
        self._unguard = unguard
        # The actual endpoint: the system may have chosen the port.
        self.endpoint = socket.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()
        forked.own_endpoint(self.endpoint)
        self._limits = limits
        self.wake_ms = wake_ms

    def receive(self) -> Message | Malformed | None:
        """Wait for the next message. None: nothing came before the wake-up."""
        socket = self.socket
        try:
            peer = socket.recv()
        except zmq.Again:
            return None
        # (Behind the name of its peer, each message has a part at least. copy=False: a tensor uses the frame's own
        # memory.)
        part = socket.recv(copy=False)
        parts = [part.buffer]
        most = self._limits.frames
        too_many = False
        while part.more:
            part = socket.recv(copy=False)
            too_many = too_many or len(parts) > most
            if not too_many:
                parts.append(part.buffer)
        if too_many:
            return Malformed(peer, f"more than {most} frames")
        try:
            header = read_header(parts[0], self._limits)
            frames = parts[1:]
            check_frames(header, [len(frame) for frame in frames], self._limits)
        except WireError as error:
            return Malformed(peer, str(error))
        return Message(peer, header, parts[0][HEADER_BYTES:], frames, _user_of(part) if header.type is _HELLO else "")

    @property
    def has_more(self) -> bool:
        return self.socket.getsockopt(_EVENTS) & _POLLIN != 0

    def comes_within(self, milliseconds: int) -> bool:
        """Wait so long for a message at most, and leave it there."""
        return bool(self.socket.poll(milliseconds, zmq.POLLIN))

    def send(self, peer: bytes, head: bytes, frames: list[Any] = []) -> None:  # noqa: B006 (never written to)
        socket = self.socket
        socket.send(peer, _SNDMORE)
        if not frames:
            socket.send(head)
            return
        socket.send(head, _SNDMORE)
        for frame in frames[:-1]:
            socket.send(frame, _SNDMORE, copy=False)
        socket.send(frames[-1], copy=False)

    def end(self) -> None:
        """Close the socket, and wait until all messages have left, as long as it lingers. Further calls do nothing."""
        if not self.socket.closed:
            self.socket.close()
            self._unguard()
            self._context.term()


def _guard_port(socket: zmq.Socket[Any]) -> None:
    """Limit what strangers can do to a port before they have said who they are."""
    # Disconnect a peer that is silent, or sends a byte now and then.
    socket.setsockopt(zmq.HANDSHAKE_IVL, 5000)
    # With a domain, libzmq refuses ZMTP 1 and 2 at once. Without it, any bytes that do not begin as ZMTP 3 would pass
    # for those, and the connection would stay for ever.
    socket.setsockopt(zmq.ZAP_DOMAIN, b"torchwire")
    # The queue of accepted connections: a burst must not make an honest client wait for its retry.
    socket.setsockopt(zmq.BACKLOG, 1024)
    # The data socket has no heartbeats: these options find half-open peers.
    for option, value in (
        (zmq.TCP_KEEPALIVE, 1),
        (zmq.TCP_KEEPALIVE_IDLE, 15),
        (zmq.TCP_KEEPALIVE_INTVL, 5),
        (zmq.TCP_KEEPALIVE_CNT, 3),
        (zmq.TCP_MAXRT, 30_000),
    ):
        socket.setsockopt(option, value)


def _user_of(frame: Any) -> str:
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        # The connection has no keys.
        return ""
