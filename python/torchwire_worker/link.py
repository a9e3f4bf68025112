"""A socket: whole messages in, whole messages out. Used by one thread alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import zmq

from .wire import Header, Limits, WireError, check_frames, read_header

# Messages, not bytes: the client's credit bounds what is in flight, well below this.
_HIGH_WATER_MARK = 100_000
# For the last replies to be on their way, large ones too. With the client gone nothing waits: the guard sees to that.
_LINGER_MS = 30_000


class Message(NamedTuple):
    peer: bytes
    header: Header
    meta: memoryview
    frames: list[Any]


class Malformed(NamedTuple):
    """What came instead of a message that is understood."""

    peer: bytes
    why: str


class Link:
    """A ROUTER: it tells its peers apart, so that one who has not said the token is not listened to."""

    def __init__(self, context: zmq.Context[Any], endpoint: str, limits: Limits) -> None:
        socket = context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.LINGER, _LINGER_MS)
        socket.setsockopt(zmq.SNDHWM, _HIGH_WATER_MARK)
        socket.setsockopt(zmq.RCVHWM, _HIGH_WATER_MARK)
        socket.setsockopt(zmq.MAXMSGSIZE, limits.longest_part)
        socket.bind(endpoint)
        self.socket = socket
        # Where it listens: the system has chosen the port.
        self.endpoint = socket.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()
        self._limits = limits

    def receive(self) -> Message | Malformed:
        """Waits for the next message."""
        socket = self.socket
        peer = socket.recv(copy=False)
        parts: list[Any] = []
        too_many = False
        part = peer
        while part.more:
            # copy=False: a tensor is made over the frame's own memory.
            part = socket.recv(copy=False)
            too_many = too_many or len(parts) > self._limits.frames
            if not too_many:
                parts.append(part.buffer)
        peer = peer.bytes
        if not parts or too_many:
            return Malformed(peer, "it has no frame" if not parts else f"more than {self._limits.frames} frames")
        try:
            header = read_header(parts[0], self._limits)
            frames = parts[1:]
            check_frames(header, [len(frame) for frame in frames], self._limits)
        except WireError as error:
            return Malformed(peer, str(error))
        return Message(peer, header, parts[0][-header.meta_bytes :] if header.meta_bytes else memoryview(b""), frames)

    @property
    def has_more(self) -> bool:
        return bool(self.socket.getsockopt(zmq.EVENTS) & zmq.POLLIN)

    def send(self, peer: bytes, head: bytes, frames: list[Any] = []) -> None:  # noqa: B006 (never written to)
        socket = self.socket
        socket.send(peer, zmq.SNDMORE)
        if not frames:
            socket.send(head)
            return
        socket.send(head, zmq.SNDMORE)
        for frame in frames[:-1]:
            socket.send(frame, zmq.SNDMORE, copy=False)
        socket.send(frames[-1], copy=False)

    def close(self) -> None:
        self.socket.close()
