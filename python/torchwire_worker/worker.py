"""A worker process, from what it is told on its standard input to its end."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import zmq

from . import life, settings
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


def work(report: Callable[..., None]) -> None:
    config = msgspec.json.decode(life.read_line(0), type=settings.Config)
    life.start_guard(config.directory)
    life.ignore_interrupts()
    if config.served is None:
        _work_for_one(config, report)
    else:
        _serve(config.limits, config.device, config.served)
    os._exit(0)


def _work_for_one(config: settings.Config, report: Callable[..., None]) -> None:
    try:
        device = settings.apply(config)
    except settings.NoDevice as error:
        report(error={"code": "NO_DEVICE", "message": str(error)})
        raise SystemExit(1) from None
    except (ImportError, OSError) as error:
        message = f"{sys.executable} has a torch that cannot be loaded: {error}"
        report(error={"code": "ENVIRONMENT", "message": message, "command": "npx torchwire setup"})
        raise SystemExit(1) from None
    limits, context = config.limits, zmq.Context()
    link = Link(context, _endpoint(config.directory, "data"), limits)
    control = Link(zmq.Context(), _endpoint(config.directory, "control"), limits)
    welcome = _welcome(device, limits, None)
    _run(link, control, limits, Door(config.token), lambda _: welcome, None, lambda _: report(ready={"data": link.endpoint, "control": control.endpoint}))
    # Waits until the farewell is out, as long as the socket lingers. The control socket, of another context, stays: without it
    # the client would take the link for cut.
    context.term()


def _serve(limits: Limits, device: str, served: settings.Served) -> None:
    # What takes long is done before a client waits for it.
    import torch  # noqa: F401

    from . import keys

    if not os.read(served.line, 1):
        return
    server = None if served.keys is None else keys.load(served.keys)
    # Crypto runs in the threads of libzmq, and so do the handshakes of strangers.
    context, other = zmq.Context(io_threads=1 if server is None else 2), zmq.Context()
    # Before anything listens.
    guards = [] if server is None else [server.guard(each) for each in (context, other)]
    door = Door(name_of=(lambda _: None) if server is None else server.name_of)
    link = Link(context, served.data, limits, None, server, _WAKE_MS)
    control = Link(other, served.control, limits, _LONGEST_QUESTION, server)

    def begin(asked: Settings) -> dict[str, Any]:
        if asked.device == "auto":
            asked.device = device
        return _welcome(settings.apply(asked), limits, served.grace)

    def ready(session: Session) -> None:
        leave_on_signals(session)
        os.write(served.line, b"+")

    _run(link, control, limits, door, begin, served.grace, ready)
    for guard in guards[:1]:
        guard.stop()
    context.term()


def _run(
    link: Link,
    control_link: Link,
    limits: Limits,
    door: Door,
    welcome: Callable[[Settings], dict[str, Any]],
    grace: float | None,
    ready: Callable[[Session], None],
) -> None:
    executor = Executor(limits)
    control = Control(control_link, door, executor, grace)
    session = Session(link, control, executor, limits, door, welcome)
    control.start()
    logging.getLogger().addHandler(LogHandler(control))
    ready(session)
    session.run()
    link.close()


def _welcome(device: str, limits: Limits, grace: float | None) -> dict[str, Any]:
    return {"pid": os.getpid(), "device": device, "versions": settings.versions(), "limits": limits, "grace": grace}


def _endpoint(directory: str | None, name: str) -> str:
    return "tcp://127.0.0.1:*" if directory is None else f"ipc://{os.path.join(directory, name)}"
