"""Other processes of this machine: whether one is still there, and whether its number means here what it meant there."""

import os
import re
from typing import Optional


def place():
    # type: () -> str
    """Where a process number means the same: this machine, since it was started, and this namespace. (The client's side says it in the same words.)"""
    try:
        namespace = re.findall(r"\d+", os.readlink("/proc/self/ns/pid"))[0]
    except OSError:
        namespace = "0"
    return "%s/%s" % (_read("/proc/sys/kernel/random/boot_id").strip(), namespace)


def start_of(pid):
    # type: (int) -> Optional[str]
    """When a process was started, in the kernel's own unit: a number that is used again has another. None where the system does not tell."""
    # (The program's name, in brackets, may hold anything.)
    fields = _read("/proc/%d/stat" % pid).rpartition(") ")[2].split()
    return fields[19] if len(fields) > 19 else None


def _read(path):
    # type: (str) -> str
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        # Not Linux, or it has ended.
        return ""
