"""State dicts as torch.save writes them. They are pickles, and are only read with `weights_only=True`."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

import torch

from ..shown import one_line
from .loading import Metadata, load_into, renamed
from .state import Modules

# Before these versions, a file could get round weights_only=True: it ran code before 2.6 (CVE-2025-32434), and
# corrupted memory before 2.10 (CVE-2026-24747).
_FIRST_SAFE = (2, 10)
# Training scripts put the weights under one of these keys.
_NESTED = ("state_dict", "model_state_dict", "model")


def refusal(version: str = torch.__version__) -> str | None:
    """Return why this torch must not read such a file, or None."""
    major, minor = version.split(".")[:2]
    if (int(major), int(minor)) >= _FIRST_SAFE:
        return None
    return (
        f"torch {version} has a hole that such a file can use (CVE-2025-32434, CVE-2026-24747); update it to 2.10 or "
        "newer, or convert the file to safetensors"
    )


class Pickled:
    """A file for modules, which do not change before `commit`."""

    def __init__(self, modules: Modules) -> None:
        self.refusal = refusal()
        self._modules = modules
        self._file = io.BytesIO()
        self._values: dict[str, Any] = {}
        self._metadata: Metadata = {}

    def write(self, piece: torch.Tensor) -> int:
        return self._file.write(piece.numpy().data)

    def open(self) -> dict[str, Any]:
        """Read the file. `problem` says why it cannot be read; else `names` are those of its tensors."""
        problem = self.refusal or self._read()
        # The bytes are not needed any more.
        self._file = io.BytesIO()
        return {"problem": problem, "names": list(self._values)}

    def commit(self, strict: bool = True, names: list[str] | None = None) -> dict[str, Any]:
        """See `load_into`. `names` are the new names of the tensors, in the same order."""
        if names is not None:
            self._metadata = renamed(self._metadata, dict(zip(self._values, names)))
            self._values = dict(zip(names, self._values.values()))
        return load_into(self._modules, self._values, strict, self._metadata)

    def _read(self) -> str | None:
        self._file.seek(0)
        try:
            content = torch.load(self._file, map_location="cpu", weights_only=True)
        except Exception as error:
            # The unpickler may raise anything. The first line says what is wrong; the rest advises to switch the safety
            # off.
            why = one_line(re.sub("\x1b\\[\\d*m", "", (str(error) or type(error).__name__).splitlines()[0]))
            content = "such a file holds a state dict: torch.save(model.state_dict(), path)"
            return f"torch.load(weights_only=True) refuses it ({why}); {content}"
        state = _state_in(content)
        if state is None:
            keys = (
                f" with the keys {', '.join(one_line(key, 60) for key in islice(content, 20))}"
                if isinstance(content, Mapping)
                else ""
            )
            return f"it holds a {type(content).__name__}{keys}, not a state dict"
        self._values = dict(state)
        self._metadata = _metadata_of(state)
        return None


def _state_in(content: Any) -> Mapping[str, Any] | None:
    """Return the mapping of names to tensors: the content itself, or its value under one of the usual keys."""
    candidates = [content, *(content[key] for key in _NESTED if key in content)] if isinstance(content, Mapping) else []
    for state in candidates:
        if (
            isinstance(state, Mapping)
            and all(isinstance(name, str) for name in state)
            and any(isinstance(value, torch.Tensor) for value in state.values())
        ):
            return state
    return None


def _metadata_of(state: Mapping[str, Any]) -> Metadata:
    """Return the metadata, which a state dict has in an attribute that torch.save writes."""
    metadata = getattr(state, "_metadata", None)
    if not isinstance(metadata, Mapping):
        return {}
    return {path: one for path, one in metadata.items() if isinstance(path, str) and isinstance(one, Mapping)}
