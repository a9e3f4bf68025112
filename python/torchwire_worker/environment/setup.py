"""Makes the managed environment, once. Runs at the same time wait for each other."""

import os
import re
import sys
from typing import Any, Callable, Dict, Optional

from torchwire_worker.environment.build import build
from torchwire_worker.environment.client import tell
from torchwire_worker.environment.install import NoBackend
from torchwire_worker.environment.locked import locked
from torchwire_worker.environment.managed import Managed, find_managed, finish, marker
from torchwire_worker.environment.packages import is_open, same, wanted

# NVIDIA's driver, on this machine or (dxg) on the Windows that it runs under. PyTorch's builds for other GPUs are those
# of other indexes.
_DRIVERS = ["/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/proc/driver/nvidia/version", "/sys/module/nvidia/version"]


def setup(order: Dict[str, Any]) -> Dict[str, Any]:
    """The order names the interpreter (`base`), the folder of environments, and the key of those for these packages."""
    # Nobody else may write into the environment, whatever the user's umask is.
    os.umask(os.umask(0o022) | 0o022)
    asked = order["setup"]["backend"]
    with locked(order["directory"], order["there"]):
        found = _find(order, asked)
        if found is not None:
            return {"made": found}
        backend = asked or _usual_build(order)
        try:
            return _made(build(order, backend, is_default=not asked))
        except NoBackend as failure:
            why = "" if asked else "no GPU is seen here, for which PyTorch's CPU build does; but "
            tell(line="torchwire: %s%s; taking the package index's build instead" % (why, failure))
        found = _find(order, None)
        return {"made": found} if found is not None else _made(build(order, None))


def _made(built: Dict[str, Any]) -> Dict[str, Any]:
    return {"made": dict(built, created=True)}


def _find(order: Dict[str, Any], backend: Optional[str]) -> Optional[Dict[str, Any]]:
    """The environment that is there; None where one must be made."""
    if is_open(order):
        return None
    found = find_managed(order["directory"], order["key"], _fits(order, backend))
    if found is None:
        return None
    file = (order.get("packages") or {}).get("file")
    projects = found.made.get("projects")
    if file and isinstance(projects, list) and file not in projects:
        finish(found.folder, dict(found.made, projects=[*projects, file]))
    elif order["python"] or order["setup"]["backend"]:
        # From now on, the one last asked for is the one that is found.
        os.utime(marker(found.folder))
    return {"executable": found.python, "created": False}


def _fits(order: Dict[str, Any], backend: Optional[str]) -> Callable[[Managed], bool]:
    def fits(managed: Managed) -> bool:
        return _is_possible(order, managed, backend) and same(managed.packages, wanted(order))

    return fits


def _is_possible(order: Dict[str, Any], managed: Managed, backend: Optional[str] = None) -> bool:
    return backend in (None, managed.backend) and (not order["python"] or managed.is_like(order["base"]))


def _usual_build(order: Dict[str, Any]) -> Optional[str]:
    """The build that is taken where nobody has asked for one; None is the package index's."""
    if order.get("packages"):
        # With packages, a program has the PyTorch that it had without.
        last = find_managed(order["directory"], order["key"], lambda managed: _is_possible(order, managed))
        if last is not None:
            return last.backend
    # Elsewhere than on Linux the package index's has no CUDA either.
    if sys.platform != "linux" or not re.search("^torch==", order["requirements"], re.M):
        return None
    return None if any(map(os.path.exists, _DRIVERS)) else "cpu"
