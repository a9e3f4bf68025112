"""A lock between processes: a file that names its owner, and that the owner touches while it lives."""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from typing import Any, Callable, Dict, Iterator, Optional

from torchwire_worker import owners
from torchwire_worker.processes import is_running, place, start_of

_HEARTBEAT_SECONDS = 5
# An owner that has not touched it for so long counts as dead. It is watched for: two machines' clocks differ.
_PATIENCE_SECONDS = 30
# Between making it and writing it.
_WRITING_SECONDS = 0.5


@contextlib.contextmanager
def hold(path: str, on_wait: Callable[[str], None], on_lost: Callable[[], None]) -> Iterator[None]:
    """Waits until the lock is ours. A dead owner loses it.

    It does so at once where its process is known to be gone, and without a touch for a while where that cannot be
    known: on another machine, or in a container with process numbers of its own.

    `on_wait` is told of another owner, once. `on_lost` is called, by another thread, where the lock was taken from us:
    that happens to a process that was stopped for long.
    """
    pid = os.getpid()
    owner = {"pid": pid, "host": socket.gethostname(), "place": place(), "start": start_of(pid), "id": uuid.uuid4().hex}
    mine = json.dumps(owner)
    _acquire(path, mine, on_wait)
    over = threading.Event()

    def touch() -> None:
        while not over.wait(_HEARTBEAT_SECONDS):
            if _read(path) != mine:
                return on_lost()
            with contextlib.suppress(OSError):
                os.utime(path)

    threading.Thread(target=touch, daemon=True).start()
    try:
        yield
    finally:
        over.set()
        if _read(path) == mine:
            _remove(path)


class _Watch:
    """How long something has stayed the same, by a clock of our own."""

    def __init__(self) -> None:
        self._state: Any = None
        self._since = 0.0

    def seconds(self, state: Any) -> float:
        if state != self._state:
            self._state, self._since = state, time.monotonic()
        return time.monotonic() - self._since


def _acquire(path: str, mine: str, on_wait: Callable[[str], None]) -> None:
    told = False
    lock, gate = _Watch(), _Watch()
    while True:
        # A run that fails removes the folders that it made.
        owners.make(os.path.dirname(path), 0o755)
        if _create(path, mine):
            return
        content = _read(path)
        if content is None:
            # It is gone meanwhile.
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


def _remove_dead(path: str, content: str, mine: str, watch: _Watch) -> None:
    """Removes a dead owner's lock.

    Two may both have found it dead. Without the gate the slower one would remove the lock that the faster one has made.
    """
    gate = path + ".gate"
    if not _create(gate, mine):
        # Its owner needs well under a millisecond; one that stays was killed there.
        if watch.seconds((_read(gate), _touched(gate))) > 10:
            _remove(gate)
        return
    try:
        if _read(path) == content:
            _remove(path)
    finally:
        _remove(gate)


def _parse(content: str) -> Optional[Dict[str, Any]]:
    """None for a file that is there but not yet written."""
    try:
        owner = json.loads(content)
        return owner if owner["pid"] > 0 and owner["host"] else None
    except (ValueError, TypeError, KeyError):
        return None


def _is_gone(owner: Optional[Dict[str, Any]]) -> bool:
    """It is known only of a process whose number counts here: two containers may have one host name."""
    if owner is None or owner["host"] != socket.gethostname() or owner.get("place") != place():
        return False
    return not is_running(owner["pid"]) or owner.get("start") not in (None, start_of(owner["pid"]))


def _create(path: str, content: str) -> bool:
    try:
        file = open(path, "x")
    except (FileExistsError, FileNotFoundError):
        # The folder may have been removed just now.
        return False
    except PermissionError:
        # Windows says this of a file that is being removed.
        if os.name != "nt":
            raise
        return False
    try:
        with file:
            file.write(content)
        return True
    except OSError:
        # A full disk leaves half of it, which would be nobody's.
        _remove(path)
        raise


def _remove(path: str) -> None:
    for _ in range(100):
        try:
            return os.remove(path)
        except FileNotFoundError:
            return
        except PermissionError:
            # Windows does not remove a file that another process reads at this moment.
            if os.name != "nt":
                raise
            time.sleep(0.01)


def _touched(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def _read(path: str) -> Optional[str]:
    try:
        # A pipe that lies there must not hold us up.
        with open(path, errors="replace", opener=_open) as file:
            return file.read()
    except FileNotFoundError:
        return None
    except PermissionError:
        # Windows says this of a file that is being removed.
        if os.name != "nt":
            raise
        return None


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
