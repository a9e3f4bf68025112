"""The set-up on this machine: the client does not know where things lie here."""

import json
import os
import shutil
import subprocess
from typing import Any, Dict, Optional

from torchwire_worker.environment.client import Failure, end_with_client
from torchwire_worker.environment.managed import find_managed
from torchwire_worker.environment.setup import setup
from torchwire_worker.far.find import directory, key

_OLDEST, _NEWEST = (3, 10), (3, 13)
_ABOUT = """
import importlib.util, json, sys, sysconfig
missing = [name for name in ("ensurepip", "virtualenv", "uv") if importlib.util.find_spec(name) is None]
version = "%d.%d.%d" % sys.version_info[:3]
platform = sysconfig.get_platform()
print(json.dumps({"executable": sys.executable, "version": version, "platform": platform, "missing": missing}))
"""


def setup_here(order: Dict[str, Any]) -> Dict[str, Any]:
    end_with_client()
    where, name = directory(), key(order["requirements"])
    base = _base(order["python"] or (_earlier_base(where, name) if order["packages"] else None))
    return setup(dict(order, base=base, directory=where, key=name))


def _earlier_base(directory: str, key: str) -> Optional[str]:
    """The interpreter of the environment that is there: one with packages shares its files."""
    last = find_managed(directory, key, lambda managed: os.access(managed.base, os.X_OK))
    return None if last is None else last.base


def _base(python: Optional[str]) -> Dict[str, Any]:
    """The interpreter to make it from: the one that was named, else the first on PATH that serves."""
    names = ["python3", "python"] + ["python3.%d" % minor for minor in (13, 12, 11, 10)]
    found = []
    for path in dict.fromkeys(shutil.which(name) for name in ([os.path.expanduser(python)] if python else names)):
        if path is None:
            continue
        asked = [path, "-I", "-c", _ABOUT]
        try:
            said = subprocess.check_output(asked, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, timeout=20)
            base = json.loads(said.decode().strip().splitlines()[-1])
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            found.append("  %s: %s" % (path, error))
            continue
        if _OLDEST <= tuple(map(int, base["version"].split(".")[:2])) <= _NEWEST:
            return base
        found.append("  %s: it is Python %s" % (path, base["version"]))
    where = "Found there:\n%s" % "\n".join(found) if found else "There is none on its PATH."
    text = "torchwire needs Python 3.10 to 3.13 on that machine. %s\nInstall one there, or name it:" % where
    if python:
        text = "%s does not serve: %s" % (python, text)
    raise Failure(text, "npx torchwire setup --python /path/to/python3")
