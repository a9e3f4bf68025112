"""Counts of a batch. They do not make the host wait for a GPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .containers import with_tensors
from .precision import wide
from .task import Classes, Labels, Reading, the_tensor

# The arguments of a Reading.
How = list[Any]


def detached(value: Any) -> Any:
    """Return outputs without their gradient, of the same type."""
    return with_tensors(Tensor.detach, value)


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
        right = yeses(read).eq(read.targets.gt(0.5)).logical_and(read.scores.isnan().logical_not())
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
        found, truth = yeses(read).logical_and(read.there), read.targets.gt(0.5).logical_and(read.there)
        counts = torch.stack([found.logical_and(truth).sum(0), found.sum(0), truth.sum(0)])
        return counts.sum(1, keepdim=True) if binary else counts
    classes = read.scores.shape[1]
    if binary and classes != 2:
        raise ValueError(
            f'there are {classes} classes, which have no positive one: choose average: "macro", "micro" or "weighted"'
        )
    found, is_number = best_of(read)
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
        scores = as_logits(read.scores)
        truth = read.targets.to(scores.dtype).clamp(0, 1)
        loss = F.binary_cross_entropy if read.are_probabilities else F.binary_cross_entropy_with_logits
        lost = loss(scores, truth, reduction="none")
    else:
        scores = as_logits(read.scores)
        logarithms = scores.log() if read.are_probabilities else scores.log_softmax(1)
        if read.probabilities is None:
            lost = logarithms.gather(1, read.target.unsqueeze(1)).squeeze(1).neg()
        else:
            lost = logarithms.mul(read.probabilities).where(read.probabilities.ne(0), 0).sum(1).neg()
    lost = wide(lost)
    return torch.stack([lost.where(read.there, torch.zeros_like(lost)).sum(), wide(read.there.sum()), wide(read.odd)])


# --- of what was read ---


def yeses(read: Labels) -> Tensor:
    """Return [n, L]: whether each output is a yes."""
    return read.scores.gt(read.threshold)


def best_of(read: Classes) -> tuple[Tensor, Tensor]:
    """Return two of [n]: the class with the largest score, and whether that score is a number."""
    return read.scores.argmax(1), read.scores.amax(1).isnan().logical_not()


def _counted(right: Tensor, there: Tensor, odd: Tensor) -> Tensor:
    return torch.stack([right.sum(), there.sum(), odd])


def as_logits(scores: Tensor) -> Tensor:
    return scores if scores.is_floating_point() else wide(scores)


def _check_same_shape(yhat: Any, ys: Any) -> None:
    if the_tensor(yhat, "outputs").shape != the_tensor(ys, "targets").shape:
        raise ValueError(
            f"outputs of shape {list(yhat.shape)} and targets of shape {list(ys.shape)} cannot be compared one by one: "
            "reshape the targets, or the outputs"
        )
