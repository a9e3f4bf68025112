"""The code for the far side of an ssh connection, for any Python. (TypeScript tests it over a real sshd.)"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "torchwire_worker"
ROOMS = ("far", "environment")
MODULES = [path for room in ROOMS for path in sorted((FOLDER / room).glob("*.py"))] + [
    FOLDER / "owners.py",
    FOLDER / "processes.py",
]
FILES = [*MODULES, FOLDER / "__init__.py", FOLDER / "__main__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_is_python_3_6(path):
    ast.parse(path.read_text(), feature_version=(3, 6))
    with pytest.raises(SyntaxError):
        ast.parse("(x := 1)", feature_version=(3, 6))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_needs_nothing_that_is_not_pythons_own(path):
    # -S: without site-packages. The folder above is what the client sends.
    name = ".".join(path.relative_to(FOLDER.parent).with_suffix("").parts)
    code = "import sys; sys.path.insert(0, %r); import %s" % (str(FOLDER.parent), name)
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


def test_lines_are_those_of_a_terminal():
    from torchwire_worker.far.worker import _Lines

    found = []
    lines = _Lines(found.append)
    for data in (b"one\ntw", None, b"o\r\n10%\r20%\n\xff", b"half"):
        lines.feed(data)
    assert found == ["one", "two", "10%", "20%"]
    lines.feed(b"")
    assert found[4:] == ["\ufffdhalf"]
    lines.feed(b"x" * 100_000)
    assert [len(line) for line in found[5:]] == [100_000]
