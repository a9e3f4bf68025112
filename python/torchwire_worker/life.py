"""The worker never outlives its parent: a guard, forked before anything else, ensures it even while a C call holds the
GIL.

The two watch each other. Without a worker, the guard ends what the worker left. Without a guard, the worker starts
another one. That one runs this file by its path: the file imports nothing of ours before it is the guard.
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

# The guard notices both deaths at once, as pipes close. If a forked process holds the worker's pipe, it takes this
# long.
_POLL_MS = 250


def read_line(fd: int) -> bytes:
    """Read one line and not a byte more: the rest must stay in the pipe."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(fd, 1)
        if not byte:
            break
        line += byte
    return bytes(line)


# The guard takes a closed pipe for the worker's death: keep it open as long as the worker lives.
_running: Guard | None = None


class Guard:
    """The worker's side of the guard."""

    def __init__(self, directory: str | None) -> None:
        self._directory = directory
        # Standard input: its end is the parent's end.
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
        """The descriptors that a forked process must not hold."""
        return [self._parent, self.tether]

    @property
    def tether(self) -> int:
        """A descriptor that becomes readable when the guard is gone."""
        return self._tether.fileno()

    def restart(self) -> None:
        """Start another guard: the last one was killed.

        (A process with threads must not be forked, so this is a program of its own.)
        """
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
        """End what the worker has started and not ended, and then the guard itself, before it becomes an orphan.

        This is for an orderly end. (The program that takes in orphans may not collect them: Node, as the first process
        of a container.)
        """
        if sys.platform != "linux":
            # Other systems cannot list what is left. The guard ends it when the worker is gone.
            return
        _end_others(self._pid)
        with contextlib.suppress(OSError):
            self._tether.send(b".")
        self._reap()

    def _reap(self) -> None:
        # (The program may have waited for all children.)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


def start_guard(directory: str | None) -> Guard | None:
    """Start the guard, which watches standard input for the worker. Call this while there is one thread."""
    if not hasattr(os, "fork"):
        _start_watch()
        return None
    # Behind a launcher script, this process leads no group yet. (Otherwise the call is refused.)
    with contextlib.suppress(PermissionError):
        os.setsid()
    global _running
    guard = _running = Guard(directory)
    # From now on, a program that reads standard input finds its end.
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return guard


def _end_others(guard: int) -> None:
    """End the processes of the worker's group, and collect those that are its children."""
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
    # Collect the children that had ended and that nobody waited for.
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0] > 0:
            pass


def _members(group: int) -> list[tuple[int, int]]:
    """Return the processes of `group`, and their parents."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat:
                # The name is in brackets, and may contain anything.
                _, parent, its_group = stat.read().rpartition(b")")[2].split()[:3]
                if int(its_group) == group:
                    found.append((int(name), int(parent)))
    return found


def _helpers() -> list[tuple[int, Callable[[], None]]]:
    """Return multiprocessing's own processes: they free shared memory and semaphores when they are told to stop."""
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
    """Watch standard input on a thread, as Windows cannot fork. A C call that holds the GIL delays the end, and
    children remain.
    """
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
    """Be the guard. Its standard input is that of the worker's parent, and its standard output leads to the worker."""
    # Lead a group of its own, so that it does not kill itself. Let go of the pipes whose end tells the parent of the
    # worker's end.
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
            # Kill the whole group: the worker's children, such as those of a DataLoader, end with it.
            os.killpg(worker, signal.SIGKILL)
    if directory:
        shutil.rmtree(directory, ignore_errors=True)
    os._exit(0)


def leave_signals_to_client(is_own: bool) -> None:
    """Leave Ctrl-C to the client, which tells the worker when to end.

    A client that has started the worker for itself may get other signals together with it, by systemd, Slurm or a
    closed terminal. It still needs the worker then, to fetch a checkpoint. Its end is the worker's end.

    (These are handlers because an ignored signal stays ignored in every program that the worker starts.)
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP") if is_own else ("SIGINT",):
        # (Windows has no SIGHUP.)
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _ignore)


def _ignore(*_: object) -> None:
    pass


if __name__ == "__main__":
    _guard(int(sys.argv[1]), sys.argv[2])
