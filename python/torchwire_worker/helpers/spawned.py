"""Gives the processes that multiprocessing spawns, and does not fork, modules that lie in this process's memory.

A spawned process starts Python anew, and is told the path of its imports. An archive of the modules joins that path. On
Linux it lies in memory.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from multiprocessing import spawn
from typing import Any, BinaryIO

# The text of each file by its path, which ends with "/" for a folder without a file.
Files = Mapping[str, bytes]


def share(files: Callable[[], Files]) -> None:
    """Have every process that is spawned from now on find `files()`, as they are then."""
    prepare = spawn.get_preparation_data
    shared: list[tuple[Files, Any, str]] = []

    def with_files(name: str) -> dict[str, Any]:
        data = prepare(name)
        now = files()
        if now:
            if not shared or shared[-1][0] != now:
                # An archive must stay as long as a process may read it.
                shared.append((now, *_archive(now)))
            data["sys_path"] = [shared[-1][2], *data["sys_path"]]
        return data

    spawn.get_preparation_data = with_files


def _archive(files: Files) -> tuple[Any, str]:
    """Return an archive, which lives as long as the first of the two, and its path."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("torchwire-modules")
        file: BinaryIO = open(descriptor, "wb")
        path = f"/proc/{os.getpid()}/fd/{descriptor}"
    else:
        file = tempfile.NamedTemporaryFile(prefix="torchwire-modules-", suffix=".zip")  # type: ignore[assignment]
        path = file.name
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    file.flush()
    return file, path
