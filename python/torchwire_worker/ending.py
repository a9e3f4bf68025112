"""The end of the process. What Python does at its end is done (threads are waited for, what atexit and finalizers have to do is done), in bounded time."""

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

# Seconds, unless TORCHWIRE_END_SECONDS says otherwise.
_SECONDS = 10.0
# An operation that runs when its session is dropped has so long to come to an end.
_SECONDS_TO_BEGIN = 1.0
# So much later Python's own watchdog, which needs no interpreter, ends what could not be ended in words.
_MARGIN = 2.0
_STANDARD = os.path.dirname(os.__file__) + os.sep

_pid = os.getpid()
_steps: list[Callable[[], object]] = []
_begun = threading.Event()
_done = threading.Event()


def prepare() -> None:
    """Handlers of atexit run in the reverse order: what is registered first comes last. So this is called before anything else is imported."""
    atexit.register(_run_last)


def last(step: Callable[[], object]) -> None:
    """`step` is done when all that programs have registered with atexit is done; what was given later is done before."""
    _steps.append(step)


def _run_last() -> None:
    # (One that was forked off has inherited this.)
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
            # The others are to be done all the same.
            traceback.print_exc()
    _done.set()


def begin(tell: Callable[[str], object], code: int = 1) -> None:
    """The main thread returns to Python now. Where that takes too long it is cut off: `tell` is told of it, and `code` is the exit code."""
    if _begun.is_set():
        return
    _begun.set()
    seconds = _seconds()
    threading.Thread(target=_cut_off, args=(seconds, tell, code), name="torchwire-end", daemon=True).start()
    # Also where a C call holds the interpreter, and where the interpreter is being taken down.
    faulthandler.dump_traceback_later(seconds + _MARGIN, exit=True, file=2)


def demand(tell: Callable[[str], object], code: int) -> None:
    """From another thread than the main one: that is to begin the end, within a second."""

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
    # What a timer can count.
    return seconds if 0 <= seconds < threading.TIMEOUT_MAX / 2 else _SECONDS


def _cut_off(seconds: float, tell: Callable[[str], object], code: int) -> None:
    if _done.wait(seconds):
        return
    running = " and ".join(_running()) or "nothing that is known"
    tell(
        f"what Python does at its end took longer than {seconds:g} s and was cut off. Still running: {running}. What they were to write may be missing: "
        "end them before close(), or give them more time with the environment variable TORCHWIRE_END_SECONDS"
    )
    os._exit(code)


def _running() -> list[str]:
    frames = sys._current_frames()
    found = []
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        if thread is threading.main_thread():
            # (It waits for the others.)
            if frame is not None and frame.f_code.co_name not in ("_shutdown", "join", "_wait_for_tstate_lock"):
                found.append(f"the main thread{_where(frame)}")
        elif not thread.daemon:
            found.append(f"the thread {thread.name!r}{_where(frame)}")
    return found


def _where(frame: FrameType | None) -> str:
    """The innermost line that is not of Python's own library."""
    at: Any = frame
    while (
        at is not None and at.f_code.co_filename.startswith(_STANDARD) and "site-packages" not in at.f_code.co_filename
    ):
        at = at.f_back
    at = at or frame
    return "" if at is None else f" ({at.f_code.co_filename}:{at.f_lineno} in {at.f_code.co_name})"
