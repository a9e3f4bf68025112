"""The environments that torchwire makes, as bridge/environment/managed.ts names and finds them."""

import contextlib
import glob
import json
import os
import re
import socket
from typing import Any, Callable, Dict, List, Optional

from torchwire_worker import owners
from torchwire_worker.environment.client import Failure


class Managed:
    """A finished environment."""

    def __init__(self, folder: str, made: Dict[str, Any]) -> None:
        self.folder = folder
        self.python = python_of(folder)
        self.finished = os.stat(marker(folder)).st_mtime
        self.base: str = made["base"]
        self.made = made
        self.backend: Optional[str] = made.get("backend")
        # What it has beside the worker's own packages.
        self.packages: Optional[Dict[str, Any]] = made.get("packages")

    def is_like(self, base: Dict[str, Any]) -> bool:
        """Whether it was made from this interpreter, or from one of its version and platform."""
        if os.path.basename(self.folder)[len("0123456789ab-") :].startswith(name_of(base)):
            return True
        return os.path.realpath(self.base) == os.path.realpath(base["executable"])


def find_managed(directory: str, key: str, fits: Callable[[Managed], bool]) -> Optional[Managed]:
    """The newest finished environment of this key that fits.

    Failure where others can write it: they would say what is run.
    """
    check_owners(directory)
    mine = [managed for managed in all_managed(directory) if os.path.basename(managed.folder).startswith(key + "-")]
    found = next(filter(fits, mine), None)
    if found is not None:
        _refusing(check_environment, found.folder, False, found.base)
    return found


def all_managed(directory: str) -> List[Managed]:
    """Every finished environment in a folder, whatever it was made for, the newest first."""
    found = [managed for managed in map(_read, _folders(directory)) if managed is not None]
    return sorted(found, key=lambda managed: managed.finished, reverse=True)


def leftovers(directory: str) -> List[str]:
    """The folders that killed runs left: without a marker, or whose interpreter is gone."""
    return [folder for folder in _folders(directory) if _read(folder) is None]


def _read(folder: str) -> Optional[Managed]:
    # The interpreter is a link to its base, which the user may have removed.
    if not os.path.isfile(marker(folder)) or not os.path.exists(python_of(folder)):
        return None
    with open(marker(folder), encoding="utf-8", errors="replace") as file:
        try:
            made = json.load(file)
        except ValueError:
            return None
    return Managed(folder, made) if isinstance(made, dict) and isinstance(made.get("base"), str) else None


def _folders(directory: str) -> List[str]:
    """Only those of our form: TORCHWIRE_CACHE may name a folder with other things in it."""
    if not os.path.isdir(directory):
        return []
    names = [name for name in os.listdir(directory) if re.match(r"[0-9a-f]{12}-\d+\.\d+\.\d+-.+-[0-9a-f]{6}$", name)]
    return [os.path.join(directory, name) for name in names]


def finish(folder: str, made: Dict[str, Any]) -> None:
    """Makes the environment in `folder` count: the marker is there as a whole or not at all."""
    draft = marker(folder) + ".draft"
    with open(draft, "w", encoding="utf-8") as file:
        file.write(json.dumps(made, indent=2) + "\n")
    os.replace(draft, marker(folder))


def marker(folder: str) -> str:
    """The file that makes an environment exist. It is written last."""
    return os.path.join(folder, "torchwire.json")


def python_of(folder: str) -> str:
    return os.path.join(folder, "Scripts", "python.exe") if os.name == "nt" else os.path.join(folder, "bin", "python")


def site_of(folder: str) -> str:
    """Where the packages of an environment lie, which is there."""
    if os.name == "nt":
        return os.path.join(folder, "Lib", "site-packages")
    found = glob.glob(os.path.join(glob.escape(folder), "lib", "python3*", "site-packages"))
    return found[0] if found else os.path.join(folder, "lib")


def name_of(base: Dict[str, Any]) -> str:
    return "%s-%s" % (base["version"], base["platform"])


def check_owners(directory: str) -> None:
    """Failure where others can write into the folder of environments."""
    with contextlib.suppress(FileNotFoundError):
        _refusing(owners.check, directory)


def check_environment(folder: str, shared: bool = False, base: Optional[str] = None) -> None:
    """OthersCanWrite for a part of an environment that is run.

    The interpreter that it was made from may be anybody's: the user has chosen it.
    """
    python, lib = python_of(folder), os.path.join(folder, "lib")
    paths = [folder, os.path.dirname(python), python, os.path.join(folder, "pyvenv.cfg"), marker(folder)]
    for name in os.listdir(lib) if os.path.isdir(lib) else []:
        paths += [os.path.join(lib, name), os.path.join(lib, name, "site-packages")]
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            owners.check(path, None, shared, False, False)
    owners.check(python, None, True, base is None or os.path.realpath(base) == os.path.realpath(python))


def _refusing(check: Callable[..., Any], *arguments: Any) -> None:
    try:
        check(*arguments)
    except owners.OthersCanWrite as error:
        raise Failure(
            "%s on %s. No environment from there is used: what is run there, runs as this user. "
            "TORCHWIRE_CACHE there takes another place." % (error, socket.gethostname()),
            error.command,
        ) from None
