"""Pinned memory by which the client's tensors go to a GPU, in slots that are used again and again.

A GPU copies pinned memory while Python and the GPU's own work go on. Pageable memory it does not: Python would wait
until the work that is queued there is done.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from . import devices
from .devices import Copy

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# The bytes that all slots have together, at most. Tensors longer than a quarter of it are not staged.
MOST_BYTES = 512 * 2**20
# Slots have powers of two, as PyTorch's allocator of pinned memory has them anyway.
_SHORTEST = 4096


class Slot:
    """Pinned memory, and the last copy that reads it: until that is done, nobody may write there."""

    __slots__ = ("copy", "memory", "size")

    def __init__(self, memory: Tensor, size: int) -> None:
        self.memory = memory
        self.size = size
        self.copy: Copy | None = None

    def is_free(self) -> bool:
        return self.copy is None or self.copy.is_done()

    def wait(self) -> None:
        if self.copy is not None:
            devices.finish([self.copy], waits=True)


class Staging:
    """The slots, in the order in which they were last used."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._slots: deque[Slot] = deque()
        # The bytes of all slots.
        self.pinned = 0

    def send(self, tensor: Tensor, device: torch.device) -> Tensor | None:
        """Return the tensor on the device, to which it is on its way. None: it is not for a slot."""
        bytes = tensor.numel() * tensor.element_size()
        if not 0 < bytes <= self._most // 4:
            return None
        slot = self._take(bytes)
        if slot is None:
            return None
        try:
            source = slot.memory[:bytes].view(tensor.dtype).reshape(tensor.shape)
            source.copy_(tensor)
            sent, slot.copy = devices.layer.send(source, device)
        finally:
            self._slots.append(slot)
        devices.counts.staged += 1
        devices.counts.staged_bytes += bytes
        return sent

    def _take(self, bytes: int) -> Slot | None:
        """Take out the slot that was used longest ago, of those that fit and are free. Where none is, make one, or wait
        if too much would be pinned.
        """
        size = max(_SHORTEST, 1 << (bytes - 1).bit_length())
        # (One that is far too large is for others.)
        fitting = [slot for slot in self._slots if bytes <= slot.size <= 2 * size]
        found = next((slot for slot in fitting if slot.is_free()), None)
        if found is None and fitting and self.pinned + size > self._most:
            found = fitting[0]
            found.wait()
        if found is not None:
            self._slots.remove(found)
            return found
        while self.pinned + size > self._most:
            oldest = self._slots.popleft()
            self.pinned -= oldest.size
            oldest.wait()
        import torch

        try:
            # It is never an inference tensor: nothing could be written to it in training.
            with torch.inference_mode(False):
                memory = devices.layer.pin(size)
        except RuntimeError:
            # The system lets nothing more be pinned.
            return None
        self.pinned += size
        return Slot(memory, size)


staging = Staging()
