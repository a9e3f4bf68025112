"""A process that Python has forked off the worker: the worker does not go on in it, and it holds nothing of the worker's."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import traceback
from typing import Any, NoReturn
from urllib.parse import urlsplit

# Whether this process is such a one.
is_child = False

_descriptors: set[int] = set()
# Where the worker's sockets listen: libzmq makes them, and a descriptor for each connection.
_paths: set[str] = set()
_ports: set[int] = set()


def own(descriptor: int) -> int:
    """It is closed in each process that is forked off, and (as all of Python's own) in each program that is started."""
    os.set_inheritable(descriptor, False)
    _descriptors.add(descriptor)
    return descriptor


def disown(descriptor: int) -> None:
    """To be called before it is closed: its number may soon be another's."""
    _descriptors.discard(descriptor)


def own_endpoint(endpoint: str) -> None:
    """The same for the sockets that listen there, and those of all who have connected."""
    url = urlsplit(endpoint)
    if url.scheme == "ipc":
        _paths.add(endpoint.removeprefix("ipc://"))
    elif url.port is not None:
        _ports.add(url.port)


def prepare() -> None:
    # (Windows has no fork.)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_forget)


_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_held = threading.local()


def _hold() -> None:
    """A signal that comes while a child still has the worker's handlers would be lost."""
    _held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _let_go() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _held.mask)


def _forget() -> None:
    global is_child
    is_child = True
    for descriptor in _descriptors | set(_of_endpoints()):
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _descriptors.clear()
    # A child is ended by SIGTERM (multiprocessing does so); the worker is asked to leave.
    for number in _SIGNALS:
        handler: Any = signal.getsignal(number)
        # (Only the main thread may, and where another thread forks, that is the child's main thread.)
        if str(getattr(handler, "__module__", "")).startswith("torchwire_worker."):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    _let_go()


def _of_endpoints() -> list[int]:
    if not _paths and not _ports:
        return []
    found = []
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):
            one = socket.socket(fileno=int(name))
            try:
                address: Any = one.getsockname()
                is_ours = (
                    address in _paths
                    if one.family == socket.AF_UNIX
                    else one.family in (socket.AF_INET, socket.AF_INET6) and address[1] in _ports
                )
            finally:
                one.detach()
            if is_ours:
                found.append(int(name))
    return found


def leave(error: BaseException | None = None) -> NoReturn:
    """The end of one that comes back into the worker's code: as a child of multiprocessing ends. What the worker is to do at its own end is not done."""
    code = 1
    try:
        code = _code_of(error)
        threading._shutdown()  # type: ignore[attr-defined]
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(code)


def _code_of(error: BaseException | None) -> int:
    if error is None:
        return 0
    if not isinstance(error, SystemExit):
        traceback.print_exception(error)
        return 1
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    print(error.code, file=sys.stderr)
    return 1
