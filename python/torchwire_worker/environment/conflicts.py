"""Says in plain words why an installer found no releases that go together. uv says it so itself, pip in its own way."""

import re
from typing import List, Optional, Set

_PIP_CAUSE = re.compile(r"The conflict is caused by:\n(.*?)(?:\n\s*\n|\nTo fix this|\Z)", re.S)
_PIP_NONE = re.compile(
    r"Could not find a version that satisfies the requirement (\S.*?) \(from versions: (.*?)\)$", re.M
)
# (Its older releases draw an arrow.)
_UV = re.compile(r"No solution found[^\n]*\n\s*(?:╰─▶|cause:) (.*?)(?:\n\s*\n|\n\s*hint:|\Z)", re.S)
# The condition under which a line of the lock holds.
_CONDITION = re.compile(r"\{[^{}]*\}")
_MOST = 12


def conflict_in(output: str, pinned: Set[str], recorded: Set[str]) -> Optional[str]:
    """Why the packages do not go together; None where the output says no such thing.

    The lines `name==version` in `pinned` are torchwire's own, those in `recorded` are in the project's file.
    """
    found = _UV.search(output)
    if found:
        return re.sub(r"\s+", " ", _CONDITION.sub("", found.group(1))).strip()
    found = _PIP_CAUSE.search(output)
    if found:
        lines = [_said(line.strip(), pinned, recorded) for line in found.group(1).splitlines() if line.strip()]
        return "; ".join(list(dict.fromkeys(lines))[:_MOST])
    found = _PIP_NONE.search(output)
    if found:
        return _missing(found.group(1), found.group(2), output)
    return None


def _said(line: str, pinned: Set[str], recorded: Set[str]) -> str:
    """pip's line, with the one who asks for it named: to pip everything was requested by the user."""
    asked = re.match(r"The user requested (?:\(constraint\) )?([^\s;]+)", line)
    if not asked:
        return line
    if asked.group(1) in pinned:
        return "torchwire pins %s" % asked.group(1)
    who = "torchwire.packages.json has" if asked.group(1) in recorded else "the project asks for"
    return "%s %s" % (who, asked.group(1))


def _missing(asked: str, releases: str, output: str) -> str:
    # pip names what wants it: "timm (from x)".
    name = re.split(r"[\[<>=!~;\s(@]", asked, maxsplit=1)[0]
    newer = re.search(
        r"^ERROR: Ignored the following versions that require a different python version: (.*)$", output, re.M
    )
    python = " (releases for other versions of Python: %s)" % newer.group(1)[:200] if newer else ""
    if releases.strip() == "none":
        return "the package index has no %s that can be installed here%s" % (name, python)
    known: List[str] = releases.split(", ")
    return "the package index has no %s; it has %s%s" % (asked, ", ".join(known[-_MOST:]), python)
