"""The worker's disk, for checkpoints. Threads of their own work on it: the training goes on meanwhile."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import deque
from collections.abc import Callable
from threading import Thread
from typing import Any, BinaryIO

import torch

from .safetensors_file import header_of
from .state import Copies

# Large enough to need few calls. Python's lock is free while so much is written or hashed.
_PIECE = 4 * 2**20


class Job:
    """A call of a function of this file, which a thread of its own runs. Its `value` is there when it is done."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.value: Any = None
        self._refused: str | None = None
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, args=(function, *args), name="checkpoint", daemon=True)
        self._thread.start()

    def outcome(self) -> str | bool | None:
        """Return None while it runs, and then True, or why the system has refused it. Raise any other error that it
        raised.
        """
        if self._thread.is_alive():
            return None
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._refused or True

    def _run(self, function: Callable[..., Any], *args: Any) -> None:
        try:
            self.value = function(*args)
        except OSError as error:
            # Its frames hold the arguments, which may be large.
            self._refused = str(error)
        except BaseException as error:
            self._error = error


def raw(array: torch.Tensor) -> memoryview:
    return array.numpy().data


def array_of(content: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)


def prepare(folder: str) -> str:
    """Make the folder if it is missing, and return its absolute path."""
    path = os.path.abspath(os.path.expanduser(folder))
    os.makedirs(path, exist_ok=True)
    if not os.access(path, os.W_OK):
        raise PermissionError(f"{path} cannot be written to")
    return path


def names_in(folder: str) -> list[str]:
    return os.listdir(folder)


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def write(path: str, content: bytes | memoryview) -> None:
    with open(path, "wb") as file:
        file.write(content)
        _sync(file)


def write_anew(path: str, text: str) -> bool:
    """Return whether the file was not there."""
    try:
        with open(path, "xb") as file:
            file.write(text.encode())
    except FileExistsError:
        return False
    return True


def make_folder(path: str) -> None:
    os.mkdir(path)


def rename(old: str, new: str) -> None:
    os.rename(old, new)


def remove(path: str) -> None:
    try:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        pass


def digest(path: str) -> dict[str, Any]:
    hashed, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            hashed.update(piece)
            size += len(piece)
    return {"bytes": size, "sha256": hashed.hexdigest()}


def bytes_of(copies: Copies) -> deque[Any]:
    """Take all bytes of a safetensors file. From here on there are only bytes: PyTorch belongs to the main thread."""
    header = header_of(copies.plan["tensors"], {"format": "pt", **copies.plan["metadata"]})
    return deque([memoryview(header), *(raw.numpy().data for raw in copies.rest())])


def write_tensors(path: str, parts: deque[Any]) -> dict[str, Any]:
    """Write a new file. The bytes that are on their way to the disk are freed. Return their number and their hash."""
    hashed, size = hashlib.sha256(), 0
    with open(path, "xb") as file:
        while parts:
            part = parts.popleft()
            for at in range(0, len(part), _PIECE):
                piece = part[at : at + _PIECE]
                file.write(piece)
                hashed.update(piece)
            size += len(part)
        _sync(file)
    return {"bytes": size, "sha256": hashed.hexdigest()}


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: str) -> None:
    """Make the new name survive a power cut too, if the system can."""
    try:
        handle = os.open(folder or ".", os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
