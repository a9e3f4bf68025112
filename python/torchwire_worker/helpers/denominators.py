"""The denominators of losses: with them, the means of batches give the mean over an epoch."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..devices import late_number
from . import losses

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# From the arguments of a loss, outputs first, and its options: how many terms its mean has, or what they weigh
# together.
Denominator = Callable[..., Any]


def weigher(loss: Any) -> Weigher:
    """Return the weigher of a loss (yhat, ys) in Python: a function of torch.nn.functional or of `losses`, one of these
    with options (functools.partial), or a module of torch.nn. Nothing is known of others.
    """
    try:
        return _weigher(loss, {})
    except Exception:
        return Weigher(None, dict)


def weigher_of(
    module: str, function: str, outputs: losses.Names | None, targets: losses.Names, options: dict[str, Any]
) -> Weigher:
    """Return the weigher of a function by its name. With `outputs`, `losses.of_parts` calls it."""
    denominator = _functions().get(getattr(import_module(module), function, None))
    if denominator is not None and outputs is not None:
        denominator = _of_parts(denominator, outputs, targets)
    return Weigher(denominator, lambda: options)


class Weigher:
    """Weighs the loss of a batch. `denominator` is None if nothing is known; `options` are read at each step, as those
    of a module may change.
    """

    def __init__(self, denominator: Denominator | None, options: Callable[[], dict[str, Any]]) -> None:
        self._denominator = denominator
        self._options = options

    def weight(self, yhat: Any, ys: Any) -> float | None:
        weight = self._weight(yhat, ys, self._options())
        return None if weight is None else float(weight)

    def counted(self, loss: Tensor, yhat: Any, ys: Any, is_changed: bool) -> list[Any]:
        """Return the loss of a step, its weight in the mean over an epoch, and the product, which it adds there. What
        is not known is None. On a GPU these are tensors, for which nothing waits, and no product.

        `is_changed`: the program changed the loss before the step, so that nothing is known of a sum.
        """
        options = self._options()
        is_sum = options.get("reduction") == "sum"
        weight = None if is_sum and is_changed else self._weight(yhat, ys, options)
        late = late_number(loss)
        if late is not None:
            return [late, weight, late if is_sum and weight is not None else None]
        value = loss.item()
        if weight is None:
            return [value, None, None]
        weight = float(weight)
        return [value, weight, value if is_sum else value * weight]

    def _weight(self, yhat: Any, ys: Any, options: dict[str, Any]) -> Any:
        if self._denominator is None or options.get("reduction") == "none":
            return None
        try:
            return self._denominator(yhat, ys, **options)
        except Exception:
            # The loss itself went well: it takes its arguments in another way.
            return None


def _weigher(loss: Any, options: dict[str, Any]) -> Weigher:
    if isinstance(loss, partial) and not loss.args:
        return _weigher(loss.func, {**loss.keywords, **options})
    loss = losses.plain(loss)
    if options.get("size_average") is not None or options.get("reduce") is not None:
        options = {**options, "reduction": _legacy(options.get("size_average"), options.get("reduce"))}
    found = losses.torch_class(loss)
    # Nothing is known of a subclass that computes something else.
    if found is not None and type(loss).forward is found[0].forward:
        import torch.nn.functional as F

        return Weigher(
            _functions()[getattr(F, found[1])],
            lambda: {name: getattr(loss, name) for name in _OPTIONS if hasattr(loss, name)},
        )
    return Weigher(_functions().get(loss), lambda: options)


def _legacy(size_average: bool | None, reduce: bool | None) -> str:
    """Return the reduction that these older options mean: each counts as true if it is not given."""
    return "none" if reduce is False else "sum" if size_average is False else "mean"


# The options on which a denominator depends, as modules have them.
_OPTIONS = ("weight", "ignore_index", "reduction")


def _of_parts(denominator: Denominator, outputs: losses.Names, targets: losses.Names) -> Denominator:
    def of(yhat: Any, ys: Any, **options: Any) -> Any:
        given = {
            **losses.parts("the loss", "model's output", yhat, outputs),
            **losses.parts("the loss", "target", ys, targets),
        }
        return denominator(**given, **options)

    return of


# --- how many terms ---


def _elements(input: Tensor, target: Tensor, **_: Any) -> int:
    return _together(input, target)


def _together(*tensors: Tensor) -> int:
    """Return the number of elements of the shape to which the tensors broadcast."""
    import torch

    first = tensors[0].shape
    return math.prod(
        first if all(one.shape == first for one in tensors) else torch.broadcast_shapes(*(one.shape for one in tensors))
    )


def _weighted_elements(input: Tensor, target: Tensor, weight: Tensor | None = None, **_: Any) -> Tensor | int:
    from .precision import wide

    return _together(input, target) if weight is None else wide(weight).sum()


def _positions(
    input: Tensor, target: Tensor, weight: Tensor | None = None, ignore_index: int = -100, **_: Any
) -> Tensor | int:
    """Return the number of targets [N, …] that are not ignored, or the weights [C] of their classes added up."""
    import torch

    from .precision import wide

    # PyTorch takes bytes too, but indexing by bytes would be a mask.
    target = target.long()
    counts = target != ignore_index
    if weight is None:
        return torch.count_nonzero(counts)
    of_each = wide(weight)[target.masked_fill(~counts, 0)]
    return of_each.masked_fill(~counts, 0).sum()


def _positions_or_probabilities(input: Tensor, target: Tensor, **options: Any) -> Tensor | int:
    # PyTorch tells them apart by shape: probabilities are [N, C, …]. For these, neither ignored targets nor weights of
    # classes count.
    if input.shape == target.shape:
        return _without(input.shape, 0 if input.dim() == 1 else 1)
    return _positions(input, target, **options)


def _without(shape: torch.Size, dim: int) -> int:
    """Return the number of elements after a sum over the axis `dim`."""
    dim %= len(shape)
    return math.prod(shape[:dim]) * math.prod(shape[dim + 1 :])


def _rows(input: Tensor, target: Tensor, **_: Any) -> int:
    return input.shape[0] if input.dim() > 1 else 1


def _divergence(input: Tensor, target: Tensor, reduction: str = "mean", **_: Any) -> int:
    return input.shape[0] if reduction == "batchmean" else _together(input, target)


def _gaussian(input: Tensor, target: Tensor, var: Tensor, **_: Any) -> int:
    if var.shape != input.shape and var.shape == input.shape[:-1]:
        var = var.unsqueeze(-1)
    return _together(input, target, var)


def _ranks(input1: Tensor, input2: Tensor, target: Tensor, **_: Any) -> int:
    return _together(input1, input2, target)


def _cosines(input1: Tensor, input2: Tensor, target: Tensor, **_: Any) -> int:
    return _together((input1[..., 0] + input2[..., 0]), target)


def _triplets(anchor: Tensor, positive: Tensor, negative: Tensor, **_: Any) -> int:
    return _together(anchor[..., 0], positive[..., 0], negative[..., 0])


def _distances(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    **options: Any,
) -> int:
    """Use a custom distance for its shape alone: nothing is computed on the meta device."""
    if distance_function is None:
        return _triplets(anchor, positive, negative)
    far = [one.detach().to("meta") for one in (anchor, positive, negative)]
    return _together(distance_function(far[0], far[1]), distance_function(far[0], far[2]))


def _sequences(log_probs: Tensor, **_: Any) -> int:
    return log_probs.shape[1] if log_probs.dim() == 3 else 1


def _last_axis_summed(input: Tensor, target: Tensor, **_: Any) -> int:
    return _together(input[..., 0], target[..., 0])


def _classes_summed(yhat: Tensor, y: Tensor, dim: int = 1, **_: Any) -> int:
    import torch

    return _without(torch.broadcast_shapes(y.shape, yhat.shape) if y.is_floating_point() else yhat.shape, dim)


@cache
def _functions() -> dict[Any, Denominator]:
    """Losses that are missing here are no means: `dice_coeff_loss`, `tversky_loss`."""
    import torch.nn.functional as F

    return {
        F.l1_loss: _weighted_elements,
        F.mse_loss: _weighted_elements,
        F.huber_loss: _elements,
        F.smooth_l1_loss: _elements,
        F.cross_entropy: _positions_or_probabilities,
        F.nll_loss: _positions,
        F.binary_cross_entropy: _elements,
        F.binary_cross_entropy_with_logits: _elements,
        F.kl_div: _divergence,
        F.poisson_nll_loss: _elements,
        F.gaussian_nll_loss: _gaussian,
        F.hinge_embedding_loss: _elements,
        F.margin_ranking_loss: _ranks,
        F.cosine_embedding_loss: _cosines,
        F.triplet_margin_loss: _triplets,
        F.triplet_margin_with_distance_loss: _distances,
        F.multi_margin_loss: _rows,
        F.multilabel_margin_loss: _rows,
        F.multilabel_soft_margin_loss: _last_axis_summed,
        F.soft_margin_loss: _elements,
        F.ctc_loss: _sequences,
        losses.msle: _elements,
        losses.binary_cross_entropy: _elements,
        losses.poisson_loss: _elements,
        losses.hinge_loss: _elements,
        losses.squared_hinge_loss: _elements,
        losses.binary_focal_loss: _elements,
        losses.siamese_contrastive_loss: _elements,
        losses.cross_entropy_of_probabilities: _classes_summed,
        losses.kl_divergence: _classes_summed,
        losses.focal_loss: _classes_summed,
    }
