"""Tensors as raw bytes: row-major, little-endian, one frame each."""

from __future__ import annotations

import math
import sys
from typing import Any

from .wire import WireError

# Names the wire may use, and their item sizes. Looked up here, never with getattr on torch.
ITEM_SIZES = {"float32": 4, "float64": 8, "int64": 8, "int32": 4, "uint8": 1, "bool": 1}


def read_tensor(frame: Any, dtype: str, shape: list[int], most_dims: int) -> Any:
    """A tensor over the frame's own memory; copied only where that is not aligned, or where bytes must become 0 or 1."""
    size = ITEM_SIZES.get(dtype)
    if size is None:
        raise WireError(f"dtype {dtype!r} is unknown")
    if len(shape) > most_dims or any(type(n) is not int or n < 0 for n in shape):
        raise WireError(f"shape {shape[:80]} is not one")
    length = len(frame)
    if math.prod(shape) * size != length:
        raise WireError(f"a tensor of {dtype} {shape} takes {math.prod(shape) * size} bytes, its frame has {length}")
    import torch

    if length == 0:
        if math.prod(n or 1 for n in shape) * size >= 2**63:
            raise WireError(f"shape {shape} has strides past 64 bits")
        return torch.empty(shape, dtype=getattr(torch, dtype), device="cpu")
    raw = torch.frombuffer(frame, dtype=torch.uint8)
    if dtype == "bool":
        return raw.ne(0).reshape(shape)
    if raw.data_ptr() % size:
        raw = raw.clone()
    return raw.view(getattr(torch, dtype)).reshape(shape)


def is_array(value: Any) -> bool:
    """A torch tensor or a NumPy array; neither library is imported for the question."""
    return any(
        module is not None and isinstance(value, getattr(module, name))
        for module, name in ((sys.modules.get("torch"), "Tensor"), (sys.modules.get("numpy"), "ndarray"))
    )


class Frames:
    """The frames of a reply. What is added is copied at once: the tensor may change before the reply is sent."""

    def __init__(self) -> None:
        self.buffers: list[Any] = []

    def add(self, value: Any) -> tuple[int, str, list[int]]:
        """Where it lies, its dtype and its shape."""
        import torch

        if isinstance(value, torch.Tensor):
            tensor = value.detach()
        else:
            # torch knows neither negative strides nor another byte order.
            tensor = torch.from_numpy(value.astype(value.dtype.newbyteorder("="), order="C", copy=False))
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in ITEM_SIZES:
            raise TypeError(f"a tensor of {dtype} cannot be sent yet; convert it first, e.g. .to(torch.float32)")
        shape = list(tensor.shape)
        copy = torch.empty(shape, dtype=tensor.dtype, device="cpu")
        copy.copy_(tensor)
        self.buffers.append(copy.reshape(-1).view(torch.uint8).numpy().data if copy.numel() else b"")
        return len(self.buffers) - 1, dtype, shape

    @property
    def total_bytes(self) -> int:
        return sum(map(len, self.buffers))
