"""Other processes of this machine: whether one still runs, and whether its number means here what it meant there.

It also runs far from the client: no syntax past Python 3.6, nothing but the standard library.
"""

import os
import re
from typing import Optional


def place() -> str:
    """Where a process number means the same: this machine, since its start, and this namespace.

    The client writes the same text (processes.ts).
    """
    try:
        namespace = re.findall(r"\d+", os.readlink("/proc/self/ns/pid"))[0]
    except (OSError, AttributeError):
        namespace = "0"
    return "%s/%s" % (_read("/proc/sys/kernel/random/boot_id").strip(), namespace)


def start_of(pid: int) -> Optional[str]:
    """When a process started, in the kernel's unit. A number that is used again has another start.

    None where the system does not tell.
    """
    # The program's name, in brackets, may hold anything.
    fields = _read("/proc/%d/stat" % pid).rpartition(") ")[2].split()
    return fields[19] if len(fields) > 19 else None


def is_running(pid: int) -> bool:
    """True where the system does not tell."""
    if os.name == "nt":
        # There os.kill would end it.
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        # It is another user's.
        pass
    return True


def _read(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        # This is not Linux, or the process has ended.
        return ""
