"""Frees memory that nobody needs."""

from __future__ import annotations

import ctypes
import gc
import sys


def collect() -> None:
    """Collect garbage; glibc then returns the free memory to the system."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
