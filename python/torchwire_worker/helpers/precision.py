"""Casts that lose nothing."""

from __future__ import annotations

from torch import Tensor, complex64, complex128


def full(tensor: Tensor) -> Tensor:
    """Return floats of 16 bits and less as float32, which holds every one of them; complex numbers of such floats as
    complex64; everything else as it is.
    """
    if tensor.is_floating_point():
        return tensor.float() if tensor.element_size() < 4 else tensor
    return tensor.to(complex64) if tensor.is_complex() and tensor.element_size() < 8 else tensor


def wide(tensor: Tensor) -> Tensor:
    """Return the tensor in double precision, if the device has it."""
    if tensor.device.type == "mps":
        return tensor.to(complex64) if tensor.is_complex() else tensor.float()
    return tensor.to(complex128) if tensor.is_complex() else tensor.double()
