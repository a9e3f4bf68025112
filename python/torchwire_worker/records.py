"""The messages to the client beside its answers: Python's log records, and lines of output. Any thread makes them; the
control thread sends them.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from . import errors

# In bytes. Longer text is cut. (output.py splits lines of output.)
LONGEST = 64 * 2**10
# Bytes that may wait. A program that writes faster than its client reads must not fill the worker's memory.
_MOST_WAITING = 8 * 2**20
# Bytes of a record beside its text.
_BESIDE = 64


def size_of(record: dict[str, Any]) -> int:
    return len(record.get("line") or record.get("message") or "") + _BESIDE


class Records:
    """A queue that is bounded by its bytes. Once it is full, it drops records until half of it is gone, and says how
    many.
    """

    def __init__(self) -> None:
        # A signal handler or a finalizer may log while the program logs.
        self._lock = threading.RLock()
        self._waiting: deque[dict[str, Any]] = deque()
        self._bytes = 0
        self._dropped = 0

    def put(self, record: dict[str, Any]) -> None:
        size = size_of(record)
        with self._lock:
            if self._bytes + size > (_MOST_WAITING / 2 if self._dropped else _MOST_WAITING):
                self._dropped += 1
                return
            self._tell_dropped()
            self._waiting.append(record)
            self._bytes += size

    @property
    def first(self) -> dict[str, Any] | None:
        with self._lock:
            if not self._waiting:
                self._tell_dropped()
            return self._waiting[0] if self._waiting else None

    def take(self) -> None:
        with self._lock:
            self._bytes -= size_of(self._waiting.popleft())

    def _tell_dropped(self) -> None:
        if self._dropped:
            lines = (
                f"{self._dropped} lines of output and log records were dropped here: they came faster than they were "
                "read"
            )
            self._dropped = 0
            note = {"level": logging.WARNING, "logger": "torchwire", "message": lines}
            self._waiting.append(note)
            self._bytes += size_of(note)


def tell_client(tell: Callable[[dict[str, Any]], None]) -> None:
    """Send log records to the client, and leave alone every place that programs configure.

    No handler is added to any logger, so that `logging.basicConfig` finds the root logger as in a plain script. A
    record that no handler takes is not printed as well: neither by logging's last resort, nor by the handler that
    `logging.warning` and the like would add unasked.
    """
    handle, configure, pid, last_resort = (
        logging.Logger.callHandlers,
        logging.basicConfig,
        os.getpid(),
        logging.lastResort,
    )
    formatter = logging.Formatter()

    def call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
        # A forked child, such as a DataLoader's, has no link.
        told = os.getpid() == pid and _reaches_root(self)
        if told:
            try:
                # Format on the thread that logs: the arguments may be tensors, and may change.
                level, message = max(0, min(int(record.levelno), 1000)), formatter.format(record)
                tell(
                    {"level": level, "logger": errors.text(record.name, 1024), "message": errors.text(message, LONGEST)}
                )
            except Exception:
                logging.Handler().handleError(record)
        if not told or self.hasHandlers() or logging.lastResort is not last_resort:
            handle(self, record)

    @functools.wraps(configure)
    def basic_config(**asked: Any) -> None:
        if sys._getframe(1).f_globals is not vars(logging):
            configure(**asked)

    logging.Logger.callHandlers = call_handlers  # type: ignore[method-assign]
    logging.basicConfig = basic_config


def _reaches_root(logger: logging.Logger) -> bool:
    while logger.parent is not None:
        if not logger.propagate:
            return False
        logger = logger.parent
    return True
