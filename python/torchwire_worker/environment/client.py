"""The client: it is told what happens in lines of JSON, and its end is ours."""

import _thread
import contextlib
import json
import os
import signal
import sys
import threading
from typing import Any, Callable, Dict, List, Optional

from torchwire_worker import owners

SETUP = "npx torchwire setup"
_ENDINGS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name)]
_reasons: List[Exception] = []


class Failure(Exception):
    """Something is missing on this machine, for the user to read. `command` mends it, where one does.

    `output` is all that a program printed which failed.
    """

    def __init__(self, message: str, command: Optional[str] = None, output: str = "") -> None:
        super().__init__(message)
        self.command = command
        self.output = output


def say(**what: Any) -> None:
    """Tells the client one thing. The first line break ends what a login script may have written."""
    line = b"\n" + json.dumps(what).encode() + b"\n"
    while line:
        line = line[os.write(1, line) :]


def tell(**what: Any) -> None:
    """Tells how far it is, if the client still hears."""
    with contextlib.suppress(OSError):
        say(**what)


def outcome(do: Callable[[Dict[str, Any]], Dict[str, Any]], order: Dict[str, Any]) -> Dict[str, Any]:
    """The last thing to say: the result of `do`, or why there is none."""
    try:
        return do(order)
    except owners.OthersCanWrite as error:
        message, command = str(error), None
    except Failure as failure:
        # What there is to do again may be more than a set-up.
        message, command = str(failure), failure.command
        command = order.get("again", command) if command == SETUP else command
    error = {"code": "ENVIRONMENT", "message": message, "command": command}
    return {"error": error, "exit": {"code": 1, "signal": None}}


def end_by_signals() -> None:
    """Lets a signal that ends us raise an exception, so that everything is cleaned up."""
    for number in _ENDINGS:
        signal.signal(number, _leave)


def end_with_client() -> None:
    """The client holds our standard input open as long as it wants us to go on."""

    def wait() -> None:
        while os.read(0, 1 << 12):
            pass
        interrupt()

    threading.Thread(target=wait, daemon=True).start()


def interrupt(reason: Optional[Exception] = None) -> None:
    """Ends the main thread's work, from another thread."""
    if reason is not None:
        _reasons.append(reason)
    _thread.interrupt_main()


def _leave(*_: Any) -> None:
    for number in _ENDINGS:
        # A second signal must not interrupt the cleaning up.
        signal.signal(number, signal.SIG_IGN)
    if _reasons:
        raise _reasons[0]
    sys.exit(1)
