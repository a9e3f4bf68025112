"""Lets several threads use one socket, one at a time: a socket of libzmq may move between threads that take turns."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import zmq

from . import forked
from .link import Link


class Reentered(RuntimeError):
    """This thread has the turn already: a finalizer or a signal handler runs in the middle of its use of the socket."""


class Turns:
    """`with turns:` takes the turn. Whoever has it may use the socket, and what the session knows of it."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._changed = threading.Condition(threading.Lock())
        self._owner = 0
        # The thread that waits for the socket, without having the turn. Nobody may use the socket meanwhile.
        self._polling = 0
        self._wanted = 0
        # Other threads than the first one may come.
        self._is_shared = False

    def share(self) -> None:
        """Let other threads come. Until then, the only one waits for the socket without letting go of it."""
        if self._is_shared:
            return
        self._woken, self._wake = socket.socketpair()
        for end in (self._woken, self._wake):
            end.setblocking(False)
            forked.own(end.fileno())
        self._poller = zmq.Poller()
        self._poller.register(self._link.socket, zmq.POLLIN)
        self._poller.register(self._woken.fileno(), zmq.POLLIN)
        self._is_shared = True

    def __enter__(self) -> None:
        me = threading.get_ident()
        if me in (self._owner, self._polling):
            raise Reentered
        self._changed.acquire()
        try:
            self._interrupt()
        except BaseException:
            # A signal handler has raised.
            self._changed.release()
            raise
        self._owner = me

    def __exit__(self, *_: object) -> None:
        self._owner = 0
        if self._is_shared:
            self._changed.notify_all()
        self._changed.release()

    @contextlib.contextmanager
    def released(self) -> Iterator[None]:
        """Let go of the turn, and take it again afterwards."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()

    def may_read(self) -> bool:
        """Wait until a message may be there, or something else has changed. Return whether it can be read."""
        if not self._is_shared:
            return True
        if self._wanted:
            self._pause()
            return False
        if self._link.has_more:
            return True
        me = threading.get_ident()
        self._polling, self._owner = me, 0
        self._changed.release()
        try:
            self._poller.poll(self._link.wake_ms)
        finally:
            self._changed.acquire()
            self._polling, self._owner = 0, me
            with contextlib.suppress(OSError):
                self._woken.recv(4096)
            self._changed.notify_all()
        return not self._wanted and self._link.has_more

    def _pause(self) -> None:
        """Let those go first who want the turn."""
        me, self._owner = self._owner, 0
        self._changed.wait()
        self._interrupt()
        self._owner = me

    def _interrupt(self) -> None:
        """Have the thread that waits for the socket let go of it."""
        while self._polling:
            self._wanted += 1
            try:
                # (A full pipe wakes it already.)
                with contextlib.suppress(OSError):
                    self._wake.send(b".")
                self._changed.wait()
            finally:
                self._wanted -= 1
