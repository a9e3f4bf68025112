"""Kept samples whose arrays have shapes of their own: each lies by itself, and a batch pads them or packs them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

# Where a tensor of its own would begin. helpers/ragged.py has the same.
_ALIGNMENT = 64
_PIECE = 16 * 2**20


class Loose:
    """A shelf of such samples. `room` gives memory for so many bytes."""

    def __init__(self, key: str, dtypes: list[torch.dtype], room: Callable[[int], Any]) -> None:
        self.key = key.encode()
        self._dtypes = dtypes
        self._room = room
        self._rows: list[tuple[Tensor, ...]] = []
        self._free = torch.empty(0, dtype=torch.uint8, device="cpu")

    @property
    def count(self) -> int:
        return len(self._rows)

    def put(self, shapes: list[list[list[int]]], flats: Sequence[Tensor]) -> None:
        """Add rows with these shapes of their parts. `flats` has each part of all rows, one behind the other."""
        at = [0] * len(flats)
        for row in shapes:
            parts = []
            for i, (flat, shape) in enumerate(zip(flats, row)):
                size = math.prod(shape)
                parts.append(self._copy(flat[at[i] : at[i] + size]).reshape(shape))
                at[i] += size
            self._rows.append(tuple(parts))

    def gather(self, rows: Tensor, how: list[Any]) -> tuple[Tensor, ...]:
        chosen = [self._rows[row] for row in rows.tolist()]
        return tuple(_put_together([row[i] for row in chosen], way) for i, way in enumerate(how))

    def contents(self, shapes: list[list[list[int]]], flats: Sequence[Tensor]) -> list[bytes]:
        """Return the bytes of each row, with its shapes in front."""
        found, at = [], [0] * len(flats)
        for row in shapes:
            pieces = [json.dumps(row, separators=(",", ":")).encode(), b"\n"]
            for i, (flat, shape) in enumerate(zip(flats, row)):
                size = math.prod(shape)
                pieces.append(flat[at[i] : at[i] + size].view(torch.uint8).numpy().tobytes() if size else b"")
                at[i] += size
            found.append(b"".join(pieces))
        return found

    def restore(self, contents: Sequence[bytes]) -> None:
        """Add rows out of their bytes."""
        for content in contents:
            line, _, raw = content.partition(b"\n")
            shapes, flats, at = json.loads(line), [], 0
            for dtype, shape in zip(self._dtypes, shapes):
                size = math.prod(shape) * torch.empty(0, dtype=dtype).element_size()
                piece = bytearray(raw[at : at + size])
                flats.append(torch.frombuffer(piece, dtype=dtype) if size else torch.empty(0, dtype=dtype))
                at += size
            self.put([shapes], flats)

    def _copy(self, flat: Tensor) -> Tensor:
        size = flat.numel() * flat.element_size()
        if size == 0:
            return flat.clone()
        # Validation may run in inference mode, but a tensor made there could not be written later.
        with torch.inference_mode(False):
            if size > len(self._free):
                self._free = torch.frombuffer(self._room(max(size, _PIECE)), dtype=torch.uint8)
            own = self._free[:size].view(flat.dtype)
            self._free = self._free[-(-size // _ALIGNMENT) * _ALIGNMENT :]
        with torch.no_grad():
            own.copy_(flat)
        return own


def _put_together(parts: list[Tensor], how: Any) -> Tensor:
    if how == "stack":
        return torch.stack(parts)
    if how == "list":
        return _packed(parts)
    fill, axes, side, multiple = how
    return _padded(parts, fill, axes, side == "left", multiple)


def _packed(parts: list[Tensor]) -> Tensor:
    """Return the elements of all, each beginning where a tensor of its own would. client/data/list.ts does the same."""
    step = _ALIGNMENT // parts[0].element_size()
    starts, end = [], 0
    for part in parts:
        starts.append(-(-end // step) * step)
        end = starts[-1] + part.numel()
    out = torch.zeros(end, dtype=parts[0].dtype, device="cpu")
    for start, part in zip(starts, parts):
        out[start : start + part.numel()] = part.flatten()
    return out


def _padded(parts: list[Tensor], fill: Tensor, axes: list[int], is_left: bool, multiple: int) -> Tensor:
    longest = list(parts[0].shape)
    for axis in axes:
        longest[axis] = -(-max(part.shape[axis] for part in parts) // multiple) * multiple
    out = fill.reshape([]).expand([len(parts), *longest]).clone(memory_format=torch.contiguous_format)
    for whole, part in zip(out, parts):
        there = whole
        for axis in axes:
            size = part.shape[axis]
            there = there.narrow(axis, longest[axis] - size if is_left else 0, size)
        there.copy_(part)
    return out
