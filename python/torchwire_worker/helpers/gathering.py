"""Objects that gather over an epoch what cannot be summed up. A checkpoint may take what they have so far.

Only `compute` makes the host wait for a GPU.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .containers import tensors_in
from .metrics import How, as_logits, best_of, yeses
from .precision import wide
from .task import Labels, Reading


def begin(metric: Any, like: Any) -> None:
    """Reset a metric object, on the device of the outputs."""
    place(metric, like)
    metric.reset()


def place(metric: Any, like: Any) -> None:
    """Move a metric object to the device of the outputs, with what it has gathered."""
    tensors = tensors_in(like)
    if tensors and callable(getattr(metric, "to", None)):
        metric.to(tensors[0].device)


class _Gathering:
    """What it has gathered, by name: pieces of one tensor, one behind the other."""

    def __init__(self) -> None:
        self._gathered: dict[str, list[Tensor]] = {}

    def _gather(self, **pieces: Tensor) -> None:
        for name, piece in pieces.items():
            self._gathered.setdefault(name, []).append(piece)

    def _add(self, counts: Tensor) -> None:
        self._gathered["counts"] = [sum(self._gathered.get("counts", []), counts)]

    def to(self, device: torch.device) -> None:
        self._gathered = {name: [one.to(device) for one in pieces] for name, pieces in self._gathered.items()}

    def state_dict(self) -> dict[str, Tensor]:
        # From here on in one piece: an epoch may have very many.
        self._gathered = {name: [torch.cat(pieces)] for name, pieces in self._gathered.items()}
        return {name: whole for name, [whole] in self._gathered.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._gathered = {name: [whole] for name, whole in state.items()}


class Confusion(_Gathering):
    """Counts [C, C]: how often class i (row) was taken for class j (column). A sample whose output is NaN is in no
    column.
    """

    def __init__(self, how: How) -> None:
        super().__init__()
        self._read = Reading(*how)

    def update(self, yhat: Any, ys: Any) -> None:
        read = self._read(yhat, ys, otherwise="labels")
        if isinstance(read, Labels):
            target, found, classes = read.targets.gt(0.5).long(), yeses(read).long(), 2
            there = read.there.logical_and(read.scores.isnan().logical_not())
        else:
            found, is_number = best_of(read)
            target, classes, there = read.target, read.scores.shape[1], read.there.logical_and(is_number)
        cells = target.mul(classes).add(found).where(there, torch.full_like(found, classes * classes)).flatten()
        counts = torch.zeros(classes * classes + 1, dtype=torch.int64, device=cells.device)
        self._add(counts.index_add_(0, cells, torch.ones_like(cells)))

    def compute(self) -> Tensor:
        [counts] = self._gathered["counts"]
        cells = counts[:-1]
        side = math.isqrt(len(cells))
        return cells.reshape(side, side)


class Roc(_Gathering):
    """The area under the ROC curve: how often a positive sample has a larger score than a negative one. Equal scores
    count half.

    Each class is taken against the rest, by its probability; each label by itself. The area is exact, from all scores,
    which stay on their device. With `bins`, only counts are kept, and scores in the same bin are equal.
    """

    def __init__(self, average: str, logits: bool | None, bins: int | None, how: How) -> None:
        super().__init__()
        self._average = average
        self._read = Reading(*how)
        self._are_probabilities = self._read.are_probabilities if logits is None else not logits
        self._bins = bins

    def update(self, yhat: Any, ys: Any) -> None:
        scores, truth = self._columns(yhat, ys)
        if self._bins is None:
            self._gather(scores=scores, truths=truth)
        else:
            self._add(self._counted(scores, truth, self._bins))

    def compute(self) -> float:
        """Return the area; NaN if no class has both samples of it and others."""
        columns = self._exact() if self._bins is None else self._binned()
        known = [(area, positives) for area, positives in columns if area is not None]
        weights = [positives if self._average == "weighted" else 1 for _, positives in known]
        if not known:
            return math.nan
        return math.fsum(area * weight for (area, _), weight in zip(known, weights)) / sum(weights)

    def _columns(self, yhat: Any, ys: Any) -> tuple[Tensor, Tensor]:
        """Return scores [n, C] and truths [n, C]: 1 for a positive sample, 0 for a negative one, -1 for one that does
        not count.
        """
        read = self._read(yhat, ys, otherwise="labels")
        scores = read.scores
        if isinstance(read, Labels):
            truth = read.targets.gt(0.5).to(torch.int8).where(read.there, _minus_one(scores))
            # Probabilities have the order of the logits.
            return (scores if self._are_probabilities or self._bins is None else as_logits(scores).sigmoid()), truth
        if not self._are_probabilities:
            # Logarithms have the order of the probabilities, but do not saturate at 1.
            scores = wide(scores).log_softmax(1)
            if self._bins is not None:
                scores = scores.exp()
        classes = torch.arange(scores.shape[1], device=scores.device)
        truth = read.target.unsqueeze(1).eq(classes).to(torch.int8)
        return scores, truth.where(read.there.unsqueeze(1), _minus_one(scores))

    def _exact(self) -> list[tuple[float | None, int]]:
        scores, truths = torch.cat(self._gathered["scores"]), torch.cat(self._gathered["truths"])
        return [_area_of(scores[truth.ge(0), i], truth[truth.ge(0)]) for i, truth in enumerate(truths.unbind(1))]

    @staticmethod
    def _counted(scores: Tensor, truth: Tensor, bins: int) -> Tensor:
        """Return [C, 2, bins]: negatives and positives in each bin. One more bin takes what does not count."""
        classes = scores.shape[1]
        # NaN has no bin of its own: it counts as 0.
        inside = scores.nan_to_num(0).mul(bins).long().clamp(0, bins - 1)
        column = torch.arange(classes, device=scores.device)
        cells = column.mul(2).add(truth.long()).mul(bins).add(inside)
        outside = torch.full_like(cells, 2 * classes * bins)
        counts = torch.zeros(2 * classes * bins + 1, dtype=torch.int64, device=scores.device)
        counts.index_add_(0, cells.where(truth.ge(0), outside).flatten(), torch.ones_like(cells).flatten())
        return counts[:-1].reshape(classes, 2, bins)

    def _binned(self) -> list[tuple[float | None, int]]:
        [counts] = self._gathered["counts"]
        return [_area(negatives, positives) for negatives, positives in counts]


def _area_of(scores: Tensor, truth: Tensor) -> tuple[float | None, int]:
    if scores.isnan().any():
        return math.nan, int(truth.sum())
    ordered, order = scores.sort()
    group = ordered.diff().ne(0).long().cumsum(0)
    group = torch.cat([group.new_zeros(min(1, len(ordered))), group])
    positive = truth[order].long()
    groups = int(group[-1]) + 1 if len(group) else 0
    positives = torch.zeros(groups, dtype=torch.int64, device=scores.device).index_add_(0, group, positive)
    negatives = torch.zeros(groups, dtype=torch.int64, device=scores.device).index_add_(0, group, 1 - positive)
    return _area(negatives, positives)


def _area(negatives: Tensor, positives: Tensor) -> tuple[float | None, int]:
    """Return the area from counts at rising scores, computed in whole numbers and rounded once."""
    p, n = int(positives.sum()), int(negatives.sum())
    if p == 0 or n == 0:
        return None, p
    below = negatives.cumsum(0).mul(2).sub(negatives)
    return int(positives.mul(below).sum()) / (2 * p * n), p


def _minus_one(like: Tensor) -> Tensor:
    return torch.full((), -1, dtype=torch.int8, device=like.device)
