"""The worker's own reader of safetensors files, and the header of those that it writes."""

from __future__ import annotations

import json
import os
import stat
from typing import Any, BinaryIO, NoReturn

import torch

from ..shown import one_line
from .state import DTYPES

# The limit of the reference implementation.
_MOST_HEADER_BYTES = 100_000_000
# One object for each tensor, and two more. No model has more.
_MOST_OBJECTS = 200_000
# No tensor that PyTorch's operations take has more.
_MOST_AXES = 64


def read_safetensors(path: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return the tensors of a file by name, and its metadata.

    The package `safetensors` reads it. It refuses offsets that overlap, leave a gap or lie outside the file, and a
    malformed header. As in the client's reader, refused are also: a name that occurs twice, a number that is no plain
    count, a shape of more than 64 axes, more than 200,000 tensors. For all of that, it raises ValueError with the
    file's name. It takes twice as much memory as the file.
    """
    try:
        import safetensors
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{path} was not read: the worker's Python has no safetensors; in its environment: pip install safetensors"
        ) from error
    data = _bytes_of(path)
    metadata = _metadata(data, path)
    try:
        found = safetensors.deserialize(data)
    except Exception as error:
        raise ValueError(f"{path} is not a safetensors file: {one_line(error)}") from None
    del data
    tensors = {}
    while found:
        name, one = found.pop()
        if one["dtype"] not in DTYPES:
            raise ValueError(
                f"{path}: tensor {one_line(name)}: torch {torch.__version__} cannot take its dtype "
                f"{one_line(one['dtype'])} from a file"
            )
        tensors[name] = _tensor(one["data"], DTYPES[one["dtype"]], one["shape"])
    return tensors, metadata


def header_of(tensors: list[Any], metadata: dict[str, str]) -> bytes:
    """Return the first bytes of a file. `tensors` are [name, dtype, shape] in the order of their bytes."""
    described: dict[str, Any] = {"__metadata__": metadata}
    begin = 0
    for name, code, shape in tensors:
        end = begin + torch.Size(shape).numel() * DTYPES[code].itemsize
        described[name] = {"dtype": code, "shape": shape, "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(described, ensure_ascii=False, separators=(",", ":")).encode()
    # The tensors begin at a multiple of 8 bytes.
    text = text.ljust(-(-len(text) // 8) * 8)
    return len(text).to_bytes(8, "little") + text


def header_in(file: BinaryIO) -> tuple[list[Any], dict[str, str]]:
    """Return the tensors, as `header_of` takes them, and the metadata of a file that this worker has written. The file
    stands at their bytes then. Raise ValueError for a dtype that this torch does not have.
    """
    described = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    metadata = described.pop("__metadata__")
    tensors = sorted(described.items(), key=lambda item: item[1]["data_offsets"])
    for name, one in tensors:
        if one["dtype"] not in DTYPES:
            raise ValueError(f"{name} is {one['dtype']}, which torch {torch.__version__} does not have")
    return [[name, one["dtype"], one["shape"]] for name, one in tensors], metadata


def _bytes_of(path: str) -> bytes:
    # An ordinary open would wait for a pipe that nobody writes to.
    file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(file, "rb") as opened:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode):
            raise ValueError(f"{path} is not a regular file")
        length = int.from_bytes(opened.read(8), "little")
        # Check this before so many bytes are read.
        if about.st_size < 8 or length > min(about.st_size - 8, _MOST_HEADER_BYTES):
            raise ValueError(
                f"{path} is not a safetensors file: its header would have {length} bytes, and it has {about.st_size}"
            )
        opened.seek(0)
        # Do not read more than was there: the file may be growing.
        return opened.read(about.st_size)


def _metadata(data: bytes, path: str) -> dict[str, str]:
    """Return the metadata of the header. Raise for what the package allows."""
    length = int.from_bytes(data[:8], "little")

    def refuse(what: str) -> NoReturn:
        raise ValueError(f"{path} is not a safetensors file: {what}")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            twice = next(name for name, _ in pairs if name in seen or seen.add(name))
            refuse(f"its header has {one_line(twice)} twice")
        return found

    def count(text: str) -> int:
        # Refuse a sign, or more digits than a float can count to.
        return (
            int(text)
            if len(text) <= 16 and text.isdigit() and int(text) < 2**53
            else refuse(f"{one_line(text)} is not a count")
        )

    not_a_count = lambda text: refuse(f"{one_line(text)} is not a count")  # noqa: E731
    if data[8:9] != b"{":
        refuse('its header does not begin with "{"')
    if (objects := data.count(b"{", 8, 8 + length)) > _MOST_OBJECTS:
        refuse(f"its header has {objects} objects; {_MOST_OBJECTS} are possible")
    try:
        text = data[8 : 8 + length].decode()
        header = json.loads(
            text, object_pairs_hook=unique, parse_int=count, parse_float=not_a_count, parse_constant=not_a_count
        )
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        refuse(f"its header is not JSON ({one_line(error)})")
    for name, one in header.items():
        shape = one.get("shape") if isinstance(one, dict) else None
        if isinstance(shape, list) and len(shape) > _MOST_AXES:
            refuse(f"tensor {one_line(name)} has {len(shape)} axes; {_MOST_AXES} are possible")
        if name != "__metadata__" and not isinstance(one, dict):
            refuse(f"tensor {one_line(name)}: its description is not an object")
    metadata = header.get("__metadata__", {})
    return metadata if isinstance(metadata, dict) else refuse("__metadata__ is not an object")


def _tensor(data: bytearray, dtype: torch.dtype, shape: list[int]) -> torch.Tensor:
    if not data:
        return torch.empty(shape, dtype=dtype)
    raw = torch.frombuffer(data, dtype=torch.uint8)
    # A file may have any byte for a bool, but torch knows 0 and 1 alone.
    return (raw.ne(0) if dtype is torch.bool else raw.view(dtype)).reshape(shape)
