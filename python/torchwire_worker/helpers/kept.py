"""Samples that stay in the worker: each comes once, and from then on a batch is the numbers of its rows.

Samples whose arrays have the same dtypes and shapes lie on one shelf, row after row. The client numbers the rows.
"""

from __future__ import annotations

import contextlib
import errno
import math
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from torchwire_worker import owners

from . import kept_cache
from .kept_cache import HASH_BYTES, Cache
from .kept_loose import Loose

# A piece of the file for what does not fit into memory.
_PIECE = 256 * 2**20


class Store:
    """`memory` and `cache_bytes` are in bytes. Default: a quarter of this machine's memory, and 20 GiB of its disk."""

    def __init__(self, memory: int | None = None, cache: str | None = None, cache_bytes: int | None = None) -> None:
        self._memory = _machine_memory() // 4 if memory is None else memory
        self._cache = None if cache is None else Cache(cache, cache_bytes)
        self._shelves: list[_Shelf | Loose] = []
        self._failure: str | None = None

    def hashes(self) -> Tensor:
        """Return what the cache has: [n, 32] bytes."""
        known = b"" if self._cache is None else self._cache.hashes()
        if not known:
            return torch.empty(0, HASH_BYTES, dtype=torch.uint8, device="cpu")
        return torch.frombuffer(bytearray(known), dtype=torch.uint8).reshape(-1, HASH_BYTES)

    def shelf(self, key: str, parts: list[tuple[str, list[int]]]) -> None:
        """Make the next shelf, for samples with these dtypes and shapes. Hashes of its samples begin with `key`."""
        self._shelves.append(_Shelf(key, [(getattr(torch, dtype), shape) for dtype, shape in parts]))

    def loose_shelf(self, key: str, dtypes: list[str]) -> None:
        """Make the next shelf, for samples whose arrays have these dtypes and shapes of their own."""
        self._shelves.append(Loose(key, [getattr(torch, dtype) for dtype in dtypes], self._room))

    def add(self, shelf: int, first: int, room: int, hashes: Tensor, *parts: Tensor) -> int:
        """Add rows from `first` on, one for each hash. So many more, `room`, may come. Return their number.

        The client counts the rows, too. A row that was lost would give all after it the places of others.
        """
        with self._failing():
            own = self._shelves[shelf]
            assert isinstance(own, _Shelf)
            _check_next(own, first)
            if any(len(part) != len(hashes) for part in parts):
                raise ValueError(f"{[len(part) for part in parts]} rows for {len(hashes)} hashes")
            self._write(hashes, lambda: own.contents(parts))
            self._put(own, room, parts)
        return len(hashes)

    def add_loose(self, shelf: int, first: int, hashes: Tensor, shapes: list[list[list[int]]], *flats: Tensor) -> int:
        """Add rows from `first` on, whose parts have these shapes. Return their number."""
        with self._failing():
            own = self._shelves[shelf]
            assert isinstance(own, Loose)
            _check_next(own, first)
            sizes = [sum(math.prod(row[i]) for row in shapes) for i in range(len(flats))]
            if len(shapes) != len(hashes) or sizes != [flat.numel() for flat in flats]:
                raise ValueError(f"{len(shapes)} rows of {sizes} elements for {len(hashes)} hashes")
            self._write(hashes, lambda: own.contents(shapes, flats))
            own.put(shapes, flats)
        return len(hashes)

    def recall(self, shelf: int, first: int, room: int, hashes: Tensor) -> int:
        """Add rows from `first` on, which the cache has. Return their number."""
        with self._failing():
            assert self._cache is not None
            own = self._shelves[shelf]
            _check_next(own, first)
            found = [self._cache.read(hash, own.key) for hash in _hashes_in(hashes)]
            if isinstance(own, Loose):
                own.restore(found)
            else:
                self._put(own, room, own.parts_of(found))
        return len(hashes)

    def gather(self, shelf: int, rows: Tensor, how: list[Any] | None = None) -> tuple[Tensor, ...]:
        """Return each part of these rows as one new tensor. `how` says it for a loose shelf: "stack", "list", or the
        element, axes, side and multiple of `pad`.
        """
        if self._failure is not None:
            raise RuntimeError(f"the samples of this batch could not be kept: {self._failure}")
        own = self._shelves[shelf]
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < own.count:
            raise IndexError(f"rows {int(rows.min())} to {int(rows.max())} of {own.count}")
        return own.gather(rows, how or []) if isinstance(own, Loose) else own.gather(rows)

    def _write(self, hashes: Tensor, contents: Callable[[], list[bytes]]) -> None:
        if self._cache is not None:
            for hash, content in zip(_hashes_in(hashes), contents()):
                self._cache.write(hash, content)

    def _room(self, size: int) -> mmap.mmap:
        if size > self._memory:
            # (Each file keeps a descriptor, of which a process has few.)
            return _on_disk(max(size, _PIECE))
        self._memory -= size
        return _anonymous(size)

    def _put(self, shelf: _Shelf, room: int, parts: Sequence[Tensor]) -> None:
        at, count = 0, len(parts[0])
        while at < count:
            if shelf.left == 0:
                self._memory -= shelf.grow(max(room, count - at), self._memory)
            at += shelf.put([part[at : at + shelf.left] for part in parts])

    @contextlib.contextmanager
    def _failing(self) -> Any:
        try:
            yield
        except BaseException as error:
            self._failure = f"{type(error).__name__}: {error}"
            raise


def _check_next(shelf: _Shelf | Loose, first: int) -> None:
    if first != shelf.count:
        raise RuntimeError(f"rows from {first} come behind {shelf.count}: those between are lost")


class _Shelf:
    def __init__(self, key: str, parts: list[tuple[torch.dtype, list[int]]]) -> None:
        self.key = key.encode()
        self._parts = parts
        self._sizes = [math.prod(shape) * dtype.itemsize for dtype, shape in parts]
        self._blocks: list[_Block] = []

    @property
    def left(self) -> int:
        """Rows that have room."""
        return self._blocks[-1].rows - self._blocks[-1].used if self._blocks else 0

    def grow(self, rows: int, memory: int) -> int:
        """Make room for up to `rows` more, in memory as far as that goes, else on the disk. Return the memory taken."""
        size = max(1, sum(self._sizes))
        in_memory = min(rows, memory // size)
        if in_memory > 0:
            self._blocks.append(_Block(self._parts, in_memory, _anonymous, self.count))
            return in_memory * size
        self._blocks.append(_Block(self._parts, min(rows, max(1, _PIECE // size)), _on_disk, self.count))
        return 0

    def put(self, parts: Sequence[Tensor]) -> int:
        return self._blocks[-1].put(parts)

    def gather(self, rows: Tensor) -> tuple[Tensor, ...]:
        if len(self._blocks) == 1:
            return self._blocks[0].gather(rows)
        out = [torch.empty([len(rows), *shape], dtype=dtype, device="cpu") for dtype, shape in self._parts]
        for block in self._blocks:
            within = rows.sub(block.start)
            at = within.ge(0).logical_and(within.lt(block.used)).nonzero().flatten()
            if len(at):
                for whole, some in zip(out, block.gather(within[at])):
                    whole.index_copy_(0, at, some)
        return tuple(out)

    def contents(self, parts: Sequence[Tensor]) -> list[bytes]:
        """Return the bytes of each row, one part behind the other."""
        raw = [_bytes_of(part) for part in parts]
        return [b"".join(part[i].numpy().tobytes() for part in raw) for i in range(len(parts[0]))]

    def parts_of(self, contents: Sequence[bytes]) -> list[Tensor]:
        found, at = [], 0
        for (dtype, shape), size in zip(self._parts, self._sizes):
            raw = bytearray().join(content[at : at + size] for content in contents)
            at += size
            flat = torch.frombuffer(raw, dtype=torch.uint8) if raw else torch.empty(0, dtype=torch.uint8, device="cpu")
            found.append(flat.view(dtype).reshape([len(contents), *shape]))
        return found

    @property
    def count(self) -> int:
        return self._blocks[-1].start + self._blocks[-1].used if self._blocks else 0


class _Block:
    """So many rows, one tensor for each part. Their memory is taken as they are filled."""

    def __init__(self, parts: list[tuple[torch.dtype, list[int]]], rows: int, room: Any, start: int) -> None:
        self.rows = rows
        self.start = start
        self.used = 0
        # Validation may run in inference mode, but a tensor made there could not be written later.
        with torch.inference_mode(False):
            self._tensors = [_over(room, dtype, [rows, *shape]) for dtype, shape in parts]

    def put(self, parts: Sequence[Tensor]) -> int:
        count = len(parts[0])
        with torch.no_grad():
            for tensor, part in zip(self._tensors, parts):
                tensor[self.used : self.used + count] = part
        self.used += count
        return count

    def gather(self, rows: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor.index_select(0, rows) for tensor in self._tensors)


def _over(room: Any, dtype: torch.dtype, shape: list[int]) -> Tensor:
    size = math.prod(shape) * dtype.itemsize
    if size == 0:
        return torch.empty(shape, dtype=dtype, device="cpu")
    return torch.frombuffer(room(size), dtype=dtype).reshape(shape)


def _anonymous(size: int) -> mmap.mmap:
    # (The default is memory that processes share, for which a container may have less room.)
    flags = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    return mmap.mmap(-1, size, **flags)


def _on_disk(size: int) -> mmap.mmap:
    """Return memory over a file that has no name, and goes with the process."""
    folder: str | None = os.path.join(os.path.dirname(kept_cache.root()), "spill")
    try:
        owners.make(folder, 0o700)
    except OSError:
        # A container may have no such folder; it has one for temporary files.
        folder = None
    with tempfile.TemporaryFile(dir=folder) as file:
        # A disk that is full must be an error now. Later it would end the process.
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except (AttributeError, OSError) as error:
            # Some systems, and some file systems, cannot do it at once.
            if getattr(error, "errno", None) not in (None, errno.EINVAL, errno.EOPNOTSUPP):
                raise
            piece = bytes(2**20)
            for at in range(0, size, len(piece)):
                file.write(piece[: size - at])
            file.flush()
        return mmap.mmap(file.fileno(), size)


def _bytes_of(part: Tensor) -> Tensor:
    count = len(part)
    flat = part.contiguous().reshape(count, -1)
    return flat.view(torch.uint8) if flat.shape[1] else torch.empty(count, 0, dtype=torch.uint8, device="cpu")


def _hashes_in(hashes: Tensor) -> list[bytes]:
    return [one.numpy().tobytes() for one in hashes]


def _machine_memory() -> int:
    """Return the bytes of memory that this process may have."""
    found = 8 * 2**30
    with contextlib.suppress(OSError, ValueError, AttributeError):
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in _limits():
        with contextlib.suppress(OSError, ValueError), open(path) as file:
            found = min(found, int(file.read()))
    return found


def _limits(groups: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup") -> Iterator[str]:
    """Return the files of all memory limits that hold for this process: its control group has one, and those above.

    A batch system limits a group within, a container its outermost one.
    """
    lines = []
    with contextlib.suppress(OSError), open(groups) as file:
        lines = [line for line in file.read().splitlines() if line.count(":") >= 2]
    for line in ["::/", ":memory:/", *lines]:
        _, kinds, group = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        folder, name = (os.path.join(root, "memory"), "memory.limit_in_bytes") if kinds else (root, "memory.max")
        parts = [part for part in group.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            yield os.path.join(folder, *parts[:depth], name)
