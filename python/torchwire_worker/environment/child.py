"""Child processes of the set-up: silent, and gone with all their descendants."""

import os
import signal
import subprocess
from typing import Any, Dict, List

from torchwire_worker.environment.client import SETUP, Failure

_QUOTED_LINES = 20
_GRACE_SECONDS = 2
# Another thread interrupts the main one between two waits.
_WAIT_SECONDS = 0.2


def run(what: str, command: List[str], cwd: str, env: Dict[str, str], there: str = "") -> str:
    """A program's output. A failure quotes its last lines; an interruption ends it with its children."""
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=env,
            # venv and pip have children, which would go on writing into the folder that is being removed.
            start_new_session=True,
        )
    except OSError as error:
        raise _failure(what, command, there, str(error), "") from None
    try:
        output = _output(child)
    except BaseException:
        _end(child)
        raise
    if child.returncode == 0:
        return output
    code = child.returncode
    raise _failure(what, command, there, "exit code %d" % code if code > 0 else signal.Signals(-code).name, output)


def _output(child: Any) -> str:
    while True:
        try:
            return child.communicate(timeout=_WAIT_SECONDS)[0].decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            continue


def _end(child: Any) -> None:
    _kill(child, signal.SIGTERM)
    try:
        child.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    _kill(child, getattr(signal, "SIGKILL", signal.SIGTERM))
    child.wait()


def _kill(child: Any, number: int) -> None:
    try:
        if os.name == "nt":
            child.kill()
        else:
            os.killpg(child.pid, number)
    except (ProcessLookupError, PermissionError):
        # All of them have ended.
        pass


def _failure(what: str, command: List[str], there: str, how: str, output: str) -> Failure:
    # pip names each package of another platform that it passes over.
    lines = [line for line in output.rstrip().splitlines() if not line.startswith("Ignoring ")]
    quoted = "\n  ".join(lines[-_QUOTED_LINES:])
    text = "%s failed%s (%s): %s\n  %s\nWhen that is mended:" % (what, there, how, " ".join(command), quoted)
    return Failure(text, SETUP, output)
