"""Runs the worker as our child: its reports, its output and its end go to the client; the client's end is its end."""

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import time
from typing import Any, Callable, Dict, List, Optional

from torchwire_worker.environment.client import Failure, say
from torchwire_worker.environment.variables import worker_variables
from torchwire_worker.far.find import find

_REPORT_FD = 3
# The client's machine must acknowledge what is sent, or the connection ends: so we notice a cable that was cut.
_TICK_SECONDS = 15
_LONGEST_LINE = 1 << 16
# A launcher may take so long until the worker's first word.
_LONGEST_SILENCE_SECONDS = 25


def work(order: Dict[str, Any]) -> Dict[str, Any]:
    """Runs until the worker ends, or the client does."""
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
            # Its group is ended as a whole.
            start_new_session=True,
        )
    except OSError as error:
        text = "%s cannot be started on %s: %s" % (python, socket.gethostname(), error)
        raise Failure(text, "npx torchwire setup") from None
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


def _relay(child: Any, reports: int, woken: int, python: str) -> None:
    heard: List[str] = []
    silent_since = time.monotonic()

    def report(line: str) -> None:
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
                    "%s was started on %s, and nothing is heard of a worker: a launcher must hand its standard input "
                    "and descriptor 3 on to the Python that it starts" % (python, socket.gethostname())
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
    # Its children, who may hold its pipes, go with it. What lies in the pipes is still read.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    for fd, lines in streams.items():
        data = _read(fd)
        while data:
            lines.feed(data)
            data = _read(fd)
        lines.feed(b"")


def _read(fd: int) -> Optional[bytes]:
    """None where there is nothing now, empty at the end."""
    try:
        return os.read(fd, 1 << 16)
    except BlockingIOError:
        return None


class _Lines:
    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = b""

    def feed(self, data: Optional[bytes]) -> None:
        """Takes data. Empty data is the end: it ends the last line too."""
        *lines, self._rest = (self._rest + (data or b"")).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        if self._rest and (data == b"" or len(self._rest) > _LONGEST_LINE):
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._on_line(line.decode("utf-8", "replace"))
