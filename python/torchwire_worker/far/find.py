"""Finds the Python of this machine that the worker runs in: the same places as on the client's, in the same order."""

import hashlib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from typing import Any, Dict

from torchwire_worker import owners
from torchwire_worker.environment.client import Failure
from torchwire_worker.environment.managed import check_environment, find_managed, python_of
from torchwire_worker.environment.packages import same, wanted
from torchwire_worker.environment.variables import worker_variables

_SETUP = "npx torchwire setup"
# The arguments are the modules that a worker cannot start without.
_MISSING = """
import importlib.util, json, sys
sys.path = [p for p in sys.path if p]
found = [importlib.util.find_spec(name) for name in sys.argv[1:]]
missing = [name for name, spec in zip(sys.argv[1:], found) if spec is None or spec.origin is None]
print(json.dumps(["%d.%d.%d" % sys.version_info[:3], missing]))
"""


def find(order: Dict[str, Any], cwd: str) -> str:
    variable = os.environ.get("TORCHWIRE_PYTHON")
    for what, value in (("the option python", order["python"]), ("TORCHWIRE_PYTHON there", variable)):
        if value:
            return _named(what, value, cwd)
    looked = [("option python", "not given"), ("TORCHWIRE_PYTHON", "not set")]
    for name, folder in (("VIRTUAL_ENV", os.environ.get("VIRTUAL_ENV")), (".venv", os.path.join(cwd, ".venv"))):
        fault = (name == ".venv" and _not_named(folder)) or _fault(folder) if folder else "not set"
        if folder and not fault:
            return python_of(folder)
        looked.append((name, "%s %s" % (folder, fault) if folder else fault))
    packages = wanted(order)
    made = find_managed(directory(), key(order["requirements"]), lambda managed: same(managed.packages, packages))
    if made is not None:
        return made.python
    beside = " with the packages of torchwire.packages.json" if packages else ""
    looked.append(("managed environment", "none for this version of torchwire%s in %s" % (beside, directory())))
    width = max(len(name) for name, _ in looked)
    places = "\n".join("  %s  %s" % (name.ljust(width), why) for name, why in looked)
    text = "no Python with PyTorch was found on %s. Looked there at:\n%s" % (socket.gethostname(), places)
    raise Failure(text, _SETUP)


def _named(what: str, value: str, cwd: str) -> str:
    path = os.path.expanduser(value)
    path = os.path.join(cwd, path) if "/" in path else shutil.which(path) or ""
    if os.path.isdir(path):
        path = python_of(path)
    if os.path.isfile(path) and os.access(path, os.X_OK):
        return path
    raise Failure(
        "%s names %s, which is not there on %s or cannot be run. "
        "Name an interpreter that has PyTorch; or name none, and have one made." % (what, value, socket.gethostname()),
        _SETUP,
    )


def _fault(folder: str) -> str:
    """Why the environment in `folder` cannot serve; empty where it can."""
    python = python_of(folder)
    if not os.path.exists(python):
        return "has no python"
    asked = [python, "-c", _MISSING, "torch", "zmq", "msgspec"]
    env = dict(worker_variables(python), PYTHONIOENCODING="utf-8", PYTHONWARNINGS="ignore")
    try:
        said = subprocess.check_output(asked, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, timeout=20)
        version, missing = json.loads(said.decode().strip().splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return "does not run: %s" % error
    if tuple(map(int, version.split("."))) < (3, 10):
        return "is Python %s, older than 3.10" % version
    return "lacks " + ", ".join(missing) if missing else ""


def _not_named(folder: str) -> str:
    """Why a folder that lies where the worker is started does not count; empty where it does. Nobody has named it."""
    try:
        check_environment(folder, True)
    except FileNotFoundError:
        pass
    except owners.OthersCanWrite as error:
        return "does not count, because %s; TORCHWIRE_PYTHON=%s there makes it count" % (error, folder)
    return ""


def directory() -> str:
    """The folder of environments that torchwire has made, from here or from afar."""
    cache = os.environ.get("TORCHWIRE_CACHE")
    if cache:
        return os.path.join(cache, "environments")
    if sys.platform == "darwin":
        return os.path.expanduser("~/Library/Caches/torchwire/environments")
    base = os.environ.get("XDG_CACHE_HOME", "")
    base = base if os.path.isabs(base) else os.path.expanduser("~/.cache")
    return os.path.join(base, "torchwire", "environments")


def key(requirements: str) -> str:
    """The first part of the name of an environment for these packages: managed.ts makes the same, in Node's words."""
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    text = "%s\0%s\0%s" % (requirements, sys.platform, machine)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
