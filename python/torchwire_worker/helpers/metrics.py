"""What metrics count in a batch, and objects that gather over an epoch what cannot be summed up.

Nothing here makes the host wait for a GPU, but for `compute`.
"""

from __future__ import annotations

import math
from typing import Any, Optional

import torch
from torch import Tensor


def detached(value: Any) -> Any:
    """Outputs without their gradient: a tensor, or what holds some."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, dict):
        return {key: detached(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [detached(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def begin(metric: Any, like: Any) -> None:
    """A metric object afresh, on the device of the outputs."""
    if isinstance(like, Tensor) and callable(getattr(metric, "to", None)):
        metric.to(like.device)
    metric.reset()


# --- counts of one batch ---


def hits(yhat: Tensor, ys: Tensor, k: int, axis: int, ignore: int) -> Tensor:
    """[2]: samples whose class is among the k largest scores, and all samples. Of equal scores the first goes before."""
    scores, target, there = _classes(yhat, ys, axis, ignore)
    classes = scores.shape[1]
    if k > classes:
        raise ValueError(f"there are {classes} classes, too few for the {k} largest scores")
    if k == 1:
        right = scores.argmax(1).eq(target)
    else:
        own = scores.gather(1, target.unsqueeze(1))
        before = torch.arange(classes, device=scores.device).lt(target.unsqueeze(1))
        larger = scores.gt(own).logical_or(scores.eq(own).logical_and(before))
        # Nothing is larger than NaN, which is no hit for all that.
        right = larger.sum(1).lt(k).logical_and(own.squeeze(1).isnan().logical_not())
    return torch.stack([right.logical_and(there).sum(), there.sum()])


def retrieved(yhat: Tensor, ys: Tensor, axis: int, ignore: int, threshold: float, binary: bool) -> Tensor:
    """[3, C]: of each class, or each label, how often it was found rightly, was found, and was there. Binary is of two classes, or of all labels as one."""
    if _is_yes_or_no(yhat, ys):
        found, truth, there = _labels(yhat, ys, axis, ignore, threshold)
        counts = torch.stack([found.logical_and(truth).sum(0), found.sum(0), truth.sum(0)])
        return counts.sum(1, keepdim=True) if binary else counts
    scores, target, there = _classes(yhat, ys, axis, ignore)
    classes = scores.shape[1]
    if binary and classes != 2:
        raise ValueError(f'there are {classes} classes, which have no positive one: choose average: "macro", "micro" or "weighted"')
    found = scores.argmax(1)
    counts = torch.zeros(3, classes + 1, dtype=torch.int64, device=scores.device)
    # What does not count goes to a class of its own.
    outside = torch.full_like(target, classes)
    actual, predicted = target.where(there, outside), found.where(there, outside)
    one = torch.ones_like(target)
    counts[0].index_add_(0, actual.where(found.eq(target), outside), one)
    counts[1].index_add_(0, predicted, one)
    counts[2].index_add_(0, actual, one)
    return counts[:, :classes]


def errors(yhat: Tensor, ys: Tensor, power: int) -> Tensor:
    """[2]: the sum of |yhat - ys| ** power, and how many there are."""
    _check_same_shape(yhat, ys)
    difference = _wide(yhat).sub(_wide(ys)).abs()
    return torch.stack([difference.pow(power).sum(), torch.full_like(difference.sum(), yhat.numel())])


def residuals(yhat: Tensor, ys: Tensor) -> Tensor:
    """[4, D]: of each output how many samples there are, their mean, the squares of their distances to it, and to the outputs."""
    _check_same_shape(yhat, ys)
    outputs, targets = (_wide(values).reshape(len(ys), -1) for values in (yhat, ys))
    mean = targets.mean(0)
    return torch.stack(
        [torch.full_like(mean, len(ys)), mean, targets.sub(mean).square().sum(0), targets.sub(outputs).square().sum(0)]
    )


def surprise(yhat: Tensor, ys: Tensor, axis: int, ignore: int) -> Tensor:
    """[2]: the sum of -log p of the classes that were there, by logits, and how many there were."""
    scores, target, there = _classes(yhat, ys, axis, ignore)
    own = scores.float().log_softmax(1).gather(1, target.unsqueeze(1)).squeeze(1)
    lost = _wide(own).neg().where(there, torch.zeros_like(_wide(own)))
    return torch.stack([lost.sum(), _wide(there).sum()])


# --- gathered over an epoch ---


class Confusion:
    """[C, C]: how often class i (row) was taken for class j (column)."""

    def __init__(self, axis: int, ignore: int, threshold: float) -> None:
        self._how = axis, ignore, threshold
        self._counts: Optional[Tensor] = None

    def update(self, yhat: Tensor, ys: Tensor) -> None:
        axis, ignore, threshold = self._how
        if _is_yes_or_no(yhat, ys):
            target, found, there = _answers(yhat, ys, ignore, threshold)
            classes = 2
        else:
            scores, target, there = _classes(yhat, ys, axis, ignore)
            found, classes = scores.argmax(1), scores.shape[1]
        cells = target.mul(classes).add(found)
        counts = torch.zeros(classes * classes + 1, dtype=torch.int64, device=yhat.device)
        counts.index_add_(0, cells.where(there, torch.full_like(cells, classes * classes)), torch.ones_like(cells))
        self._counts = counts if self._counts is None else self._counts + counts

    def compute(self) -> Tensor:
        assert self._counts is not None
        cells = self._counts[:-1]
        side = math.isqrt(len(cells))
        return cells.reshape(side, side)


class Roc:
    """The area under the ROC curve: how often a positive sample has a larger score than a negative one; half for equal scores.

    Classes are taken one against the rest, by their probabilities; labels each by itself. Exact, with all scores kept where
    they are; with `bins` only how many fell in each, and scores in the same bin are equal.
    """

    def __init__(self, average: str, axis: int, ignore: int, logits: bool, bins: Optional[int]) -> None:
        self._average = average
        self._how = axis, ignore, logits
        self._bins = bins
        self._scores: list[Tensor] = []
        self._truths: list[Tensor] = []
        self._counts: Optional[Tensor] = None

    def update(self, yhat: Tensor, ys: Tensor) -> None:
        scores, truth = self._columns(yhat, ys)
        if self._bins is None:
            self._scores.append(scores)
            self._truths.append(truth)
        else:
            counts = self._counted(scores, truth, self._bins)
            self._counts = counts if self._counts is None else self._counts + counts

    def compute(self) -> float:
        """NaN where no class has both: samples of it, and others."""
        columns = self._exact() if self._counts is None else self._binned(self._counts)
        known = [(area, positives) for area, positives in columns if area is not None]
        weights = [positives if self._average == "weighted" else 1 for _, positives in known]
        if not known:
            return math.nan
        return math.fsum(area * weight for (area, _), weight in zip(known, weights)) / sum(weights)

    def _columns(self, yhat: Tensor, ys: Tensor) -> tuple[Tensor, Tensor]:
        """Scores [n, C], and of each whether it is a positive sample's (1), a negative one's (0) or does not count (-1)."""
        axis, ignore, logits = self._how
        if _is_yes_or_no(yhat, ys):
            scores, targets = _by_label(yhat, ys, axis)
            truth = targets.gt(0.5).to(torch.int8).where(_counts(targets, ignore), _minus_one(scores))
            # Probabilities are in the order of the logits.
            return (scores.sigmoid() if logits and self._bins is not None else scores), truth
        scores, target, there = _classes(yhat, ys, axis, ignore)
        if logits:
            # In this order they are probabilities that do not run into 1.
            scores = _wide(scores).log_softmax(1)
        if self._bins is not None and logits:
            scores = scores.exp()
        classes = torch.arange(scores.shape[1], device=scores.device)
        truth = target.unsqueeze(1).eq(classes).to(torch.int8)
        return scores, truth.where(there.unsqueeze(1), _minus_one(scores))

    def _exact(self) -> list[tuple[Optional[float], int]]:
        scores, truths = torch.cat(self._scores), torch.cat(self._truths)
        return [_area_of(scores[truth.ge(0), i], truth[truth.ge(0)]) for i, truth in enumerate(truths.unbind(1))]

    @staticmethod
    def _counted(scores: Tensor, truth: Tensor, bins: int) -> Tensor:
        """[C, 2, bins]: negatives and positives in each bin; one more bin for what does not count."""
        classes = scores.shape[1]
        # A score that is no number is in no bin.
        inside = scores.nan_to_num(0).mul(bins).long().clamp(0, bins - 1)
        column = torch.arange(classes, device=scores.device)
        cells = column.mul(2).add(truth.long()).mul(bins).add(inside)
        outside = torch.full_like(cells, 2 * classes * bins)
        counts = torch.zeros(2 * classes * bins + 1, dtype=torch.int64, device=scores.device)
        counts.index_add_(0, cells.where(truth.ge(0), outside).flatten(), torch.ones_like(cells).flatten())
        return counts[:-1].reshape(classes, 2, bins)

    @staticmethod
    def _binned(counts: Tensor) -> list[tuple[Optional[float], int]]:
        return [_area(negatives, positives) for negatives, positives in counts]


def _area_of(scores: Tensor, truth: Tensor) -> tuple[Optional[float], int]:
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


def _area(negatives: Tensor, positives: Tensor) -> tuple[Optional[float], int]:
    """Of counts at rising scores: in whole numbers, and rounded once."""
    p, n = int(positives.sum()), int(negatives.sum())
    if p == 0 or n == 0:
        return None, p
    below = negatives.cumsum(0).mul(2).sub(negatives)
    return int(positives.mul(below).sum()) / (2 * p * n), p


# --- what outputs and targets are ---


def _classes(yhat: Tensor, ys: Tensor, axis: int, ignore: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scores [n, C], classes [n] and which of these count, of scores with an axis of classes; targets may have it too, as probabilities."""
    _check_axis(yhat, axis)
    if yhat.shape == ys.shape:
        ys = ys.argmax(axis)
    scores = yhat.movedim(axis, -1)
    if scores.shape[:-1] != ys.shape:
        raise ValueError(
            f"outputs of shape {list(yhat.shape)}, with the classes along axis {axis}, ask for targets of shape {list(scores.shape[:-1])}, not {list(ys.shape)}"
        )
    target = ys.reshape(-1).long()
    there = target.ne(ignore)
    return scores.reshape(-1, scores.shape[-1]), target.where(there, torch.zeros_like(target)), there


def _is_yes_or_no(yhat: Tensor, ys: Tensor) -> bool:
    """Each output answers for itself: there are as many of them as of targets."""
    return yhat.shape == ys.shape or (yhat.numel() == ys.numel() and yhat.ndim == ys.ndim + 1)


def _by_label(yhat: Tensor, ys: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Both as [n, L]; without an axis of labels there is one."""
    if yhat.ndim < 2 or yhat.ndim != ys.ndim:
        return yhat.reshape(-1, 1), ys.reshape(-1, 1)
    _check_axis(yhat, axis)
    labels = yhat.shape[axis]
    return yhat.movedim(axis, -1).reshape(-1, labels), ys.movedim(axis, -1).reshape(-1, labels)


def _labels(yhat: Tensor, ys: Tensor, axis: int, ignore: int, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    scores, targets = _by_label(yhat, ys, axis)
    there = _counts(targets, ignore)
    return scores.gt(threshold).logical_and(there), targets.gt(0.5).logical_and(there), there


def _answers(yhat: Tensor, ys: Tensor, ignore: int, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of every output: whether it was to be yes (1 or 0), whether it is, and whether it counts."""
    targets = ys.reshape(-1)
    return targets.gt(0.5).long(), yhat.reshape(-1).gt(threshold).long(), _counts(targets, ignore)


def _counts(targets: Tensor, ignore: int) -> Tensor:
    # As a byte -100 would be 156.
    return (targets if targets.is_floating_point() else targets.long()).ne(ignore)


def _minus_one(like: Tensor) -> Tensor:
    return torch.full((), -1, dtype=torch.int8, device=like.device)


def _wide(values: Tensor) -> Tensor:
    """In double precision, where the device has it."""
    return values.float() if values.device.type == "mps" else values.double()


def _check_axis(yhat: Tensor, axis: int) -> None:
    if not -yhat.ndim <= axis < yhat.ndim:
        raise ValueError(f"outputs of shape {list(yhat.shape)} have no axis {axis}, where the classes are to be")


def _check_same_shape(yhat: Tensor, ys: Tensor) -> None:
    if yhat.shape != ys.shape:
        raise ValueError(
            f"outputs of shape {list(yhat.shape)} and targets of shape {list(ys.shape)} cannot be compared one by one: reshape the targets, or the outputs"
        )
