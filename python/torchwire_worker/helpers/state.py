"""The state of a module at one moment, as bytes in the layout of a safetensors file."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.nn.parameter import is_lazy

# One module, or several whose names become prefixes.
Modules = torch.nn.Module | Mapping[str, torch.nn.Module]

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


# The key of the versions in a file's metadata.
VERSIONS = "torchwire.versions"


class Copies:
    """Copies of tensors in the CPU's memory, as the bytes of a safetensors file: later reads return the values of the
    moment when this was made.

    They take as much memory as the tensors, and what has been read is freed. A tensor with several names is copied
    once.
    """

    def __init__(self, named: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
        # Order by item size, the largest first: each tensor then lies at a multiple of its item size.
        ordered = sorted(named, key=lambda name: -named[name].element_size())
        self.plan = {
            "tensors": [[name, _CODES[named[name].dtype], list(named[name].shape)] for name in ordered],
            "refused": [],
            "metadata": dict(metadata),
        }
        copies: dict[Any, torch.Tensor] = {}
        self._left: deque[torch.Tensor] = deque()
        for name in ordered:
            tensor = named[name]
            if tensor.numel() > 0:
                key = place_of(tensor)
                if key not in copies:
                    copies[key] = cpu_copy(tensor)
                self._left.append(bits_of(copies[key]))

    def read(self, size: int) -> torch.Tensor:
        """Return the next `size` bytes of all tensors, one behind the other in the plan's order, as uint8."""
        parts = []
        while size > 0:
            first = self._left.popleft()
            parts.append(first[:size])
            if len(first) > size:
                self._left.appendleft(first[size:])
            size -= len(parts[-1])
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def rest(self) -> list[torch.Tensor]:
        """Return everything that has not been read, tensor by tensor."""
        rest, self._left = list(self._left), deque()
        return rest


class Snapshot(Copies):
    """A copy of the state of modules, unless the plan says why there cannot be one: `refused` has [name, why]."""

    def __init__(self, modules: Modules) -> None:
        state = all_of(modules)
        refused = [[name, why] for name, value in state.items() if (why := why_unfit(value)) is not None]
        versions = versions_of(modules)
        super().__init__({} if refused else state, {VERSIONS: versions} if versions else {})
        self.plan["refused"] = refused


def each(modules: Modules) -> Iterator[tuple[str, torch.nn.Module]]:
    """Yield each module, with the prefix of its names in a file."""
    for name, module in modules.items() if isinstance(modules, Mapping) else [("", modules)]:
        if not hasattr(module, "state_dict") or not hasattr(module, "load_state_dict"):
            raise TypeError(f"a {type(module).__name__} is not a module: it has no state_dict and load_state_dict")
        yield f"{name}." if name else "", module


def all_of(modules: Modules) -> dict[str, Any]:
    found = {}
    for prefix, module in each(modules):
        names = Names(module)
        found.update((prefix + names.plain(name), value) for name, value in module.state_dict().items())
    return found


def versions_of(modules: Modules) -> str:
    """Return as JSON the versions of classes that have one, by path; "" if there are none. A hook may ask for the
    version that wrote a file.

    PyTorch's own classes are left out: they read a file without versions as one of the oldest, which only adds what it
    lacks.
    """
    found = {}
    for prefix, module in each(modules):
        if not isinstance(module, torch.nn.Module):
            continue
        names = Names(module)
        for path, part in module.named_modules(remove_duplicate=False):
            version = getattr(part, "_version", 1)
            if version != 1 and isinstance(version, int) and not type(part).__module__.startswith("torch."):
                found[(prefix + names.plain(f"{path}." if path else ""))[:-1]] = version
    return json.dumps(found) if found else ""


_COMPILED = "_orig_mod."


class Names:
    """The names of a module's state: its own, and the plain ones that it would have if nothing in it were compiled.

    torch.compile wraps a module, which puts "_orig_mod." before each name in it. A file has plain names.
    """

    def __init__(self, module: Any) -> None:
        compiled = getattr(sys.modules.get("torch._dynamo.eval_frame"), "OptimizedModule", None)
        # Own names of the wrapped modules, the outer before the inner.
        self._wrapped: list[str] = []
        if compiled is not None and isinstance(module, torch.nn.Module):
            parts = module.named_modules(remove_duplicate=False)
            self._wrapped = [
                f"{path}.{_COMPILED}" if path else _COMPILED for path, part in parts if isinstance(part, compiled)
            ]

    def plain(self, own: str) -> str:
        for wrapped in reversed(self._wrapped):
            if own.startswith(wrapped):
                own = wrapped.removesuffix(_COMPILED) + own.removeprefix(wrapped)
        return own

    def own(self, plain: str) -> str:
        for wrapped in self._wrapped:
            outside = wrapped.removesuffix(_COMPILED)
            if plain.startswith(outside) and not plain.startswith(wrapped):
                plain = wrapped + plain.removeprefix(outside)
        return plain


def why_unfit(value: Any) -> str | None:
    """Return why a file cannot hold the value, or None."""
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


def has_place(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and not is_lazy(value) and why_unfit(value) is None and value.numel() > 0


def place_of(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Return a key that is the same for tensors in the same memory."""
    return tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()


def cpu_copy(tensor: torch.Tensor) -> torch.Tensor:
    """Return a copy on the CPU, contiguous, in logical order."""
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    return copy.copy_(tensor.detach())


def bits_of(tensor: torch.Tensor) -> torch.Tensor:
    """Return the bytes of a contiguous tensor, in its own memory."""
    return tensor.reshape(-1).view(torch.uint8)
