"""If descriptors, memory or a folder run short, the running work continues."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import zmq

from torchwire_worker import keys, records, serve
from torchwire_worker.control import Control
from torchwire_worker.door import Door
from torchwire_worker.executor import Executor
from torchwire_worker.link import Link
from torchwire_worker.ops import Hello
from torchwire_worker.wire import Limits

OPTIONS = serve.Options("127.0.0.1", 5555, None, "cpu", 1, 60, 50, Limits(), None, ("info", "text"))


@pytest.fixture
def unwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "_written", float("-inf"))
    monkeypatch.setattr(serve, "_is_told", False)


@pytest.mark.usefixtures("unwritten")
class TestStatus:
    def test_that_cannot_be_written_ends_nothing_and_is_told_once(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for _ in range(3):
            serve._write_status(str(tmp_path / "gone" / "status.json"), [], "serving")
            monkeypatch.setattr(serve, "_written", float("-inf"))
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "No such file or directory" in caplog.text

    @pytest.mark.skipif(not hasattr(os, "symlink"), reason="no symbolic links here")
    def test_is_not_written_through_a_link_that_lies_there(self, tmp_path: Path) -> None:
        path, victim = tmp_path / "status.json", tmp_path / "victim"
        victim.write_text("precious")
        for name in ("status.json", "status.json.new", f"status.json.{os.getpid()}"):
            (tmp_path / name).symlink_to(victim)
        serve._write_status(str(path), [], "serving")
        assert victim.read_text() == "precious"
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_worker_that_cannot_be_started_is_tried_again_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    started = []

    def fail(*_: Any) -> None:
        started.append(1)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(serve, "Process", fail)
    slot = serve.Slot(OPTIONS, 0)
    for _ in range(3):
        slot.look()
    assert len(started) == 1
    assert "no worker can be started at tcp://127.0.0.1:5555: Too many open files" in caplog.text


def test_every_signal_has_a_name() -> None:
    assert serve._how(-signal.SIGKILL) == "by SIGKILL"
    assert serve._how(-40) == "by signal 40"


class TestRevocation:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / keys.CLIENTS).mkdir()
        public, _ = zmq.curve_keypair()
        self.public = public.decode()
        (tmp_path / keys.CLIENTS / "me.key").write_text(f'metadata\ncurve\n    public-key = "{self.public}"\n')
        return tmp_path

    @pytest.mark.parametrize("broken", ["os.open", "os.listdir"])
    def test_is_none_where_the_list_cannot_be_read_just_now(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, broken: str
    ) -> None:
        server = keys.ServerKeys(str(folder), "", "")
        door = Door(name_of=server.name_of)
        door.enter(Hello("t", {}, {}), self.public, "data", 1)
        assert not door.is_revoked()

        def fail(*_: Any, **_more: Any) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        with monkeypatch.context() as patched:
            patched.setattr(broken, fail)
            assert not door.is_revoked()
            # But nobody may enter.
            assert not keys._AllowList(server).callback("torchwire", self.public.encode())
        (folder / keys.CLIENTS / "me.key").unlink()
        assert door.is_revoked()


def test_more_records_than_can_be_carried_away_are_dropped_and_it_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    context = zmq.Context()
    limits = Limits()
    # (The control thread does not run.)
    control = Control(Link(context, "inproc://none", limits), Door("t"), Executor(limits), None)
    for _ in range(5000):
        control.record({"level": 20, "logger": "x", "message": "m" * records.LONGEST})
    assert capfd.readouterr().err == ""
    waiting = control._records
    kept = 0
    while waiting.first is not None and waiting.first["logger"] == "x":
        kept += records.size_of(waiting.first)
        waiting.take()
    assert kept <= 8 * 2**20
    assert waiting.first is not None
    assert waiting.first["message"].startswith(
        f"{5000 - kept // (records.LONGEST + 64)} lines of output and log records were dropped here"
    )
    context.destroy(linger=0)
