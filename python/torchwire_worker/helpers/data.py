"""Data sets in the worker."""

from __future__ import annotations

from typing import Any


def collate(dataset: Any, indices: list[int]) -> Any:
    """Return a batch of `dataset`, as torch.utils.data.DataLoader would put it together."""
    from torch.utils.data import default_collate

    # A data set that can fetch a batch at once has this method. torch's loader looks for it too.
    many = getattr(dataset, "__getitems__", None)
    samples: Any = many(indices) if callable(many) else [dataset[i] for i in indices]
    return default_collate(samples)
