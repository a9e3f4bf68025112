from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from torchwire_worker.helpers import checkpoint, garbage
from torchwire_worker.helpers.checkpoint import Kept, Saving, load
from torchwire_worker.helpers.checks import loss_problem
from torchwire_worker.helpers.state import DTYPES

nn = torch.nn


class Holder(nn.Module):
    def __init__(self, **tensors: torch.Tensor) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)


def one_of_each() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {code.lower(): torch.randint(0, 2, (3, 5)).to(dtype) for code, dtype in DTYPES.items()}


def bits(module: nn.Module) -> dict[str, bytes]:
    return {
        name: bytes(v.contiguous().reshape(-1).view(torch.uint8).tolist()) for name, v in module.state_dict().items()
    }


def saved(modules: object, path: Path, metadata: dict[str, str] | None = None) -> None:
    saving = Saving(modules, str(path), metadata or {})  # type: ignore[arg-type]
    while not saving.is_done():
        time.sleep(0.001)


def test_every_dtype_comes_back_bit_for_bit_and_as_the_format_says(tmp_path: Path) -> None:
    source = Holder(
        **one_of_each(), scalar=torch.tensor(3.5), empty=torch.empty(0, 4), strided=torch.arange(6.0).reshape(2, 3).t()
    )
    path = tmp_path / "one.safetensors"
    saved(source, path, {"epoch": "7", "ünïcode": "ja"})
    target = Holder(**{name: torch.zeros_like(value) for name, value in source.state_dict().items()})
    load(target, str(path))
    assert bits(target) == bits(source)

    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    header = json.loads(data[8 : 8 + length])
    assert header.pop("__metadata__") == {"format": "pt", "epoch": "7", "ünïcode": "ja"}
    ends = sorted(tuple(one["data_offsets"]) for one in header.values())
    assert ends[0][0] == 0 and ends[-1][1] == len(data) - 8 - length
    assert all(a[1] == b[0] for a, b in zip(ends, ends[1:]))
    assert os.listdir(tmp_path) == ["one.safetensors"]


def test_the_reference_implementation_reads_it(tmp_path: Path) -> None:
    theirs = pytest.importorskip("safetensors.torch")
    source = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    saved(source, tmp_path / "a.safetensors", {"epoch": "7"})
    found = theirs.load_file(tmp_path / "a.safetensors")
    assert found.keys() == source.state_dict().keys()
    assert all(torch.equal(value, found[name]) for name, value in source.state_dict().items())
    with pytest.importorskip("safetensors").safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "epoch": "7"}


def test_what_is_written_is_the_state_of_the_moment(tmp_path: Path) -> None:
    module = nn.Linear(2, 2)
    before = bits(module)
    saving = Saving(module, str(tmp_path / "a.safetensors"), {})
    with torch.no_grad():
        module.weight.fill_(9)
    while not saving.is_done():
        time.sleep(0.001)
    load(module, str(tmp_path / "a.safetensors"))
    assert bits(module) == before


def test_only_bytes_are_left_to_the_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    write = Saving._write
    monkeypatch.setattr(Saving, "_write", lambda self: (gate.wait(10), write(self)))
    saving = Saving(nn.Linear(2, 2), str(tmp_path / "a.safetensors"), {})
    assert not saving.is_done()
    assert all(isinstance(piece, (bytes, memoryview)) for piece in saving._bytes)
    gate.set()
    saving._thread.join()
    assert saving.is_done() and saving._bytes == []


def test_several_modules_and_tied_tensors(tmp_path: Path) -> None:
    tied = nn.Linear(3, 3, bias=False)
    modules = {"a": nn.Sequential(tied, tied), "b": nn.Linear(1, 1)}
    saved(modules, tmp_path / "two.safetensors")
    fresh_tied = nn.Linear(3, 3, bias=False)
    fresh = {"a": nn.Sequential(fresh_tied, fresh_tied), "b": nn.Linear(1, 1)}
    load(fresh, str(tmp_path / "two.safetensors"))
    assert [bits(one) for one in fresh.values()] == [bits(one) for one in modules.values()]


def test_what_does_not_fit_leaves_the_module_as_it_was(tmp_path: Path) -> None:
    saved(nn.Linear(2, 2), tmp_path / "a.safetensors")
    for other in (nn.Linear(2, 3), nn.Linear(2, 2, bias=False), nn.Sequential(nn.Linear(2, 2))):
        before = bits(other)
        with pytest.raises(ValueError, match="does not fit the module"):
            load(other, str(tmp_path / "a.safetensors"))
        assert bits(other) == before


def test_what_is_no_such_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(ValueError, match="not a safetensors file: its header would have 18446744073709551615 bytes"):
        load(nn.Linear(1, 1), str(path))


def test_a_failure_is_told_by_is_done_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")
    monkeypatch.setattr(checkpoint.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        saved(nn.Linear(1, 1), path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.safetensors"]
    with pytest.raises(FileNotFoundError):
        saved(nn.Linear(1, 1), tmp_path / "no" / "a.safetensors")
    with pytest.raises(TypeError, match=r"dense tensors only: x \(its layout is .*sparse"):
        Saving(Holder(x=torch.eye(2).to_sparse()), str(path), {})


def test_kept_is_put_back_and_was_never_an_inference_tensor() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = bits(module)
    with torch.inference_mode():
        kept = Kept(module)
    module(torch.rand(4, 2)).sum().backward()
    with torch.no_grad():
        module[0].weight.fill_(3)
    assert bits(module) != before
    kept.restore()
    assert not any(tensor.is_inference() for tensor in module.state_dict().values())
    assert bits(module) == before
    assert module[0].weight.requires_grad


def test_loss_problem() -> None:
    assert loss_problem(torch.tensor(1.0)) is None
    assert loss_problem(torch.ones(1, 1)) is None
    assert loss_problem(torch.ones(2)) == "it is a tensor of shape [2], not one number: reduce it, e.g. with .mean()"
    assert loss_problem(torch.tensor(1)) == "it is of torch.int64, and has no gradient"
    assert loss_problem(3.0) == "it is a float, not a tensor"


def test_garbage_is_collected() -> None:
    ring: Any = Holder()
    ring.itself = [ring]
    still_there = weakref.ref(ring)
    gc.disable()
    try:
        del ring
        assert still_there() is not None
        garbage.collect()
        assert still_there() is None
    finally:
        gc.enable()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
def test_on_a_disk_that_is_full_nothing_is_left_and_the_old_file_stays(tmp_path: Path) -> None:
    """Files must not grow, as if a disk or a quota were full: weights, the status of a server, keys, the lock of an
    environment.
    """
    import resource

    from torchwire_worker import keys, serve
    from torchwire_worker.environment import lock

    names = ["weights", "status", "key"]
    for name in names:
        (tmp_path / name).write_text("old")
    text = "x" * 300_000
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        for write in (
            lambda: saved(Holder(a=torch.zeros(100_000)), tmp_path / "weights"),
            lambda: serve._replace(str(tmp_path / "status"), text),
            lambda: keys._write(str(tmp_path / "key"), text),
            lambda: lock._create(str(tmp_path / "lock"), text),
        ):
            with pytest.raises(OSError):
                write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(os.listdir(tmp_path)) == sorted(names)
    assert {(tmp_path / name).read_text() for name in names} == {"old"}
    saved(Holder(a=torch.zeros(100_000)), tmp_path / "weights")
    serve._replace(str(tmp_path / "status"), text)
    assert lock._create(str(tmp_path / "lock"), text)
