"""The worker as our child: what it reports, prints and ends with goes to the client; the client's end is its end."""

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import time
from typing import Any, Callable, Dict, List, Optional

from torchwire_worker.far.find import find
from torchwire_worker.far.main import Failure, say
from torchwire_worker.far.variables import worker_variables

_REPORT_FD = 3
# What is sent must be acknowledged by the client's machine, or the connection ends: so a cable that was cut is noticed here too.
_TICK_SECONDS = 15
_LONGEST_LINE = 1 << 16
# Of a launcher, before the worker's first word.
_LONGEST_SILENCE_SECONDS = 25


def work(order):
    # type: (Dict[str, Any]) -> Dict[str, Any]
    """Until the worker ends, or the client does."""
    folder = order["folder"]
    cwd = os.path.expanduser(order["cwd"] or "~")
    if not os.path.isdir(cwd):
        raise Failure("cwd is %s, which is no folder on %s" % (cwd, socket.gethostname()))
    python = find(order, cwd)
    reports, write = os.pipe()
    os.dup2(write, _REPORT_FD)
    os.close(write)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        child = subprocess.Popen(
            [python, os.path.join(folder, "torchwire_worker", "__main__.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=cwd,
            env=dict(worker_variables(python), PYTHONUNBUFFERED="1", **order["env"]),
            pass_fds=(_REPORT_FD,),
            # A group of its own, that is ended as a whole.
            start_new_session=True,
        )
    except OSError as error:
        raise Failure("%s cannot be started on %s: %s" % (python, socket.gethostname(), error), "npx torchwire setup") from None
    os.close(_REPORT_FD)
    try:
        with contextlib.suppress(BrokenPipeError):
            assert child.stdin is not None
            child.stdin.write(json.dumps(dict(order["config"], directory=folder)).encode() + b"\n")
        _relay(child, reports, woken, python)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        code = child.wait()
    return {"exit": {"code": code if code >= 0 else None, "signal": signal.Signals(-code).name if code < 0 else None}}


def _relay(child, reports, woken, python):
    # type: (Any, int, int, str) -> None
    heard = []  # type: List[str]
    silent_since = time.monotonic()

    def report(line):
        # type: (str) -> None
        heard.append(line)
        say(**json.loads(line))

    streams = {
        reports: _Lines(report),
        child.stdout.fileno(): _Lines(lambda line: say(stdout=line)),
        child.stderr.fileno(): _Lines(lambda line: say(stderr=line)),
    }
    selector = selectors.DefaultSelector()
    for fd in (0, woken, *streams):
        os.set_blocking(fd, fd == 0)
        selector.register(fd, selectors.EVENT_READ)
    while child.poll() is None:
        events = selector.select(_TICK_SECONDS)
        if not events:
            os.write(1, b"\n")
            if not heard and time.monotonic() - silent_since > _LONGEST_SILENCE_SECONDS:
                raise Failure(
                    "%s was started on %s, and nothing is heard of a worker: a launcher is to hand its standard input and descriptor 3 on to the "
                    "Python that it starts" % (python, socket.gethostname())
                )
        elif not heard:
            silent_since = time.monotonic()
        for selected, _ in events:
            fd = selected.fd
            data = _read(fd)
            if fd == 0 and not data:
                return
            if fd in streams:
                streams[fd].feed(data)
                if data == b"":
                    selector.unregister(fd)
    # What it has left in its pipes; children of its own, who may hold them, go with it.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    for fd, lines in streams.items():
        data = _read(fd)
        while data:
            lines.feed(data)
            data = _read(fd)
        lines.feed(b"")


def _read(fd):
    # type: (int) -> Optional[bytes]
    """None where there is nothing now, empty at the end."""
    try:
        return os.read(fd, 1 << 16)
    except BlockingIOError:
        return None


class _Lines:
    def __init__(self, on_line):
        # type: (Callable[[str], None]) -> None
        self._on_line = on_line
        self._rest = b""

    def feed(self, data):
        # type: (Optional[bytes]) -> None
        """Empty data is the end: what has come of the last line is one too."""
        *lines, self._rest = (self._rest + (data or b"")).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        if self._rest and (data == b"" or len(self._rest) > _LONGEST_LINE):
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._on_line(line.decode("utf-8", "replace"))
