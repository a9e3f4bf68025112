"""A worker process, from the configuration on its standard input to its end."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

import msgspec
import zmq

from . import ending, forked, life, logs, output, records, settings, warned
from .control import Control
from .door import DROPPED, Door
from .executor import Executor
from .link import Link
from .ops import Settings
from .session import Session, leave_on_signals
from .wire import Limits

# Only greetings and questions come by the control socket: none is longer.
_LONGEST_QUESTION = 64 * 2**10
_WAKE_MS = 200
# Seconds to wait for a port to be free.
_PATIENCE = 10


def work(report: Callable[..., None]) -> int:
    """Run the worker, and return the exit code: Python then ends as it ends every program."""
    config = msgspec.json.decode(life.read_line(0), type=settings.Config)
    forked.prepare()
    guard = life.start_guard(config.directory)
    if guard is not None:
        for descriptor in guard.descriptors:
            forked.own(descriptor)
        ending.last(guard.end)
    life.leave_signals_to_client(is_own=config.served is None)
    warned.listen()
    if config.served is None:
        return _work_for_one(config, report, guard)
    return _serve(config.limits, config.device, config.served, guard)


def _work_for_one(config: settings.Config, report: Callable[..., None], guard: life.Guard | None) -> int:
    """Work for a client that has started this worker for itself."""
    try:
        device = settings.apply(config)
    except settings.NoDevice as error:
        report(error={"code": "NO_DEVICE", "message": str(error)})
        raise SystemExit(1) from None
    except (ImportError, OSError) as error:
        message = f"{sys.executable} has a torch that cannot be loaded: {error}"
        report(error={"code": "ENVIRONMENT", "message": message, "command": "npx torchwire setup"})
        raise SystemExit(1) from None
    data, control = (
        Link(zmq.Context(), _endpoint(config.directory, name), config.limits) for name in ("data", "control")
    )
    welcome = _welcome(device, config.limits, None)
    started = _start(data, control, config.limits, Door(config.token), lambda _: welcome, guard)
    report(ready={"data": data.endpoint, "control": control.endpoint})
    return _run(started)


def _serve(limits: Limits, device: str, served: settings.Served, guard: life.Guard | None) -> int:
    opened: Future[Started] = Future()
    forked.own(served.line)

    def listen() -> None:
        """Take the ports as soon as they are free: a client that comes while PyTorch loads is greeted, and waits."""
        try:
            if not os.read(served.line, 1):
                os._exit(0)
            opened.set_result(_listen(limits, device, served, guard))
            os.write(served.line, b"+")
        except BaseException as error:
            opened.set_exception(error)

    threading.Thread(target=listen, name="torchwire-listen", daemon=True).start()
    settings.load_torch()
    started = opened.result()
    leave_on_signals(started.session)
    return _run(started)


def _listen(limits: Limits, device: str, served: settings.Served, guard: life.Guard | None) -> Started:
    logs.start(*served.log)
    server = None
    unguard: list[Callable[[], object]] = [lambda: None] * 2
    # libzmq's threads do the encryption, and the handshakes of strangers.
    context, other = zmq.Context(io_threads=2), zmq.Context()
    if served.keys is not None:
        from . import keys

        server = keys.load(served.keys)
        # The guard must be there before anything listens.
        unguard = [server.guard(each).stop for each in (context, other)]
    door = Door(name_of=(lambda _: None) if server is None else server.name_of)
    data = _bound(lambda: Link(context, served.data, limits, None, server, _WAKE_MS, unguard=unguard[0]))
    control = _bound(
        lambda: Link(other, served.control, limits, _LONGEST_QUESTION, server, heartbeats=True, unguard=unguard[1])
    )

    def begin(asked: Settings) -> dict[str, Any]:
        if asked.device == "auto":
            asked.device = device
        return _welcome(settings.apply(asked), limits, served.grace)

    return _start(data, control, limits, door, begin, guard, served)


def _bound(bind: Callable[[], Link]) -> Link:
    """Bind, and wait for the port if necessary: the last worker is dead, but its forked children hold the port until
    they end.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return bind()
        except zmq.ZMQError as error:
            if error.errno != zmq.EADDRINUSE or time.monotonic() > until:
                raise
            time.sleep(0.05)


class Started(NamedTuple):
    session: Session
    door: Door
    control: Control
    data: Link


def _start(
    data: Link,
    link: Link,
    limits: Limits,
    door: Door,
    welcome: Callable[[Settings], dict[str, Any]],
    guard: life.Guard | None,
    served: settings.Served | None = None,
) -> Started:
    executor = Executor(limits)
    control = Control(link, door, executor, None if served is None else served.grace)
    session = Session(data, control, executor, limits, door, welcome)
    # These run in reverse order: references are freed while their output can still be sent.
    ending.last(data.end)
    ending.last(control.close)
    ending.last(
        lambda: [
            control.record({"category": told["category"], "message": told["message"]})
            for told in warned.apart.take()[0]
        ]
    )
    ending.last(lambda: (executor.objects.clear(), gc.collect()))
    if guard is not None:
        _watch(guard, control)
    if served is not None:
        _await_order_to_leave(served.line, session, control)
        # (A client that has started the worker for itself reads its output directly.)
        output.tell_client(control.record)
    records.tell_client(control.record)
    control.start()
    return Started(session, door, control, data)


def _watch(guard: life.Guard, control: Control) -> None:
    def restart() -> None:
        control.unwatch(guard.tether)
        forked.disown(guard.tether)
        guard.restart()
        forked.own(guard.tether)
        control.watch(guard.tether, restart)
        control.tell("the process that ends this worker with its client was killed; another one was started")

    control.watch(guard.tether, restart)


def _await_order_to_leave(line: int, session: Session, control: Control) -> None:
    """Await the supervisor's order to leave. It also sends SIGTERM, but a program may have its own handler for that."""

    def leave() -> None:
        control.unwatch(line)
        session.leave("the worker was shut down (SIGTERM)")

    control.watch(line, leave)


def _run(started: Started) -> int:
    session, door, control, data = started
    code = 0
    try:
        session.run()
        if not session.is_closed:
            # Wait until the farewell has left. The control socket stays: without it, the client would take the link for
            # cut.
            data.end()
    finally:
        code = DROPPED if door.is_dropped else 0

        def tell(why: str) -> None:
            control.tell(why)
            control.finish()
            os.write(2, f"torchwire: {why}\n".encode())

        ending.begin(tell, code or 1)
    return code


def _welcome(device: str, limits: Limits, grace: float | None) -> dict[str, Any]:
    return {"pid": os.getpid(), "device": device, "versions": settings.versions(), "limits": limits, "grace": grace}


def _endpoint(directory: str | None, name: str) -> str:
    return "tcp://127.0.0.1:*" if directory is None else f"ipc://{os.path.join(directory, name)}"
