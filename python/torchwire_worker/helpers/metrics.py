"""Counts of a batch, and objects that gather over an epoch what cannot be summed up.

Only `compute` makes the host wait for a GPU.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .containers import tensors_in, with_tensors
from .precision import wide
from .task import Classes, Labels, Reading, the_tensor

# The arguments of a Reading.
How = list[Any]


def detached(value: Any) -> Any:
    """Return outputs without their gradient, of the same type."""
    return with_tensors(Tensor.detach, value)


def begin(metric: Any, like: Any) -> None:
    """Reset a metric object, on the device of the outputs."""
    tensors = tensors_in(like)
    if tensors and callable(getattr(metric, "to", None)):
        metric.to(tensors[0].device)
    metric.reset()


# --- counts of one batch ---


def hits(yhat: Any, ys: Any, k: int, how: How) -> Tensor:
    """Return [3]: samples whose class is among the k largest scores, all samples, and targets that cannot be right.

    Of equal scores, the first is the larger. For yes and no, k is 1: count the outputs on the right side of the
    threshold.
    """
    read = Reading(*how)(yhat, ys, otherwise="classes")
    if isinstance(read, Labels):
        if k > 1:
            raise ValueError(f"the outputs are a yes or a no each, and have no {k} largest scores: use accuracy")
        right = _found(read).eq(read.targets.gt(0.5)).logical_and(read.scores.isnan().logical_not())
        return _counted(right.logical_and(read.there), read.there, read.odd)
    scores, target = read.scores, read.target
    classes = scores.shape[1]
    if k > classes:
        raise ValueError(f"there are {classes} classes, too few for the {k} largest scores")
    if k == 1:
        # argmax takes NaN for the largest, but it is no hit.
        right = scores.argmax(1).eq(target).logical_and(scores.amax(1).isnan().logical_not())
    else:
        own = scores.gather(1, target.unsqueeze(1))
        before = torch.arange(classes, device=scores.device).lt(target.unsqueeze(1))
        larger = scores.gt(own).logical_or(scores.eq(own).logical_and(before)).logical_or(scores.isnan())
        right = larger.sum(1).lt(k).logical_and(own.squeeze(1).isnan().logical_not())
    return _counted(right.logical_and(read.there), read.there, read.odd)


def retrieved(yhat: Any, ys: Any, binary: bool, how: How) -> Tensor:
    """Return [3, C]: for each class or label, how often it was found rightly, was found, and was there.

    Binary means two classes, or all labels as one. An output that is NaN finds nothing.
    """
    read = Reading(*how)(yhat, ys, otherwise="labels")
    if isinstance(read, Labels):
        found, truth = _found(read).logical_and(read.there), read.targets.gt(0.5).logical_and(read.there)
        counts = torch.stack([found.logical_and(truth).sum(0), found.sum(0), truth.sum(0)])
        return counts.sum(1, keepdim=True) if binary else counts
    classes = read.scores.shape[1]
    if binary and classes != 2:
        raise ValueError(
            f'there are {classes} classes, which have no positive one: choose average: "macro", "micro" or "weighted"'
        )
    found, is_number = _best(read)
    counts = torch.zeros(3, classes + 1, dtype=torch.int64, device=found.device)
    # What does not count goes to a class of its own.
    outside = torch.full_like(read.target, classes)
    actual, predicted = read.target.where(read.there, outside), found.where(read.there.logical_and(is_number), outside)
    one = torch.ones_like(read.target)
    counts[0].index_add_(0, actual.where(predicted.eq(read.target), outside), one)
    counts[1].index_add_(0, predicted, one)
    counts[2].index_add_(0, actual, one)
    return counts[:, :classes]


def errors(yhat: Tensor, ys: Tensor, power: int) -> Tensor:
    """Return [2]: the sum of |yhat - ys| ** power, and the number of elements."""
    _check_same_shape(yhat, ys)
    difference = wide(yhat).sub(wide(ys)).abs()
    return torch.stack([difference.pow(power).sum(), torch.full_like(difference.sum(), yhat.numel())])


def residuals(yhat: Tensor, ys: Tensor) -> Tensor:
    """Return [4, D], for each output: the number of samples, their mean, and the sums of squares of their distances to
    it and to the outputs.
    """
    _check_same_shape(yhat, ys)
    if yhat.is_complex() or ys.is_complex():
        raise TypeError(
            "complex numbers have no coefficient of determination: give their parts, as torch.view_as_real does"
        )
    outputs, targets = (wide(values).reshape(len(ys), -1) for values in (yhat, ys))
    mean = targets.mean(0)
    return torch.stack(
        [torch.full_like(mean, len(ys)), mean, targets.sub(mean).square().sum(0), targets.sub(outputs).square().sum(0)]
    )


def surprise(yhat: Any, ys: Any, how: How) -> Tensor:
    """Return [3]: the sum of -log p of the targets, by logits or probabilities; their weight, and targets that cannot
    be right.
    """
    read = Reading(*how)(yhat, ys, otherwise="classes", by_probability=True)
    if isinstance(read, Labels):
        scores = _logits(read.scores)
        truth = read.targets.to(scores.dtype).clamp(0, 1)
        loss = F.binary_cross_entropy if read.are_probabilities else F.binary_cross_entropy_with_logits
        lost = loss(scores, truth, reduction="none")
    else:
        scores = _logits(read.scores)
        logarithms = scores.log() if read.are_probabilities else scores.log_softmax(1)
        if read.probabilities is None:
            lost = logarithms.gather(1, read.target.unsqueeze(1)).squeeze(1).neg()
        else:
            lost = logarithms.mul(read.probabilities).where(read.probabilities.ne(0), 0).sum(1).neg()
    lost = wide(lost)
    return torch.stack([lost.where(read.there, torch.zeros_like(lost)).sum(), wide(read.there.sum()), wide(read.odd)])


# --- gathered over an epoch ---


class Confusion:
    """Counts [C, C]: how often class i (row) was taken for class j (column). A sample whose output is NaN is in no
    column.
    """

    def __init__(self, how: How) -> None:
        self._read = Reading(*how)
        self._counts: Tensor | None = None

    def update(self, yhat: Any, ys: Any) -> None:
        read = self._read(yhat, ys, otherwise="labels")
        if isinstance(read, Labels):
            target, found, classes = read.targets.gt(0.5).long(), _found(read).long(), 2
            there = read.there.logical_and(read.scores.isnan().logical_not())
        else:
            found, is_number = _best(read)
            target, classes, there = read.target, read.scores.shape[1], read.there.logical_and(is_number)
        cells = target.mul(classes).add(found).where(there, torch.full_like(found, classes * classes)).flatten()
        counts = torch.zeros(classes * classes + 1, dtype=torch.int64, device=cells.device)
        counts.index_add_(0, cells, torch.ones_like(cells))
        self._counts = counts if self._counts is None else self._counts + counts

    def compute(self) -> Tensor:
        assert self._counts is not None
        cells = self._counts[:-1]
        side = math.isqrt(len(cells))
        return cells.reshape(side, side)


class Roc:
    """The area under the ROC curve: how often a positive sample has a larger score than a negative one. Equal scores
    count half.

    Each class is taken against the rest, by its probability; each label by itself. The area is exact, from all scores,
    which stay on their device. With `bins`, only counts are kept, and scores in the same bin are equal.
    """

    def __init__(self, average: str, logits: bool | None, bins: int | None, how: How) -> None:
        self._average = average
        self._read = Reading(*how)
        self._are_probabilities = self._read.are_probabilities if logits is None else not logits
        self._bins = bins
        self._scores: list[Tensor] = []
        self._truths: list[Tensor] = []
        self._counts: Tensor | None = None

    def update(self, yhat: Any, ys: Any) -> None:
        scores, truth = self._columns(yhat, ys)
        if self._bins is None:
            self._scores.append(scores)
            self._truths.append(truth)
        else:
            counts = self._counted(scores, truth, self._bins)
            self._counts = counts if self._counts is None else self._counts + counts

    def compute(self) -> float:
        """Return the area; NaN if no class has both samples of it and others."""
        columns = self._exact() if self._counts is None else self._binned(self._counts)
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
            return (scores if self._are_probabilities or self._bins is None else _logits(scores).sigmoid()), truth
        if not self._are_probabilities:
            # Logarithms have the order of the probabilities, but do not saturate at 1.
            scores = wide(scores).log_softmax(1)
            if self._bins is not None:
                scores = scores.exp()
        classes = torch.arange(scores.shape[1], device=scores.device)
        truth = read.target.unsqueeze(1).eq(classes).to(torch.int8)
        return scores, truth.where(read.there.unsqueeze(1), _minus_one(scores))

    def _exact(self) -> list[tuple[float | None, int]]:
        scores, truths = torch.cat(self._scores), torch.cat(self._truths)
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

    @staticmethod
    def _binned(counts: Tensor) -> list[tuple[float | None, int]]:
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


# --- of what was read ---


def _found(read: Labels) -> Tensor:
    """Return [n, L]: whether each output is a yes."""
    return read.scores.gt(read.threshold)


def _best(read: Classes) -> tuple[Tensor, Tensor]:
    """Return two of [n]: the class with the largest score, and whether that score is a number."""
    return read.scores.argmax(1), read.scores.amax(1).isnan().logical_not()


def _counted(right: Tensor, there: Tensor, odd: Tensor) -> Tensor:
    return torch.stack([right.sum(), there.sum(), odd])


def _logits(scores: Tensor) -> Tensor:
    return scores if scores.is_floating_point() else wide(scores)


def _minus_one(like: Tensor) -> Tensor:
    return torch.full((), -1, dtype=torch.int8, device=like.device)


def _check_same_shape(yhat: Any, ys: Any) -> None:
    if the_tensor(yhat, "outputs").shape != the_tensor(ys, "targets").shape:
        raise ValueError(
            f"outputs of shape {list(yhat.shape)} and targets of shape {list(ys.shape)} cannot be compared one by one: "
            "reshape the targets, or the outputs"
        )
