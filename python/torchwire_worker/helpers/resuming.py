"""Takes the whole state of a training at one place of its log, and puts it back: a training then goes on with the bits
that it would have had.
"""

from __future__ import annotations

import platform
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import torch
from torch.nn.parameter import is_lazy

from ..context import rng_state, set_rng_state
from ..shown import one_line
from .keeping import once, parts_of, write
from .loading import Incoming, load_into, metadata_in
from .safetensors_file import header_in
from .state import VERSIONS, Copies, Modules, all_of, each, versions_of
from .tracked import put_back, state_of
from .tree import from_json, to_json

# The key of everything but the model's tensors, in a file's metadata.
TREE = "torchwire.tree"

_PIECE = 4 * 2**20

Optimizers = torch.optim.Optimizer | Mapping[str, torch.optim.Optimizer]


class Point:
    """A copy of the state in main memory. `model` has the tensors of the modules' state dicts, which any program can
    load; `rest` has all else.

    `tracked` are other objects that have a state: averages, a scaler, generators. Raises TypeError, naming the place,
    for a value that is neither plain nor a tensor.
    """

    def __init__(self, modules: Modules, optimizers: Optimizers | None, tracked: Mapping[str, Any]) -> None:
        state = all_of(modules)
        versions = versions_of(modules)
        named = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
        tensors: dict[str, torch.Tensor] = {}
        tree = {
            "extra": {name: value for name, value in state.items() if name not in named},
            "modules": {prefix: _flags(module, {*state}, prefix) for prefix, module in each(modules)},
            "outside": _outside(modules, optimizers),
            "optimizers": {name: one.state_dict() for name, one in _each(optimizers)},
            "tracked": {name: state_of(one, name) for name, one in tracked.items()},
            "rng": rng_state(),
        }
        text = to_json(tree, tensors, "training")
        self.model = Copies(named, {VERSIONS: versions} if versions else {})
        self.rest = Copies(tensors, {TREE: text})


class Restoring:
    """The files of a Point on their way back. `commit` changes the training, and nothing before it does."""

    def __init__(self, model: list[Any], versions: str, rest: list[Any], tree: str) -> None:
        self.model, self._versions = Incoming(model), versions
        self.rest, self._tree = Incoming(rest), tree

    def commit(self, modules: Modules, optimizers: Optimizers | None, tracked: Mapping[str, Any]) -> None:
        """Put the state back. The random numbers come last, because all else may draw some."""
        tree = from_json(self._tree, self.rest.whole())
        found = load_into(modules, {**self.model.whole(), **tree["extra"]}, True, metadata_in(self._versions))
        if not found["is_loaded"]:
            wrong = {what: found[what] for what in ("missing", "unexpected", "mismatched", "problems") if found[what]}
            raise ValueError(f"the checkpoint does not fit the model: {one_line(wrong, 2000)}")
        for prefix, module in each(modules):
            _put_flags(module, tree["modules"][prefix])
        with torch.no_grad():
            for param, value in zip(_outside(modules, optimizers), tree["outside"], strict=True):
                write(param.detach(), value)
        for name, optimizer in _each(optimizers):
            _load_optimizer(optimizer, tree["optimizers"][name])
        for name, one in tracked.items():
            put_back(one, tree["tracked"][name], name)
        cpu, cuda, python, numpy_state = tree["rng"]
        there = cuda is not None and torch.cuda.is_available() and torch.cuda.device_count() == len(cuda)
        if numpy_state is not None:
            import numpy

            numpy.random.set_state(numpy_state)
        set_rng_state((cpu, cuda if there else None, python, None))


def read(model: str, rest: str) -> Restoring:
    """Read the files of a Point from this machine's disk, where the worker has written them itself."""
    with open(model, "rb") as its, open(rest, "rb") as others:
        (tensors, metadata), (more, tree) = header_in(its), header_in(others)
        restoring = Restoring(tensors, metadata.get(VERSIONS, ""), more, tree[TREE])
        _fill(restoring.model, its)
        _fill(restoring.rest, others)
    return restoring


def _fill(incoming: Incoming, file: BinaryIO) -> None:
    buffer = bytearray(_PIECE)
    while size := file.readinto(buffer):  # type: ignore[attr-defined]
        incoming.write(torch.frombuffer(buffer, dtype=torch.uint8, count=size))


def describe(modules: Modules, optimizers: Optimizers | None) -> list[list[str]]:
    """Return what a checkpoint must fit, as [what, how it is], from the outside to the inside."""
    found = []
    for prefix, module in each(modules):
        found += [
            [f"the module {prefix}{path}".rstrip("."), type(part).__name__] for path, part in module.named_modules()
        ]
        tensors = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
        found += [[f"the tensor {prefix}{name}", _looks(tensor)] for name, tensor in tensors]
    for name, optimizer in _each(optimizers):
        which = f"the optimizer {name}".rstrip()
        found.append([which, type(optimizer).__name__])
        found += _settings_of(optimizer, which)
    return found


def environment() -> dict[str, str]:
    """Return what bits depend on, beside the program."""
    found = {
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "the CPU's capability": torch.backends.cpu.get_cpu_capability(),
        "the machine": platform.machine(),
        "threads": str(torch.get_num_threads()),
        "deterministic algorithms": str(torch.are_deterministic_algorithms_enabled()),
        "CUDA": str(torch.version.cuda),
        "matmul precision": torch.get_float32_matmul_precision(),
    }
    if torch.cuda.is_initialized():
        found["GPUs"] = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        found["cuDNN"] = f"{torch.backends.cudnn.version()}, benchmark {torch.backends.cudnn.benchmark}"
        found["TF32"] = f"{torch.backends.cuda.matmul.allow_tf32}, {torch.backends.cudnn.allow_tf32}"
    return found


def _each(optimizers: Optimizers | None) -> Iterator[tuple[str, torch.optim.Optimizer]]:
    if optimizers is not None:
        yield from optimizers.items() if isinstance(optimizers, Mapping) else [("", optimizers)]


def _outside(modules: Modules, optimizers: Optimizers | None) -> list[torch.Tensor]:
    """Return the parameters that are trained and belong to no module, such as those of a loss."""
    inside = {id(param) for _, module in each(modules) for param in module.parameters()}
    trained = (param for _, one in _each(optimizers) for group in one.param_groups for param in group["params"])
    return [param for param in once(trained) if id(param) not in inside]


def _settings_of(optimizer: torch.optim.Optimizer, which: str) -> list[list[str]]:
    """Return the sizes and hyperparameters of its groups, as they were when this was asked for the first time: a fit
    that is over has left others.
    """
    if optimizer not in _settings:
        found = []
        for i, group in enumerate(optimizer.param_groups):
            label = f"{which}, the group {group.get('name', i)}"
            found.append([label, f"{len(group['params'])} parameters"])
            found += [[f"{label}: {key}", str(value)] for key, value in group.items() if _is_plain(value)]
        _settings[optimizer] = found
    return _settings[optimizer]


_settings: weakref.WeakKeyDictionary[torch.optim.Optimizer, list[list[str]]] = weakref.WeakKeyDictionary()


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_is_plain(one) for one in value)
    return value is None or isinstance(value, (bool, int, float, str))


def _looks(tensor: torch.Tensor) -> str:
    return "lazy" if is_lazy(tensor) else f"{tensor.dtype} {list(tensor.shape)}".removeprefix("torch.")


def _flags(module: Any, saved: set[str], prefix: str) -> dict[str, Any]:
    """Return what a state dict lacks: modes, frozen parameters, and buffers that are not persistent."""
    buffers = {name: one for name, one in module.named_buffers() if prefix + name not in saved and not is_lazy(one)}
    return {
        "training": [part.training for part in parts_of([module])],
        "requires_grad": [param.requires_grad for param in module.parameters()],
        "buffers": buffers,
    }


def _put_flags(module: Any, flags: dict[str, Any]) -> None:
    for part, mode in zip(parts_of([module]), flags["training"], strict=True):
        part.training = mode
    for param, requires in zip(module.parameters(), flags["requires_grad"], strict=True):
        param.requires_grad_(requires)
    buffers = dict(module.named_buffers())
    with torch.no_grad():
        for name, value in flags["buffers"].items():
            if buffers[name].shape == value.shape:
                write(buffers[name], value)
            else:
                path, _, own = name.rpartition(".")
                module.get_submodule(path)._buffers[own] = value.to(buffers[name].device)


def _load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    optimizer.load_state_dict(state)
    # It has cast values to the parameter's dtype: those in another one were so on purpose.
    params = [param for group in optimizer.param_groups for param in group["params"]]
    for index, values in state["state"].items():
        own = optimizer.state[params[index]]
        for key, value in values.items():
            if isinstance(value, torch.Tensor) and own[key].dtype != value.dtype:
                own[key] = value.to(own[key].device)
