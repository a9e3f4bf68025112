"""Modules whose source was sent."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from torchwire_worker.helpers import sources


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    modules, path = {*sys.modules}, [*sys.path]
    yield
    sys.path[:] = path
    for name in {*sys.modules} - modules:
        del sys.modules[name]


def send(name: str, text: str, path: str | None = None) -> None:
    where = path or f"/elsewhere/{name}.py"
    sources.add([(name, where, [(name, where, False, text.encode())])])


def test_a_copy_in_the_current_folder_is_not_another_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in_folder.py").write_text("x = 'old copy'\n")
    monkeypatch.chdir(tmp_path)
    sys.path.append(os.getcwd())
    send("in_folder", "x = 'sent'\n")
    assert sources.load(["in_folder"], False).x == "sent"


def test_the_very_file_on_the_path_is_not_another_module(tmp_path: Path) -> None:
    (tmp_path / "on_path.py").write_text("x = 1\n")
    sys.path.append(str(tmp_path))
    send("on_path", "x = 1\n", str(tmp_path / "on_path.py"))
    assert sources.load(["on_path"], False).x == 1


def test_another_file_on_the_path_is_another_module_and_stays_the_one_that_is_imported(tmp_path: Path) -> None:
    (tmp_path / "installed.py").write_text("x = 'installed'\n")
    sys.path.append(str(tmp_path))
    send("installed", "x = 'sent'\n")
    with pytest.raises(ImportError, match=r"/elsewhere/installed\.py has the name of a module .*Rename yours"):
        sources.load(["installed"], False)
    assert importlib.import_module("installed").x == "installed"
    with pytest.raises(ImportError, match=r"imported from .*installed\.py"):
        sources.load(["installed"], False)


def test_a_source_that_has_not_arrived_is_told() -> None:
    with pytest.raises(ImportError, match="the source of lost has not arrived: call worker.module again"):
        sources.load(["lost"], False)


def test_pythons_own_reload_takes_what_was_sent_last() -> None:
    send("reloaded", "x = 1\n")
    module = sources.load(["reloaded"], False)
    send("reloaded", "x = 2\n")
    assert importlib.reload(module) is module
    assert module.x == 2
