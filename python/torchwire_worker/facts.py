"""Adds the facts that are known where an exception was raised and that its message leaves out. They become its notes,
and the client's advice goes by them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
import os
import pkgutil
import sys
from collections.abc import Iterator, Mapping, Sized
from itertools import islice
from types import BuiltinMethodType, FrameType, MethodType
from typing import Any, TypeGuard

_MOST_NAMED = 8


def facts(error: BaseException) -> list[str]:
    try:
        return [*_facts(error)]
    except BaseException:
        # The thing that failed may be the thing that is read here: a device that is gone, an object of the user that
        # raises anything.
        return []


def facts_of_attribute(error: BaseException, holder: Any, name: str) -> list[str]:
    """Return the facts of an attribute that could not be set or deleted. (Python's own error has no `obj` then.)"""
    try:
        is_new = isinstance(error, AttributeError) and error.obj is None and _has_keys(holder)
        return [_of_keys(holder, name)] if is_new else []
    except BaseException:
        return []


def facts_of_item(error: BaseException, container: Any, index: Any) -> list[str]:
    """Return the facts of an item that could not be had: `container[index]` raised `error`. `index` is as on the wire,
    where text stands for itself.
    """
    try:
        if isinstance(error, KeyError) and _has_keys(container):
            return [_of_keys(container, None)]
        if isinstance(error, (TypeError, IndexError)) and isinstance(index, str) and _has_items(container):
            return [f"it is {_with_article(container)} of {len(container)}, and the index is text"]
        if isinstance(error, IndexError) and _has_items(container):
            return [f"it is {_with_article(container)} of {len(container)}"]
    except BaseException:
        pass
    return []


def _facts(error: BaseException) -> Iterator[str]:
    if isinstance(error, AttributeError):
        yield from _facts_of_attribute(error.obj, error.name)
    told = _from_loaders(error)
    yield from told
    if not told and isinstance(error, ModuleNotFoundError) and isinstance(error.name, str):
        yield from _missing(error.name)
    torch = sys.modules.get("torch")
    frame = _functional(error)
    if torch is None or frame is None:
        return
    name, given = frame.f_code.co_name, frame.f_locals
    for argument in ("input", "target"):
        if isinstance(error, TypeError) and isinstance(given.get(argument), Mapping):
            yield (
                f"{argument} is a {type(given[argument]).__name__} with the keys {_listed(map(repr, given[argument]))}"
            )
    if isinstance(error, (IndexError, RuntimeError)) and name in ("cross_entropy", "nll_loss", "multi_margin_loss"):
        input, target = given["input"], given["target"]
        classes = input.shape[0 if input.dim() == 1 else 1]
        kept = target[target != given["ignore_index"]] if "ignore_index" in given else target
        outside = kept[(kept < 0) | (kept >= classes)].unique().tolist()
        if outside:
            yield (
                f"targets are {kept.min()} to {kept.max()}, and the {classes} classes 0 to {classes - 1}: outside is "
                f"{_listed(map(str, outside))}"
            )
    if isinstance(error, IndexError) and name == "embedding":
        yield (
            f"indices are {given['input'].min()} to {given['input'].max()}, and the {given['weight'].shape[0]} rows 0 "
            f"to {given['weight'].shape[0] - 1}"
        )


def _missing(name: str) -> Iterator[str]:
    """What advice on a missing module needs: a module of nearly that name, and who has made this environment."""
    there = {module.name for module in pkgutil.iter_modules()} - sys.stdlib_module_names
    near = [
        each
        for each in difflib.get_close_matches(name, there, 3, 0.8)
        # "torchx" is no slip of the pen for "torch".
        if abs(len(each) - len(name)) <= 1 and not name.startswith(each)
    ]
    if near:
        yield f"there is a module named {near[0]}"
    with contextlib.suppress(OSError, ValueError):
        with open(os.path.join(sys.prefix, "torchwire.json"), encoding="utf-8") as marker:
            in_image = json.load(marker).get("installer") == "docker"
        yield "it is not in the container's image" if in_image else "it is not in the environment that torchwire made"


def _from_loaders(error: BaseException) -> list[str]:
    """Return what the loaders of the modules that it came through say of it: they know where the modules are from."""
    told: dict[str, None] = {}
    link = error.__traceback__
    while link is not None:
        about = getattr(link.tb_frame.f_globals.get("__loader__"), "about", None)
        said = about(error) if callable(about) else None
        if isinstance(said, str):
            told[said] = None
        link = link.tb_next
    return [*told]


def _facts_of_attribute(value: Any, asked: Any) -> Iterator[str]:
    # `batch.values` is the dict's method, even if the dict has such a key.
    method = getattr(value, "__name__", None) if isinstance(value, (BuiltinMethodType, MethodType)) else None
    if isinstance(method, str) and isinstance(value.__self__, Mapping) and method in value.__self__:
        yield f"it is the method {method} of {_of_keys(value.__self__, method)[len('it is ') :]}"
    elif _has_keys(value):
        yield _of_keys(value, asked)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield f"its fields are {_listed([field.name for field in dataclasses.fields(value)])}"
    elif isinstance(value, tuple) and (names := getattr(value, "_fields", None)) is not None:
        yield f"it is {_with_article(value)} with the fields {_listed(names)}"
    elif _has_items(value):
        yield f"it is {_with_article(value)} of {len(value)}"
    elif isinstance(value, Iterator):
        yield "it is an iterator"


def _has_keys(value: Any) -> bool:
    """Return whether it is a dict, or like one: a ModuleDict, a data frame."""
    kind = type(value)
    return isinstance(value, Mapping) or all(hasattr(kind, name) for name in ("keys", "__getitem__", "__contains__"))


def _has_items(value: Any) -> TypeGuard[Sized]:
    """Return whether it has items by number: a list, a tuple, a ModuleList. An array is not asked for its items."""
    kind = type(value)
    return (
        all(hasattr(kind, name) for name in ("__len__", "__getitem__", "__iter__"))
        and not isinstance(value, (str, bytes, bytearray))
        and not hasattr(kind, "dtype")
    )


def _of_keys(value: Any, asked: Any) -> str:
    keys = list(islice(value.keys(), _MOST_NAMED + 1))
    if not keys:
        return f"it is {_with_article(value)} without keys"
    if isinstance(asked, str) and asked in value:
        keys = [asked, *(key for key in keys if key != asked)]
    named = ", ".join(repr(key)[:80] for key in keys[:_MOST_NAMED])
    more = len(value) - _MOST_NAMED
    return f"it is {_with_article(value)} with the keys {named}" + (f" and {more} more" if more > 0 else "")


def _with_article(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"


def _functional(error: BaseException) -> FrameType | None:
    """Return the innermost frame of torch.nn.functional."""
    found = None
    link = error.__traceback__
    while link is not None:
        if link.tb_frame.f_globals.get("__name__") == "torch.nn.functional":
            found = link.tb_frame
        link = link.tb_next
    return found


def _listed(items: Any) -> str:
    every = [item[:80] for item in items]
    return ", ".join(every[:_MOST_NAMED]) + (
        f" and {len(every) - _MOST_NAMED} more" if len(every) > _MOST_NAMED else ""
    )
