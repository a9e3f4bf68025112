"""The task that outputs and targets belong to: classes, labels (yes or no), or numbers. Metrics and predictions ask
here alone.

- "classes": outputs [N, C, …] are scores of C classes, of which each sample has one. Targets [N, …] are their indices,
  or [N, C, …] probabilities.
- "labels": every output is a yes or a no by itself, and has a target of its own: one for a sample, a pixel or a label.
- "numbers": outputs should meet the targets, and only a distance says how well they do.

The loss decides, if it is known: by its name, or as a function or module of PyTorch's. Otherwise the shapes do.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .losses import plain, torch_class
from .precision import full


class _Loss(NamedTuple):
    task: str
    # If not, outputs are logits, or logarithms of probabilities; softmax gives the same for both.
    are_probabilities: bool = False


_LOSSES = {
    **dict.fromkeys(["cross_entropy", "nll_loss", "multi_margin_loss", "kl_div"], _Loss("classes")),
    **dict.fromkeys(
        ["cross_entropy_of_probabilities", "kl_divergence", "focal_loss"], _Loss("classes", are_probabilities=True)
    ),
    **dict.fromkeys(
        [
            "binary_cross_entropy_with_logits",
            "multilabel_soft_margin_loss",
            "soft_margin_loss",
            "hinge_loss",
            "squared_hinge_loss",
        ],
        _Loss("labels"),
    ),
    **dict.fromkeys(
        ["binary_cross_entropy", "binary_focal_loss", "dice_coeff_loss", "tversky_loss"],
        _Loss("labels", are_probabilities=True),
    ),
    **dict.fromkeys(
        [
            "l1_loss",
            "mse_loss",
            "huber_loss",
            "smooth_l1_loss",
            "poisson_nll_loss",
            "gaussian_nll_loss",
            "msle",
            "poisson_loss",
        ],
        _Loss("numbers"),
    ),
    # Their outputs are distances without a threshold; targets say whether they should be small or large.
    **dict.fromkeys(["hinge_embedding_loss", "siamese_contrastive_loss"], _Loss("numbers")),
    # Its targets are lists of classes, which no metric counts.
    "multilabel_margin_loss": _Loss("numbers"),
}


@dataclass(frozen=True)
class Classes:
    """Samples of one class each, of which some may not count."""

    scores: Tensor
    """[n, C]"""
    target: Tensor
    """[n], int64: the class, or the one with the largest probability; 0 where the sample does not count."""
    there: Tensor
    """[n], bool: whether it counts."""
    odd: Tensor
    """How many samples there are whose targets cannot be probabilities of classes. 0 where that is certain."""
    probabilities: Tensor | None
    """[n, C], of targets that are no indices."""
    are_probabilities: bool
    """The scores are probabilities already."""


@dataclass(frozen=True)
class Labels:
    """Outputs that are a yes or a no each."""

    scores: Tensor
    """[n, L], with L = 1 where there is no axis of labels."""
    targets: Tensor
    """[n, L]: 1, or a probability, of yes; 0, or -1, of no."""
    there: Tensor
    """[n, L], bool: whether it counts."""
    odd: Tensor
    """How many targets there are that are neither."""
    threshold: float
    """A score above it is a yes."""
    are_probabilities: bool


class Reading:
    """Says how to read outputs and targets. An argument that is None is found out.

    `loss` is the loss, or the name of its function. `task` is "classes" or "labels". `axis` is that of the classes or
    labels in the outputs. Targets of the value `ignore` do not count. A yes has a score above `threshold`.
    """

    def __init__(
        self,
        loss: Any = None,
        task: str | None = None,
        axis: int | None = None,
        ignore: int | None = None,
        threshold: float | None = None,
    ) -> None:
        self.name = _name(loss)
        self._known = _LOSSES.get(self.name or "")
        self._said = task
        self._axis = 1 if axis is None else axis
        self._ignore = _ignored(loss) if ignore is None else ignore
        self.are_probabilities = self._known is not None and self._known.are_probabilities
        self._threshold = (0.5 if self.are_probabilities else 0.0) if threshold is None else threshold

    @property
    def task(self) -> str | None:
        """The task; None if the loss does not tell."""
        return self._said or (None if self._known is None else self._known.task)

    def __call__(self, yhat: Any, ys: Any, *, otherwise: str, by_probability: bool = False) -> Classes | Labels:
        """Read outputs and targets.

        `otherwise` is the task if neither loss nor shapes tell: outputs and targets both have an axis of classes or
        labels. A loss of numbers is refused if the outputs have no axis of classes, and with `by_probability` always.
        """
        outputs, targets = _scores(yhat, "outputs"), _scores(ys, "targets")
        task = self.task
        if task is None or task == "numbers":
            task = self._by_shape(outputs, targets, otherwise)
            if self.task == "numbers" and (by_probability or (otherwise == "classes" and task == "labels")):
                raise self._numbers(outputs)
        return self._classes(outputs, targets) if task == "classes" else self._labels(outputs, targets)

    def _numbers(self, yhat: Tensor) -> ValueError:
        has_axis = -yhat.ndim <= self._axis < yhat.ndim
        axis = f"{yhat.shape[self._axis]} along axis" if has_axis else "no axis"
        return ValueError(
            f"outputs of shape {list(yhat.shape)} have {axis} {self._axis}, where classes would be, and {self.name} is "
            "a loss of numbers: measure meanAbsoluteError(), rootMeanSquaredError() or r2(); "
            'where each is a yes or a no for all that, say task: "labels", as in topK(1, '
            '{ name: "accuracy", task: "labels" })'
        )

    def _by_shape(self, yhat: Tensor, ys: Tensor, otherwise: str) -> str:
        if not _are_one_by_one(yhat, ys):
            return "classes"
        has_axis = yhat.shape == ys.shape and -yhat.ndim <= self._axis < yhat.ndim
        return otherwise if has_axis and yhat.shape[self._axis] > 1 else "labels"

    def _classes(self, yhat: Tensor, ys: Tensor) -> Classes:
        axis = self._axis
        if not -yhat.ndim <= axis < yhat.ndim:
            raise ValueError(f"outputs of shape {list(yhat.shape)} have no axis {axis}, where the classes must be")
        scores = yhat.movedim(axis, -1)
        if scores.shape[-1] < 2:
            raise ValueError(
                f"outputs of shape {list(yhat.shape)} have one class along axis {axis}, and every sample is of it: for "
                "yes or no use bceWithLogits(), "
                "and for classes a model with an output for each"
            )
        odd = torch.zeros((), dtype=torch.int64, device=yhat.device)
        probabilities = None
        if yhat.shape == ys.shape:
            probabilities = ys.movedim(axis, -1).reshape(-1, scores.shape[-1])
            target = (probabilities.byte() if ys.dtype is torch.bool else probabilities).argmax(1)
            if self.task is None or self.task == "numbers":
                odd = self._no_distributions(probabilities).sum()
        elif scores.shape[:-1] == ys.shape:
            target = ys.reshape(-1).long()
        else:
            raise ValueError(
                f"outputs of shape {list(yhat.shape)}, with the classes along axis {axis}, ask for targets of shape "
                f"{list(scores.shape[:-1])}, not {list(ys.shape)}"
            )
        # A loss ignores no probabilities.
        there = target.ne(self._ignore) if probabilities is None else torch.ones_like(target, dtype=torch.bool)
        return Classes(
            scores.reshape(-1, scores.shape[-1]),
            target.where(there, torch.zeros_like(target)),
            there,
            odd,
            probabilities,
            self.are_probabilities,
        )

    def _no_distributions(self, rows: Tensor) -> Tensor:
        """Return [n], bool: rows [n, C] of targets that are no probabilities of classes. Zeros and ones with more or
        less than one 1 are labels.
        """
        total = rows.sum(1)
        if self.task == "numbers":
            return rows.ge(0).all(1).logical_and(total.sub(1).abs().lt(1e-2)).logical_not()
        return rows.eq(0).logical_or(rows.eq(1)).all(1).logical_and(total.ne(1))

    def _labels(self, yhat: Tensor, ys: Tensor) -> Labels:
        if not _are_one_by_one(yhat, ys):
            raise ValueError(
                f"outputs of shape {list(yhat.shape)} and targets of shape {list(ys.shape)}: for yes or no there is "
                "one output for each target"
            )
        axis = self._axis
        if yhat.ndim < 2 or yhat.shape != ys.shape:
            scores, targets = yhat.reshape(-1, 1), ys.reshape(-1, 1)
        elif -yhat.ndim <= axis < yhat.ndim:
            labels = yhat.shape[axis]
            scores, targets = (values.movedim(axis, -1).reshape(-1, labels) for values in (yhat, ys))
        else:
            raise ValueError(f"outputs of shape {list(yhat.shape)} have no axis {axis}, where the labels must be")
        # As a byte, -100 would be 156.
        there = (targets if targets.is_floating_point() else targets.long()).ne(self._ignore)
        answers = (
            targets.eq(0).logical_or(targets.eq(1)) if self.task is None else targets.ge(0).logical_and(targets.le(1))
        )
        odd = (
            answers.logical_or((targets if targets.is_floating_point() else targets.long()).eq(-1))
            .logical_not()
            .logical_and(there)
            .sum()
        )
        return Labels(scores, targets, there, odd, self._threshold, self.are_probabilities)


def _are_one_by_one(yhat: Tensor, ys: Tensor) -> bool:
    """Return whether there is a target for each output: their shapes are the same apart from axes of length 1."""
    return [n for n in yhat.shape if n != 1] == [n for n in ys.shape if n != 1]


def the_tensor(value: Any, what: str) -> Tensor:
    """Return `value` if it is one tensor. `what` names it in the error."""
    if not isinstance(value, Tensor):
        advice = "; the learner's output can pick it: new Learner(…, { output: (yhat) => yhat.logits })"
        raise TypeError(
            f"the {what} are {described(value)}, and this metric takes one tensor{advice if what == 'outputs' else ''}"
        )
    return value


def _scores(value: Any, what: str) -> Tensor:
    if the_tensor(value, what).is_complex():
        raise TypeError(
            f"the {what} are complex numbers, which have no order: give their parts, or their absolute values"
        )
    value = full(value)
    return value.byte() if value.dtype is torch.bool and what == "outputs" else value


def described(value: Any) -> str:
    """Describe a value for an error: its type, and the items of a container."""
    kind = f"a {type(value).__name__}"
    if isinstance(value, Mapping):
        return f"{kind} of {', '.join(map(str, value))}"
    return f"{kind} of {len(value)}" if isinstance(value, (list, tuple)) else kind


def _name(loss: Any) -> str | None:
    """Return the name of its function in PyTorch or the worker; None for a custom loss."""
    if loss is None or isinstance(loss, str):
        return loss
    loss = plain(loss)
    if isinstance(loss, torch.nn.Module):
        found = torch_class(loss)
        return None if found is None else found[1]
    function = loss.func if isinstance(loss, functools.partial) else loss
    return function.__name__ if getattr(function, "__module__", None) == "torch.nn.functional" else None


def _ignored(loss: Any) -> int:
    """Return the index that the loss ignores: PyTorch's default, unless it says so."""
    loss = plain(loss)
    found = (
        loss.keywords.get("ignore_index")
        if isinstance(loss, functools.partial)
        else getattr(loss, "ignore_index", None)
    )
    return found if isinstance(found, int) else -100
