"""One set-up at a time in a folder of environments, whoever does it: the same file as the client's own set-up makes on its machine."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
import uuid
from typing import Any, Callable, Dict, Iterator, Optional

from torchwire_worker import owners
from torchwire_worker.far.place import place, start_of

_HEARTBEAT_SECONDS = 5
# An owner that has not touched it for so long counts as dead. Watched for, not read off the clock: two machines' clocks differ.
_PATIENCE_SECONDS = 30
# Between making it and writing it.
_WRITING_SECONDS = 0.5


@contextlib.contextmanager
def locked(folder, on_wait):
    # type: (str, Callable[[str], None]) -> Iterator[None]
    owners.make(folder, 0o755)
    path = os.path.join(folder, ".lock")
    pid = os.getpid()
    mine = json.dumps({"pid": pid, "host": socket.gethostname(), "place": place(), "start": start_of(pid), "id": uuid.uuid4().hex})
    _acquire(path, mine, on_wait)
    over = threading.Event()

    def touch():
        # type: () -> None
        while not over.wait(_HEARTBEAT_SECONDS):
            if _read(path) != mine:
                # It was taken from us, which happens to a process that was stopped for long.
                os.kill(pid, signal.SIGTERM)
                return
            with contextlib.suppress(OSError):
                os.utime(path)

    threading.Thread(target=touch, daemon=True).start()
    try:
        yield
    finally:
        over.set()
        if _read(path) == mine:
            os.remove(path)


class _Watch:
    """How long something has stayed the same, by a clock of our own."""

    def __init__(self):
        # type: () -> None
        self._state = None  # type: Any
        self._since = 0.0

    def seconds(self, state):
        # type: (Any) -> float
        if state != self._state:
            self._state, self._since = state, time.monotonic()
        return time.monotonic() - self._since


def _acquire(path, mine, on_wait):
    # type: (str, str, Callable[[str], None]) -> None
    told = False
    lock, gate = _Watch(), _Watch()
    while not _create(path, mine):
        content = _read(path)
        if content is None:
            # Gone meanwhile.
            time.sleep(0.005)
            continue
        owner = _parse(content)
        if _is_gone(owner) or lock.seconds((content, _touched(path))) > _PATIENCE_SECONDS:
            _remove_dead(path, content, mine, gate)
            time.sleep(0.005)
            continue
        if not told and (owner or lock.seconds((content, _touched(path))) > _WRITING_SECONDS):
            on_wait("process %s on %s" % (owner["pid"], owner["host"]) if owner else "another process")
            told = True
        time.sleep(0.2)


def _remove_dead(path, content, mine, watch):
    # type: (str, str, str, _Watch) -> None
    """Two may both have found it dead; without the gate the slower one would remove the lock that the faster one has just made."""
    gate = path + ".gate"
    if not _create(gate, mine):
        # Its owner needs well under a millisecond; one that stays was killed there.
        if watch.seconds((_read(gate), _touched(gate))) > 10:
            with contextlib.suppress(OSError):
                os.remove(gate)
        return
    try:
        if _read(path) == content:
            os.remove(path)
    finally:
        os.remove(gate)


def _parse(content):
    # type: (str) -> Optional[Dict[str, Any]]
    """None for a file that is there but not yet written."""
    try:
        owner = json.loads(content)
        return owner if owner["pid"] > 0 and owner["host"] else None
    except (ValueError, TypeError, KeyError):
        return None


def _is_gone(owner):
    # type: (Optional[Dict[str, Any]]) -> bool
    """Only of a process whose number counts here is it known: two containers may have one host name, and their numbers are not the same."""
    if owner is None or owner["host"] != socket.gethostname() or owner.get("place") != place():
        return False
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass
    return owner.get("start") not in (None, start_of(owner["pid"]))


def _create(path, content):
    # type: (str, str) -> bool
    try:
        file = open(path, "x")
    except FileExistsError:
        return False
    try:
        with file:
            file.write(content)
        return True
    except OSError:
        # Of a full disk half of it is left, which would be nobody's.
        os.remove(path)
        raise


def _touched(path):
    # type: (str) -> float
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def _read(path):
    # type: (str) -> Optional[str]
    try:
        # Opening a pipe that lies there waits for nobody.
        with open(path, errors="replace", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            return file.read()
    except FileNotFoundError:
        return None
