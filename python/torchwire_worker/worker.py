"""A worker process, from what it is told on its standard input to its end."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import msgspec
import zmq

from . import life, logs, output, settings, warned
from .control import Control, LogHandler
from .door import Door
from .executor import Executor
from .link import Link
from .ops import Settings
from .session import Session, leave_on_signals
from .wire import Limits

# Greetings and questions: nothing on the control socket is longer.
_LONGEST_QUESTION = 64 * 2**10
_WAKE_MS = 200
# Seconds for a port to be free.
_PATIENCE = 10


def work(report: Callable[..., None]) -> None:
    config = msgspec.json.decode(life.read_line(0), type=settings.Config)
    life.start_guard(config.directory)
    life.ignore_interrupts()
    warned.listen()
    if config.served is None:
        _work_for_one(config, report)
    else:
        _serve(config.limits, config.device, config.served)
    os._exit(0)


def _work_for_one(config: settings.Config, report: Callable[..., None]) -> None:
    """Of a client that has started it for itself."""
    try:
        device = settings.apply(config)
    except settings.NoDevice as error:
        report(error={"code": "NO_DEVICE", "message": str(error)})
        raise SystemExit(1) from None
    except (ImportError, OSError) as error:
        message = f"{sys.executable} has a torch that cannot be loaded: {error}"
        report(error={"code": "ENVIRONMENT", "message": message, "command": "npx torchwire setup"})
        raise SystemExit(1) from None
    data, control = (Link(zmq.Context(), _endpoint(config.directory, name), config.limits) for name in ("data", "control"))
    welcome = _welcome(device, config.limits, None)
    session = _start(data, control, config.limits, Door(config.token), lambda _: welcome, None)
    report(ready={"data": data.endpoint, "control": control.endpoint})
    _finish(session, data)


def _serve(limits: Limits, device: str, served: settings.Served) -> None:
    opened: Future[tuple[Session, Link, Callable[[], None]]] = Future()

    def listen() -> None:
        """It takes the ports as soon as they are free: a client that comes before PyTorch is there is greeted, and waits."""
        try:
            if not os.read(served.line, 1):
                os._exit(0)
            opened.set_result(_listen(limits, device, served))
            os.write(served.line, b"+")
        except BaseException as error:
            opened.set_exception(error)

    threading.Thread(target=listen, name="torchwire-listen", daemon=True).start()
    torch = settings.load_torch()
    # (Its first call imports much.)
    torch.use_deterministic_algorithms(False)
    session, data, unguard = opened.result()
    leave_on_signals(session)
    _finish(session, data, unguard)


def _listen(limits: Limits, device: str, served: settings.Served) -> tuple[Session, Link, Callable[[], None]]:
    logs.start(*served.log)
    server = guard = None
    # Crypto runs in the threads of libzmq, and so do the handshakes of strangers.
    context, other = zmq.Context(io_threads=2), zmq.Context()
    if served.keys is not None:
        from . import keys

        server = keys.load(served.keys)
        # Before anything listens.
        guard, _ = server.guard(context), server.guard(other)
    door = Door(name_of=(lambda _: None) if server is None else server.name_of)
    data = _bound(lambda: Link(context, served.data, limits, None, server, _WAKE_MS))
    control = _bound(lambda: Link(other, served.control, limits, _LONGEST_QUESTION, server, heartbeats=True))

    def begin(asked: Settings) -> dict[str, Any]:
        if asked.device == "auto":
            asked.device = device
        return _welcome(settings.apply(asked), limits, served.grace)

    session = _start(data, control, limits, door, begin, served.grace)
    return session, data, (lambda: None) if guard is None else guard.stop


def _bound(bind: Callable[[], Link]) -> Link:
    """Who had the port is dead, but children that it has forked hold it until they are, too."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return bind()
        except zmq.ZMQError as error:
            if error.errno != zmq.EADDRINUSE or time.monotonic() > until:
                raise
            time.sleep(0.05)


def _start(data: Link, link: Link, limits: Limits, door: Door, welcome: Callable[[Settings], dict[str, Any]], grace: float | None) -> Session:
    executor = Executor(limits)
    control = Control(link, door, executor, grace)
    control.start()
    logging.getLogger().addHandler(LogHandler(control))
    if grace is not None:
        # (A client that has started it for itself reads it at the source.)
        output.tell_client(control.record)
    return Session(data, control, executor, limits, door, welcome)


def _finish(session: Session, data: Link, unguard: Callable[[], None] = lambda: None) -> None:
    session.run()
    data.close()
    unguard()
    # Waits until the farewell is out, as long as the socket lingers. The control socket, of another context, stays: without it
    # the client would take the link for cut.
    data.socket.context.term()


def _welcome(device: str, limits: Limits, grace: float | None) -> dict[str, Any]:
    return {"pid": os.getpid(), "device": device, "versions": settings.versions(), "limits": limits, "grace": grace}


def _endpoint(directory: str | None, name: str) -> str:
    return "tcp://127.0.0.1:*" if directory is None else f"ipc://{os.path.join(directory, name)}"
