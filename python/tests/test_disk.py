from __future__ import annotations

import hashlib
import os
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from torchwire_worker.helpers import disk
from torchwire_worker.helpers.safetensors_file import read_safetensors
from torchwire_worker.helpers.state import Copies

resource = pytest.importorskip("resource")


def waited(function: Any, *args: Any) -> Any:
    return ended(disk.Job(function, *args))


def ended(job: disk.Job) -> Any:
    while (outcome := job.outcome()) is None:
        time.sleep(0.001)
    return job.value if outcome is True else outcome


def test_prepare_and_remove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert disk.prepare("a/b") == disk.prepare("~/a/b") == str(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        disk.prepare("file")
    for path in ("file", "file", "a", "a"):
        disk.remove(path)
    assert os.listdir(tmp_path) == []


def test_removes_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    disk.remove(str(tmp_path / "link"))
    assert os.listdir(tmp_path) == ["folder"]


def test_tells_what_the_system_refuses_and_raises_all_else(tmp_path: Path) -> None:
    refused = disk.Job(disk.read, str(tmp_path / "no"))
    assert ended(refused) == refused.outcome() == f"[Errno 2] No such file or directory: '{tmp_path / 'no'}'"
    assert waited(disk.write_anew, str(tmp_path / "a"), "1") is True
    assert waited(disk.write_anew, str(tmp_path / "a"), "2") is False
    assert waited(disk.read, str(tmp_path / "a")) == b"1"
    with pytest.raises(TypeError):
        waited(disk.read)


def test_a_job_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    job = disk.Job(disk.read, str(pipe))
    assert job.outcome() is None
    pipe.write_text("1")
    assert ended(job) == b"1"


@pytest.mark.parametrize("content", [b"", b"\xff\x00text"])
def test_a_file_is_written_and_read_as_an_array(tmp_path: Path, content: bytes) -> None:
    path = str(tmp_path / "a")
    waited(disk.write, path, disk.raw(disk.array_of(content)))
    assert Path(path).read_bytes() == content
    assert bytes(disk.array_of(waited(disk.read, path)).tolist()) == content


def test_writes_tensors_says_their_hash_and_frees_them(tmp_path: Path) -> None:
    path = str(tmp_path / "a file.safetensors")
    # More than one piece, in the middle of which a tensor ends.
    named = {"large": torch.rand(1_500_000), "none": torch.empty(0), "small": torch.arange(3, dtype=torch.uint8)}
    copies = Copies(named, {"note": "ü"})
    parts = disk.bytes_of(copies)
    digest = waited(disk.write_tensors, path, parts)
    content = Path(path).read_bytes()
    assert digest == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert digest == waited(disk.digest, path)
    tensors, metadata = read_safetensors(path)
    assert metadata == {"format": "pt", "note": "ü"}
    assert all(torch.equal(tensors[name], named[name]) for name in named)
    assert not parts
    assert copies.rest() == []


def test_a_full_disk_is_told_and_holds_no_bytes_back(tmp_path: Path) -> None:
    parts = disk.bytes_of(Copies({"x": torch.rand(100_000)}, {}))
    array = weakref.ref(parts[1].obj)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        outcome = waited(disk.write_tensors, str(tmp_path / "x"), parts)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "File too large" in outcome
    assert array() is None
