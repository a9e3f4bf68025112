"""Which Python of this machine the worker runs in: the same places as on the client's, in the same order."""

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from typing import Any, Callable, Dict, List, Optional, Tuple

from torchwire_worker import owners
from torchwire_worker.far.main import Failure
from torchwire_worker.far.variables import worker_variables

_SETUP = "npx torchwire setup"
# The list of modules is the client's: what its worker cannot start without.
_MISSING = """
import importlib.util, json, sys
sys.path = [p for p in sys.path if p]
found = [importlib.util.find_spec(name) for name in sys.argv[1:]]
missing = [name for name, spec in zip(sys.argv[1:], found) if spec is None or spec.origin is None]
print(json.dumps(["%d.%d.%d" % sys.version_info[:3], missing]))
"""


def find(order, cwd):
    # type: (Dict[str, Any], str) -> str
    for what, value in (("the option python", order["python"]), ("TORCHWIRE_PYTHON there", os.environ.get("TORCHWIRE_PYTHON"))):
        if value:
            return _named(what, value, cwd)
    looked = [("option python", "not given"), ("TORCHWIRE_PYTHON", "not set")]
    for name, folder in (("VIRTUAL_ENV", os.environ.get("VIRTUAL_ENV")), (".venv", os.path.join(cwd, ".venv"))):
        fault = (name == ".venv" and _not_named(folder)) or _fault(folder) if folder else "not set"
        if folder and not fault:
            return python_of(folder)
        looked.append((name, "%s %s" % (folder, fault) if folder else fault))
    made = managed(order["requirements"])
    if made:
        return python_of(made[0])
    looked.append(("managed environment", "none for this version of torchwire in %s" % directory()))
    width = max(len(name) for name, _ in looked)
    places = "\n".join("  %s  %s" % (name.ljust(width), why) for name, why in looked)
    raise Failure("no Python with PyTorch was found on %s. Looked there at:\n%s" % (socket.gethostname(), places), _SETUP)


def _named(what, value, cwd):
    # type: (str, str, str) -> str
    path = os.path.expanduser(value)
    path = os.path.join(cwd, path) if "/" in path else shutil.which(path) or ""
    if os.path.isdir(path):
        path = python_of(path)
    if os.path.isfile(path) and os.access(path, os.X_OK):
        return path
    raise Failure(
        "%s names %s, which is not there on %s or cannot be run. Name an interpreter that has PyTorch; or name none, and have one made."
        % (what, value, socket.gethostname()),
        _SETUP,
    )


def _fault(folder):
    # type: (str) -> str
    """Why the environment in `folder` cannot serve; empty where it can."""
    python = python_of(folder)
    if not os.path.exists(python):
        return "has no python"
    asked = [python, "-c", _MISSING, "torch", "zmq", "msgspec"]
    try:
        said = subprocess.check_output(asked, env=dict(worker_variables(python), PYTHONIOENCODING="utf-8", PYTHONWARNINGS="ignore"), stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, timeout=20)
        version, missing = json.loads(said.decode().strip().splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return "does not run: %s" % error
    if tuple(map(int, version.split("."))) < (3, 10):
        return "is Python %s, older than 3.10" % version
    return "lacks " + ", ".join(missing) if missing else ""


def _not_named(folder):
    # type: (str) -> str
    """Why a folder that nobody has named, but that lies where the worker is started, does not count; empty where it does."""
    try:
        _check_environment(folder, True)
    except FileNotFoundError:
        pass
    except owners.OthersCanWrite as error:
        return "does not count, because %s; TORCHWIRE_PYTHON=%s there makes it count" % (error, folder)
    return ""


def check_owners(folder):
    # type: (str) -> None
    """Failure where others can write into the folder of environments."""
    with contextlib.suppress(FileNotFoundError):
        _refusing(lambda: owners.check(folder))


def _check_environment(folder, shared=False, base=None):
    # type: (str, bool, Optional[str]) -> None
    """OthersCanWrite for what is run in an environment. The interpreter that it was made from may be anybody's: the user has chosen it."""
    python, lib = python_of(folder), os.path.join(folder, "lib")
    paths = [folder, os.path.dirname(python), python, os.path.join(folder, "pyvenv.cfg"), marker(folder)]
    for name in os.listdir(lib) if os.path.isdir(lib) else []:
        paths += [os.path.join(lib, name), os.path.join(lib, name, "site-packages")]
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            owners.check(path, None, shared, False, False)
    owners.check(python, None, True, base is None or os.path.realpath(base) == os.path.realpath(python))


def _refusing(act):
    # type: (Callable[[], Any]) -> None
    try:
        act()
    except owners.OthersCanWrite as error:
        why = "%s on %s. No environment from there is used: what is run there, runs as this user. TORCHWIRE_CACHE there takes another place." % (error, socket.gethostname())
        raise Failure(why, error.command) from None


def python_of(folder):
    # type: (str) -> str
    return os.path.join(folder, "bin", "python")


def directory():
    # type: () -> str
    """Where environments lie that torchwire has made, from here or from afar."""
    cache = os.environ.get("TORCHWIRE_CACHE")
    if cache:
        return os.path.join(cache, "environments")
    if sys.platform == "darwin":
        return os.path.expanduser("~/Library/Caches/torchwire/environments")
    base = os.environ.get("XDG_CACHE_HOME", "")
    base = base if os.path.isabs(base) else os.path.expanduser("~/.cache")
    return os.path.join(base, "torchwire", "environments")


def key(requirements):
    # type: (str) -> str
    """The first part of the name of an environment for these packages: as the client's own set-up names it, in Node's words."""
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    text = "%s\0%s\0%s" % (requirements, sys.platform, machine)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def managed(requirements):
    # type: (str) -> List[str]
    """The finished environments for these packages, the newest first."""
    found = []  # type: List[Tuple[float, str]]
    check_owners(directory())
    for folder in folders():
        if is_finished(folder) and os.path.basename(folder).startswith(key(requirements) + "-"):
            with open(marker(folder)) as file:
                base = json.load(file).get("base")
            _refusing(lambda folder=folder, base=base: _check_environment(folder, False, base))
            found.append((os.stat(marker(folder)).st_mtime, folder))
    return [folder for _, folder in sorted(found, reverse=True)]


def folders():
    # type: () -> List[str]
    """All that are of our form, finished or not."""
    if not os.path.isdir(directory()):
        return []
    names = [name for name in os.listdir(directory()) if re.match(r"[0-9a-f]{12}-\d+\.\d+\.\d+-.+-[0-9a-f]{6}$", name)]
    return [os.path.join(directory(), name) for name in names]


def marker(folder):
    # type: (str) -> str
    """What makes an environment exist: it is written last."""
    return os.path.join(folder, "torchwire.json")


def is_finished(folder):
    # type: (str) -> bool
    return os.path.exists(marker(folder)) and os.path.exists(python_of(folder))
