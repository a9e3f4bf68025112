"""Modules as the expressions that make them, and whether a module that was made anew is like another one."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import nn

from .script_values import NoForm, Values

_WIDTH = 100


class Made(NamedTuple):
    """An expression, and what it makes."""

    source: str
    value: Any


def describe(module: nn.Module, values: Values) -> str:
    """Return an expression that makes a module like this one, with other weights.

    A module of arguments that it keeps under their own names, as those of torch.nn do, is described by them. It is then
    made by them here, and compared. Raises NoForm if that does not give such a module.
    """
    with torch.random.fork_rng(devices=[]):
        made = _made(module, values)
    difference = differs(made.value, module)
    if difference is not None:
        raise NoForm(f"{type(module).__name__} does not tell how it was made ({difference})")
    return made.source


def differs(made: Any, module: nn.Module) -> str | None:
    """Return in what `made` is no module like the other one, or None. The values of tensors do not matter."""
    if type(made) is not type(module):
        return f"{type(made).__name__} is not {type(module).__name__}"
    for ours, theirs in zip(_structure(made), _structure(module)):
        if ours != theirs:
            return f"{ours} is not {theirs}"
    if len([*_structure(made)]) != len([*_structure(module)]):
        return "one has parts that the other lacks"
    if repr(made) != repr(module):
        lines = zip(repr(made).splitlines(), repr(module).splitlines())
        return next((f"{a.strip()} is not {b.strip()}" for a, b in lines if a != b), "they have different parts")
    return None


def _structure(module: nn.Module) -> Iterator[str]:
    for path, part in module.named_modules(remove_duplicate=False):
        yield f"{path or 'the model'}: {type(part).__name__}"
    for name, tensor in [*module.named_parameters(remove_duplicate=False), *module.named_buffers()]:
        yield f"{name}: {str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _made(module: nn.Module, values: Values) -> Made:
    kind = type(module)
    name = values.expression(kind)
    children = module._modules
    if kind in (nn.Sequential, nn.ModuleList):
        parts = [_made(part, values) for part in children.values() if part is not None]
        if all(key == str(i) for i, key in enumerate(children)):
            items = [part.source for part in parts]
            if kind is nn.Sequential:
                return Made(_called(name, items), nn.Sequential(*(part.value for part in parts)))
            return Made(f"{name}({_listed(items)})", nn.ModuleList([part.value for part in parts]))
        items = [f"({key!r}, {part.source})" for key, part in zip(children, parts)]
        ordered = OrderedDict(zip(children, (part.value for part in parts)))
        return Made(f"{name}({values.expression(OrderedDict)}({_listed(items)}))", nn.Sequential(ordered))
    positional, named = [], {}
    first = next(iter(inspect.signature(kind).parameters), None)
    for parameter in inspect.signature(kind).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        given = _argument(module, parameter, values)
        if given is None:
            continue
        is_first = not positional and not named and not isinstance(given.value, bool)
        if not named and (parameter.default is parameter.empty or is_first and parameter.name == first):
            positional.append(given)
        else:
            named[parameter.name] = given
    sources = [*(one.source for one in positional), *(f"{key}={one.source}" for key, one in named.items())]
    try:
        value = kind(*(one.value for one in positional), **{key: one.value for key, one in named.items()})
    except Exception as error:
        raise NoForm(f"{kind.__name__} does not tell how it was made ({error})") from error
    return Made(_called(name, sources), value)


def _argument(module: nn.Module, parameter: inspect.Parameter, values: Values) -> Made | None:
    """Return the argument that the module was made with; None for its default."""
    name, default = parameter.name, parameter.default
    if name in ("device", "dtype") and default is None:
        dtypes = {tensor.dtype for tensor in module.parameters(recurse=False)} - {torch.get_default_dtype()}
        if name == "device" or len(dtypes) != 1:
            return None
        return Made(repr(found := dtypes.pop()), found)
    if not hasattr(module, name):
        if default is parameter.empty:
            raise NoForm(f"{type(module).__name__} does not tell its {name}")
        return None
    found = getattr(module, name)
    if isinstance(found, nn.Module):
        return _made(found, values)
    if name == "bias" or (isinstance(default, bool) and (found is None or isinstance(found, torch.Tensor))):
        found = found is not None and found is not False
    elif isinstance(found, tuple) and found and type(module).__module__.startswith("torch.nn.modules."):
        # Kernels and the like are given as one number for all axes.
        found = found if name == "normalized_shape" and len(found) > 1 else _scalar(found)
    if default is not parameter.empty and _same(found, default):
        return None
    if name == "stride" and default is None and found == _scalar(module.kernel_size):
        return None
    return Made(values.expression(found, name), found)


def _scalar(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) and value and all(one == value[0] for one in value) else value


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        return a is b
    return type(a) is type(b) and a == b


def _called(name: str, arguments: list[str]) -> str:
    line = f"{name}({', '.join(arguments)})"
    if len(line) <= _WIDTH and "\n" not in line and not name.endswith("Sequential"):
        return line
    inside = "".join(f"    {line}\n" for one in arguments for line in f"{one},".splitlines())
    return f"{name}(\n{inside})"


def _listed(items: list[str]) -> str:
    line = f"[{', '.join(items)}]"
    return line if len(line) <= _WIDTH and "\n" not in line else _called("", items).replace("(", "[", 1)[:-1] + "]"


# --- parts of a model, by their paths ---


def path_of(name: str, model: nn.Module) -> str:
    """Return the expression of a part of `model`: `model.layer4[0].conv1`."""
    source, part = "model", model
    for key in name.split(".") if name else []:
        numbered = key.isdigit() and isinstance(part, (nn.Sequential, nn.ModuleList))
        source += f"[{key}]" if numbered else f".{key}" if key.isidentifier() else ""
        if not numbered and not key.isidentifier():
            return f"model.get_submodule({name!r})"
        part = getattr(part, key)
    return source


def cover(model: nn.Module, chosen: Callable[[torch.Tensor], bool]) -> Iterator[tuple[str, bool]]:
    """Yield the names of the largest parts whose parameters are all chosen, and of single parameters; and whether
    each is a module."""
    yield from _cover("", model, chosen)


def _cover(name: str, module: nn.Module, chosen: Callable[[torch.Tensor], bool]) -> Iterator[tuple[str, bool]]:
    own = [*module.parameters()]
    if own and all(map(chosen, own)):
        yield name, True
        return
    before = f"{name}." if name else ""
    for key, param in module.named_parameters(recurse=False):
        if chosen(param):
            yield before + key, False
    for key, part in module.named_children():
        yield from _cover(before + key, part, chosen)
