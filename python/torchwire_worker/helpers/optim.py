"""Groups of parameters for an optimizer, and the clipping of their gradients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from torch.optim import Optimizer


def parameter_groups(model: Module, named: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the param_groups of a torch.optim.Optimizer.

    Each of `named` has a "name", "params" (tensors, modules, or iterables of these) and options. Parameters of `model`
    that are in none of them make the group "default", which comes first, and is left out if it is empty.

    Raises ValueError for a group without parameters and for a parameter in two groups, TypeError for an object that is
    not a parameter.
    """
    # Keyed by identity: == of tensors compares their elements.
    owner: dict[int, str] = {}
    groups = []
    for group in named:
        name = group["name"]
        # A parameter may be given twice, as a weight and in its layer: keep it once.
        params = list({id(param): param for param in _parameters(group["params"], name)}.values())
        if not params:
            raise ValueError(f'group "{name}": params gave no parameters')
        for param in params:
            if id(param) in owner:
                raise ValueError(
                    f'{_name(model, param)} is in two groups, "{owner[id(param)]}" and "{name}"; each parameter has one'
                )
            owner[id(param)] = name
        groups.append({**group, "params": params})
    rest = [param for param in model.parameters() if id(param) not in owner]
    return [{"name": "default", "params": rest}, *groups] if rest else groups


def scale_rates(optimizer: Optimizer) -> Optimizer:
    """Multiply the rate of each group by its "lr_scale", where it has one, as timm's schedulers do. Return the
    optimizer.
    """
    for group in optimizer.param_groups:
        if "lr_scale" in group:
            group["lr"] *= group["lr_scale"]
    return optimizer


def _parameters(found: Any, group: str) -> Iterator[Tensor]:
    import torch

    if isinstance(found, torch.Tensor):
        yield found
    elif isinstance(found, torch.nn.Module):
        yield from found.parameters()
    elif isinstance(found, Iterable) and not isinstance(found, (str, bytes)):
        for item in found:
            yield from _parameters(item, group)
    else:
        raise TypeError(
            f'group "{group}": params gave {type(found).__name__}, which is no parameter, module or iterable of these'
        )


def _name(model: Module, param: Tensor) -> str:
    return next(
        (f'the parameter "{name}"' for name, one in model.named_parameters() if one is param),
        "a parameter outside of the model",
    )


def clip_gradients(optimizers: Optimizer | Mapping[str, Optimizer], norm: float | None, value: float | None) -> None:
    """Apply `clip_grad_norm_` and then `clip_grad_value_` to all parameters of each optimizer, which may come from a
    loss too.
    """
    from torch.nn.utils import clip_grad_norm_, clip_grad_value_

    for optimizer in optimizers.values() if isinstance(optimizers, Mapping) else [optimizers]:
        params = [param for group in optimizer.param_groups for param in group["params"]]
        if norm is not None:
            clip_grad_norm_(params, norm)
        if value is not None:
            clip_grad_value_(params, value)


def optimizer_class(name: str, since: str) -> type[Optimizer]:
    """Return a class of torch.optim, which has it since a version."""
    import torch

    found = getattr(torch.optim, name, None)
    if found is None:
        raise AttributeError(
            f"torch.optim.{name} came with torch {since}, and this is torch {torch.__version__}: update torch"
        )
    return found
