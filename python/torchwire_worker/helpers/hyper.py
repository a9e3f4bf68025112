"""Hyperparameters of optimizers: the options in their param_groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from torch.optim import Optimizer

# One optimizer, or one for each of several models.
Optimizers: TypeAlias = "Optimizer | Mapping[str, Optimizer]"

# Name in the result, model, name, index in a tuple such as betas, group, value, how. A model or group of None means all
# of them.
Change = tuple[str, str | None, str, int | None, str | None, Any, str]


def assign(optimizers: Optimizers, changes: list[Change]) -> dict[str, float]:
    """Make the changes in their order, and return the new values.

    A change is "own": the group's own value from here on; "now": for now; or "relative": for now, as a multiple of the
    group's own value. That is the value that the group had at its first relative change, or that was last given as its
    own.
    """
    found: dict[str, float] = {}
    for label, model, name, index, group, value, how in changes:
        targets = list(_targets(optimizers, model, group))
        for which, params in targets:
            _check(params, name, index, which)
            _check_one(params, name, index)
            base = f"initial_{name}"
            if how == "relative":
                params.setdefault(base, _copy(params[name]))
                new = _at(params[base], index) * value
            else:
                new = value
                if how == "own" and base in params:
                    _put(params, base, index, new)
            _put(params, name, index, new)
            if isinstance(new, (bool, int, float)) or hasattr(new, "item"):
                apart = group is not None or (how == "relative" and len(targets) > 1)
                place = f"{label}/{group if group is not None else which}" if apart else label
                found[place] = float(new)
    return found


def scale(optimizers: Optimizers, name: str, factor: float, least: float, eps: float) -> dict[str, float]:
    """Multiply every group's value by `factor`, as torch.optim.lr_scheduler.ReduceLROnPlateau does: not below `least`,
    and only if it changes by more than `eps`.
    """
    found: dict[str, float] = {}
    targets = list(_targets(optimizers, None, None))
    for which, params in targets:
        _check(params, name, None, which)
        _check_one(params, name, None)
        old = float(params[name])
        new = max(old * factor, least)
        if old - new > eps:
            _put(params, name, None, new)
        found[name if len(targets) == 1 else f"{name}/{which}"] = float(params[name])
    return found


def read(optimizers: Optimizers, model: str | None, name: str, index: int | None, group: str | None) -> Any:
    """Return the value that all of these groups have. Raises ValueError if they have several."""
    values = {}
    for which, params in _targets(optimizers, model, group):
        _check(params, name, index, which)
        values[which] = _plain(_at(params[name], index))
    first = next(iter(values.values()))
    if any(value != first for value in values.values()):
        apart = ", ".join(f"{which} {value}" for which, value in values.items())
        raise ValueError(f"the groups have {name} of their own: {apart}; say which one")
    return first


def groups(optimizers: Optimizers, model: str | None) -> dict[str, dict[str, Any]]:
    """Return the hyperparameters that can be set, by the name of the group."""
    return {
        which: {name: _plain(params[name]) for name in _names(params)}
        for which, params in _targets(optimizers, model, None)
    }


def _targets(optimizers: Optimizers, model: str | None, group: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    several = isinstance(optimizers, Mapping)
    chosen = dict(optimizers) if several else {"": optimizers}
    if model is not None:
        if model not in chosen:
            raise ValueError(
                f'there is no model "{model}"'
                + (f"; there are {', '.join(chosen)}" if several else ", there is one alone")
            )
        chosen = {model: chosen[model]}
    there = [
        (which if len(chosen) == 1 else f"{prefix}/{which}", which, params)
        for prefix, optimizer in chosen.items()
        for which, params in named(optimizer)
    ]
    matching = [(full, params) for full, which, params in there if group is None or which == group]
    if not matching:
        raise ValueError(f'the optimizer has no group "{group}"; it has {", ".join(full for full, _, _ in there)}')
    return iter(matching)


def named(optimizer: Optimizer) -> list[tuple[str, dict[str, Any]]]:
    """Return the groups by their "name". A group without one is named by its number; a single one is "default"."""
    found = optimizer.param_groups
    alone = "default" if len(found) == 1 else None
    return [(params.get("name") or alone or str(i), params) for i, params in enumerate(found)]


def _names(params: dict[str, Any]) -> list[str]:
    return [
        name
        for name, value in params.items()
        if name not in ("params", "name") and not name.startswith("initial_") and value is not None
    ]


def _check(params: dict[str, Any], name: str, index: int | None, which: str) -> None:
    if name not in params or name in ("params", "name"):
        raise ValueError(
            f'the optimizer has no hyperparameter "{name}" in its group "{which}"; it has {", ".join(_names(params))}'
        )
    value = params[name]
    if index is not None and (not isinstance(value, (tuple, list)) or index >= len(value)):
        raise ValueError(f'there is no "{name}.{index}": {name} is {_plain(value)}')


def _check_one(params: dict[str, Any], name: str, index: int | None) -> None:
    value = params[name]
    if index is None and isinstance(value, (tuple, list)):
        each = ", ".join(f"{name}.{i}" for i in range(len(value)))
        raise ValueError(f'the hyperparameter "{name}" has {len(value)} values: set {each}')


def _at(value: Any, index: int | None) -> Any:
    return value if index is None else value[index]


def _put(params: dict[str, Any], name: str, index: int | None, value: Any) -> None:
    """Set a value. A tensor keeps its memory: compiled or captured code reads it there."""
    old = params[name]
    if index is not None:
        if hasattr(old[index], "fill_"):
            old[index].fill_(value)
        else:
            params[name] = type(old)([*old[:index], value, *old[index + 1 :]])
    elif hasattr(old, "fill_"):
        old.fill_(value)
    else:
        params[name] = value


def _copy(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)([_copy(one) for one in value])
    return value.clone() if hasattr(value, "clone") else value


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]
    return value.item() if hasattr(value, "item") else value
