"""Applies what holds for the whole process: the device, seeds, threads, determinism, malloc."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import re
import sys
import warnings
from importlib import metadata
from typing import Any

import msgspec

from .ops import Settings
from .wire import MAJOR, MINOR, Limits


class NoDevice(Exception):
    """The requested device does not exist."""


class Served(msgspec.Struct):
    """Settings of a worker that waits for a client from elsewhere."""

    data: str
    control: str
    # The folder of keys. None: anybody who reaches the worker may enter.
    keys: str | None
    # A client that is away for more seconds than this is dropped.
    grace: float
    # A line to the supervisor. The worker listens when it has read a byte from it (until then another process has the
    # ports), and says so.
    line: int
    # The level and the format of its lines in the server's log.
    log: tuple[str, str]


class Config(Settings):
    """The configuration, read from standard input.

    A worker that a client has started for itself has a token and settings; a served one gets them with the greeting.
    """

    token: str = ""
    # The folder of the sockets. None: ports of 127.0.0.1.
    directory: str | None = None
    limits: Limits = Limits()
    served: Served | None = None


# <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP_BELOW = 1 << 30


def keep_memory() -> None:
    """Make glibc keep large blocks. It would give them back at once and map them anew at each step, with thousands of
    page faults.

    Set both or none: one alone makes it worse.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEEP_BELOW)
        mallopt(_M_MMAP_THRESHOLD, _KEEP_BELOW)


def load_torch() -> Any:
    """Import PyTorch. It brings hundreds of thousands of objects, which stay: the collector need not examine them.

    That saves a seventh of the import, and 0.2 s in each later collection.
    """
    is_first, collects = "torch" not in sys.modules, gc.isenabled()
    gc.disable()
    try:
        import torch
    finally:
        gc.freeze()
        if collects:
            gc.enable()
    if is_first:
        _end_before_torch_does()
    return torch


def _end_before_torch_does() -> None:
    """End the process before PyTorch's C++ objects are destroyed.

    A process that exits destroys the objects of its libraries in the reverse order of their loading. PyTorch's are
    thousands of registrations (0.15 s), and its threads may still use them. Here the process ends when that turn comes:
    after all of Python's end, and after all libraries that were loaded later. glibc's on_exit calls _exit with the exit
    code; fcloseall, registered after it and so called before it, empties C's own buffers.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None and hasattr(libc, "on_exit") and hasattr(libc, "fcloseall"):
        for last in (libc._exit, libc.fcloseall):
            libc.on_exit(ctypes.cast(last, ctypes.c_void_p), None)


def apply(config: Settings) -> str:
    """Apply all settings. Return the device that "auto" has become."""
    if config.malloc:
        keep_memory()
    if config.deterministic:
        # cuBLAS reads it when CUDA is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch = load_torch()
    device = _device(config.device, torch)
    if config.deterministic:
        # torch.use_deterministic_algorithms would load PyTorch's compiler, a second, to set one thing in it.
        # The compiler finds that in the environment when it is loaded.
        torch.set_deterministic_debug_mode("warn" if config.deterministic == "warn" else "error")
        os.environ["TORCHINDUCTOR_DETERMINISTIC"] = "1"
        if config.deterministic == "warn":
            _note_warnings()
        torch.backends.cudnn.benchmark = False
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if config.seed is not None:
        _seed(config.seed, torch)
    return device


_MOST_NOTED = 100
# Operations that had no deterministic implementation, in the order in which they were met.
nondeterministic: list[str] = []


def _note_warnings() -> None:
    show = warnings.showwarning

    def note(message: Warning | str, *rest: Any, **more: Any) -> None:
        found = _NONDETERMINISTIC.match(str(message))
        if found is None:
            return show(message, *rest, **more)
        if found[1] not in nondeterministic and len(nondeterministic) < _MOST_NOTED:
            nondeterministic.append(found[1][:200])

    warnings.showwarning = note


# PyTorch's text, for any operation: "put_ does not have a deterministic implementation, but you set …".
_NONDETERMINISTIC = re.compile(r"(\S+) does not have a deterministic implementation")


def _device(asked: str, torch: Any) -> str:
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(asked.partition(":")[2] or 0) >= count:
            there = (
                f"this machine has {count}" if count else f"this machine has no CUDA device (torch {torch.__version__})"
            )
            raise NoDevice(f'the device "{asked}" is not there: {there}. device: "auto" falls back to the CPU.')
    return asked


def _seed(seed: int, torch: Any) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    try:
        import numpy
    except ImportError:
        return
    numpy.random.seed(seed % 2**32)


def versions() -> dict[str, str]:
    found = {"protocol": f"{MAJOR}.{MINOR}", "python": ".".join(map(str, sys.version_info[:3]))}
    for name in ("torch", "torchvision", "numpy", "pyzmq", "msgspec"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
