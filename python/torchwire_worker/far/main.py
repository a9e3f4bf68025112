"""From start to end: the folder that we were sent in, and that does not outlive us."""

import fcntl
import json
import os
import re
import shutil
import signal
import sys
import time
from typing import Any, Dict

from torchwire_worker import owners

# A folder this young may be without its lock: its owner is on the way to it.
_YOUNG_SECONDS = 60
_ENDINGS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class Failure(Exception):
    """What is missing here, for the user to read. `command` mends it, where one does."""

    def __init__(self, message, command=None):
        # type: (str, str | None) -> None
        super().__init__(message)
        self.command = command


def main(order):
    # type: (Dict[str, Any]) -> None
    # The worker reports on this one: nothing else may be given its number.
    os.dup2(os.open(os.devnull, os.O_RDWR), 3)
    for name in _ENDINGS:
        signal.signal(name, _leave)
    folder = order["folder"]
    try:
        # Whoever could replace it would have the worker's sockets, or its files.
        owners.check(folder)
        # Held as long as we live. (It also tells systemd that this folder of /tmp is in use, for days if need be.)
        fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX)
        _sweep()
        if "setup" in order:
            from torchwire_worker.far.setup import setup as do
        else:
            from torchwire_worker.far.worker import work as do
        last = do(order)
    except owners.OthersCanWrite as error:
        last = {"error": {"code": "ENVIRONMENT", "message": str(error), "command": None}, "exit": {"code": 1, "signal": None}}
    except Failure as failure:
        error = {"code": "ENVIRONMENT", "message": str(failure), "command": failure.command}
        last = {"error": error, "exit": {"code": 1, "signal": None}}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    try:
        say(**last)
    except OSError:
        # Nobody is there to hear it.
        sys.exit(1)


def say(**what):
    # type: (Any) -> None
    """A line to the client. What a login script may have written before ends here."""
    line = b"\n" + json.dumps(what).encode() + b"\n"
    while line:
        line = line[os.write(1, line) :]


def _leave(*_):
    # type: (Any) -> None
    for name in _ENDINGS:
        # Once is enough: what is being cleaned up is not to be left half done.
        signal.signal(name, signal.SIG_IGN)
    sys.exit(1)


def _sweep():
    # type: () -> None
    """Removes what was left where nobody could clean up: a folder of ours whose lock nobody holds."""
    for entry in os.scandir("/tmp"):
        if not re.match("torchwire-[0-9a-f]{32}$", entry.name) or not entry.is_dir(follow_symlinks=False):
            continue
        try:
            status = entry.stat(follow_symlinks=False)
            if status.st_uid != os.getuid() or time.time() - status.st_mtime < _YOUNG_SECONDS:
                continue
            lock = os.open(entry.path, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(entry.path, ignore_errors=True)
            finally:
                os.close(lock)
        except OSError:
            # In use, or gone meanwhile.
            continue
