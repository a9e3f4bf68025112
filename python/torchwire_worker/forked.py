"""A process that Python forks off the worker: it does not continue the worker, and holds nothing of it."""

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

# Whether this process was forked off the worker.
is_child = False

_descriptors: set[int] = set()
# The endpoints of the worker's sockets: libzmq makes these sockets, and a descriptor for each connection.
_paths: set[str] = set()
_ports: set[int] = set()


def own(descriptor: int) -> int:
    """Have `descriptor` closed in each forked process and (as all of Python's own) in each program that is started."""
    os.set_inheritable(descriptor, False)
    _descriptors.add(descriptor)
    return descriptor


def disown(descriptor: int) -> None:
    """Forget `descriptor`. Call this before it is closed: its number may soon be another's."""
    _descriptors.discard(descriptor)


def own_endpoint(endpoint: str) -> None:
    """Do the same for the sockets that listen at `endpoint`, and for their connections."""
    url = urlsplit(endpoint)
    if url.scheme == "ipc":
        _paths.add(endpoint.removeprefix("ipc://"))
    elif url.port is not None:
        _ports.add(url.port)


def prepare() -> None:
    # (Windows has no fork.)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_forget)


# (Windows has no SIGHUP.)
_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]
_held = threading.local()


def _hold() -> None:
    """Block signals around the fork: one that comes while a child still has the worker's handlers would be lost."""
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
    # SIGTERM ends a child, as multiprocessing expects.
    for number in _SIGNALS:
        handler: Any = signal.getsignal(number)
        # (Only the main thread may set handlers. The thread that forks is the child's main thread.)
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
    """End a child that returns to the worker's code, as multiprocessing ends a child. The steps of the worker's own end
    are skipped.
    """
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
