"""Modules whose source the client has sent. `import` finds them in memory: no file is written.

A module that is loaded stays what it was when its source is sent anew, until it is reloaded.
"""

from __future__ import annotations

import errno
import linecache
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib.abc import ExecutionLoader, MetaPathFinder, PathEntryFinder
from importlib.machinery import ModuleSpec
from importlib.util import decode_source
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from . import spawned


class File(NamedTuple):
    # The path on the client's machine, which may be another one.
    path: str
    is_package: bool
    # None: a folder without __init__.py.
    text: bytes | None


class Source(NamedTuple):
    """A module that has no parent, with all modules below it."""

    name: str
    path: str
    # By the full name of the module.
    files: dict[str, File]

    @property
    def is_namespace(self) -> bool:
        return self.files[self.name].text is None


# By name: what was sent last, and what the loaded module was made of.
_sent: dict[str, Source] = {}
_loaded: dict[str, Source] = {}
# The names of those that `import` finds.
_offered: set[str] = set()


def add(sources: list[tuple[str, str, list[tuple[str, str, bool, bytes | None]]]]) -> None:
    """Take sources. Nothing of them is run, and nothing here can fail."""
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
        sys.path_hooks.append(_folder)
        spawned.share(_as_files)
    for name, path, files in sources:
        _sent[name] = Source(name, path, {each: File(at, package, text) for each, at, package, text in files})


def load(names: list[str], reload: bool) -> ModuleType:
    """Import the first of the modules. The others lie beside it, and one of them imports each.

    If the source of a loaded one has changed, then `reload` makes all of them run anew; otherwise a warning tells it.
    """
    ours = []
    for name in names:
        # Until it is known that no other module has the name, `import` must not find it.
        _offered.discard(name)
        if _is_offered(name, names[0]):
            _offered.add(name)
            ours.append(name)
    changed = [name for name in ours if _is_loaded(name) and _loaded[name] != _sent[name]]
    for name in ours:
        # What a failed import has left is unloaded too.
        if (changed and reload) or not _is_loaded(name):
            _unload(name)
    if changed and not reload:
        paths = ", ".join(_sent[name].path for name in changed)
        warnings.warn(
            f"{paths} has changed since it was imported, and the module stays what it was. "
            "worker.module(path, { reload: true }) runs what is new",
            RuntimeWarning,
            stacklevel=2,
        )
    return __import__(names[0])


# Errors name the operation so.
load.__name__ = "worker.module"


def files_of(module: str) -> dict[str, bytes]:
    """Return the files of the source with this module, and of all beside it; none if the client sent no such source."""
    return _as_files() if module.partition(".")[0] in _offered else {}


def _as_files() -> dict[str, bytes]:
    """Return all modules as files in one folder."""
    found = {}
    for name in _offered:
        for full, file in (_loaded if _is_loaded(name) else _sent)[name].files.items():
            path = full.replace(".", "/")
            if file.is_package:
                found[f"{path}/"] = b""
                path = f"{path}/__init__"
            if file.text is not None:
                found[f"{path}.py"] = file.text
    return found


def _is_loaded(name: str) -> bool:
    return name in _loaded and name in sys.modules


def _unload(name: str) -> None:
    for each in [*sys.modules]:
        if each == name or each.startswith(name + "."):
            del sys.modules[each]


def _is_offered(name: str, first: str) -> bool:
    """Return whether `import` may find the module: no other one has its name.

    Raise ImportError, or warn, if another one has it.
    """
    source = _sent.get(name)
    if source is None:
        raise ImportError(f"the source of {name} has not arrived: call worker.module again", name=name)
    file = os.path.basename(source.path.replace("\\", "/"))
    if name in sys.stdlib_module_names:
        told = f"{source.path} has the name of a module of Python's standard library, which `import {name}` means"
        if name == first:
            raise ImportError(f"{told}. Rename it, e.g. to my_{file}", name=name, path=source.path)
        if not source.is_namespace:
            warnings.warn(f"{told}: it is not used. Rename it, e.g. to my_{file}", RuntimeWarning, stacklevel=3)
        return False
    other = _other(source)
    if other is None:
        return True
    if source.is_namespace:
        # As everywhere in Python, a folder without __init__.py comes last.
        return False
    raise ImportError(
        f"{source.path} has the name of a module that the worker's Python has already ({other}), and `import {name}` "
        f'can mean only one of them. Rename yours, e.g. to my_{file}; worker.import("{name}") gives the other',
        name=name,
        path=source.path,
    )


def _other(source: Source) -> str | None:
    """Return where another module of this name comes from."""
    name = source.name
    if _is_loaded(name):
        return None
    if name in sys.modules:
        return f"imported from {getattr(sys.modules[name], '__file__', None) or 'no file'}"
    for finder in sys.meta_path:
        find = None if finder is _finder else getattr(finder, "find_spec", None)
        spec = find(name, None) if find is not None else None
        if spec is None:
            continue
        # A folder without __init__.py comes last. A file in the current folder is the program's own too, and so is the
        # very file that was sent.
        if spec.loader is None or _is_own(spec, source):
            return None
        return spec.origin or "it has no file"
    return None


def _is_own(spec: ModuleSpec, source: Source) -> bool:
    origin = spec.origin or ""
    folder = os.path.dirname(os.path.dirname(origin) if spec.submodule_search_locations else origin)
    real = os.path.realpath
    return real(folder) == real(os.getcwd()) or real(origin) == real(source.files[source.name].path)


def _source_of(name: str) -> Source | None:
    """Return what a module that is to be imported is made of."""
    top = name.partition(".")[0]
    if top not in _offered:
        return None
    # A package is of one version: what it imports late comes from the source that it was loaded from.
    return _loaded[top] if top != name and _is_loaded(top) else _sent.get(top)


class _Finder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        source = _source_of(fullname)
        if source is None or fullname not in source.files:
            return None
        file = source.files[fullname]
        spec = ModuleSpec(fullname, _Loader(source), origin=file.path, is_package=file.is_package)
        # This sets `__file__`.
        spec.has_location = file.text is not None
        if file.is_package:
            # It is no path: nothing that lies on this machine is part of the package.
            spec.submodule_search_locations = [_FOLDER + fullname]
        return spec


_finder = _Finder()

_ONLY_SOURCE = "worker.module sends Python source and no other files"
_INSTEAD = (
    "Your program may read a file and pass on what it holds; a compiled module must be installed where the worker is"
)


class _Loader(ExecutionLoader):
    def __init__(self, source: Source) -> None:
        self.source = source

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        path, _, text = self.source.files[name]
        if name == self.source.name:
            _loaded[name] = self.source
        if text is None:
            return
        try:
            lines = decode_source(text).splitlines(keepends=True)
        except (SyntaxError, UnicodeError):
            # Compiling it says more.
            lines = []
        # Tracebacks and `inspect.getsource` show these lines, whatever lies at that path on this machine, or later.
        linecache.cache[path] = len(text), None, lines, path
        exec(self.get_code(name), module.__dict__)

    def get_code(self, fullname: str) -> CodeType:
        path, _, text = self.source.files[fullname]
        return compile(text or b"", path, "exec", dont_inherit=True)

    def get_source(self, fullname: str) -> str:
        try:
            return decode_source(self.source.files[fullname].text or b"")
        except (SyntaxError, UnicodeError) as error:
            raise ImportError(f"the source of {fullname} cannot be decoded: {error}", name=fullname) from error

    def get_data(self, path: str) -> bytes:
        raise FileNotFoundError(errno.ENOENT, _ONLY_SOURCE, path)

    def about(self, error: BaseException) -> str | None:
        """Say of an error in one of these modules that it comes from the way that they came here."""
        name, folder = self.source.name, self.source.path
        if not self.source.files[name].is_package:
            folder = os.path.dirname(folder)
        missing = str(error.filename) if isinstance(error, FileNotFoundError) else ""
        is_there = missing.startswith(folder) and not os.path.isdir(folder)
        is_part = isinstance(error, ModuleNotFoundError) and str(error.name).startswith(f"{name}.")
        return f"{_ONLY_SOURCE}. {_INSTEAD}" if is_there or is_part else None

    def get_filename(self, fullname: str) -> str:
        return self.source.files[fullname].path

    def is_package(self, fullname: str) -> bool:
        return self.source.files[fullname].is_package


_FOLDER = "torchwire-module:"


class _Folder(PathEntryFinder):
    """Lists the modules of a package, for pkgutil."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> None:
        return None

    def iter_modules(self, prefix: str = "") -> Iterator[tuple[str, bool]]:
        source = _source_of(self.package + ".")
        for name, file in sorted(source.files.items()) if source is not None else ():
            parent, _, last = name.rpartition(".")
            if parent == self.package:
                yield prefix + last, file.is_package


def _folder(path: str) -> _Folder:
    if not path.startswith(_FOLDER):
        raise ImportError
    return _Folder(path[len(_FOLDER) :])
