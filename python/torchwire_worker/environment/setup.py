"""Makes the managed environment, once. Runs at the same time wait for each other."""

import os
from typing import Any, Dict, Optional

from torchwire_worker.environment.build import build
from torchwire_worker.environment.client import tell
from torchwire_worker.environment.install import NoBackend
from torchwire_worker.environment.locked import locked
from torchwire_worker.environment.managed import Managed, find_managed, marker


def setup(order: Dict[str, Any]) -> Dict[str, Any]:
    """The order names the interpreter (`base`), the folder of environments, and the key of those for these packages."""
    # Nobody else may write into the environment, whatever the user's umask is.
    os.umask(os.umask(0o022) | 0o022)
    backend = order["setup"]["backend"]
    with locked(order["directory"], order["there"]):
        try:
            return _find_or_build(order, backend)
        except NoBackend as failure:
            tell(line="torchwire: %s; taking the package index's build instead" % failure)
            return _find_or_build(order, None)


def _find_or_build(order: Dict[str, Any], backend: Optional[str]) -> Dict[str, Any]:
    def fits(managed: Managed) -> bool:
        return backend in (None, managed.backend) and (not order["python"] or managed.is_like(order["base"]))

    found = find_managed(order["directory"], order["key"], fits)
    if found is None:
        return {"made": {"executable": build(order, backend), "created": True}}
    if order["python"] or order["setup"]["backend"]:
        # From now on, the one last asked for is the one that is found.
        os.utime(marker(found.folder))
    return {"made": {"executable": found.python, "created": False}}
