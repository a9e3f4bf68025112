"""A project's packages: what installers say where nothing goes together, and the lists of an image."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from torchwire_worker.environment import setup
from torchwire_worker.environment.conflicts import conflict_in
from torchwire_worker.environment.image import lists, main
from torchwire_worker.environment.sharing import share
from torchwire_worker.errors import describe

PINNED = {"numpy==2.4.6"}
RECORDED = {"pandas==2.0.0"}


class TestConflict:
    def test_of_uv_is_its_sentence(self):
        output = """Using Python 3.11.7 environment at: /x
  × No solution found when resolving dependencies:
  ╰─▶ Because you require numpy==1.26.0 and you require numpy==2.4.6, we can
      conclude that your requirements are unsatisfiable.
"""
        assert conflict_in(output, PINNED, RECORDED) == (
            "Because you require numpy==1.26.0 and you require numpy==2.4.6, we can conclude that your requirements "
            "are unsatisfiable."
        )

    def test_of_a_newer_uv_is_its_sentence_without_conditions(self):
        output = """Using Python 3.11.7 environment at: x
error: No solution found when resolving dependencies
  cause: Because you require numpy{python_full_version < '3.12'}==2.4.6 and numpy<2, we can conclude that your
         requirements are unsatisfiable.
"""
        assert conflict_in(output, PINNED, RECORDED) == (
            "Because you require numpy==2.4.6 and numpy<2, we can conclude that your requirements are unsatisfiable."
        )

    def test_of_pip_names_who_asks_for_what(self):
        output = """ERROR: Cannot install old and pandas because these package versions have conflicting dependencies.

The conflict is caused by:
    The user requested numpy==2.4.6
    The user requested (constraint) pandas==2.0.0
    The user requested old>=1; python_version > "3"
    old 1.0 depends on numpy<2
    old 1.0 depends on numpy<2

To fix this you could try to:
1. loosen the range of package versions you've specified
"""
        assert conflict_in(output, PINNED, RECORDED) == (
            "torchwire pins numpy==2.4.6; torchwire.packages.json has pandas==2.0.0; the project asks for old>=1; "
            "old 1.0 depends on numpy<2"
        )

    def test_of_a_package_that_the_index_has_not(self):
        none = "ERROR: Could not find a version that satisfies the requirement nosuch (from versions: none)\n"
        assert conflict_in(none, set(), set()) == "the package index has no nosuch that can be installed here"
        other = (
            "ERROR: Ignored the following versions that require a different python version: 2.0 Requires-Python "
            ">=3.14\n"
            "ERROR: Could not find a version that satisfies the requirement new>=2 (from versions: 1.0, 1.1)\n"
        )
        assert conflict_in(other, set(), set()) == (
            "the package index has no new>=2; it has 1.0, 1.1 (releases for other versions of Python: 2.0 "
            "Requires-Python >=3.14)"
        )

    def test_is_none_where_something_else_failed(self):
        assert conflict_in("ERROR: Failed building wheel for x\n", PINNED, RECORDED) is None


class TestImage:
    def test_has_the_packages_by_their_names_or_by_a_projects_file(self, tmp_path):
        files = [str(tmp_path / name) for name in ("packages", "constraints")]
        main("timm>=1.0  einops", *files)
        assert [Path(file).read_text() for file in files] == ["timm>=1.0\neinops\n", ""]
        main("", *files)
        assert [Path(file).read_text() for file in files] == ["", ""]
        text = json.dumps(
            {"packages": ["timm", "x @ file:///x.whl"], "versions": {"timm": "1.0", "tqdm": "4.1", "x": "1"}}
        )
        main(text, *files)
        assert [Path(file).read_text() for file in files] == [
            "timm\nx @ file:///x.whl\n",
            "timm==1.0\ntqdm==4.1\n",
        ]

    @pytest.mark.parametrize(
        "text", ["-r x", "timm --index-url=x", "./mine", '{"packages": "timm"}', '{"packages": ["a\\n-r b"]}']
    )
    def test_has_nothing_else(self, text):
        with pytest.raises(ValueError, match="PACKAGES"):
            lists(text)


def test_an_environment_shares_the_files_of_another_but_not_its_programs(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    package = next((one / "lib").glob("python*/site-packages")) / "package"
    package.mkdir()
    (package / "code.py").write_text("x = 1\n")
    (one / "torchwire.json").write_text("{}")
    script = one / "bin" / "tool"
    script.write_text(f"#!{one}/bin/python\n")
    script.chmod(0o755)
    before = (other / "pyvenv.cfg").read_text()
    share(str(one), str(other))
    shared = next((other / "lib").glob("python*/site-packages")) / "package" / "code.py"
    assert os.path.samefile(shared, package / "code.py")
    assert (other / "bin" / "tool").read_text() == f"#!{other}/bin/python\n"
    assert os.access(other / "bin" / "tool", os.X_OK)
    assert not (other / "torchwire.json").exists()
    assert (other / "pyvenv.cfg").read_text() == before


class TestUsualBuild:
    @pytest.fixture
    def order(self, tmp_path):
        return {
            "setup": {"backend": None},
            "requirements": "torch==2.14.1\n",
            "packages": None,
            "python": None,
            "directory": str(tmp_path),
            "key": "0123456789ab",
        }

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the package index's build is small")
    def test_is_for_the_cpu_where_no_gpu_is_seen(self, order, tmp_path, monkeypatch):
        driver = tmp_path / "driver"
        monkeypatch.setattr(setup, "_DRIVERS", [str(tmp_path / "none"), str(driver)])
        assert setup._usual_build(order) == "cpu"
        driver.touch()
        assert setup._usual_build(order) is None

    def test_is_the_package_indexs_where_there_is_no_torch_in_the_list(self, order, monkeypatch):
        monkeypatch.setattr(setup, "_DRIVERS", [])
        assert setup._usual_build(dict(order, requirements="numpy==2.4.6\n")) is None

    def test_with_packages_is_that_of_the_environment_without(self, order, tmp_path, monkeypatch):
        from test_environment import made

        monkeypatch.setattr(setup, "_DRIVERS", [])
        made(tmp_path, "0123456789ab-3.11.7-linux-x86_64+cu130-aaaaaa", backend="cu130")
        packages = {"packages": ["timm"], "versions": {}, "open": True, "file": None}
        assert setup._usual_build(dict(order, packages=packages)) == "cu130"


class TestMissingModule:
    """The facts that the client's advice goes by."""

    def notes(self, name):
        try:
            __import__(name)
        except ModuleNotFoundError as error:
            return describe(error)["notes"]
        raise AssertionError("it is there")

    @pytest.fixture
    def prefix(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sys, "prefix", str(tmp_path))
        return tmp_path

    def test_says_who_has_made_the_environment(self, prefix):
        assert self.notes("no_such_module") == []
        (prefix / "torchwire.json").write_text('{"installer": "uv"}')
        assert self.notes("no_such_module") == ["it is not in the environment that torchwire made"]
        (prefix / "torchwire.json").write_text('{"installer": "docker"}')
        assert self.notes("no_such_module") == ["it is not in the container's image"]

    @pytest.mark.parametrize("name", ["torhc", "torch_", "trch", "nunpy"])
    def test_says_which_module_has_nearly_that_name(self, prefix, name):
        near = "numpy" if name.startswith("n") else "torch"
        expected = [] if name == "torch_" else [f"there is a module named {near}"]
        assert self.notes(name) == expected

    def test_of_a_package_that_is_there_names_no_other(self, prefix):
        assert torch is not None
        assert self.notes("torch.no_such_part") == []
