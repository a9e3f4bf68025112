"""An optimizer and its schedules as lines of a script."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import torch

from . import hyper, script_pieces
from .script_modules import cover, path_of
from .script_values import NoForm, Values

Optimizer = torch.optim.Optimizer

_WIDTH = 100


def optimizer_lines(optimizer: Any, model: torch.nn.Module, values: Values) -> list[str]:
    """Return statements that make such an optimizer for `model`. Raises NoForm."""
    kind = type(optimizer)
    if not isinstance(optimizer, Optimizer):
        raise NoForm(f"it is a {kind.__name__}")
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        raise NoForm("it has hooks around its step, as those of chain(…) and the program's own")
    options = _options(optimizer)
    named = [f"{name}={values.expression(value, name)}" for name, value in options.items()]
    groups = optimizer.param_groups
    others = [
        {
            name: value
            for name, value in group.items()
            if name == "name"
            or name in optimizer.defaults
            and not _equal(value, options.get(name, optimizer.defaults[name]))
        }
        for group in groups
    ]
    made = kind([{**other, "params": group["params"]} for other, group in zip(others, groups)], **options)
    for mine, theirs in zip(made.param_groups, groups):
        different = [name for name, value in mine.items() if name != "params" and not _equal(value, theirs.get(name))]
        if different:
            raise NoForm(f"{kind.__name__} does not tell its {different[0]}")
    name = values.expression(kind)
    if len(groups) == 1 and not others[0]:
        return [f"optimizer = {name}({', '.join([_params(groups, 0, model), *named])})"]
    lines = [f"optimizer = {name}(", "    ["]
    for i, other in enumerate(others):
        more = [f'"{key}": {values.expression(value, key)}' for key, value in other.items() if key != "name"]
        first = [f'"name": {other["name"]!r}'] if "name" in other else []
        pairs = [*first, f'"params": {_params(groups, i, model)}', *more]
        line = f"        {{{', '.join(pairs)}}},"
        lines += (
            [line] if len(line) < _WIDTH else ["        {", *(f"            {one}," for one in pairs), "        },"]
        )
    return [*lines, "    ],", *(f"    {one}," for one in named), ")"]


def _options(optimizer: Optimizer) -> dict[str, Any]:
    """Return the keyword arguments: those that are not PyTorch's defaults, and the learning rate."""
    found = {}
    alone = optimizer.param_groups[0] if len(optimizer.param_groups) == 1 else {}
    for name, parameter in inspect.signature(type(optimizer)).parameters.items():
        if name not in optimizer.defaults:
            continue
        value = _plain(alone.get(name, optimizer.defaults[name]))
        if name == "lr" or not _equal(value, parameter.default):
            found[name] = value
    return found


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, torch.Tensor) else value


def _equal(a: Any, b: Any) -> bool:
    a, b = _plain(a), _plain(b)
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def _params(groups: list[dict[str, Any]], i: int, model: torch.nn.Module) -> str:
    """Return the parameters of a group, as a person would write them."""
    mine = groups[i]["params"]
    if _same(mine, model.parameters()):
        return "model.parameters()"
    others = [param for j, group in enumerate(groups) if j != i for param in group["params"]]
    taken = [name + ("." if whole else "") for name, whole in cover(model, lambda p: _is_in(p, others))]
    rest = [param for name, param in model.named_parameters() if not name.startswith(tuple(taken))]
    if i == 0 and taken and _same(mine, rest):
        these = repr(taken[0]) if len(taken) == 1 else repr(tuple(taken))
        return f"[p for name, p in model.named_parameters() if not name.startswith({these})]".replace("'", '"')
    found = [*cover(model, lambda p: _is_in(p, mine))]
    covered = []
    for name, whole in found:
        covered += [*model.get_submodule(name).parameters()] if whole else [model.get_parameter(name)]
    if _same(mine, covered):
        parts = [path_of(name, model) + (".parameters()" if whole else "") for name, whole in found]
        if len(found) == 1 and found[0][1]:
            return parts[0]
        return f"[{', '.join(f'*{one}' if whole else one for one, (_, whole) in zip(parts, found))}]"
    names = {id(param): name for name, param in model.named_parameters()}
    if any(id(param) not in names for param in mine):
        raise NoForm("it has parameters that are not the model's")
    return f"[{', '.join(path_of(names[id(param)], model) for param in mine)}]"


def _is_in(param: Any, params: Iterable[Any]) -> bool:
    return any(param is one for one in params)


def _same(a: Iterable[Any], b: Iterable[Any]) -> bool:
    first, second = [*a], [*b]
    return len(first) == len(second) and all(x is y for x, y in zip(first, second))


# --- schedules ---


class Schedule:
    """What the schedules of a fit set, step by step.

    Each of `entries` has the `change` of `hyper.assign` without its value, the `values` of all steps, and what is told
    of the schedule: the name of its function in `script_pieces` with its arguments, or None.
    """

    def __init__(self, optimizer: Optimizer, entries: list[dict[str, Any]], values: Values) -> None:
        # By name: the values of each step, or of each group in each step.
        self.table: dict[str, list[Any]] = {}
        self.lines: list[str] = []
        copies = [
            {name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups
        ]
        self._stand_in: Any = SimpleNamespace(param_groups=copies)
        self._entries = entries
        self._values = values
        names = dict.fromkeys((entry["key"], entry["index"]) for entry in entries)
        found: dict[tuple[str, int | None], list[list[Any]]] = {name: [] for name in names}
        for t in range(len(entries[0]["values"]) if entries else 0):
            changes = [(*_change(entry), float(entry["values"][t]), entry["how"]) for entry in entries]
            hyper.assign(self._stand_in, changes)
            for name, of_steps in found.items():
                of_steps.append([_plain(_at(group.get(name[0]), name[1])) for group in copies])
        for (key, index), of_steps in found.items():
            self._write(key, index, of_steps)

    def _write(self, key: str, index: int | None, of_steps: list[list[Any]]) -> None:
        alike = all(value == one[0] for one in of_steps for value in one)
        value = self._formula(key, index, of_steps) if alike else None
        if value is None:
            label = key if index is None else f"{key}.{index}"
            self.table[label] = [one[0] for one in of_steps] if alike else of_steps
            value = f"schedule[{label!r}][step]".replace("'", '"') + ("" if alike else "[i]")
        if index is not None:
            size = len(self._stand_in.param_groups[0][key])
            parts = [value if i == index else f'group["{key}"][{i}]' for i in range(size)]
            value = f"({', '.join(parts)})"
        head = "for group in optimizer.param_groups:"
        if not alike:
            head = "for i, group in enumerate(optimizer.param_groups):"
        self.lines += [head, f'    group["{key}"] = {value}']

    def _formula(self, key: str, index: int | None, of_steps: list[list[Any]]) -> str | None:
        """Return the value as a formula, if it gives the very same bits in Python as in JavaScript."""
        entries = [entry for entry in self._entries if (entry["key"], entry["index"]) == (key, index)]
        told = entries[0]["told"]
        if len(entries) > 1 or told is None or entries[0]["group"] is not None or entries[0]["how"] != "now":
            return None
        function = getattr(script_pieces, told["name"])
        if [function(t, **told["values"]) for t in range(1, len(of_steps) + 1)] != [one[0] for one in of_steps]:
            return None
        given = ", ".join(f"{name}={value!r}" for name, value in told["values"].items())
        return f"{self._values.piece(told['name'])}(step + 1, {given})"


def _change(entry: dict[str, Any]) -> tuple[str, str | None, str, int | None, str | None]:
    return entry["label"], None, entry["key"], entry["index"], entry["group"]


def _at(value: Any, index: int | None) -> Any:
    return value if index is None else value[index]
