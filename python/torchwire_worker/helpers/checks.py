"""What is looked at before a training begins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils._pytree import tree_map


def loss_problem(loss: Any) -> str | None:
    """Why a loss is not one number, or None."""
    if not isinstance(loss, torch.Tensor):
        return f"it is a {type(loss).__name__}, not a tensor"
    if loss.numel() != 1:
        return f"it is a tensor of shape {list(loss.shape)}, not one number: reduce it, e.g. with .mean()"
    if not (loss.is_floating_point() or loss.is_complex()):
        return f"it is of {loss.dtype}, and has no gradient"
    return None


class Watch:
    """Sees whether a loss broadcasts outputs against targets so that samples meet the targets of others: [N, 1] against [N] is [N, N].

    It goes by where the axis of samples lies, counted from the last one as broadcasting does. What has lost that axis, or may have moved it (a
    reduction, a view, an index), is followed no longer: who reshapes knows. So weights of classes, means over an axis, masks [N, 1] of [N, C] and pairs
    that are meant, x[:, None] - y[None], are no problem.
    """

    def __init__(self) -> None:
        self.problem: str | None = None

    def watched(self, values: Any, name: str) -> Any:
        """The same values, of whose tensors it is seen what becomes."""
        return tree_map(lambda value: self._followed(value, name) if _has_samples(value) else value, values)

    def _followed(self, tensor: torch.Tensor, name: str) -> torch.Tensor:
        return _follow(tensor, _Samples(self, name, list(tensor.shape), -tensor.dim()))

    def see(self, function: Any, one: Any, other: Any) -> None:
        a, b = one.samples, other.samples
        if self.problem is not None or a.axis == b.axis or one.shape[a.axis] != other.shape[b.axis]:
            return
        made = torch.broadcast_shapes(one.shape, other.shape)
        if made.numel() <= max(one.numel(), other.numel()):
            return
        longer, shorter = (a, b) if len(a.shape) > len(b.shape) else (b, a)
        self.problem = (
            f"{a.name} of shape {list(one.shape)} and {b.name} of shape {list(other.shape)} make {list(made)} in {function.__name__}: each sample meets "
            f"those of all others. Give both one shape"
        )
        if [longer.shape[0], *longer.shape[2:]] == shorter.shape:
            self.problem += f": the {shorter.name} {longer.shape} (.unsqueeze(1)), or the {longer.name} {shorter.shape} (.squeeze(1))"


class _Samples:
    """Of a tensor: what it was, and where its axis of samples lies."""

    def __init__(self, watch: Watch, name: str, shape: list[int], axis: int) -> None:
        self.watch = watch
        self.name = name
        self.shape = shape
        self.axis = axis


class _Followed(torch.Tensor):
    """A tensor whose operations are seen."""

    samples: _Samples

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_function__(func, types, args, kwargs or {})
        operands = [*_operands([*args, *(kwargs or {}).values()])]
        is_elementwise = _is_elementwise(func)
        if is_elementwise or func.__name__ in _LOSSES:
            for i, one in enumerate(operands):
                for other in operands[:i]:
                    one.samples.watch.see(func, other, one)
        if isinstance(result, _Followed) and (is_elementwise or func.__name__ in _KEEPING):
            axes = {one.samples.axis for one in operands}
            if len(axes) == 1 and result.dim() >= -min(axes):
                _follow(result, operands[0].samples)
        return result


def _follow(tensor: torch.Tensor, samples: _Samples) -> _Followed:
    followed = tensor if isinstance(tensor, _Followed) else tensor.as_subclass(_Followed)
    followed.samples = samples
    return followed


def _has_samples(value: Any) -> bool:
    # Of one sample nothing can be told.
    return isinstance(value, torch.Tensor) and value.dim() > 0 and value.shape[0] > 1


def _operands(values: list[Any]) -> Iterator[_Followed]:
    for value in values:
        if isinstance(value, _Followed) and hasattr(value, "samples"):
            yield value


# Of torch.nn.functional: those that broadcast.
_LOSSES = {
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
_KEEPING = {"clone", "detach", "contiguous", "float", "double", "half", "bfloat16", "to", "type", "type_as", "softmax", "log_softmax"}
# Where ATen has another name.
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


def _is_elementwise(function: Any) -> bool:
    name = function.__name__.strip("_")
    # An operator in place, __isub__ or sub_, is that operator.
    names = [name, _NAMES.get(name, ""), *([name[1:]] if name.startswith("i") else [])]
    return any(_is_pointwise(one) for one in names if one)


def _is_pointwise(name: str) -> bool:
    operator = getattr(torch.ops.aten, name, None)
    return operator is not None and any(torch.Tag.pointwise in getattr(operator, overload).tags for overload in operator.overloads())
