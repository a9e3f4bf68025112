"""The decisions of `torchwire-worker serve`, without a process or a socket: addresses, limits, health, its first lines
in the log, and which client has a worker.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from torchwire_worker import cli, door, processes, serve
from torchwire_worker.door import Door, Refused, refusal
from torchwire_worker.ops import Hello
from torchwire_worker.serve import LIMITS, Options, Refusal, Slot
from torchwire_worker.wire import WireError

OPTIONS = Options("127.0.0.1", 5555, None, "cpu", 1, 60, 50, LIMITS, None, ("info", "text"))


class TestAddress:
    @pytest.mark.parametrize(
        ("bind", "address"),
        [
            ("tcp://127.0.0.1:5555", ("127.0.0.1", 5555)),
            ("tcp://0.0.0.0:1", ("0.0.0.0", 1)),
            ("tcp://gpu-box.example.org:65534", ("gpu-box.example.org", 65534)),
            ("tcp://[::1]:5555", ("::1", 5555)),
        ],
    )
    def test_is_read(self, bind: str, address: tuple[str, int]) -> None:
        assert cli._address(bind) == address
        assert serve.endpoint(*address) == bind

    # This is the last port: there is none after it for control.
    @pytest.mark.parametrize(
        "bind",
        [
            "",
            "127.0.0.1:5555",
            "ipc://x:5555",
            "tcp://127.0.0.1",
            "tcp://:5555",
            "tcp://*:5555",
            "tcp://h:0",
            "tcp://h:-1",
            "tcp://h:65535",
        ],
    )
    def test_is_refused(self, bind: str) -> None:
        with pytest.raises(Refusal, match="--bind is"):
            cli._address(bind)

    @pytest.mark.parametrize(
        ("host", "expected"),
        [
            ("127.0.0.1", True),
            ("127.1.2.3", True),
            ("localhost", True),
            ("::1", True),
            ("0.0.0.0", False),
            ("::", False),
            ("10.0.0.1", False),
            ("127.example.org", False),
            ("127.0.0.1.example.org", False),
            ("localhost.example.org", False),
            ("", False),
        ],
    )
    def test_is_of_this_machine_alone(self, host: str, expected: bool) -> None:
        assert serve.is_loopback(host) is expected


class TestOptions:
    @pytest.fixture(autouse=True)
    def starts_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Options that are not refused would start a server."""
        monkeypatch.setattr(serve, "_try_ports", lambda _: pytest.fail("it was not refused"))

    def test_limits_are_changed_by_name_and_the_others_stay(self) -> None:
        assert cli._limits([]) == LIMITS
        changed = cli._limits(["frameBytes=1048576", "ops=7"])
        assert (changed.frame_bytes, changed.ops, changed.meta_bytes) == (1048576, 7, LIMITS.meta_bytes)

    @pytest.mark.parametrize(
        "told",
        [
            "frameBytes",
            "frameBytes=",
            "frameBytes=0",
            "frameBytes=-1",
            "frameBytes=1e6",
            "frame_bytes=1",
            "=1",
            "nothing=1",
        ],
    )
    def test_a_limit_is_refused_with_the_names_that_there_are(self, told: str) -> None:
        with pytest.raises(Refusal, match=r"NAME=N, with one of .*frameBytes"):
            cli._limits([told])

    def test_workers_are_counted(self) -> None:
        assert [cli._count(text) for text in ("1", "64")] == [1, 64]
        for text in ("0", "65", "-1", "two"):
            with pytest.raises((argparse.ArgumentTypeError, ValueError)):
                cli._count(text)

    @pytest.mark.parametrize(
        ("argv", "why"),
        [
            (["serve", "--bind", "tcp://0.0.0.0:5555"], "0.0.0.0 can be reached from elsewhere"),
            (["serve", "--bind", "tcp://127.example.org:5555"], "127.example.org can be reached from elsewhere"),
            (["serve", "--bind", "nowhere"], "--bind is 'nowhere'"),
            (["serve", "--grace", "0.5"], "--grace is at least 1"),
            (["serve", "--drain", "-1"], "--drain at least 0"),
            (["serve", "--limit", "x=1"], "--limit x=1"),
            (["serve", "--keys", "/nowhere/keys"], "there is no folder /nowhere/keys"),
        ],
    )
    def test_what_cannot_be_served_is_refused_before_anything_starts(
        self, argv: list[str], why: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(argv) == 2
        said = capsys.readouterr()
        assert why in said.err
        assert said.err.startswith("torchwire-worker: ")
        assert said.out == ""

    def test_who_binds_elsewhere_without_keys_is_told_the_commands_that_make_them(self) -> None:
        with pytest.raises(Refusal) as refused:
            serve.serve(OPTIONS._replace(host="::"))
        for part in (
            "any Python",
            "npx torchwire keygen NAME | ssh",
            "authorize --keys DIR",
            "serve --bind tcp://[::]:5555 --keys DIR",
            "127.0.0.1",
        ):
            assert part in str(refused.value)


class Server:
    """The part of keys.ServerKeys that the log shows."""

    fingerprint = "SHA256:server"

    def clients(self) -> dict[str, str]:
        return {"bob": "SHA256:bob", "alice": "SHA256:alice"}


class TestHello:
    def said(self, speed: float | None = 900.0, **changes: Any) -> list[tuple[int, str]]:
        server: Any = None if speed is None else Server()
        return list(serve.hello(OPTIONS._replace(**changes), server, speed))

    def test_names_the_ports_the_versions_and_the_device(self) -> None:
        (level, line), *_ = self.said()
        assert level == logging.INFO
        assert "serves 1 worker at tcp://127.0.0.1:5555 (ports up to 5556;" in line
        assert f"Python {sys.version.split()[0]}, torch " in line
        assert line.endswith("device cpu")
        (_, line), *_ = self.said(workers=3, host="::1", device="auto")
        assert "serves 3 workers at tcp://[::1]:5555 (ports up to 5560;" in line

    def test_names_its_key_and_who_may_enter(self) -> None:
        assert [line for _, line in self.said()][1:4] == [
            "its key is SHA256:server",
            "alice may enter: SHA256:alice",
            "bob may enter: SHA256:bob",
        ]

    def test_warns_of_encryption_that_is_slow(self) -> None:
        assert self.said(300.0)[-1] == (logging.INFO, "encryption runs at 300 MB/s")
        *_, fact, (level, line) = self.said(40.2)
        assert fact == (logging.INFO, "encryption runs at 40 MB/s")
        assert level == logging.WARNING
        assert "below 300 MB/s" in line
        assert "pyzmq" in line

    def test_warns_where_there_are_no_keys(self) -> None:
        _, (level, line) = self.said(None)
        assert level == logging.WARNING
        assert "nothing is encrypted" in line


class TestHealth:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "status.json"

    def write(self, path: Path, workers: list[int | None], age: float = 0, pid: int | None = None) -> None:
        path.write_text(
            json.dumps({"pid": pid or os.getpid(), "state": "serving", "time": time.time() - age, "workers": workers})
        )

    def test_of_workers_that_run_is_good(self, path: Path) -> None:
        self.write(path, [os.getpid(), os.getppid()])
        assert serve.check_health(str(path)) is None

    def test_is_bad_where_nothing_is_written(self, path: Path) -> None:
        assert "no status" in (serve.check_health(str(path)) or "")
        path.write_text("{")
        assert "no status" in (serve.check_health(str(path)) or "")

    def test_is_bad_where_it_is_old(self, path: Path) -> None:
        self.write(path, [os.getpid()], 14)
        assert serve.check_health(str(path)) is None
        self.write(path, [os.getpid()], 16)
        assert serve.check_health(str(path)) == "the supervisor has not written its status for 16 s"

    def says(self, path: Path, **changes: Any) -> str:
        status = {
            "pid": os.getpid(),
            "state": "serving",
            "time": time.time(),
            "clock": time.monotonic(),
            "workers": [os.getpid()],
            **changes,
        }
        path.write_text(json.dumps(status))
        return serve.check_health(str(path)) or "healthy"

    def dead(self) -> int:
        child = subprocess.Popen(["true"])
        child.wait()
        return child.pid

    @pytest.mark.skipif(sys.platform != "linux", reason="it looks at /proc")
    def test_is_bad_where_the_supervisor_is_dead_whatever_the_clocks_say(self, path: Path) -> None:
        here, start = processes.place(), processes.start_of(os.getpid())
        assert self.says(path) == self.says(path, place=here, start=start) == "healthy"
        dead = self.dead()
        for future in (0, 3600, 1e9):
            for clock in (None, time.monotonic() + future):
                assert (
                    self.says(path, time=time.time() + future, clock=clock, pid=dead)
                    == f"the supervisor, process {dead}, does not run"
                )
        # Its number belongs to another process by now.
        assert self.says(path, place=here, start="1").endswith("does not run")
        assert "from the future" in self.says(path, time=time.time() + 3600, clock=None)
        assert "from the future" in self.says(path, clock=time.monotonic() + 3600)
        # A worker stays healthy if the clock is set back or forth.
        for wrong in (-3600, 3600):
            assert self.says(path, time=time.time() + wrong, place=here, start=start) == "healthy"
        # The status was written before the machine was started, or in another container: its numbers and its clock mean
        # nothing here.
        for elsewhere in (f"another/{here.partition('/')[2]}", f"{here.partition('/')[0]}/1"):
            assert "written on another machine" in self.says(path, place=elsewhere, start=start)

    @pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows has no file modes")
    def test_is_bad_where_somebody_else_could_say_that_all_is_well(self, path: Path) -> None:
        assert self.says(path) == "healthy"
        path.chmod(0o666)
        assert (
            serve.check_health(str(path))
            == f"no status that counts: others can write {path} (uid {os.getuid()}, mode 0666)"
        )
        path.chmod(0o644)
        path.parent.chmod(0o777)
        assert "others can write into" in (serve.check_health(str(path)) or "")
        # /tmp has this mode.
        path.parent.chmod(0o1777)
        assert serve.check_health(str(path)) is None
        if os.geteuid() == 0:
            os.chown(path, 65534, -1)
            assert "belongs to another user (uid 65534" in (serve.check_health(str(path)) or "")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
    def test_is_bad_where_the_status_has_no_form(self, path: Path) -> None:
        for text in (
            "",
            "[]",
            "{}",
            '"x"',
            '{"pid": "1", "workers": [], "time": 0}',
            '{"pid": 1, "workers": {}, "time": 0}',
        ):
            path.write_text(text)
            assert (serve.check_health(str(path)) or "").startswith("no status: ")
        path.unlink()
        os.mkfifo(path, 0o600)
        assert (serve.check_health(str(path)) or "").startswith("no status: ")

    @pytest.mark.skipif(sys.platform != "linux", reason="it looks at /proc")
    def test_is_bad_where_a_worker_is_missing_gone_stopped_or_a_zombie(self, path: Path) -> None:
        child = subprocess.Popen(["sleep", "1000"])
        try:
            self.write(path, [os.getpid(), None, child.pid])
            assert serve.check_health(str(path)) == "not running: worker 1 of 3"
            child.send_signal(signal.SIGSTOP)
            assert self.soon(path, "not running: worker 1, 2 of 3")
            child.send_signal(signal.SIGCONT)
            assert self.soon(path, "not running: worker 1 of 3")
        finally:
            child.kill()
        # Nobody has waited for it yet.
        assert self.soon(path, "not running: worker 1, 2 of 3")
        child.wait()
        assert self.soon(path, "not running: worker 1, 2 of 3")

    def soon(self, path: Path, expected: str) -> bool:
        end = time.monotonic() + 2
        while time.monotonic() < end and serve.check_health(str(path)) != expected:
            time.sleep(0.01)
        return serve.check_health(str(path)) == expected

    def test_command_says_it_and_exits_by_it(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.write(path, [os.getpid()])
        assert cli.main(["healthcheck", "--status", str(path)]) == 0
        assert capsys.readouterr().out == "healthy\n"
        self.write(path, [None])
        assert cli.main(["healthcheck", "--status", str(path)]) == 1
        assert capsys.readouterr().out == "not running: worker 0 of 1\n"

    def test_of_two_that_write_one_file_the_second_says_so(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        for text in ("{", "[]", "{}"):
            path.write_text(text)
            serve._warn_of_another(str(path))
        self.write(path, [], age=16, pid=os.getppid())
        serve._warn_of_another(str(path))
        self.write(path, [])
        serve._warn_of_another(str(path))
        assert caplog.messages == []
        self.write(path, [], pid=os.getppid())
        serve._warn_of_another(str(path))
        assert caplog.messages == [
            f"process {os.getppid()} writes its status to {path}, too, and healthcheck looks there: --status takes "
            "another file"
        ]

    def test_is_written_whole_once_a_second_and_when_it_changes(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(serve, "_written", 0.0)
        serve._write_status(str(path), [], "starting")
        first = json.loads(path.read_text())
        assert (first["pid"], first["state"], first["workers"]) == (os.getpid(), "starting", [])
        serve._write_status(str(path), [], "starting")
        assert json.loads(path.read_text()) == first
        monkeypatch.setattr(serve, "_written", time.monotonic() - 1.1)
        serve._write_status(str(path), [], "starting")
        assert json.loads(path.read_text())["time"] > first["time"]
        serve._write_status(str(path), [], "serving")
        assert json.loads(path.read_text())["state"] == "serving"
        assert os.listdir(path.parent) == [path.name]


class Fake:
    """A worker process that only reports its state."""

    made: list[Fake] = []

    def __init__(self, *_: Any) -> None:
        self.pid = 1000 + len(Fake.made)
        self.code: int | None = None
        self.started = time.monotonic()
        self.ready = self.listens = self.closed = False
        Fake.made.append(self)

    def listen(self) -> None:
        self.listens = True

    def hears(self) -> bool:
        return self.ready

    def close(self) -> None:
        self.closed = True


class TestSlot:
    @pytest.fixture
    def slot(self, monkeypatch: pytest.MonkeyPatch) -> Slot:
        monkeypatch.setattr(serve, "Process", Fake)
        Fake.made = []
        return Slot(OPTIONS, 0)

    def test_warms_the_next_when_the_first_has_the_ports_and_hands_them_over(self, slot: Slot) -> None:
        slot.look()
        (first,) = Fake.made
        assert first.listens
        slot.look()
        # Otherwise both would load PyTorch at once.
        assert len(Fake.made) == 1
        first.ready = True
        slot.look()
        _, second = Fake.made
        assert not second.listens
        first.code = 0
        slot.look()
        assert first.closed
        assert second.listens
        assert slot.active is second  # type: ignore[comparison-overlap]

    def test_starts_one_that_fails_at_once_again_but_not_at_once(
        self, slot: Slot, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slot.look()
        Fake.made[0].code = 1
        slot.look()
        slot.look()
        assert len(Fake.made) == 1
        monkeypatch.setattr(slot, "_not_before", 0.0)
        slot.look()
        assert len(Fake.made) == 2

    @pytest.mark.parametrize(
        ("code", "level", "what"),
        [
            (0, "INFO", "session over"),
            (75, "WARNING", "session dropped"),
            (1, "ERROR", "ended with code 1"),
            (-9, "ERROR", "ended by SIGKILL"),
        ],
    )
    def test_says_how_a_session_has_ended(
        self, slot: Slot, caplog: pytest.LogCaptureFixture, code: int, level: str, what: str
    ) -> None:
        caplog.set_level(logging.INFO)
        slot.look()
        Fake.made[0].code = code
        slot.look()
        (record,) = caplog.records
        assert record.levelname == level
        assert what in record.getMessage()
        assert "tcp://127.0.0.1:5555" in record.getMessage()


NAMES = {"key of alice": "alice", "key of bob": "bob"}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

        self.strftime, self.gmtime = time.strftime, time.gmtime

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(door, "time", clock)
    return clock


def greeting(token: str, resumes: bool = False, replaces: str | None = None, **client: str) -> Hello:
    return Hello(token, {"user": "me", "host": "desk", "pid": "7", **client}, {}, None, resumes, replaces)


def refused(code: str | None, *args: Any) -> str:
    """Return the answer to such a greeting."""
    door, *told = args
    with pytest.raises(WireError) as caught:
        door.enter(*told)
    told = refusal(caught.value)
    told.pop("holder", None)
    assert told == {"message": str(caught.value), **({} if code is None else {"code": code})}
    return str(caught.value)


class TestDoorOfASpawnedWorker:
    def test_lets_in_who_knows_the_token(self) -> None:
        own = Door("right")
        own.enter(greeting("right"), "", "data", 1)
        own.enter(greeting("right"), "", "control", 1)
        assert refused(None, own, greeting("wrong"), "", "data", 2) == "the token is wrong"
        assert refused(None, own, greeting("é"), "", "data", 2) == "the token is wrong"
        own.enter(greeting("right", resumes=True), "", "data", 2)
        assert not own.is_revoked()


class TestDoor:
    @pytest.fixture
    def served(self, clock: Clock) -> Door:
        return Door(name_of=NAMES.get)

    def test_lets_in_the_first_that_comes_and_no_other(self, served: Door, clock: Clock) -> None:
        assert served.holder == ""
        served.enter(greeting("a"), "key of alice", "control", 1)
        served.enter(greeting("a"), "key of alice", "data", 1)
        clock.now += 90
        said = refused("BUSY", served, greeting("b"), "key of bob", "data", 1)
        assert said == (
            "the worker is held by alice, me@desk (process 7) since 1970-01-01 00:16:40 UTC (2 min): "
            "it serves one client at a time. With serve --workers 2 there is another one, two ports on"
        )

    def test_lets_in_nobody_without_a_token(self, served: Door) -> None:
        assert (
            refused(None, served, greeting(""), "key of alice", "data", 1)
            == "a session has a token, and this greeting none"
        )
        assert served.holder == ""

    def test_knows_a_session_by_its_key_as_well_as_by_its_token(self, served: Door) -> None:
        served.enter(greeting("a"), "key of alice", "data", 1)
        for by in ("data", "control"):
            refused("BUSY", served, greeting("a"), "key of bob", by, 2)
            refused("BUSY", served, greeting("a", resumes=True), "key of bob", by, 2)
            refused("BUSY", served, greeting("a"), "", by, 2)
            refused("BUSY", served, greeting("b"), "key of alice", by, 2)
        served.enter(greeting("a", resumes=True), "key of alice", "data", 2)

    def test_counts_connections_on_each_socket_and_listens_to_the_latest(self, served: Door) -> None:
        served.enter(greeting("a"), "", "data", 3)
        served.enter(greeting("a"), "", "control", 1)
        for stale in (1, 3):
            assert "is not the latest, which is 3" in refused("PROTOCOL", served, greeting("a"), "", "data", stale)
        served.enter(greeting("a"), "", "data", 4)
        served.enter(greeting("a"), "", "control", 4)
        assert refused(None, served, greeting("a"), "", "data", 0) == "connections are counted from 1"

    def test_names_its_holder_to_who_has_the_same_key(self, served: Door) -> None:
        served.enter(greeting("a"), "key of alice", "data", 1)
        for key, holder in (("key of alice", {"user": "me", "host": "desk", "pid": "7"}), ("key of bob", None)):
            with pytest.raises(Refused) as caught:
                served.enter(greeting("b"), key, "data", 1)
            assert refusal(caught.value).get("holder") == holder

    def test_gives_up_a_session_that_is_away_for_one_of_the_same_key_that_says_its_process_has_ended(
        self, served: Door, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        demanded: list[int] = []
        monkeypatch.setattr(door.ending, "demand", lambda _, code: demanded.append(code))
        served.enter(greeting("a"), "key of alice", "data", 1)
        after = greeting("b", replaces="7")
        # The client is there.
        refused("BUSY", served, after, "key of alice", "control", 1)
        served.away_since = clock.now
        clock.now += 3
        # The key is another's, the process is another, or nobody says that it has ended.
        refused("BUSY", served, after, "key of bob", "control", 1)
        refused("BUSY", served, greeting("b", replaces="8"), "key of alice", "control", 1)
        assert "and has been away for 3 s: it serves" in refused(
            "BUSY", served, greeting("b"), "key of alice", "control", 1
        )
        # The client gets no answer, and comes again: to the next process.
        with pytest.raises(door.Shut):
            served.enter(after, "key of alice", "control", 1)
        assert served.is_dropped
        assert demanded == [door.DROPPED]
        assert (
            caplog.messages[-1]
            == "the next client says that alice, me@desk (process 7) has ended: its session is dropped"
        )

    def test_resumes_no_session_that_it_does_not_know(self, served: Door) -> None:
        assert "has no such session" in refused("WORKER_GONE", served, greeting("a", resumes=True), "", "data", 2)
        # The worker is still free.
        served.enter(greeting("b"), "", "data", 1)

    def test_waits_half_a_minute_for_who_came_by_one_socket_alone(self, served: Door, clock: Clock) -> None:
        served.enter(greeting("a"), "", "control", 5)
        clock.now += 29
        refused("BUSY", served, greeting("b"), "", "control", 1)
        clock.now += 2
        # The client counts its connections anew.
        served.enter(greeting("b"), "", "control", 1)
        refused("BUSY", served, greeting("a"), "", "control", 6)

    def test_forgets_who_came_by_control_alone_and_is_gone(self, served: Door) -> None:
        served.enter(greeting("a"), "", "control", 1)
        served.forget()
        served.enter(greeting("b"), "", "control", 1)
        served.enter(greeting("b"), "", "data", 1)
        served.forget()
        refused("BUSY", served, greeting("a"), "", "control", 2)

    def test_keeps_a_session_that_is_on_for_ever(self, served: Door, clock: Clock) -> None:
        served.enter(greeting("a"), "", "data", 1)
        clock.now += 1e6
        refused("BUSY", served, greeting("b"), "", "data", 1)

    def test_is_free_when_nothing_has_come_of_it_and_says_why_by_the_other_socket(self, served: Door) -> None:
        served.enter(greeting("a"), "", "data", 1)
        served.leave(Refused("NO_DEVICE", "no such device"))
        assert served.holder == ""
        assert refused("NO_DEVICE", served, greeting("a"), "", "control", 1) == "no such device"
        served.enter(greeting("b"), "", "data", 1)
        assert refused("NO_DEVICE", served, greeting("a"), "", "control", 2) == "no such device"

    def test_says_it_with_a_new_error_each_time(self, served: Door) -> None:
        served.enter(greeting("a"), "", "data", 1)
        why = Refused("NO_DEVICE", "no such device")
        served.leave(why)
        for connection in range(1, 5):
            refused("NO_DEVICE", served, greeting("a"), "", "control", connection)
        # One error, raised again and again, would keep everything that its growing traceback refers to.
        assert why.__traceback__ is None

    def test_says_whose_key_is_not_on_the_list_any_more(self, clock: Clock) -> None:
        names = dict(NAMES)
        served = Door(name_of=names.get)
        assert not served.is_revoked()
        served.enter(greeting("a"), "key of alice", "data", 1)
        del names["key of bob"]
        assert not served.is_revoked()
        del names["key of alice"]
        assert served.is_revoked()
        assert served.holder == "alice, me@desk (process 7)"

    def test_of_one_without_keys_revokes_nobody(self, served: Door) -> None:
        served.enter(greeting("a"), "", "data", 1)
        assert not served.is_revoked()

    def test_shows_of_a_client_what_can_be_printed_and_not_too_much(self, served: Door) -> None:
        served.enter(greeting("a", user="\x1b[31m", host="h" * 100, pid="7\n8"), "", "data", 1)
        assert served.holder == f"somebody@{'h' * 64} (process ?)"
