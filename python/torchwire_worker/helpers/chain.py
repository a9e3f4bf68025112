"""Changes gradients before an optimizer's step, and the update after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

# The step count is kept in a param_group: an optimizer's state_dict has those, and so a checkpoint has it.
STEPS = "chain_steps"

Part = tuple[str, list[float]]


def chain(optimizer: Any, before: list[Part], after: list[Part]) -> Any:
    """Make each step of the optimizer go through `before` and `after`, and return the optimizer.

    Raises ValueError if weights would decay both after the step and within it.
    """
    decays = any(name == "weightDecay" for name, _ in after)
    if decays and any(group.get("weight_decay") for group in optimizer.param_groups):
        raise ValueError(
            "weightDecay after an optimiser that has a weight decay of its own: give that one weightDecay: 0"
        )
    scaled: list[tuple[dict[str, Any], Any, Any]] = []

    def pre(optimizer: Any, *_: Any) -> None:
        import torch

        if getattr(optimizer, "grad_scale", None) is not None:
            raise RuntimeError(
                "gradients are still scaled for float16: call scaler.unscale_(optimizer) before scaler.step(optimizer)"
            )
        _restore(scaled)
        first = optimizer.param_groups[0]
        step = first[STEPS] = first.get(STEPS, 0) + 1
        with torch.no_grad():
            for name, values in before:
                for param in _with_gradients(optimizer):
                    _change(name, values, step, param)
            rate, decay = _update(after, step)
            if decay != 0:
                for param in _with_gradients(optimizer):
                    param.mul_(1 - decay)
        if rate != 1:
            for group in optimizer.param_groups:
                lr = group["lr"]
                group["lr"] = lr * rate
                scaled.append((group, lr, group["lr"]))

    optimizer.register_step_pre_hook(pre)
    optimizer.register_step_post_hook(lambda *_: _restore(scaled))
    return optimizer


def _with_gradients(optimizer: Any) -> Iterator[Any]:
    return (param for group in optimizer.param_groups for param in group["params"] if param.grad is not None)


def _change(name: str, values: list[float], step: int, param: Any) -> None:
    import torch

    gradient = param.grad
    if name == "weightDecay":
        gradient.add_(param, alpha=values[0])
    elif name == "clipValue":
        gradient.clamp_(-values[0], values[0])
    elif name == "clipNorm":
        norm = gradient.norm()
        # Do not read the norm: that would wait for CUDA.
        gradient.mul_(torch.where(norm > values[0], values[0] / norm, torch.ones_like(norm)))
    else:
        gradient.mul_(_FACTORS[name](step, *values))


def _update(after: list[Part], step: int) -> tuple[float, float]:
    """Return the factor of the update, and the fraction of the parameter that is then subtracted."""
    rate, decay = 1.0, 0.0
    for name, values in after:
        if name == "weightDecay":
            decay += values[0]
        else:
            factor = _FACTORS[name](step, *values)
            rate, decay = rate * factor, decay * factor
    return rate, decay


def _restore(scaled: list[tuple[dict[str, Any], Any, Any]]) -> None:
    """Restore the learning rates, after a step that failed too, unless somebody has set others since."""
    for group, before, during in scaled:
        if group["lr"] is during:
            group["lr"] = before
    scaled.clear()


def _exp_decay(step: int, eta: float, decay: float, every: float, clip: float, start: float) -> float:
    times = max(0, step // int(every) - int(start) // int(every))
    return eta if times == 0 else max(eta * decay**times, clip)


def _inv_decay(step: int, gamma: float) -> float:
    return 1 / (1 + gamma * step)


_FACTORS: dict[str, Callable[..., float]] = {"expDecay": _exp_decay, "invDecay": _inv_decay}
