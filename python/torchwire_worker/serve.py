"""`torchwire-worker serve`: starts worker processes, one for each session, and keeps a warm one for the next. It does
not import PyTorch.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib import metadata
from typing import Any, NamedTuple

import msgspec

from . import __version__, crypto, keys, owners
from .__main__ import SERVED
from .door import DROPPED
from .processes import place, start_of
from .wire import Limits

log = logging.getLogger("torchwire")

# The longest part bounds what a stranger can make a port hold: arrays travel in several frames.
LIMITS = Limits(frame_bytes=16 * 2**20, meta_bytes=16 * 2**20, text_bytes=4 * 2**20)
_SECOND = 1.0
# A worker that ends sooner than this after its start is not restarted at once.
_TOO_SOON = 5.0
_SLOW_CRYPTO = 300


class Refusal(Exception):
    """The server does not start. The message says why, and which commands mend it."""


class Options(NamedTuple):
    host: str
    port: int
    keys: str | None
    device: str
    workers: int
    grace: float
    # After a signal, accepted work has so many seconds to end.
    drain: float
    limits: Limits
    status: str | None
    # The level and the format of the log.
    log: tuple[str, str]


def is_loopback(host: str) -> bool:
    # (127.example.org is an ordinary name.)
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def endpoint(host: str, port: int) -> str:
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


class Process:
    """A worker process: warming up, waiting for the ports (a spare), or serving."""

    def __init__(self, options: Options, slot: int) -> None:
        port = options.port + 2 * slot
        self._line, there = socket.socketpair()
        self._line.setblocking(False)
        self.ready = False
        # Give it a group of its own: the supervisor handles Ctrl-C.
        self._child = subprocess.Popen(
            [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py"), *SERVED],
            stdin=subprocess.PIPE,
            pass_fds=(there.fileno(),),
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        served = {
            "data": endpoint(options.host, port),
            "control": endpoint(options.host, port + 1),
            "keys": options.keys,
            "grace": options.grace,
            "line": there.fileno(),
            "log": options.log,
        }
        config = {"device": options.device, "limits": msgspec.to_builtins(options.limits), "served": served}
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(config).encode() + b"\n")
        self._child.stdin.flush()
        there.close()
        self.pid = self._child.pid
        self.started = time.monotonic()

    def listen(self) -> None:
        """Tell it that the ports are free."""
        # (The process may have died; the next look finds that.)
        with contextlib.suppress(OSError):
            self._line.send(b"!")

    def leave(self) -> None:
        """Ask it to finish its work, and then to end."""
        # (Send both: the program may have its own handler for the signal, or hold its interpreter in a C call.)
        with contextlib.suppress(OSError):
            self._line.send(b".")
        self.send(signal.SIGTERM)

    def hears(self) -> bool:
        """Return whether it has the ports by now."""
        if not self.ready:
            with contextlib.suppress(OSError):
                self.ready = self._line.recv(1) != b""
        return self.ready

    def close(self) -> None:
        self._line.close()

    @property
    def code(self) -> int | None:
        return self._child.poll()

    def send(self, number: int) -> None:
        if self.code is None:
            self._child.send_signal(number)


class Slot:
    """A pair of ports, with the process that has them and the next one."""

    def __init__(self, options: Options, number: int) -> None:
        self._options = options
        self._number = number
        self._not_before = 0.0
        self._where = endpoint(options.host, options.port + 2 * number)
        self.active: Process | None = None
        self.spare: Process | None = None

    def look(self) -> None:
        for process in (self.active, self.spare):
            if process is not None and process.code is not None:
                self._ended(process, process.code)
        now = time.monotonic()
        if self.active is None and (self.spare is not None or now >= self._not_before):
            self.active, self.spare = self.spare or self._start(), None
            if self.active is not None:
                self.active.listen()
        elif self.active is not None and self.active.hears() and self.spare is None and now >= self._not_before:
            self.spare = self._start()

    def _start(self) -> Process | None:
        try:
            return Process(self._options, self._number)
        except OSError as error:
            # Memory, descriptors or processes ran out: the running processes continue.
            log.error("no worker can be started at %s: %s", self._where, error.strerror)
            self._not_before = time.monotonic() + _TOO_SOON
            return None

    def _ended(self, process: Process, code: int) -> None:
        if process is self.spare:
            self.spare = None
        else:
            self.active = None
        process.close()
        if code == 0:
            log.info("session over at %s (process %d)", self._where, process.pid)
        elif code == DROPPED:
            log.warning("session dropped at %s (process %d)", self._where, process.pid)
        else:
            log.error("the worker at %s ended %s (process %d)", self._where, _how(code), process.pid)
            if time.monotonic() - process.started < _TOO_SOON:
                self._not_before = time.monotonic() + _TOO_SOON


def _how(code: int) -> str:
    if code >= 0:
        return f"with code {code}"
    # (Real-time signals have no names.)
    names = {each.value: each.name for each in signal.Signals}
    return f"by {names.get(-code, f'signal {-code}')}"


def serve(options: Options) -> int:
    if not is_loopback(options.host) and options.keys is None:
        raise Refusal(
            f"{options.host} can be reached from elsewhere, and whoever gets in can run any Python here. Keys say who "
            "may:\n"
            "  on the client   npx torchwire keygen NAME | ssh THIS_HOST torchwire-worker authorize --keys DIR\n"
            f"  here            torchwire-worker serve --bind {endpoint(options.host, options.port)} --keys DIR\n"
            "Or bind to 127.0.0.1, and let ssh forward the port."
        )
    server = None if options.keys is None else keys.load(options.keys)
    _more_files()
    signals: list[int] = []
    woken = threading.Event()

    def note(number: int, _frame: Any) -> None:
        signals.append(number)
        woken.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)
    _try_ports(options)
    if options.status is not None:
        _warn_of_another(options.status)
    slots = [Slot(options, number) for number in range(options.workers)]
    speed = None if server is None else crypto.megabytes_per_second()
    is_said = False
    while not signals:
        # Poll for the end of a child: between two sessions this costs some hundredths of a second.
        for slot in slots:
            slot.look()
        if not is_said and all(slot.active is not None and slot.active.hears() for slot in slots):
            is_said = True
            for level, line in hello(options, server, speed):
                log.log(level, "%s", line)
        _write_status(options.status, slots, "serving" if is_said else "starting")
        woken.wait(_SECOND / 20)
    return _drain(options, slots, signals, woken)


def _drain(options: Options, slots: list[Slot], signals: list[int], woken: threading.Event) -> int:
    log.info("shutting down: what was accepted has %g s to end; a second signal ends it at once", options.drain)
    for slot in slots:
        if slot.spare is not None:
            slot.spare.send(signal.SIGKILL)
    active = [slot.active for slot in slots if slot.active is not None]
    for process in active:
        process.leave()
    until = time.monotonic() + options.drain
    while any(process.code is None for process in active):
        if len(signals) > 1 or time.monotonic() > until:
            log.warning(
                "ended at once, with what was accepted"
                if len(signals) > 1
                else "the time is up: ended with what was not done"
            )
            for process in active:
                process.send(signal.SIGKILL)
            return 1
        _write_status(options.status, slots, "draining")
        woken.clear()
        woken.wait(_SECOND / 20)
    log.info("shut down")
    return 0


def _more_files() -> None:
    """Allow more open files: each connection takes one, and at the limit libzmq spins."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536) if hard != resource.RLIM_INFINITY else 65_536, hard))


def _try_ports(options: Options) -> None:
    for port in range(options.port, options.port + 2 * options.workers):
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        with socket.socket(family) as trial:
            # Do as libzmq does: take an address that was just left.
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((options.host, port))
            except OSError as error:
                raise Refusal(
                    f"{endpoint(options.host, port)} cannot be listened at: {error.strerror}. --bind takes another "
                    "address or port"
                ) from None


def hello(options: Options, server: keys.ServerKeys | None, speed: float | None) -> Iterator[tuple[int, str]]:
    """Yield the levels and lines that the server logs when all workers listen. `speed` is that of the encryption, in
    MB/s.
    """
    first, last = options.port, options.port + 2 * options.workers - 1
    versions = ", ".join(f"{name} {_version(name)}" for name in ("torch", "torchvision", "pyzmq"))
    yield (
        logging.INFO,
        (
            f"torchwire-worker {__version__} serves {options.workers} worker{'' if options.workers == 1 else 's'} at "
            f"{endpoint(options.host, first)} "
            f"(ports up to {last}; data and control in turn). Python {'.'.join(map(str, sys.version_info[:3]))}, "
            f"{versions}, device {options.device}"
        ),
    )
    if server is None or speed is None:
        yield logging.WARNING, "no keys: every process on this machine may enter; nothing is encrypted"
        return
    yield logging.INFO, f"its key is {server.fingerprint}"
    for name, fingerprint in sorted(server.clients().items()):
        yield logging.INFO, f"{name} may enter: {fingerprint}"
    yield logging.INFO, f"encryption runs at {speed:.0f} MB/s"
    if speed < _SLOW_CRYPTO:
        yield (
            logging.WARNING,
            (
                f"that is slow: below {_SLOW_CRYPTO} MB/s it is the libsodium of this pyzmq (27.2 has it compiled "
                "without optimisation, 27.3 does not)"
            ),
        )


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "(none)"


_written = 0.0
_last: tuple[str, list[int | None]] = ("", [])
_is_told = False


def _write_status(path: str | None, slots: list[Slot], state: str) -> None:
    """Write the state of the workers for the health check, which also shows that this loop runs."""
    global _written, _last, _is_told
    now = time.monotonic()
    workers = [
        slot.active.pid if slot.active is not None and slot.active.ready and slot.active.code is None else None
        for slot in slots
    ]
    if path is None or (now - _written < _SECOND and (state, workers) == _last):
        return
    _written, _last = now, (state, workers)
    # Wall clocks are changed, and differ: the machine's own clock tells the age of the status.
    at = {"time": time.time(), "clock": now, "place": place(), "start": start_of(os.getpid())}
    text = json.dumps({"pid": os.getpid(), "state": state, **at, "workers": workers})
    try:
        _replace(path, text)
    except OSError as error:
        # The health check reports it. A full disk must not end a session.
        if not _is_told:
            log.warning("the status cannot be written to %s: %s", path, error.strerror)
        _is_told = True


def _replace(path: str, text: str) -> None:
    """Replace the file. The folder may be everybody's: do not write through what lies there, such as a link."""
    draft = f"{path}.{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(draft)
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        with os.fdopen(file, "w") as out:
            out.write(text)
        os.replace(draft, path)
    except OSError:
        # On a full disk the draft would stay, and the old status with it.
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise


def _warn_of_another(path: str) -> None:
    """Warn of another server that writes the same file: the health check would see the one and the other in turn."""
    with contextlib.suppress(OSError, ValueError, owners.OthersCanWrite):
        status = _read_status(path)
        if status.pid != os.getpid() and _supervisor_fault(status) is None:
            log.warning(
                "process %d writes its status to %s, too, and healthcheck looks there: --status takes another file",
                status.pid,
                path,
            )


class _Status(msgspec.Struct):
    pid: int
    workers: list[int | None]
    time: float
    # Seconds since the machine was started. None: an earlier version wrote the status.
    clock: float | None = None
    # The place in which process numbers count, and the time at which the supervisor got its number.
    place: str | None = None
    start: str | None = None


def _read_status(path: str) -> _Status:
    # In a folder that is everybody's, anybody could say that all is well.
    return msgspec.json.decode(owners.read(path), type=_Status)


def _is_of_here(status: _Status) -> bool:
    """Return whether its process numbers and its clock mean something here."""
    return status.place in (None, place())


def _supervisor_fault(status: _Status) -> str | None:
    """Return why it does not come from a supervisor that lives, or None."""
    if not _is_of_here(status):
        return "the status was written on another machine, in another container, or before this one was started"
    age = time.time() - status.time if status.clock is None else time.monotonic() - status.clock
    if not _runs(status.pid) or status.start not in (None, start_of(status.pid)):
        return f"the supervisor, process {status.pid}, does not run"
    if age > _OLD:
        return f"the supervisor has not written its status for {age:.0f} s"
    return f"the status is from the future, by {-age:.0f} s" if age < -_OLD else None


def check_health(path: str) -> str | None:
    """Return the fault, or None. A worker that is busy, for however long, is healthy."""
    try:
        status = _read_status(path)
    except owners.OthersCanWrite as error:
        return f"no status that counts: {error}"
    except (OSError, ValueError) as error:
        return f"no status: {error}"
    dead = [str(number) for number, pid in enumerate(status.workers) if pid is None or not _runs(pid)]
    if dead and _is_of_here(status):
        return f"not running: worker {', '.join(dead)} of {len(status.workers)}"
    return _supervisor_fault(status)


_OLD = 15.0


def _runs(pid: int) -> bool:
    """Return whether the process exists, and is neither a zombie nor stopped."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZXTt"
    except OSError:
        return not os.path.isdir("/proc/self")
