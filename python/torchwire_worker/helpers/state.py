"""A module's state as bytes in the layout of a safetensors file: taken at one moment, and put back as a whole."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from typing import Any, Union

import torch
from torch.nn.parameter import is_lazy

# One module, or several whose names become prefixes.
Modules = Union[torch.nn.Module, Mapping[str, torch.nn.Module]]

_NAMES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}
# An older torch lacks some of them.
DTYPES: dict[str, torch.dtype] = {code: getattr(torch, name) for code, name in _NAMES.items() if hasattr(torch, name)}
_CODES = {dtype: code for code, dtype in DTYPES.items()}


class Snapshot:
    """A copy of the state, in the CPU's memory: what is read later is what was there when it was made.

    It costs the worker as much memory as the state has; what has been read is freed. Tied tensors are copied once.
    """

    def __init__(self, modules: Modules) -> None:
        state = all_of(modules)
        refused = [[name, why] for name, value in state.items() if (why := _unfit(value)) is not None]
        # Largest items first: each tensor then lies at a multiple of its item's size.
        ordered = [] if refused else sorted(state, key=lambda name: -state[name].element_size())
        self.plan = {
            "tensors": [[name, _CODES[state[name].dtype], list(state[name].shape)] for name in ordered],
            "refused": refused,
        }
        copies: dict[Any, torch.Tensor] = {}
        self._left: deque[torch.Tensor] = deque()
        for name in ordered:
            tensor = state[name]
            if tensor.numel() > 0:
                key = _place(tensor)
                if key not in copies:
                    copies[key] = _copy(tensor)
                self._left.append(_raw(copies[key]))

    def read(self, size: int) -> torch.Tensor:
        """The next `size` bytes of all tensors, one behind the other in the plan's order, as uint8."""
        parts = []
        while size > 0:
            first = self._left.popleft()
            parts.append(first[:size])
            if len(first) > size:
                self._left.appendleft(first[size:])
            size -= len(parts[-1])
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def rest(self) -> list[torch.Tensor]:
        """All that has not been read, tensor by tensor."""
        rest, self._left = list(self._left), deque()
        return rest


class Loading:
    """New values on their way into modules: nothing of these changes before `commit`.

    `tensors` are [name, dtype, shape] in the order in which their bytes will come; `found` says how they fit.
    """

    def __init__(self, modules: Modules, tensors: list[tuple[str, str, list[int]]]) -> None:
        self._modules = modules
        self._tensors = tensors
        self.found = self._compare()
        fitting = set(self.found["fitting"])
        self._values = {
            name: torch.empty(shape, dtype=DTYPES[code], device="cpu") for name, code, shape in tensors if name in fitting
        }
        self._room = deque(_raw(value) for value in self._values.values() if value.numel() > 0)

    def _compare(self) -> dict[str, Any]:
        return compare(self._modules, {name: (DTYPES.get(code, code), shape) for name, code, shape in self._tensors})

    def write(self, piece: torch.Tensor) -> int:
        """Takes the next bytes of the tensors that fit, one behind the other; how many they were."""
        at = 0
        while at < len(piece):
            room = self._room.popleft()
            n = min(len(room), len(piece) - at)
            room[:n].copy_(piece[at : at + n])
            if n < len(room):
                self._room.appendleft(room[n:])
            at += n
        return at

    def commit(self) -> None:
        if self._room:
            raise RuntimeError("the bytes of some tensors have not come")
        if self._compare() != self.found:
            raise RuntimeError("the module was given other parameters while the file was being read; nothing was loaded")
        # A file may hold any byte for a bool; torch knows 0 and 1.
        values = {name: _raw(v).ne(0).reshape(v.shape) if v.dtype is torch.bool else v for name, v in self._values.items()}
        put(self._modules, values)


# A tensor's dtype (its name, where torch has no such dtype) and shape; None for what is not a tensor.
Described = Union[tuple[Union[torch.dtype, str], list[int]], None]


def compare(modules: Modules, theirs: Mapping[str, Described]) -> dict[str, Any]:
    """How a file's tensors fit the modules' own."""
    ours = all_of(modules)
    misfits = {name: _misfit(value, ours[name]) for name, value in theirs.items() if name in ours}
    fitting = [name for name, why in misfits.items() if why is None]
    # A tied tensor that the file has under another name is not missing.
    there = {_place(ours[name]) for name in fitting if _has_place(ours[name])}
    return {
        "fitting": fitting,
        "missing": [
            name
            for name, value in ours.items()
            if name not in theirs and not (_has_place(value) and _place(value) in there)
        ],
        "unexpected": [name for name in theirs if name not in ours],
        "mismatched": [[name, why] for name, why in misfits.items() if why is not None],
    }


def put(modules: Modules, values: Mapping[str, Any]) -> None:
    """Loads values that fit; load_state_dict converts each to the dtype, and moves it to the device, of what it replaces."""
    for prefix, module, own in _states(modules):
        state = OrderedDict((name, values[prefix + name]) for name in own if prefix + name in values)
        # The names are those of this very version of its classes, which some of them ask for.
        state._metadata = getattr(own, "_metadata", None)  # type: ignore[attr-defined]
        module.load_state_dict(state, strict=False)


def _states(modules: Modules) -> Iterator[tuple[str, torch.nn.Module, dict[str, Any]]]:
    """Prefix, module, and the module's state dict."""
    for name, module in modules.items() if isinstance(modules, Mapping) else [("", modules)]:
        if not hasattr(module, "state_dict") or not hasattr(module, "load_state_dict"):
            raise TypeError(f"a {type(module).__name__} is not a module: it has no state_dict and load_state_dict")
        yield f"{name}." if name else "", module, module.state_dict()


def all_of(modules: Modules) -> dict[str, Any]:
    return {prefix + name: value for prefix, _, state in _states(modules) for name, value in state.items()}


def _unfit(value: Any) -> str | None:
    """Why a file cannot hold it."""
    if not isinstance(value, torch.Tensor):
        return f"it is a {type(value).__name__}, not a tensor"
    if is_lazy(value):
        return "it has no shape before the module was run once"
    if value.is_meta:
        return "it is on the meta device and has no values"
    if value.layout is not torch.strided or value.is_quantized:
        return f"its layout is {'quantized' if value.is_quantized else value.layout}, not dense"
    if value.dtype not in _CODES:
        return f"safetensors has no {value.dtype}"
    return None


def _misfit(theirs: Described, ours: Any) -> str | None:
    """Why the file's tensor cannot replace ours."""
    if theirs is None or not isinstance(ours, torch.Tensor):
        mine, other = ("a tensor" if there else "not a tensor" for there in (isinstance(ours, torch.Tensor), theirs is not None))
        return None if mine == other else f"{other} in the file, {mine} in the module"
    dtype, shape = theirs
    if not isinstance(dtype, torch.dtype):
        return f"{dtype} in the file, which torch {torch.__version__} does not have"
    if is_lazy(ours):
        return None
    if ours.is_meta:
        return "on the meta device in the module, where no values can be; first module.to_empty(device=...)"
    if list(ours.shape) != shape:
        return f"{shape} in the file, {list(ours.shape)} in the module"
    return None


def _has_place(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and not is_lazy(value) and _unfit(value) is None and value.numel() > 0


def _place(tensor: torch.Tensor) -> tuple[Any, ...]:
    """The same for tensors that are one and the same memory."""
    return tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    """On the CPU, contiguous, in logical order."""
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    return copy.copy_(tensor.detach())


def _raw(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of a contiguous tensor, over its own memory."""
    return tensor.reshape(-1).view(torch.uint8)
