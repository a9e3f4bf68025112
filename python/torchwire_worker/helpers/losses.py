"""Losses that PyTorch lacks, and those of several outputs or targets.

Outputs `yhat` of the losses of classes are probabilities [N, C, …], with the classes along `dim`. Their targets are
probabilities of the same shape, or indices [N, …]. All other losses take outputs and targets of one shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Names = list[tuple[str, str]]


def of_parts(function: Callable[..., Any], outputs: Names, targets: Names) -> Callable[..., Any]:
    """Return `function`, which takes named arguments, as a loss of (yhat, ys): each of these has a value for each of
    its names.

    A name is a pair: the key in a dict, and the argument. Tuples and lists have the values in this order. With one
    name, the value may stand alone.
    """

    def loss(yhat: Any, ys: Any, **options: Any) -> Any:
        of = getattr(function, "__name__", "the loss")
        return function(**parts(of, "model's output", yhat, outputs), **parts(of, "target", ys, targets), **options)

    return loss


def parts(function: str, what: str, value: Any, names: Names) -> dict[str, Any]:
    if not names:
        return {}
    arguments = [argument for _, argument in names]
    if isinstance(value, Mapping):
        given = {argument: value[key] for key, argument in names if key in value}
        given.update({argument: value[argument] for argument in arguments if argument in value})
    elif all(hasattr(value, argument) for argument in arguments):
        given = {argument: getattr(value, argument) for argument in arguments}
    elif isinstance(value, (tuple, list)):
        given = dict(zip(arguments, value)) if len(value) == len(arguments) else {}
    else:
        given = {arguments[0]: value} if len(arguments) == 1 else {}
    if len(given) != len(arguments):
        found = (
            f"{type(value).__name__} of {len(value)}"
            if isinstance(value, (tuple, list, Mapping))
            else type(value).__name__
        )
        raise ValueError(f"{function}: the {what} must be a tuple or dict of {', '.join(arguments)}, not a {found}")
    return given


def plain(loss: Any) -> Any:
    """Return the module from which torch.compile made `loss`; else `loss`."""
    return getattr(loss, "_orig_mod", loss)


def torch_class(loss: Any) -> tuple[Any, str] | None:
    """Return the class of torch.nn that `loss` is or derives from, and the name of its function in
    torch.nn.functional; None for other losses.
    """
    for kind in type(loss).__mro__:
        if kind.__module__ == "torch.nn.modules.loss" and kind.__name__ in _FUNCTIONS:
            return kind, _FUNCTIONS[kind.__name__]
    return None


_FUNCTIONS = {
    "CrossEntropyLoss": "cross_entropy",
    "NLLLoss": "nll_loss",
    "MultiMarginLoss": "multi_margin_loss",
    "KLDivLoss": "kl_div",
    "BCEWithLogitsLoss": "binary_cross_entropy_with_logits",
    "BCELoss": "binary_cross_entropy",
    "MultiLabelSoftMarginLoss": "multilabel_soft_margin_loss",
    "SoftMarginLoss": "soft_margin_loss",
    "HingeEmbeddingLoss": "hinge_embedding_loss",
    "L1Loss": "l1_loss",
    "MSELoss": "mse_loss",
    "HuberLoss": "huber_loss",
    "SmoothL1Loss": "smooth_l1_loss",
    "PoissonNLLLoss": "poisson_nll_loss",
    "GaussianNLLLoss": "gaussian_nll_loss",
    "MultiLabelMarginLoss": "multilabel_margin_loss",
}


# --- Flux's ---


def msle(yhat: Tensor, y: Tensor, eps: float | None = None, reduction: str = "mean") -> Tensor:
    import torch

    eps = _eps(yhat, eps)
    return _reduced(torch.log((yhat + eps) / (y + eps)).square(), reduction)


def cross_entropy_of_probabilities(
    yhat: Tensor, y: Tensor, dim: int = 1, eps: float | None = None, reduction: str = "mean"
) -> Tensor:
    import torch

    return _reduced(-torch.xlogy(_hot(y, yhat, dim), yhat + _eps(yhat, eps)).sum(dim), reduction)


def binary_cross_entropy(yhat: Tensor, y: Tensor, eps: float | None = None, reduction: str = "mean") -> Tensor:
    import torch

    eps = _eps(yhat, eps)
    return _reduced(-torch.xlogy(y, yhat + eps) - torch.xlogy(1 - y, 1 - yhat + eps), reduction)


def kl_divergence(yhat: Tensor, y: Tensor, dim: int = 1, eps: float | None = None, reduction: str = "mean") -> Tensor:
    import torch

    return _reduced((torch.xlogy(y, y) - torch.xlogy(y, yhat + _eps(yhat, eps))).sum(dim), reduction)


def poisson_loss(yhat: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
    import torch

    return _reduced(yhat - torch.xlogy(y, yhat), reduction)


def hinge_loss(yhat: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
    return _reduced((1 - yhat * y).clamp(min=0), reduction)


def squared_hinge_loss(yhat: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
    return _reduced((1 - yhat * y).clamp(min=0).square(), reduction)


def dice_coeff_loss(yhat: Tensor, y: Tensor, smooth: float = 1) -> Tensor:
    return 1 - (2 * (y * yhat).sum() + smooth) / (y.square().sum() + yhat.square().sum() + smooth)


def tversky_loss(yhat: Tensor, y: Tensor, beta: float = 0.7) -> Tensor:
    both = y * yhat
    return 1 - (both.sum() + 1) / ((both + beta * (1 - y) * yhat + (1 - beta) * y * (1 - yhat)).sum() + 1)


def binary_focal_loss(
    yhat: Tensor, y: Tensor, gamma: float = 2, eps: float | None = None, reduction: str = "mean"
) -> Tensor:
    yhat = yhat + _eps(yhat, eps)
    right = y * yhat + (1 - y) * (1 - yhat)
    return _reduced((1 - right).pow(gamma) * -right.log(), reduction)


def focal_loss(
    yhat: Tensor, y: Tensor, gamma: float = 2, dim: int = 1, eps: float | None = None, reduction: str = "mean"
) -> Tensor:
    yhat = yhat + _eps(yhat, eps)
    return _reduced((-_hot(y, yhat, dim) * (1 - yhat).pow(gamma) * yhat.log()).sum(dim), reduction)


def siamese_contrastive_loss(yhat: Tensor, y: Tensor, margin: float = 1, reduction: str = "mean") -> Tensor:
    return _reduced((1 - y) * yhat.square() + y * (margin - yhat).clamp(min=0).square(), reduction)


def label_smoothing(y: Tensor, alpha: float, dim: int | None) -> Tensor:
    """Smooth the targets. Without a `dim`, `y` are probabilities of one thing each."""
    y = y if y.is_floating_point() else y.float()
    return y * (1 - alpha) + alpha / (2 if dim is None else y.shape[dim])


def _eps(like: Tensor, eps: float | None) -> float:
    """Return Flux's default: the epsilon of the dtype of the outputs."""
    import torch

    return torch.finfo(like.dtype).eps if eps is None else eps


def _hot(y: Tensor, yhat: Tensor, dim: int) -> Tensor:
    """Return indices [N, …] as zeros and ones [N, C, …]; a distribution as it is."""
    import torch

    if y.is_floating_point():
        return y
    return torch.nn.functional.one_hot(y, yhat.shape[dim]).movedim(-1, dim).to(yhat.dtype)


def _reduced(losses: Tensor, reduction: str) -> Tensor:
    return losses if reduction == "none" else losses.sum() if reduction == "sum" else losses.mean()
