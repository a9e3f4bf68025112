"""The worker never outlives its parent: a guard, forked before anything else, sees to it even while a C call holds the GIL."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import threading

# The guard notices the parent's death at once (its end of the pipe closes) and the worker's within this time.
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


def start_guard(directory: str | None) -> None:
    """Forks the guard, which takes over standard input. Must be called while there is one thread."""
    if not hasattr(os, "fork"):
        _start_watch()
        return
    # Where a launcher script stands between us and the client, we lead no group yet. (Else this is refused.)
    with contextlib.suppress(PermissionError):
        os.setsid()
    worker = os.getpid()
    if os.fork() == 0:
        _guard(worker, directory)
    # Whatever reads standard input now finds its end; only the guard hears the parent's.
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


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
    # A group of its own, so that it does not kill itself; and no hold on the pipes whose end tells the parent of the worker's.
    os.setpgid(0, 0)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (1, 2):
        os.dup2(null, fd)
    os.closerange(3, 64)
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    parent = select.poll()
    parent.register(0, select.POLLHUP | select.POLLERR)
    while os.getppid() == worker:
        if parent.poll(_POLL_MS):
            break
    with contextlib.suppress(ProcessLookupError, PermissionError):
        # Its group: children that it started (a DataLoader's workers) go with it.
        os.killpg(worker, signal.SIGKILL)
    if directory is not None:
        shutil.rmtree(directory, ignore_errors=True)
    os._exit(0)


def ignore_interrupts() -> None:
    """Ctrl-C is the client's to handle; it tells the worker when to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
