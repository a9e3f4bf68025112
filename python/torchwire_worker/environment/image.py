"""Writes the lists for the packages that an image is built with: `python -m torchwire_worker.environment.image`.

The first argument has their names, apart by spaces, or is the text of a project's torchwire.packages.json. The others
are the files for what is asked for and for the versions that hold.
"""

import json
import re
import sys
from typing import List, Tuple

from torchwire_worker.environment.packages import constraints


def lists(text: str) -> Tuple[List[str], List[str]]:
    """What is asked for, and the versions that hold. ValueError where the text is neither names nor such a file's."""
    if text.lstrip().startswith("{"):
        found = json.loads(text)
        asked, versions = found.get("packages"), found.get("versions", {})
        if not isinstance(asked, list) or not isinstance(versions, dict):
            raise ValueError("PACKAGES is not the text of a torchwire.packages.json")
    else:
        asked, versions = text.split(), {}
    for each in asked:
        if not re.match(r"[A-Za-z0-9][\w.-]*([ \[<>=!~;@].*)?\Z", str(each)):
            raise ValueError("PACKAGES has names of packages, apart by spaces; %r is none" % each)
    return asked, constraints({"packages": asked, "versions": versions}, "")


def main(text: str, *files: str) -> None:
    for path, lines in zip(files, lists(text)):
        with open(path, "w", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
