"""The way in, far from the client. We were sent in a folder, which does not outlive us."""

import fcntl
import os
import re
import shutil
import sys
import time
from typing import Any, Dict

from torchwire_worker import owners
from torchwire_worker.environment.client import end_by_signals, outcome, say

# A folder this young may be without its lock: its owner is on the way to it.
_YOUNG_SECONDS = 60


def main(order: Dict[str, Any]) -> None:
    # The worker reports on descriptor 3: nothing else may get that number.
    os.dup2(os.open(os.devnull, os.O_RDWR), 3)
    end_by_signals()
    try:
        last = outcome(_do, order)
    finally:
        shutil.rmtree(order["folder"], ignore_errors=True)
    try:
        say(**last)
    except OSError:
        # Nobody is there to hear it.
        sys.exit(1)


def _do(order: Dict[str, Any]) -> Dict[str, Any]:
    # Others who could replace it would have the worker's sockets, or its files.
    owners.check(order["folder"])
    # It is held as long as we live. (It also tells systemd that this folder of /tmp is in use, for days if need be.)
    fcntl.flock(os.open(order["folder"], os.O_RDONLY), fcntl.LOCK_EX)
    _sweep()
    if "setup" in order:
        from torchwire_worker.far.setup import setup_here as do
    else:
        from torchwire_worker.far.worker import work as do
    return do(order)


def _sweep() -> None:
    """Removes the folders of those that could not clean up: nobody holds the lock of such a folder."""
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
            # It is in use, or gone meanwhile.
            continue
