"""Copies between this machine's memory and a GPU's, which go on while Python does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# A tensor of a reply that is longer is copied at once: pinned memory is dear, and PyTorch keeps what it has pinned.
_LONGEST_LATE = 64 * 2**10


class Copy(Protocol):
    """A copy that is under way. Both methods raise what went wrong on the device before it."""

    def is_done(self) -> bool: ...
    def wait(self) -> None: ...


class Layer(Protocol):
    """What the copies need of a kind of device."""

    # Whether a tensor is on such a device.
    def is_far(self, tensor: Tensor) -> bool: ...
    # Whether tensors can be sent to a device by `send` now.
    def takes(self, device: torch.device) -> bool: ...
    # Memory of this machine that the device can read by itself, as uint8.
    def pin(self, bytes: int) -> Tensor: ...
    # Begins to copy pinned memory to the device. Work that is queued there later waits for the copy.
    def send(self, source: Tensor, device: torch.device) -> tuple[Tensor, Copy]: ...
    # Begins to copy a tensor from the device, behind the work that is queued there.
    def fetch(self, tensor: Tensor) -> tuple[Tensor, Copy]: ...


class Counts:
    """Counts of this process."""

    def __init__(self) -> None:
        # Tensors of the client's that went to a device by pinned memory, and their bytes.
        self.staged = 0
        self.staged_bytes = 0
        # Tensors of replies that nobody waited for when they were asked for.
        self.late = 0
        # How often Python has waited for a device: a reply had to leave, or all pinned memory was in use.
        self.waits = 0

    def told(self) -> dict[str, int]:
        """Return them as the client is told them."""
        return {"staged": self.staged, "stagedBytes": self.staged_bytes, "late": self.late, "waits": self.waits}


counts = Counts()


def begin_fetch(tensor: Tensor) -> tuple[Tensor, Copy] | None:
    """Begin to copy a small tensor from a device, where it is on one. Return the memory that will hold it."""
    if tensor.numel() * tensor.element_size() > _LONGEST_LATE or not layer.is_far(tensor):
        return None
    counts.late += 1
    return layer.fetch(tensor)


def late_number(number: Tensor) -> Tensor | None:
    """Return a tensor of one real number for a reply, where reading it here would make Python wait for a device."""
    if layer.is_far(number) and number.numel() == 1 and not number.is_complex():
        return number.detach()
    return None


def finish(copies: list[Copy], waits: bool) -> bool:
    """Return whether all copies are done. With `waits`, wait for them."""
    for copy in copies:
        if copy.is_done():
            continue
        if not waits:
            return False
        counts.waits += 1
        copy.wait()
    return True


class _Event:
    """A place in a queue of CUDA's."""

    __slots__ = ("_event",)

    def __init__(self, event: Any) -> None:
        self._event = event

    def is_done(self) -> bool:
        return bool(self._event.query())

    def wait(self) -> None:
        self._event.synchronize()


class Cuda:
    """NVIDIA's and AMD's GPUs, as PyTorch has them."""

    def __init__(self) -> None:
        # For each device, the queue of its copies, beside the one in which PyTorch computes.
        self._copying: dict[int, Any] = {}

    def is_far(self, tensor: Tensor) -> bool:
        return tensor.is_cuda

    def takes(self, device: torch.device) -> bool:
        import torch

        return device.type == "cuda" and not torch.cuda.is_current_stream_capturing()

    def pin(self, bytes: int) -> Tensor:
        import torch

        return torch.empty(bytes, dtype=torch.uint8, device="cpu", pin_memory=True)

    def send(self, source: Tensor, device: torch.device) -> tuple[Tensor, Copy]:
        import torch

        computing = torch.cuda.current_stream(device)
        copying = self._copying.get(computing.device_index)
        if copying is None:
            copying = self._copying[computing.device_index] = torch.cuda.Stream(computing.device)
        with torch.cuda.stream(copying):
            # Its memory is the copying queue's own: nothing that computes has it, and the copy waits for nothing.
            sent = source.to(computing.device, non_blocking=True)
            event = copying.record_event()
        computing.wait_event(event)
        # When Python frees it, the allocator lets no other copy have its memory before the work on it is done.
        sent.record_stream(computing)
        return sent, _Event(event)

    def fetch(self, tensor: Tensor) -> tuple[Tensor, Copy]:
        import torch

        here = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=True)
        here.copy_(tensor, non_blocking=True)
        return here, _Event(torch.cuda.current_stream(tensor.device).record_event())


# The kind of device. It is looked up at each use.
layer: Layer = Cuda()
