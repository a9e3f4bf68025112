"""One set-up at a time in a folder of environments, whoever does it: the same file as the client's own set-up makes on its machine."""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from typing import Any, Callable, Iterator

_HEARTBEAT_SECONDS = 5
# An owner that has not touched it for so long counts as dead. Watched for, not read off the clock: two machines' clocks differ.
_PATIENCE_SECONDS = 30


@contextlib.contextmanager
def locked(folder, on_wait):
    # type: (str, Callable[[str], None]) -> Iterator[None]
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, ".lock")
    mine = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "id": uuid.uuid4().hex})
    _acquire(path, mine, on_wait)
    over = threading.Event()

    def touch():
        # type: () -> None
        while not over.wait(_HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(path)

    threading.Thread(target=touch, daemon=True).start()
    try:
        yield
    finally:
        over.set()
        if _read(path) == mine:
            os.remove(path)


def _acquire(path, mine, on_wait):
    # type: (str, str, Callable[[str], None]) -> None
    told = False
    seen = None  # type: Any
    since = 0.0
    while True:
        try:
            with open(path, "x") as file:
                file.write(mine)
            return
        except FileExistsError:
            pass
        content = _read(path)
        try:
            state = (content, os.stat(path).st_mtime)
            owner = json.loads(content)
        except (OSError, ValueError):
            # Gone meanwhile, or not yet written.
            time.sleep(0.05)
            continue
        if state != seen:
            seen, since = state, time.monotonic()
        if _is_gone(owner) or time.monotonic() - since > _PATIENCE_SECONDS:
            if _read(path) == content:
                os.remove(path)
            continue
        if not told:
            on_wait("process %s on %s" % (owner["pid"], owner["host"]))
            told = True
        time.sleep(0.2)


def _is_gone(owner):
    # type: (Any) -> bool
    if owner["host"] != socket.gethostname():
        return False
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _read(path):
    # type: (str) -> str
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
