"""The packages that a project wants beside the worker's own, as bridge/environment/packages.ts has them: what was asked
for, and the versions that came of it.
"""

import json
import re
from typing import Any, Callable, Dict, List, Optional, Set

# What makes environments, and is in some of them.
_TOOLS = {"pip", "uv", "setuptools", "wheel", "virtualenv"}
# Each distribution's version, and what it needs without its extras.
_LIST = """
import importlib.metadata as metadata, json, re
def needs(each):
    return [line for line in each.requires or [] if not re.search("extra *==", line)]
every = [each for each in metadata.distributions() if each.metadata["Name"]]
print(json.dumps({each.metadata["Name"]: [each.version, needs(each)] for each in every}))
"""


def wanted(order: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    """What the marker of a fitting environment has; None where the project wants nothing."""
    ordered = order.get("packages")
    return {name: ordered[name] for name in ("packages", "versions")} if ordered else None


def is_open(order: Dict[str, Any]) -> bool:
    """Whether versions are still to be found."""
    return bool(order.get("packages") and order["packages"]["open"])


def same(one: Any, other: Any) -> bool:
    """Whether two lists are of the same packages: those of markers, and of files that a user may have sorted anew."""
    return _sorted(one) == _sorted(other)


def _sorted(packages: Any) -> Any:
    if not isinstance(packages, dict):
        return packages
    return sorted(set(map(str, packages.get("packages", [])))), packages.get("versions", {})


def covers(more: Dict[str, Any], packages: Optional[Dict[str, Any]]) -> bool:
    """Whether everything in an environment with `packages` belongs into one with `more`, in the same versions."""
    if packages is None:
        return True
    return (
        set(packages["packages"]) <= set(more["packages"]) and packages["versions"].items() <= more["versions"].items()
    )


def constraints(packages: Dict[str, Any], requirements: str) -> List[str]:
    """The lines that hold the recorded versions. Those that the worker's own list pins are held by that."""
    pinned = names_in(requirements)
    # What comes from an address is what it is there.
    addressed = {name_of(line) for line in packages["packages"] if "@" in line}
    names = sorted(set(packages["versions"]) - pinned - addressed)
    return ["%s==%s" % (name, packages["versions"][name]) for name in names]


def asked_alone(packages: Dict[str, Any]) -> Dict[str, Any]:
    """The same, with the recorded versions of those packages alone that were asked for."""
    asked = set(map(name_of, packages["packages"]))
    return dict(packages, versions={name: it for name, it in packages["versions"].items() if name in asked})


def installed(packages: Dict[str, Any], requirements: str, ask: Callable[[str], str]) -> Dict[str, Any]:
    """The packages with the versions that an environment has. `ask` runs a script in it and gives its output."""
    said = json.loads(ask(_LIST).strip().splitlines()[-1])
    found = {normal(name): (version, list(map(name_of, needs))) for name, (version, needs) in said.items()}
    asked = set(map(name_of, packages["packages"]))
    # Another build of PyTorch needs other libraries than the pinned ones.
    left_out = (_needed_by(names_in(requirements), found) | _TOOLS) - asked
    # (A part after a plus is of one build, as for one GPU.)
    versions = {name: found[name][0].split("+")[0] for name in sorted(found) if name not in left_out}
    return {"packages": packages["packages"], "versions": versions}


def _needed_by(names: Set[str], found: Dict[str, Any]) -> Set[str]:
    """These and all that they need, directly or not."""
    reached, left = set(names), list(names)
    while left:
        for name in found.get(left.pop(), ("", []))[1]:
            if name not in reached:
                reached.add(name)
                left.append(name)
    return reached


def names_in(requirements: str) -> Set[str]:
    return {normal(name) for name in re.findall(r"^([A-Za-z0-9][\w.-]*) *(?:==|@)", requirements, re.M)}


def name_of(line: str) -> str:
    found = re.match(r"[A-Za-z0-9][\w.-]*", line)
    return normal(found.group() if found else line)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
