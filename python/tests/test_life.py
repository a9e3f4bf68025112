"""The guard and the worker: if one of the two ends, the other ends the worker's children, and removes its files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from torchwire_worker import life

PACKAGE = str(Path(life.__file__).parents[1])

# A minimal worker. It prints its own process id and its child's.
WORKER = """
import os, subprocess, sys, time
sys.path.insert(0, sys.argv[1])
from torchwire_worker import life
assert life.read_line(0) == b"hello\\n"
life.start_guard(sys.argv[2])
life.leave_signals_to_client(is_own=True)
child = subprocess.Popen(["sleep", "1000"])
print(os.getpid(), child.pid, flush=True)
{act}
"""

SLEEP = "time.sleep(1000)"
# A call in C that never releases the interpreter.
HOLD = 'import re; re.match("(a+)+$", "a" * 60 + "b")'

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it looks at /proc")


class World:
    def __init__(self, folder: Path, act: str) -> None:
        self.directory = folder / "sockets"
        self.directory.mkdir()
        (self.directory / "data").touch()
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER.replace("{act}", act), PACKAGE, str(self.directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"hello\nwhat follows the line is not read")
        self.process.stdin.flush()
        self.worker, self.child = map(int, self.process.stdout.readline().split())
        (self.guard,) = (pid for pid in children_of(self.worker) if pid != self.child)
        assert within_a_second(lambda: ignores_interrupts(self.guard))

    def parent_ends(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def is_over(self) -> bool:
        self.process.poll()
        return not any(map(runs, (self.worker, self.guard, self.child))) and not self.directory.exists()


def stat(pid: int) -> tuple[str, int]:
    """Return the state and the parent; /proc calls the dead X."""
    try:
        # The name is in brackets, and may contain anything.
        state, parent, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "X", 0
    return state, int(parent)


def runs(pid: int) -> bool:
    return stat(pid)[0] not in ("Z", "X")


def children_of(parent: int) -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and stat(int(name))[1] == parent]


def ignores_interrupts(pid: int) -> bool:
    """Wait until it has left the worker's group, which it does first."""
    (mask,) = (
        line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigIgn")
    )
    return bool(int(mask, 16) & 1 << signal.SIGHUP - 1)


def within_a_second(happened: Callable[[], bool]) -> bool:
    end = time.monotonic() + 1
    while time.monotonic() < end:
        if happened():
            return True
        time.sleep(0.01)
    return happened()


@pytest.fixture(params=[SLEEP, HOLD], ids=["waits", "holds the interpreter"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, request.param)
    yield world
    for pid in (world.guard, world.child):
        if runs(pid):
            os.kill(pid, signal.SIGKILL)
    world.process.kill()
    world.process.wait()


def test_all_go_on_while_both_live(world: World) -> None:
    time.sleep(0.6)
    assert all(map(runs, (world.worker, world.guard, world.child)))
    assert world.directory.exists()


def test_nothing_is_left_when_the_parent_ends(world: World) -> None:
    world.parent_ends()
    assert within_a_second(world.is_over)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV"])
def test_nothing_is_left_when_the_worker_is_killed(world: World, name: str) -> None:
    os.kill(world.worker, signal.Signals[name])
    assert within_a_second(world.is_over)


def test_a_stopped_worker_ends_with_its_parent(world: World) -> None:
    os.kill(world.worker, signal.SIGSTOP)
    world.parent_ends()
    assert within_a_second(world.is_over)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_to_all_processes_of_a_job_is_for_the_parent(world: World, name: str) -> None:
    for pid in (world.worker, world.guard):
        os.kill(pid, signal.Signals[name])
    time.sleep(0.2)
    assert runs(world.worker)
    assert runs(world.guard)
    # A program that the worker has started has no such handler.
    os.kill(world.child, signal.Signals[name])
    assert within_a_second(lambda: not runs(world.child))


def test_a_line_is_read_and_not_a_byte_more() -> None:
    reader, writer = os.pipe()
    try:
        os.write(writer, b"first\nsecond\nrest")
        assert life.read_line(reader) == b"first\n"
        assert life.read_line(reader) == b"second\n"
        os.close(writer)
        assert life.read_line(reader) == b"rest"
    finally:
        os.close(reader)
