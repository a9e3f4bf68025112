"""Ends the process in bounded time. Python does all that it does at its end: it waits for threads, and runs atexit
handlers and finalizers.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import os
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any

# In seconds, unless TORCHWIRE_END_SECONDS says otherwise.
_SECONDS = 10.0
# Seconds in which an operation that runs when its session is dropped must end.
_SECONDS_TO_BEGIN = 1.0
# Seconds later, Python's own watchdog ends the process without a word. It needs no interpreter.
_MARGIN = 2.0
_STANDARD = os.path.dirname(os.__file__) + os.sep

_pid = os.getpid()
_steps: list[Callable[[], object]] = []
_begun = threading.Event()
_done = threading.Event()


def prepare() -> None:
    """Register the end. Call this before anything else is imported: atexit runs its handlers in reverse order, so the
    first comes last.
    """
    atexit.register(_run_last)


def last(step: Callable[[], object]) -> None:
    """Run `step` after all atexit handlers of programs. Steps run in reverse order."""
    _steps.append(step)


def _run_last() -> None:
    # (A forked child has inherited this handler.)
    if os.getpid() != _pid:
        return
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    while _steps:
        step = _steps.pop()
        try:
            step()
        except BaseException:
            # The other steps must run all the same.
            traceback.print_exc()
    _done.set()


def begin(tell: Callable[[str], object], code: int = 1) -> None:
    """Begin the end: the main thread returns to Python now. If that takes too long, the process is cut off: `tell`
    hears of it, and `code` is the exit code.
    """
    if _begun.is_set():
        return
    _begun.set()
    seconds = _seconds()
    threading.Thread(target=_cut_off, args=(seconds, tell, code), name="torchwire-end", daemon=True).start()
    # This works even while a C call holds the interpreter, and while the interpreter is being taken down.
    faulthandler.dump_traceback_later(seconds + _MARGIN, exit=True, file=2)


def demand(tell: Callable[[str], object], code: int) -> None:
    """Demand, from another thread, that the main thread begins the end within a second."""

    def wait() -> None:
        if not _begun.wait(_SECONDS_TO_BEGIN):
            tell("an operation was still running: it was cut off, and what Python does at its end was not done")
            os._exit(code)

    threading.Thread(target=wait, name="torchwire-end", daemon=True).start()


def _seconds() -> float:
    try:
        seconds = float(os.environ.get("TORCHWIRE_END_SECONDS", _SECONDS))
    except ValueError:
        return _SECONDS
    # A timer can count no further.
    return seconds if 0 <= seconds < threading.TIMEOUT_MAX / 2 else _SECONDS


def _cut_off(seconds: float, tell: Callable[[str], object], code: int) -> None:
    if _done.wait(seconds):
        return
    running = " and ".join(_running()) or "nothing that is known"
    tell(
        f"what Python does at its end took longer than {seconds:g} s and was cut off. Still running: {running}. Their "
        "output may be incomplete: "
        "end them before close(), or give them more time with the environment variable TORCHWIRE_END_SECONDS"
    )
    os._exit(code)


def _running() -> list[str]:
    frames = sys._current_frames()
    found = []
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        if thread is threading.main_thread():
            # (The main thread waits for the others.)
            if frame is not None and frame.f_code.co_name not in ("_shutdown", "join", "_wait_for_tstate_lock"):
                found.append(f"the main thread{_where(frame)}")
        elif not thread.daemon:
            found.append(f"the thread {thread.name!r}{_where(frame)}")
    return found


def _where(frame: FrameType | None) -> str:
    """Return the innermost line outside Python's own library."""
    at: Any = frame
    while (
        at is not None and at.f_code.co_filename.startswith(_STANDARD) and "site-packages" not in at.f_code.co_filename
    ):
        at = at.f_back
    at = at or frame
    return "" if at is None else f" ({at.f_code.co_filename}:{at.f_lineno} in {at.f_code.co_name})"
