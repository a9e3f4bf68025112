"""Checks that run before training begins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from .containers import with_tensors


def loss_problem(loss: Any, may_be_none: bool = False) -> str | None:
    """Return why a loss is not one number, or None. A model may compute its own loss in training mode alone."""
    if loss is None and may_be_none:
        return None
    if not isinstance(loss, torch.Tensor):
        return f"it is a {type(loss).__name__}, not a tensor"
    if loss.numel() != 1:
        return f"it is a tensor of shape {list(loss.shape)}, not one number: reduce it, e.g. with .mean()"
    if not (loss.is_floating_point() or loss.is_complex()):
        return f"it is of {loss.dtype}, and has no gradient"
    return None


class Watch:
    """Watches whether a loss broadcasts outputs against targets so that samples meet the targets of others: [N, 1]
    against [N] makes [N, N].

    It follows the axis of samples, counted from the last axis as broadcasting does. It follows a tensor that lost other
    axes, by a squeeze, an index, a view or a mean. It does not follow one that may have lost the axis of samples, or
    has it elsewhere: a program that adds axes does so on purpose. So weights of classes, means over the samples, masks
    [N, 1] of [N, C] and pairs, x[:, None] - y[None] or x - x.squeeze(1), are no problem.
    """

    def __init__(self) -> None:
        self.problem: str | None = None

    def watched(self, values: Any, name: str) -> Any:
        """Return the same values, with tensors whose operations are watched."""
        return with_tensors(lambda value: self._followed(value, name) if _has_samples(value) else value, values)

    def _followed(self, tensor: torch.Tensor, name: str) -> torch.Tensor:
        return _follow(tensor, _Samples(self, name, list(tensor.shape), -tensor.dim()))

    def see(self, name: str, one: Any, other: Any) -> None:
        a, b = one.samples, other.samples
        if self.problem is not None or a.axis == b.axis or one.shape[a.axis] != other.shape[b.axis]:
            return
        if a.name == b.name and (a.is_cut or b.is_cut):
            return
        made = torch.broadcast_shapes(one.shape, other.shape)
        if made.numel() <= max(one.numel(), other.numel()):
            return
        longer, shorter = (a, b) if len(a.shape) > len(b.shape) else (b, a)
        self.problem = (
            f"{a.name} of shape {list(one.shape)} and {b.name} of shape {list(other.shape)} make {list(made)} in "
            f"{name}: each sample meets "
            f"those of all others. Give both one shape"
        )
        if [longer.shape[0], *longer.shape[2:]] == shorter.shape:
            self.problem += (
                f": the {shorter.name} {longer.shape} (.unsqueeze(1)), or the {longer.name} {shorter.shape} "
                "(.squeeze(1))"
            )


class _Samples:
    """A tensor's name and shape, and the place of its axis of samples."""

    def __init__(self, watch: Watch, name: str, shape: list[int], axis: int, is_cut: bool = False) -> None:
        self.watch = watch
        self.name = name
        self.shape = shape
        self.axis = axis
        self.is_cut = is_cut
        """Whether axes were taken away."""


class _Followed(torch.Tensor):
    """A tensor whose operations are watched."""

    samples: _Samples

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_function__(func, types, args, kwargs or {})
        operands = [*_operands([*args, *(kwargs or {}).values()])]
        # A method of TorchScript has no name.
        name = getattr(func, "__name__", "")
        is_elementwise = _is_elementwise(name)
        if is_elementwise or name in _LOSSES:
            for i, one in enumerate(operands):
                for other in operands[:i]:
                    one.samples.watch.see(name, other, one)
        if isinstance(result, _Followed) and (is_elementwise or name in _KEEPING or name in _LOSSES):
            axes = {one.samples.axis for one in operands}
            if len(axes) == 1 and result.dim() >= -min(axes):
                _follow(result, operands[0].samples)
        elif (
            isinstance(result, _Followed)
            and operands
            and operands[0] is args[0]
            and _is_cut(name, args, kwargs or {}, result)
        ):
            samples = args[0].samples
            _follow(result, _Samples(samples.watch, samples.name, list(result.shape), -result.dim(), is_cut=True))
        return result


def _follow(tensor: torch.Tensor, samples: _Samples) -> _Followed:
    followed = tensor if isinstance(tensor, _Followed) else tensor.as_subclass(_Followed)
    followed.samples = samples
    return followed


def _has_samples(value: Any) -> bool:
    # One sample cannot meet others.
    return isinstance(value, torch.Tensor) and value.dim() > 0 and value.shape[0] > 1


def _operands(values: list[Any]) -> Iterator[_Followed]:
    for value in values:
        if isinstance(value, _Followed) and hasattr(value, "samples"):
            yield value


def _is_cut(name: str, args: Any, kwargs: Any, result: torch.Tensor) -> bool:
    """Return whether an operation took axes away, and left that of the samples, the first."""
    whole = args[0]
    if whole.samples.axis != -whole.dim() or not 0 < result.dim() < whole.dim() or len(result) != len(whole):
        return False
    given = kwargs.get("dim", args[1] if len(args) > 1 else None)
    if name == "__getitem__":
        first = given[0] if isinstance(given, (tuple, list)) and given else given
        return first is Ellipsis or (isinstance(first, slice) and first == slice(None))
    if name == "squeeze" and given is None or name in _VIEWS:
        return True
    dims = [given] if isinstance(given, int) else given
    return (
        name in _ALONG
        and isinstance(dims, (list, tuple))
        and all(isinstance(dim, int) and dim % whole.dim() != 0 for dim in dims)
    )


# If the first axis is as long as before, the elements in their order belong to the same samples.
_VIEWS = {"view", "reshape", "flatten", "ravel"}
_ALONG = {
    "squeeze",
    "select",
    "sum",
    "mean",
    "nansum",
    "nanmean",
    "amax",
    "amin",
    "logsumexp",
    "argmax",
    "argmin",
    "prod",
}
# Functions of torch.nn.functional that broadcast, or give a loss for each element.
_LOSSES = {
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "pairwise_distance",
    "l1_loss",
    "mse_loss",
    "smooth_l1_loss",
    "huber_loss",
    "poisson_nll_loss",
    "gaussian_nll_loss",
    "hinge_embedding_loss",
    "soft_margin_loss",
    "margin_ranking_loss",
    "multilabel_soft_margin_loss",
    "kl_div",
}
_KEEPING = {
    "clone",
    "detach",
    "contiguous",
    "float",
    "double",
    "half",
    "bfloat16",
    "to",
    "type",
    "type_as",
    "softmax",
    "log_softmax",
}
# Names that are different in ATen.
_NAMES = {
    "truediv": "div",
    "rtruediv": "div",
    "rdiv": "div",
    "divide": "div",
    "true_divide": "div",
    "floordiv": "floor_divide",
    "subtract": "sub",
    "radd": "add",
    "multiply": "mul",
    "rmul": "mul",
    "rpow": "pow",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "not_equal": "ne",
    "absolute": "abs",
    "max": "maximum",
    "min": "minimum",
}


def _is_elementwise(name: str) -> bool:
    name = name.strip("_")
    # An operator in place, __isub__ or sub_, counts as that operator.
    names = [name, _NAMES.get(name, ""), *([name[1:]] if name.startswith("i") else [])]
    return any(_is_pointwise(one) for one in names if one)


def _is_pointwise(name: str) -> bool:
    operator = getattr(torch.ops.aten, name, None)
    return operator is not None and any(
        torch.Tag.pointwise in getattr(operator, overload).tags for overload in operator.overloads()
    )
