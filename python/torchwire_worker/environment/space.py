"""Disk space: whether there is enough, how much has been written, and how to get it back."""

import os
import shutil
import time
from typing import List

from torchwire_worker.environment.client import Failure


def free_space(folder: str) -> int:
    """Free bytes for this user on the file system of an existing folder."""
    return shutil.disk_usage(folder).free


def check_space(folder: str, needed: int, there: str = "") -> None:
    free = free_space(folder)
    if free < needed:
        sizes = "about %s needed, %s free" % (gigabytes(needed), gigabytes(free))
        raise Failure(
            "not enough disk space%s in %s: %s. Make room, or put the environment on another disk."
            % (there, folder, sizes),
            # Far from the client, its command would set a variable of the wrong machine.
            None if there else "TORCHWIRE_CACHE=/folder/on/another/disk npx torchwire setup",
        )


class Filling:
    """How much the file systems of some folders have filled up since now.

    Installers download to places of their own first: the environment's folder alone would seem to stand still.
    """

    def __init__(self, folders: List[str]) -> None:
        devices = {os.stat(folder).st_dev: folder for folder in folders if os.path.isdir(folder)}
        self._start = {folder: free_space(folder) for folder in devices.values()}

    def bytes(self) -> int:
        return sum(max(0, free - free_space(folder)) for folder, free in self._start.items())


def folder_size(folder: str) -> int:
    """Bytes in a folder's files. A file that has just vanished counts as nothing."""
    size = 0
    for above, _, names in os.walk(folder):
        for name in names:
            try:
                status = os.lstat(os.path.join(above, name))
            except OSError:
                continue
            if not os.path.islink(os.path.join(above, name)):
                size += status.st_size
    return size


def remove(folder: str) -> None:
    """Removes a folder; OSError where it cannot be removed."""
    for pause in (0.0, 0.2, 0.4, 0.6):
        # A child that was killed may still be closing its files.
        time.sleep(pause)
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.lexists(folder):
            return
    shutil.rmtree(folder)


def gigabytes(size: float) -> str:
    return "%.1f MB" % (size / 1e6) if size < 1e8 else "%.1f GB" % (size / 1e9)
