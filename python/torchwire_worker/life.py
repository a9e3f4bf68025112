"""The worker never outlives its parent: a guard, forked before anything else, sees to it even while a C call holds the GIL.

Each of the two watches the other: without a worker the guard ends what is left of it; without a guard the worker starts another one. This file is what
that one runs, by its path: it imports nothing of ours before it is the guard.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable

# The guard notices both deaths at once (pipes close), and the worker's within this time where a process that it forked holds the pipe.
_POLL_MS = 250


def read_line(fd: int) -> bytes:
    """One line, and not a byte more: what follows stays in the pipe."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(fd, 1)
        if not byte:
            break
        line += byte
    return bytes(line)


# For the guard a pipe that closes is the worker's death: it stays open as long as the worker lives.
_running: Guard | None = None


class Guard:
    """The worker's side of it."""

    def __init__(self, directory: str | None) -> None:
        self._directory = directory
        # Standard input, whose end tells of the parent's.
        self._parent = os.dup(0)
        self._tether, there = socket.socketpair()
        worker = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            os.dup2(there.fileno(), 1)
            _guard(worker, directory)
        there.close()

    @property
    def descriptors(self) -> list[int]:
        """What a process that the worker forks must not hold."""
        return [self._parent, self.tether]

    @property
    def tether(self) -> int:
        """Can be read from when the guard is gone."""
        return self._tether.fileno()

    def restart(self) -> None:
        """It was killed. (A process with threads is not forked any more: another program is started.)"""
        import subprocess

        self._reap()
        self._tether.close()
        self._tether, there = socket.socketpair()
        command = [sys.executable, "-S", os.path.abspath(__file__), str(os.getpid()), self._directory or ""]
        with there:
            self._pid = subprocess.Popen(
                command, stdin=self._parent, stdout=there.fileno(), stderr=subprocess.DEVNULL, cwd=os.sep
            ).pid

    def end(self) -> None:
        """At the worker's orderly end: what it has started and not ended goes, and the guard with it, before it can become an orphan.
        (Who takes in orphans may be a program that does not collect them: Node, as the first process of a container.)"""
        if sys.platform != "linux":
            # What is left cannot be listed: the guard sees to it, when the worker is gone.
            return
        _end_others(self._pid)
        with contextlib.suppress(OSError):
            self._tether.send(b".")
        self._reap()

    def _reap(self) -> None:
        # (A program may have waited for all children.)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


def start_guard(directory: str | None) -> Guard | None:
    """Starts the guard, which watches standard input instead of the worker. Must be called while there is one thread."""
    if not hasattr(os, "fork"):
        _start_watch()
        return None
    # Where a launcher script stands between us and the client, we lead no group yet. (Else this is refused.)
    with contextlib.suppress(PermissionError):
        os.setsid()
    global _running
    guard = _running = Guard(directory)
    # Whatever reads standard input now finds its end.
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return guard


def _end_others(guard: int) -> None:
    """Ends the processes of the worker's group, and collects those that are its children."""
    worker, group = os.getpid(), os.getpgrp()
    helpers = list(_helpers())
    spared = {worker, guard, *(pid for pid, _ in helpers)}
    for pid, parent in _members(group):
        if pid in spared:
            continue
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            if parent == worker:
                os.waitpid(pid, 0)
    for _, stop in helpers:
        with contextlib.suppress(Exception):
            stop()
    # Those that had ended, and that nobody has asked for.
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0] > 0:
            pass


def _members(group: int) -> list[tuple[int, int]]:
    """Processes and their parents."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat:
                # The name, in brackets, may hold anything.
                _, parent, its_group = stat.read().rpartition(b")")[2].split()[:3]
                if int(its_group) == group:
                    found.append((int(name), int(parent)))
    return found


def _helpers() -> list[tuple[int, Callable[[], None]]]:
    """multiprocessing's own processes: they tidy up (shared memory, semaphores) when they are told of the end."""
    found = []
    for module, name, pid in (
        ("resource_tracker", "_resource_tracker", "_pid"),
        ("forkserver", "_forkserver", "_forkserver_pid"),
    ):
        helper = getattr(sys.modules.get(f"multiprocessing.{module}"), name, None)
        number = getattr(helper, pid, None)
        if isinstance(number, int) and helper is not None:
            found.append((number, helper._stop))
    return found[::-1]


def _start_watch() -> None:
    """Windows cannot fork. A thread does what it can: a C call that holds the GIL puts the end off, and children stay."""
    parent = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)

    def watch() -> None:
        while os.read(parent, 1):
            pass
        os._exit(1)

    threading.Thread(target=watch, name="torchwire-watch", daemon=True).start()


def _guard(worker: int, directory: str | None) -> None:
    """Its standard input is the worker's parent's, its standard output leads to the worker."""
    # A group of its own, so that it does not kill itself; and no hold on the pipes whose end tells the parent of the worker's.
    os.setpgid(0, 0)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 2)
    os.closerange(3, 64)
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    watched = select.poll()
    watched.register(0, select.POLLHUP | select.POLLERR)
    watched.register(1, select.POLLIN)
    is_told = False
    while os.getppid() == worker:
        ended = [fd for fd, _ in watched.poll(_POLL_MS)]
        if ended:
            is_told = ended == [1] and os.read(1, 1) == b"."
            break
    if not is_told:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # Its group: children that it started (a DataLoader's workers) go with it.
            os.killpg(worker, signal.SIGKILL)
    if directory:
        shutil.rmtree(directory, ignore_errors=True)
    os._exit(0)


def ignore_interrupts() -> None:
    """Ctrl-C is the client's to handle; it tells the worker when to end. (By a handler: what is ignored would be so in every program that it starts.)"""
    signal.signal(signal.SIGINT, _ignore)


def _ignore(*_: object) -> None:
    pass


if __name__ == "__main__":
    _guard(int(sys.argv[1]), sys.argv[2])
