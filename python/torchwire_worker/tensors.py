"""Tensors as raw bytes: row-major, little-endian, in a frame each, or in several if one frame would be too long."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any

from . import devices
from .wire import Limits, WireError

# The dtypes of the wire, and their item sizes. They are looked up here, never with getattr on torch.
ITEM_SIZES = {
    "bool": 1,
    "uint8": 1,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "float16": 2,
    "bfloat16": 2,
    "float32": 4,
    "float64": 8,
    "complex64": 8,
}

# PyTorch's own alignment. Matrix libraries may add up in another order in memory that is less aligned: the last bit
# would depend on the address of a message.
_ALIGNMENT = 64

# JavaScript's whole numbers are exact below it.
_MOST_ROWS = 2**53

# Bytes of a reply that are reserved for a failure and for the frame around everything.
_RESERVE = 8 * 2**10

# Advice for the other dtypes. (Those of 8 bits and less are handled below.)
_INSTEAD = {
    "uint16": ".to(torch.int32)",
    "uint32": ".to(torch.int64)",
    "uint64": ".view(torch.int64) for its bits, or .to(torch.float64)",
    "complex32": ".to(torch.complex64)",
    "complex128": ".to(torch.complex64), or torch.view_as_real(x) for pairs of float64",
}


def read_tensor(frames: list[Any], index: int, dtype: str, shape: list[int], count: int, limits: Limits) -> Any:
    """Return a tensor over a frame's own memory.

    It is copied only if that is not aligned (floats need PyTorch's own alignment), or if it lies in several frames.
    """
    size = ITEM_SIZES.get(dtype)
    if size is None:
        raise WireError(f"dtype {dtype!r} is unknown")
    if any(type(n) is not int or n < 0 for n in (*shape, index, count)) or not 0 < count <= len(frames) - index:
        raise WireError(f"shape {[*shape][:80]} in {count} frames from {index} is not one")
    limits.check("dims", len(shape), "a tensor of {} dimensions")
    pieces = frames[index : index + count]
    length = sum(map(len, pieces))
    if math.prod(shape) * size != length:
        raise WireError(f"a tensor of {dtype} {shape} takes {math.prod(shape) * size} bytes, its frames have {length}")
    import torch

    if length == 0:
        if math.prod(n or 1 for n in shape) * size >= 2**63:
            raise WireError(f"shape {shape} has strides past 64 bits")
        return torch.empty(shape, dtype=getattr(torch, dtype), device="cpu")
    if count == 1:
        raw = torch.frombuffer(pieces[0], dtype=torch.uint8)
        if raw.data_ptr() % alignment_of(dtype):
            raw = raw.clone()
    else:
        raw = torch.empty(length, dtype=torch.uint8, device="cpu")
        at = 0
        for i, piece in enumerate(pieces):
            if len(piece):
                raw[at : at + len(piece)] = torch.frombuffer(piece, dtype=torch.uint8)
            at += len(piece)
            # Free each piece as soon as it is copied.
            frames[index + i] = pieces[i] = piece = b""
    if dtype == "bool" and int(raw.max()) > 1:
        raise WireError("a bool is 0 or 1, and there are other bytes")
    return raw.view(getattr(torch, dtype)).reshape(shape)


def alignment_of(dtype: str) -> int:
    """Return the alignment in bytes that its elements need."""
    return ITEM_SIZES[dtype] if "int" in dtype or dtype == "bool" else _ALIGNMENT


def is_array(kind: type) -> bool:
    """Return whether it is a class of tensors or of NumPy arrays, without importing either library."""
    return any(
        module is not None and issubclass(kind, getattr(module, name))
        for module, name in ((sys.modules.get("torch"), "Tensor"), (sys.modules.get("numpy"), "ndarray"))
    )


class Frames:
    """The frames of a reply, and a count of the bytes beside them. The client sets limits for both."""

    def __init__(self, limits: Limits = Limits(), may_be_late: bool = False) -> None:  # noqa: B008 (frozen)
        """`may_be_late`: whoever sends the frames takes the copies that are under way, and waits for them."""
        self.limits = limits
        self._copies: list[devices.Copy] | None = [] if may_be_late else None
        self.buffers: list[Any] = []
        self.total_bytes = 0
        self.meta_bytes = 0

    def add(self, value: Any, path: str = "value") -> tuple[int, str, list[int]] | tuple[int, str, list[int], int]:
        """Add a tensor or an array. Return its first frame, its dtype and its shape, and the number of its frames if it
        has several.

        It is copied at once, since the tensor may change before the reply is sent. From a GPU it is copied behind the
        work that is queued there.
        """
        import torch

        tensor = _sendable(value, path, torch)
        shape, limits = list(tensor.shape), self.limits
        if any(n >= _MOST_ROWS for n in shape):
            raise TypeError(f"{path} has the shape {shape}: of so many JavaScript's numbers cannot tell")
        bytes = tensor.numel() * tensor.element_size()
        count = max(1, -(-bytes // limits.frame_bytes))
        limits.check("dims", len(shape), path + " has {} dimensions")
        limits.check(
            "message_bytes", self.total_bytes + bytes, "a reply of {} bytes of tensors: fetch less at once; " + path
        )
        limits.check("frames", len(self.buffers) + count, "a reply of {} frames: fetch less at once; " + path)
        copy = self._begin_copy(tensor)
        if copy is None:
            copy = torch.empty(shape, dtype=tensor.dtype, device="cpu")
            copy.copy_(tensor)
        first = len(self.buffers)
        self.buffers += _pieces(copy.reshape(-1).view(torch.uint8).numpy().data, limits.frame_bytes) if bytes else [b""]
        self.total_bytes += bytes
        self.count(16 + 9 * len(shape), path)
        described = first, str(tensor.dtype).removeprefix("torch."), shape
        return described if count == 1 else (*described, count)

    def _begin_copy(self, tensor: Any) -> Any:
        if self._copies is None:
            return None
        begun = devices.begin_fetch(tensor)
        if begun is None:
            return None
        copy, under_way = begun
        self._copies.append(under_way)
        return copy

    def take_copies(self) -> list[devices.Copy]:
        """Return the copies that have begun since the last time."""
        if not self._copies:
            return []
        taken, self._copies = self._copies, []
        return taken

    def text(self, size: int, path: str) -> None:
        self.limits.check("text_bytes", size, path + " has {} bytes")
        self.count(size, path)

    def count(self, bytes: int, path: str) -> None:
        self.meta_bytes += bytes
        if self.meta_bytes + _RESERVE > self.limits.meta_bytes:
            self.limits.check(
                "meta_bytes",
                self.meta_bytes + _RESERVE,
                "a reply of {} bytes beside its tensors: fetch less at once; " + path,
            )

    @property
    def room(self) -> int:
        """Bytes that are left for a failure."""
        return self.limits.meta_bytes - self.meta_bytes - _RESERVE // 2

    @property
    def half_full(self) -> bool:
        limits = self.limits
        return (
            len(self.buffers) * 2 > limits.frames
            or self.total_bytes * 2 > limits.message_bytes
            or self.meta_bytes * 2 > limits.meta_bytes
        )

    def back_to(self, frames: int) -> None:
        """Drop all but the first `frames` frames."""
        self.total_bytes -= sum(map(len, self.buffers[frames:]))
        del self.buffers[frames:]


def _pieces(data: memoryview, most: int) -> Iterator[memoryview]:
    return (data[at : at + most] for at in range(0, len(data), most))


def _sendable(value: Any, path: str, torch: Any) -> Any:
    """Return the tensor that is sent for `value`: an array of NumPy, or a dense tensor. TypeError says what to do about
    others.
    """
    if not isinstance(value, torch.Tensor):
        import numpy

        kind = type(value)
        if not issubclass(kind, numpy.ndarray):
            raise TypeError(
                f"{path} is a {kind.__module__}.{kind.__qualname__}, which is no array; py.js gives values of other "
                "kinds"
            )
        if isinstance(value, numpy.ma.MaskedArray):
            raise TypeError(f"{path} is a masked array, which cannot be sent; convert it first: .filled(x)")
        # torch has neither negative strides nor another byte order.
        value = numpy.asarray(value)
        value = torch.from_numpy(value.astype(value.dtype.newbyteorder("="), order="C", copy=False))
    tensor = value.detach()
    dtype = str(tensor.dtype).removeprefix("torch.")

    def refuse(kind: str, instead: str) -> None:
        raise TypeError(f"{path} is a {kind}, which cannot be sent; convert it first: {instead}")

    if tensor.is_nested:
        refuse("nested tensor", ".unbind(), or torch.nested.to_padded_tensor(x, 0)")
    if tensor.layout is not torch.strided:
        refuse(f"tensor of layout {str(tensor.layout).removeprefix('torch.')}", ".to_dense()")
    if tensor.is_meta:
        refuse("tensor on the meta device", "it has a shape and no elements; make it on another device")
    if tensor.is_quantized:
        refuse(f"tensor of {dtype}", ".dequantize(), or .int_repr() for its integers")
    if dtype not in ITEM_SIZES:
        instead = _INSTEAD.get(dtype, ".to(torch.float32), or .view(torch.uint8) for its bits")
        refuse(f"tensor of {dtype}", instead)
    # A bool made by `view` may be any byte; on the wire it is 0 or 1.
    return tensor.view(torch.uint8).ne(0) if dtype == "bool" else tensor
