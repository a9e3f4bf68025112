"""Adds the facts that are known where an exception was raised and that its message leaves out. They become its notes,
and the client's advice goes by them.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import pkgutil
import sys
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

_MOST_NAMED = 8


def facts(error: BaseException) -> list[str]:
    try:
        return [*_facts(error)]
    except BaseException:
        # The thing that failed may be the thing that is read here: a device that is gone, an object of the user that
        # raises anything.
        return []


def _facts(error: BaseException) -> Iterator[str]:
    if isinstance(error, AttributeError) and isinstance(error.obj, Mapping):
        yield f"it is a {type(error.obj).__name__} with the keys {_listed(map(repr, error.obj))}"
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
