"""The worker's reader of safetensors files. The client's tests (test/pure/weights/safetensors.test.ts) use the same
table, and the package is the judge.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch

from torchwire_worker.helpers.checkpoint import load
from torchwire_worker.helpers.safetensors_file import read_safetensors

TABLE = json.loads((Path(__file__).parents[2] / "test" / "golden" / "safetensors.json").read_text())


def content(case: dict[str, Any]) -> bytes:
    if "raw" in case:
        return bytes.fromhex(case["raw"])
    header = "".join(part if isinstance(part, str) else part[0] * part[1] for part in case["header"]).encode()
    return int(case.get("length", len(header))).to_bytes(8, "little") + header + bytes(case["data"])


@pytest.mark.parametrize("case", TABLE["refused"], ids=lambda case: case["name"])
def test_what_is_refused(case: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content(case))
    with pytest.raises(ValueError, match="a.safetensors") as raised:
        read_safetensors(str(path))
    assert len(str(raised.value)) < 1000 and str(raised.value).isprintable()
    if case["package"]:
        with pytest.raises(safetensors.SafetensorError):
            safetensors.deserialize(content(case))
    else:
        safetensors.deserialize(content(case))


@pytest.mark.parametrize("case", TABLE["read"], ids=lambda case: case["name"])
def test_what_is_read(case: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content(case))
    tensors, _ = read_safetensors(str(path))
    assert sorted(tensors) == case["names"] == sorted(name for name, _ in safetensors.deserialize(content(case)))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders here")
def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises((ValueError, OSError)):
            read_safetensors(str(path))


def test_a_file_that_became_shorter_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    whole = content(TABLE["read"][-2])
    path.write_bytes(whole)
    about = os.stat(path)
    path.write_bytes(whole[:-1])
    monkeypatch.setattr(os, "fstat", lambda _: about)
    with pytest.raises(ValueError, match="not a safetensors file"):
        read_safetensors(str(path))


def test_bytes_of_the_header_never_become_weights(tmp_path: Path) -> None:
    module = torch.nn.Linear(1, 2, bias=False)
    before = module.weight.tolist()
    path = tmp_path / "a.safetensors"
    header = b'{"weight":{"dtype":"F32","shape":[2,1],"data_offsets":[-8,0]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match="not a safetensors file"):
        load(module, str(path))
    assert module.weight.tolist() == before


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ModuleNotFoundError, match="pip install safetensors"):
        read_safetensors(str(tmp_path / "a"))
