"""Loads a state from a file, as `load_state_dict` does: PyTorch and the modules' own hooks say what fits."""

from __future__ import annotations

import json
import os
import re
from collections import OrderedDict, deque
from collections.abc import Mapping
from itertools import islice
from typing import Any

import torch

from .replacing import replacing
from .rollback import Before
from .state import DTYPES, Modules, Names, all_of, bits_of, each, has_place, place_of

# By the path of each module: what its class wrote down for `_load_from_state_dict`, such as {"version": 2}. A state
# dict has it in its attribute `_metadata`.
Metadata = Mapping[str, Mapping[str, Any]]

_WRONG_SIZE = re.compile(
    r"size mismatch for (.+): copying a param with shape (.+) from checkpoint, the shape in current model is (.+)\.",
    re.DOTALL,
)
_NOT_COPIED = re.compile(r'While copying the parameter named "(.+?)", (.+)', re.DOTALL)


def load_into(
    modules: Modules, values: Mapping[str, Any], strict: bool, metadata: Metadata | None = None
) -> dict[str, Any]:
    """Load `values`, and say how they fit. Unless `is_loaded`, the modules are as they were.

    - fitting: how many of the file's names gave a value.
    - missing, unexpected: names, as `load_state_dict` reports them. A tied tensor that came under another of its names
      is not missing.
    - mismatched: [name, why] for what is different in the module.
    - problems: what else PyTorch, or a hook, objects to.
    - prefix: [p, q] if the names of the file begin with p, those of the module with q, and the rest is the same; else
      None.

    With `strict`, all of the four lists must be empty. Otherwise what fits is loaded, if anything fits. With `metadata`
    None, the modules' own counts. A path that `metadata` lacks has no version, which PyTorch takes for the oldest.
    """
    with replacing(module for _, module in each(modules)):
        found = _loaded(modules, values, strict, metadata)
    names = (list(values), list(all_of(modules)))
    found["prefix"] = differing_prefix(*names) if found["missing"] and not found["is_loaded"] else None
    return found


def _loaded(modules: Modules, values: Mapping[str, Any], strict: bool, metadata: Metadata | None) -> dict[str, Any]:
    before = Before(module for _, module in each(modules))
    try:
        found = _attempt(modules, values, metadata)
        if found["problems"] and not metadata and metadata is not None:
            # A class may ask for the version of a file that has none, such as a safetensors file: give it its own.
            before.restore()
            again = _attempt(modules, values, None)
            found = found if again["problems"] else again
        faults = found["missing"] + found["mismatched"]
        fits = not faults and not found["unexpected"] if strict else found["fitting"] > 0 or not faults
        found["is_loaded"] = fits and not found["problems"]
        if not found["is_loaded"]:
            before.restore()
    except BaseException:
        before.restore()
        raise
    return found


def _attempt(modules: Modules, values: Mapping[str, Any], metadata: Metadata | None) -> dict[str, Any]:
    targets = [_Target(prefix, module, values, metadata) for prefix, module in each(modules)]
    known = tuple(target.prefix for target in targets)
    return _joined(
        targets, [target.load() for target in targets], [name for name in values if not name.startswith(known)]
    )


class _Outcome:
    def __init__(self) -> None:
        # All by the module's own names.
        self.missing: list[str] = []
        self.unexpected: list[str] = []
        self.mismatched: dict[str, str] = {}
        self.problems: list[str] = []


class _Target:
    """A module, and the values for it."""

    def __init__(self, prefix: str, module: Any, values: Mapping[str, Any], metadata: Metadata | None) -> None:
        self.prefix = prefix
        self.module = module
        self.names = Names(module)
        own = module.state_dict()
        self.state = {
            self.names.own(name.removeprefix(prefix)): value
            for name, value in values.items()
            if name.startswith(prefix)
        }
        self._metadata = getattr(own, "_metadata", None) if metadata is None else self._of(metadata)
        self._unfit = {
            name: why for name, value in self.state.items() if name in own and (why := _why_not(value, own[name]))
        }
        # A tensor of an unknown dtype does not exist here: the tensor that has its name, or gets it from a hook, stays
        # as it is.
        self.state = {
            name: value
            for name, value in self.state.items()
            if name not in self._unfit and not isinstance(value, _Unknown)
        }

    def _of(self, metadata: Metadata) -> dict[str, Mapping[str, Any]]:
        paths = [(f"{path}." if path else "", one) for path, one in metadata.items()]
        return {
            self.names.own(path.removeprefix(self.prefix))[:-1]: dict(one)
            for path, one in paths
            if path.startswith(self.prefix)
        }

    def load(self) -> _Outcome:
        """Load. PyTorch skips what has another size in the module, loads all else, and then raises."""
        outcome = _Outcome()
        state = OrderedDict(self.state)
        state._metadata = self._metadata  # type: ignore[attr-defined]
        module = self.module
        seen: list[Any] = []
        # If it raises, it does not return these.
        hook = (
            module.register_load_state_dict_post_hook(lambda _, keys: seen.append(keys))
            if isinstance(module, torch.nn.Module)
            else None
        )
        try:
            keys = module.load_state_dict(state, strict=False)
        except Exception as error:
            keys = None
            outcome.mismatched, outcome.problems = _faults(error)
        finally:
            if hook is not None:
                hook.remove()
        keys = seen[-1] if seen else keys
        outcome.missing = [name for name in getattr(keys, "missing_keys", ()) if name not in self._unfit]
        outcome.unexpected = list(getattr(keys, "unexpected_keys", ()))
        outcome.mismatched.update(self._unfit)
        return outcome


def _faults(error: Exception) -> tuple[dict[str, str], list[str]]:
    """Return what is different, by name, and what else `load_state_dict` says."""
    if not isinstance(error, RuntimeError) or not str(error).startswith("Error(s) in loading state_dict for "):
        return {}, [f"{type(error).__name__}: {error}"]
    mismatched, problems = {}, []
    for message in str(error).split("\n\t")[1:]:
        if size := _WRONG_SIZE.fullmatch(message.strip()):
            theirs, ours = (shape.removeprefix("torch.Size(").removesuffix(")") for shape in size.groups()[1:])
            mismatched[size[1]] = f"{theirs} in the file, {ours} in the module"
        elif other := _NOT_COPIED.fullmatch(message.strip()):
            mismatched[other[1]] = other[2]
        else:
            problems.append(message.strip())
    return mismatched, problems


def _why_not(theirs: Any, ours: Any) -> str | None:
    """Return why a value does not fit, where PyTorch would skip it in silence or cannot be asked."""
    if isinstance(theirs, _Unknown):
        return f"{theirs.code} in the file, which torch {torch.__version__} does not have"
    if isinstance(ours, torch.Tensor) and ours.is_meta:
        return "on the meta device in the module, where no values can be; first module.to_empty(device=...)"
    return None


def _joined(targets: list[_Target], outcomes: list[_Outcome], strangers: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"fitting": 0, "missing": [], "unexpected": [], "mismatched": [], "problems": []}
    for target, outcome in zip(targets, outcomes):
        own = target.module.state_dict()
        without = {*outcome.missing, *outcome.mismatched}
        loaded = [] if outcome.problems else [name for name in own if name not in without]
        there = {place_of(own[name]) for name in loaded if has_place(own[name])}
        missing = [
            name
            for name in outcome.missing
            if not (name in own and has_place(own[name]) and place_of(own[name]) in there)
        ]
        # Count only names of the file: a hook may have filled in others.
        found["fitting"] += 0 if outcome.problems else len({*target.state} - {*outcome.unexpected, *outcome.mismatched})
        plain = lambda name, target=target: target.prefix + target.names.plain(name)  # noqa: E731
        found["missing"] += map(plain, missing)
        found["unexpected"] += map(plain, outcome.unexpected)
        found["mismatched"] += [[plain(name), why] for name, why in outcome.mismatched.items()]
        found["problems"] += outcome.problems
    found["unexpected"] += strangers
    return found


# PyTorch fills this in if an older file lacks it.
_FILLED_IN = "num_batches_tracked"


def differing_prefix(theirs: list[str], ours: list[str]) -> list[str] | None:
    wanted = [name for name in ours if not name.endswith(_FILLED_IN)]
    common = os.path.commonprefix(wanted)
    for end in [0, *(at + 1 for at, sign in enumerate(common) if sign == ".")]:
        tails = {name[end:] for name in wanted}
        longest = max(tails, key=len, default="")
        prefixes = dict.fromkeys(name.removesuffix(longest) for name in theirs if longest and name.endswith(longest))
        # Some dozens are enough for any honest file.
        for prefix in islice(prefixes, 50):
            if tails <= {name.removeprefix(prefix) for name in theirs if name.startswith(prefix)}:
                return [prefix, common[:end]] if prefix != common[:end] else None
    return None


class _Unknown:
    """A tensor of a dtype that this torch does not have."""

    def __init__(self, code: str) -> None:
        self.code = code


def metadata_in(text: str | None) -> dict[str, dict[str, int]]:
    """Return metadata from the versions that Snapshot wrote. A file of another program has none."""
    try:
        content = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return (
        {path: {"version": one} for path, one in content.items() if type(one) is int}
        if isinstance(content, dict)
        else {}
    )


def renamed(metadata: Metadata, names: Mapping[str, str]) -> Metadata:
    """Return `metadata` with the paths of the new names, which are given by the old ones."""
    paths: dict[str, str] = {}
    for old, new in names.items():
        theirs, ours = old.split("."), new.split(".")
        while theirs and ours and theirs.pop() == ours.pop():
            paths.setdefault(".".join(theirs), ".".join(ours))
    return {paths.get(path, path): one for path, one in metadata.items()}


class Incoming:
    """Tensors whose bytes are on their way.

    `tensors` are [name, dtype, shape] in the order of their bytes.
    """

    def __init__(self, tensors: list[tuple[str, str, list[int]]]) -> None:
        self._values: dict[str, Any] = {
            name: torch.empty(shape, dtype=DTYPES[code], device="cpu") if code in DTYPES else _Unknown(code)
            for name, code, shape in tensors
        }
        self._room = deque(
            bits_of(value) for value in self._values.values() if isinstance(value, torch.Tensor) and value.numel() > 0
        )
        # By position: whether the tensor's bytes are wanted.
        self.wanted = [code in DTYPES for _, code, _ in tensors]

    def write(self, piece: torch.Tensor) -> int:
        """Take the next bytes of the wanted tensors, one behind the other. Return their number."""
        at = 0
        while at < len(piece):
            room = self._room.popleft()
            n = min(len(room), len(piece) - at)
            room[:n].copy_(piece[at : at + n])
            if n < len(room):
                self._room.appendleft(room[n:])
            at += n
        return at

    def whole(self) -> dict[str, Any]:
        """Return the tensors by name. Raise if bytes of some have not come."""
        if self._room:
            raise RuntimeError("the bytes of some tensors have not come")
        return {name: as_bool(value) for name, value in self._values.items()}


class Loading(Incoming):
    """New values for modules, which do not change before `commit`.

    `versions` comes from a Snapshot's plan; it is "" for a file of another program.
    """

    def __init__(
        self, modules: Modules, tensors: list[tuple[str, str, list[int]]], versions: str | None = None
    ) -> None:
        super().__init__(tensors)
        self._modules = modules
        self._metadata = None if versions is None else metadata_in(versions)

    def commit(self, strict: bool = True) -> dict[str, Any]:
        """See `load_into`."""
        return load_into(self._modules, self.whole(), strict, self._metadata)


def as_bool(value: Any) -> Any:
    """Return a valid bool tensor: a file may have any byte for a bool, but torch knows 0 and 1 alone."""
    return (
        bits_of(value).ne(0).reshape(value.shape)
        if isinstance(value, torch.Tensor) and value.dtype is torch.bool
        else value
    )
