"""Removes managed environments, but none in which a program runs."""

import json
import os
import sys
from contextlib import suppress
from typing import Any, Dict, List, Set

from torchwire_worker.environment.client import Failure, tell
from torchwire_worker.environment.locked import locked
from torchwire_worker.environment.managed import all_managed, find_managed, leftovers, marker
from torchwire_worker.environment.packages import same
from torchwire_worker.environment.space import folder_size, gigabytes, remove


def clean(order: Dict[str, Any]) -> Dict[str, Any]:
    directory = order["directory"]
    removed: List[str] = []
    in_use: List[str] = []
    freed = 0
    with locked(directory, order["there"]):
        kept = set() if order["clean"]["all"] else _used(directory, order["key"])
        running = _commands_running()
        for folder in [managed.folder for managed in all_managed(directory)] + leftovers(directory):
            if folder in kept:
                continue
            if any(command.startswith(folder + os.sep) for command in running):
                in_use.append(folder)
                tell(line="torchwire: kept, because a program runs in it: %s" % folder)
                continue
            tell(live="  removing %s" % folder)
            size = folder_size(folder)
            _remove(folder)
            removed.append(folder)
            freed += size
            tell(line="torchwire: removed %s (%s)" % (folder, gigabytes(size)))
    return {"cleaned": {"removed": removed, "inUse": in_use, "freed": freed}}


def _used(directory: str, key: str) -> Set[str]:
    """The folders of the newest environment without packages, and of those whose packages a project still wants."""
    plain = find_managed(directory, key, lambda managed: managed.packages is None)
    kept = set() if plain is None else {plain.folder}
    for managed in all_managed(directory):
        if managed.packages is not None and os.path.basename(managed.folder).startswith(key + "-"):
            projects = managed.made.get("projects")
            # The projects of one that was made over ssh are on other machines.
            if not isinstance(projects, list) or any(_wants(file, managed.packages) for file in projects):
                kept.add(managed.folder)
    return kept


def _wants(file: Any, packages: Any) -> bool:
    try:
        with open(file, encoding="utf-8") as opened:
            return same(json.load(opened), packages)
    except (OSError, ValueError, TypeError):
        # The project is gone, or not one any more.
        return False


def _remove(folder: str) -> None:
    try:
        # The marker goes first: the rest of a removal that is killed does not count as an environment.
        with suppress(FileNotFoundError):
            os.remove(marker(folder))
        remove(folder)
    except OSError as error:
        text = "%s cannot be removed (%s): is a program running in it?" % (folder, error.strerror)
        raise Failure(text, "npx torchwire setup --clean") from None


def _commands_running() -> List[str]:
    """How each process was started, where the system tells: on Linux.

    Elsewhere a running program keeps its open files.
    """
    commands = []
    for pid in os.listdir("/proc") if sys.platform == "linux" else []:
        # It may have ended meanwhile, or be another user's.
        with suppress(OSError):
            if pid.isdigit():
                with open("/proc/%s/cmdline" % pid, errors="replace") as file:
                    commands.append(file.read())
    return commands
