"""Values of the worker as expressions of a script that runs without it: imports, functions, constants."""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import inspect
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch

from . import functions, naming, script_pieces, sources

_OURS = __name__.partition(".")[0]
# As their users import them.
_IMPORTS = {
    "torch.nn.functional": "import torch.nn.functional as F",
    "torch.nn": "from torch import nn",
    "numpy": "import numpy as np",
}
# A constant of more elements is read from start.pt.
_MOST_ELEMENTS = 64


class NoForm(Exception):
    """A value has no form in a script. The message says why."""


class Values:
    """The top of a script: what its functions have from outside, each under one name."""

    def __init__(self, taken: list[str]) -> None:
        self.imports: dict[str, None] = {}
        # Definitions, in their order.
        self.blocks: list[str] = []
        self.constants: dict[str, torch.Tensor] = {}
        # Files that the script imports, by path.
        self.files: dict[str, bytes] = {}
        self.describe: Callable[[torch.nn.Module], str] | None = None
        self._names = naming.Names()
        for name in taken:
            self._names.take(name)
        # By identity. The values are kept, so that no other one gets the same.
        self._known: dict[int, tuple[str, Any]] = {}

    def expression(self, value: Any, hint: str = "value") -> str:
        """Return an expression of the value. Raises NoForm."""
        if value is None or isinstance(value, (bool, int, str, bytes)):
            return repr(value)
        if isinstance(value, float):
            return f'float("{value}")' if value != value or abs(value) == float("inf") else repr(value)
        if isinstance(value, (tuple, list)):
            items = ", ".join(self.expression(one, hint) for one in value)
            if isinstance(value, list):
                return f"[{items}]"
            return f"({items}{',' * (len(value) == 1)})"
        if isinstance(value, dict):
            return "{" + ", ".join(f"{self.expression(k)}: {self.expression(v, hint)}" for k, v in value.items()) + "}"
        if isinstance(value, (torch.dtype, torch.memory_format, torch.layout)):
            return repr(value)
        if isinstance(value, torch.device):
            return f"torch.device({str(value)!r})"
        found = self._known.get(id(value))
        if found is None:
            found = self._known[id(value)] = self._new(value, hint), value
        return found[0]

    def add(self, value: Any, hint: str) -> str:
        """Define a recorded function under a name like `hint`, and return the name. Raises NoForm."""
        name = self._names.take(hint)
        self._known[id(value)] = name, value
        self._write_function(value, name)
        return name

    def add_as(self, value: Any, name: str) -> str:
        """Define a recorded function under this name, which the script itself knows."""
        self._known[id(value)] = name, value
        self._write_function(value, name)
        return name

    def piece(self, name: str) -> str:
        """Define a function of `script_pieces`, and return its name."""
        return self.expression(getattr(script_pieces, name))

    def _new(self, value: Any, hint: str) -> str:
        if isinstance(value, types.ModuleType):
            return self._import(value)
        if functions.source_of(value) is not None:
            return self.add(value, value.__name__)
        if isinstance(value, functools.partial):
            given = [self.expression(one) for one in (value.func, *value.args)]
            named = [f"{name}={self.expression(one, name)}" for name, one in value.keywords.items()]
            return f"{self.expression(functools.partial)}({', '.join([*given, *named])})"
        if isinstance(value, torch.Tensor):
            return self._constant(value.detach(), hint)
        if isinstance(value, torch.nn.Module):
            if self.describe is None:
                raise NoForm(f"a {type(value).__name__} inside of a module")
            name = self._names.take(naming.hints(value)[-1])
            self.blocks.append(f"{name} = {self.describe(value)}")
            return name
        if getattr(value, "__module__", "").partition(".")[0] == _OURS:
            return self._inline(value)
        if callable(value):
            return self._imported(value)
        raise NoForm(f"{naming.told(hint, value)} was made by the program, and how is not known")

    # --- imports ---

    def _import(self, module: types.ModuleType) -> str:
        path = module.__name__
        if path.partition(".")[0] == _OURS:
            raise NoForm(f"{path} is a part of torchwire")
        if path == "builtins":
            self.imports["import builtins"] = None
            return path
        self.files.update(sources.files_of(path))
        above, _, name = path.rpartition(".")
        line = _IMPORTS.get(path, f"from {above} import {name}" if above else f"import {name}")
        return self._imported_as(line, line.rpartition(" ")[2])

    def _imported(self, value: Any) -> str:
        for path, name in _homes(value):
            if path == "builtins":
                return name
            if path == "torch.optim":
                return f"{self.expression(torch)}.optim.{name}"
            if path in ("torch", "torch.nn.functional", "torch.nn"):
                return f"{self.expression(sys.modules[path])}.{name}"
            self.files.update(sources.files_of(path))
            return self._imported_as(f"from {path} import {name}", name)
        raise NoForm(f"{getattr(value, '__name__', type(value).__name__)} cannot be imported")

    def _imported_as(self, line: str, name: str) -> str:
        if line in self.imports:
            return name
        own = self._names.take(name)
        self.imports[line if own == name else f"{line.partition(' as ')[0]} as {own}"] = None
        return own

    # --- definitions ---

    def _constant(self, tensor: torch.Tensor, hint: str) -> str:
        name = self._names.take(hint, "constant")
        text = None
        if tensor.numel() <= _MOST_ELEMENTS and tensor.dtype in (torch.float32, torch.int64):
            numbers = tensor.cpu().flatten().tolist()
            shape = "" if tensor.dim() == 1 else f".reshape({', '.join(map(str, tensor.shape))})"
            if tensor.dtype == torch.float32:
                numbers = [_shortest(one) for one in numbers]
            if torch.equal(torch.tensor(numbers, dtype=tensor.dtype), tensor.cpu().flatten()):
                dtype = "" if tensor.dtype == torch.float32 and "." in repr(numbers) else f", dtype={tensor.dtype}"
                text = f"torch.tensor({numbers}{'' if tensor.dtype == torch.int64 and numbers else dtype}){shape}"
        if text is None:
            self.constants[name] = tensor.cpu().clone()
            text = f'start["constants"][{name!r}]'
        device = "" if tensor.device.type == "cpu" else f".to({str(tensor.device)!r})"
        self.blocks.append(f"{name} = {text}{device}")
        return name

    def _inline(self, value: Any) -> str:
        """Copy a function of torchwire's own, or what the script has in its place, with all that it needs."""
        value = getattr(script_pieces, value.__name__, value)
        if id(value) in self._known:
            return self._known[id(value)][0]
        plain = inspect.unwrap(value)
        if not isinstance(plain, (types.FunctionType, type)) or "<locals>" in plain.__qualname__:
            raise NoForm(f"{getattr(value, '__name__', 'it')} is a part of torchwire")
        source = textwrap.dedent(inspect.getsource(plain))
        tree = ast.parse(source)
        if any(isinstance(node, ast.ImportFrom) and node.level > 0 for node in ast.walk(tree)):
            raise NoForm(f"{plain.__name__} needs other parts of torchwire")
        name = plain.__name__
        if self._names.take(name) != name:
            raise NoForm(f"{name} has the name of something else")
        self._known[id(value)] = name, value
        known = vars(sys.modules[plain.__module__])
        for used in dict.fromkeys(node.id for node in ast.walk(tree) if isinstance(node, ast.Name)):
            if used in known and used != name and not hasattr(builtins, used):
                given = self.expression(known[used], used)
                if given != used:
                    self.blocks.append(f"{used} = {given}")
        if "->" in source:
            self.imports["from __future__ import annotations"] = None
        self.blocks.append(source.rstrip())
        return name

    def _write_function(self, function: Any, name: str) -> None:
        source = functions.source_of(function)
        assert source is not None
        maker = ast.parse(source).body[0]
        assert isinstance(maker, ast.FunctionDef)
        body = next(node for node in maker.body if isinstance(node, ast.FunctionDef))
        outer = dict(zip(function.__code__.co_freevars, (cell.cell_contents for cell in function.__closure__ or ())))
        own = {node.arg for node in ast.walk(body) if isinstance(node, ast.arg)}
        own |= {n.id for n in ast.walk(body) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        own |= {n.name for n in ast.walk(body) if isinstance(n, ast.FunctionDef) and n is not body}
        # A variable that stands for a function of torchwire's own is that function.
        dropped: set[int] = set()
        for node in ast.walk(body):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                helper = _helper(node.value, outer)
                if helper is not None:
                    outer[node.targets[0].id] = helper
                    own.discard(node.targets[0].id)
                    dropped.add(node.lineno)
        changes = [change for change in self._changes(body, outer, own) if change[0] not in dropped]
        lines = source.encode().splitlines()
        head = lines[body.lineno - 1]
        at = head.index(body.name.encode(), body.col_offset + 4)
        changes.append((body.lineno, at, at + len(body.name.encode()), name))
        for line, start, end, text in sorted(changes, reverse=True):
            lines[line - 1] = lines[line - 1][:start] + text.encode() + lines[line - 1][end:]
        mine = [(i + 1, line.decode()) for i, line in enumerate(lines)][body.lineno - 1 : body.end_lineno]
        kept = [line for i, line in mine if i not in dropped and not line.lstrip().startswith("# From outside: ")]
        self.blocks.append(textwrap.dedent("\n".join(kept)))

    def _changes(
        self, body: ast.FunctionDef, outer: dict[str, Any], own: set[str]
    ) -> Iterator[tuple[int, int, int, str]]:
        """Yield the places of names from outside, and what the script has there."""
        inside: set[int] = set()
        for node in ast.walk(body):
            if id(node) in inside:
                continue
            value = _helper(node, outer)
            if value is not None and isinstance(node, ast.Attribute):
                inside.add(id(node.value))
            elif isinstance(node, ast.Name) and node.id in outer:
                value = outer[node.id]
            else:
                continue
            text = self.expression(value, node.id if isinstance(node, ast.Name) else "value")
            if text in own:
                # Something in the function has this name.
                alias = self._names.take(f"_{text}")
                self.blocks.append(f"{alias} = {text}")
                text = alias
            assert isinstance(node, ast.expr) and node.end_col_offset is not None
            yield node.lineno, node.col_offset, node.end_col_offset, text


def _helper(node: ast.AST, outer: dict[str, Any]) -> Any:
    """Return the function of torchwire's own that `module.function` is; None for all else."""
    if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
        return None
    module = outer.get(node.value.id)
    is_ours = isinstance(module, types.ModuleType) and module.__name__.partition(".")[0] == _OURS
    return getattr(module, node.attr) if is_ours else None


def _homes(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the modules that have the value, and its name there."""
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", "")
    for path in (getattr(value, "__module__", None), "torch", "torch.nn.functional", "builtins"):
        if not isinstance(path, str) or not naming.is_name(name):
            continue
        # PyTorch's own modules have their classes in torch.nn too.
        for shorter in ("torch.nn", "torch.optim", path) if path.startswith("torch.") else (path,):
            try:
                if getattr(importlib.import_module(shorter), name, None) is value:
                    yield shorter, name
            except ImportError:
                pass


def _shortest(value: float) -> float:
    """Return the number with the fewest digits that is the same as a float32."""
    for digits in range(1, 10):
        short = float(f"{value:.{digits}g}")
        if torch.tensor(short, dtype=torch.float32).item() == value:
            return short
    return value
