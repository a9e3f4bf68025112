"""Stops a training where PyTorch's and Python's own hooks can see it, and writes down the weights after each update."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections import Counter
from typing import Any

import torch


def is_draft(path: Any) -> bool:
    return ".draft-" in str(path)


def install(model: torch.nn.Module, optimizer: torch.optim.Optimizer, updates: str, reached: str) -> Any:
    """Append a line to the file `updates` after each update. Return a function of the name of a place, and a number:
    where the training passes that place for the so-many-th time, it waits until the file `reached` is gone.
    """
    wanted: list[tuple[str, int]] = []
    counts: Counter[str] = Counter()

    def passed(name: str) -> None:
        counts[name] += 1
        if (name, counts[name]) not in wanted:
            return
        with open(reached, "w"):
            pass
        while os.path.exists(reached):
            time.sleep(0.002)

    def updated() -> None:
        digest = hashlib.sha256()
        for value in model.state_dict().values():
            digest.update(value.detach().contiguous().numpy().tobytes())
        with open(updates, "a", encoding="utf-8") as file:
            file.write(digest.hexdigest()[:16] + "\n")
        passed("update")

    def opening(event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and is_draft(args[0]) and str(args[0]).endswith("training.safetensors") and "x" in args[1]:
            passed("written")

    def renaming(old: Any, new: Any) -> None:
        rename(old, new)
        if is_draft(old) and not is_draft(new):
            passed("renamed")

    rename, os.rename = os.rename, renaming
    sys.addaudithook(opening)
    first = next(model.parameters())
    model.register_forward_pre_hook(lambda module, _: passed("forward" if module.training else "validation"))
    first.register_post_accumulate_grad_hook(lambda _: passed("gradient"))
    optimizer.register_step_pre_hook(lambda *_: passed("backward"))
    optimizer.register_step_post_hook(lambda *_: updated())
    optimizer.register_load_state_dict_post_hook(lambda _: passed("restoring"))
    return lambda name, number: wanted.append((name, number))
