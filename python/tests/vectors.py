"""Reads test/golden/wire-v1.json: its vectors, and its notation for values that JSON cannot express."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import torch

GOLDEN_FOLDER = Path(__file__).resolve().parents[2] / "test" / "golden"
GOLDEN: dict[str, Any] = json.loads((GOLDEN_FOLDER / "wire-v1.json").read_text("utf-8"))


def names(vectors: list[dict[str, Any]]) -> dict[str, Any]:
    """Return cases for pytest.mark.parametrize."""
    return {"argvalues": vectors, "ids": [vector["name"] for vector in vectors]}


def by(side: str, vectors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [vector for vector in vectors if side in vector["by"]]


def read(notation: Any, objects: dict[int, Any] | None = None) -> Any:
    """Return the Python value that is described."""
    if isinstance(notation, list):
        return [read(item, objects) for item in notation]
    if not isinstance(notation, dict):
        return notation
    key, argument = next(iter(notation.items()), ("", None))
    if not key.startswith("$"):
        return {name: read(item, objects) for name, item in notation.items()}
    if key == "$ref":
        assert objects is not None
        return objects[argument]
    return _READERS[key](argument)


def _tensor(description: dict[str, Any]) -> torch.Tensor:
    dtype = getattr(torch, description["dtype"])
    data = bytearray.fromhex(description["hex"])
    return (torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)).reshape(description["shape"])


_READERS: dict[str, Any] = {
    "$float": float,
    "$int": int,
    "$bytes": bytes.fromhex,
    "$tuple": lambda items: tuple(read(items)),
    "$set": lambda items: set(read(items)),
    "$range": range,
    "$dict": lambda entries: {read(key): read(value) for key, value in entries},
    "$slice": lambda parts: slice(*read(parts)),
    "$tensor": _tensor,
}


def _bytes(tensor: torch.Tensor) -> bytes:
    # NumPy lacks some of torch's dtypes. Copy, since the strides of dimensions of length 1 can be anything.
    copy = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)
    return copy.reshape(-1).view(torch.uint8).numpy().tobytes()


def same(a: Any, b: Any) -> bool:
    """Return whether both are equal and of equal types, to the bit: nan is nan, -0.0 is not 0.0, 1 is neither 1.0 nor
    True.
    """
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or struct.pack("<d", a) == struct.pack("<d", b)
    if isinstance(a, torch.Tensor):
        return (a.dtype, a.shape, _bytes(a)) == (b.dtype, b.shape, _bytes(b))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return same(list(a), list(b)) and same(list(a.values()), list(b.values()))
    return bool(a == b)
