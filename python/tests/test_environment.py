"""The set-up's own parts. (The whole of it is tested from TypeScript, near and over a real sshd.)"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from torchwire_worker.environment import lock, managed, space
from torchwire_worker.environment.client import Failure
from torchwire_worker.processes import place

FOLDER = str(Path(__file__).parent.parent)
LOCK = """
import sys, time
sys.path.insert(0, sys.argv[1])
from torchwire_worker.environment.lock import hold
with hold(sys.argv[2], lambda owner: None, lambda: sys.exit(3)):
    for word in ("in", "out"):
        open(sys.argv[3], "a").write(word + chr(10))
        time.sleep(0.03)
"""
ELSEWHERE = "0c0ffee0-0000-4000-8000-000000000000/4026539999"


def ended_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


class Waits(Exception):
    pass


def refuse(owner):
    raise Waits(owner)


class TestLock:
    @pytest.fixture
    def path(self, tmp_path):
        (tmp_path / "dir").mkdir()
        return tmp_path / "dir" / ".lock"

    def write(self, path, **owner):
        path.write_text(json.dumps(dict({"host": socket.gethostname(), "id": "x"}, **owner)))

    def take(self, path):
        with lock.hold(str(path), refuse, lambda: None):
            return json.loads(path.read_text())

    def test_goes_to_one_process_at_a_time_though_several_found_its_owner_dead(self, path, tmp_path):
        notes = tmp_path / "notes"
        self.write(path, pid=ended_pid(), place=place())
        command = [sys.executable, "-c", LOCK, FOLDER, str(path), str(notes)]
        runs = [subprocess.Popen(command) for _ in range(3)]
        assert [run.wait() for run in runs] == [0, 0, 0]
        assert notes.read_text() == "in\nout\n" * 3
        assert not path.exists()

    @pytest.mark.parametrize(
        "owner",
        [
            pytest.param({"place": ELSEWHERE}, id="in a container of the same host name"),
            pytest.param({}, id="of an earlier version, which does not say where its number counts"),
            pytest.param({"pid": "none"}, id="of no form"),
        ],
    )
    def test_of_an_owner_is_waited_for_though_no_process_here_has_its_number(self, path, owner):
        self.write(path, **dict({"pid": ended_pid()}, **owner))
        with pytest.raises(Waits, match="process"):
            self.take(path)
        assert path.exists()

    def test_that_is_not_yet_written_is_waited_for(self, path):
        path.touch()
        with pytest.raises(Waits, match="another process"):
            self.take(path)

    def test_of_an_owner_whose_number_another_process_has_by_now_is_taken(self, path):
        self.write(path, pid=os.getpid(), place=place(), start="1")
        held = self.take(path)
        assert held["host"] == socket.gethostname() and held["place"] == place() and held["start"].isdigit()
        assert not path.exists()

    def test_of_an_owner_that_cannot_be_asked_is_taken_only_when_it_shows_no_life(self, path, monkeypatch):
        monkeypatch.setattr(lock, "_PATIENCE_SECONDS", 0.3)
        self.write(path, pid=1, host="another-host")
        waited, taken = [], threading.Event()

        def take():
            with lock.hold(str(path), waited.append, lambda: None):
                taken.set()

        thread = threading.Thread(target=take)
        thread.start()
        for _ in range(40):
            time.sleep(0.02)
            os.utime(path)
        assert (waited, taken.is_set()) == (["process 1 on another-host"], False)
        thread.join()
        assert taken.is_set() and not path.exists()

    def test_that_was_taken_from_us_is_told(self, path, monkeypatch):
        monkeypatch.setattr(lock, "_HEARTBEAT_SECONDS", 0.01)
        lost = threading.Event()
        with lock.hold(str(path), refuse, lost.set):
            self.write(path, pid=1, host="another-host")
            assert lost.wait(10)
        assert json.loads(path.read_text())["pid"] == 1

    def test_is_not_waited_for_when_the_client_ends(self, path):
        self.write(path, pid=1, host="another-host")
        code = "import sys; sys.path.insert(0, sys.argv[1]); from torchwire_worker.environment.main import main; main()"
        order = {"clean": {"all": True}, "directory": str(path.parent), "key": "", "there": ""}
        command = [sys.executable, "-I", "-c", code, FOLDER]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
            assert run.stdin and run.stdout
            run.stdin.write(json.dumps(order).encode() + b"\n")
            run.stdin.flush()
            run.stdout.readline()
            assert b"waiting for it" in run.stdout.readline()
            run.stdin.close()
            assert run.wait(10) == 1
        assert path.exists()


def made(directory, name, **marker):
    folder = directory / name
    python = Path(managed.python_of(str(folder)))
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    managed.finish(str(folder), dict({"base": sys.executable}, **marker))
    return folder


def test_a_managed_environment_exists_only_with_its_marker_and_its_interpreter(tmp_path):
    whole = made(tmp_path, "0123456789ab-3.11.7-linux-x86_64-aaaaaa")
    markerless = tmp_path / "0123456789ab-3.11.7-linux-x86_64-bbbbbb"
    markerless.mkdir()
    uninstalled = made(tmp_path, "0123456789ab-3.11.7-linux-x86_64-cccccc")
    python = Path(managed.python_of(str(uninstalled)))
    python.unlink()
    python.symlink_to(tmp_path / "gone")
    (tmp_path / "somebody-elses").mkdir()
    assert sorted(managed.leftovers(str(tmp_path))) == [str(markerless), str(uninstalled)]
    assert [found.folder for found in managed.all_managed(str(tmp_path))] == [str(whole)]


def test_an_environment_is_not_begun_where_the_disk_is_too_small(tmp_path):
    space.check_space(str(tmp_path), 1)
    with pytest.raises(Failure, match=r"not enough disk space in .*: about 1000000000\.0 GB needed") as caught:
        space.check_space(str(tmp_path), 10**18)
    assert caught.value.command == "TORCHWIRE_CACHE=/folder/on/another/disk npx torchwire setup"
    with pytest.raises(Failure, match="not enough disk space there in") as caught:
        space.check_space(str(tmp_path), 10**18, " there")
    assert caught.value.command is None
