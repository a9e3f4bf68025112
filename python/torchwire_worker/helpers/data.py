"""Data sets that lie in the worker."""

from __future__ import annotations

from typing import Any


def collate(dataset: Any, indices: list[int]) -> Any:
    """A batch of `dataset`, as torch.utils.data.DataLoader would put it together."""
    from torch.utils.data import default_collate

    # Data sets that can fetch a batch at once say so by this method, which torch's loader looks for too.
    many = getattr(dataset, "__getitems__", None)
    samples: Any = many(indices) if callable(many) else [dataset[i] for i in indices]
    return default_collate(samples)
