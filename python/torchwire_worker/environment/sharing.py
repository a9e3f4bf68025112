"""Begins an environment with the packages of another one: their files are shared, by hard links."""

import os
import shutil

# What is an environment's own: what made it, and the lists that it was made by, which are written anew.
_OWN = ("pyvenv.cfg", "torchwire.json", "requirements.txt", "constraints.txt")


def share(source: str, folder: str) -> None:
    """Gives the environment in `folder`, which has been made, every file of `source` that it has not.

    Installers replace files and never write into them, so neither environment changes the other. OSError where the
    file system has no hard links.
    """
    own = {os.path.join(source, name) for name in _OWN}
    programs = os.path.join(source, "Scripts" if os.name == "nt" else "bin")
    for above, folders, names in os.walk(source):
        there = os.path.join(folder, os.path.relpath(above, source))
        os.makedirs(there, exist_ok=True)
        # A link to a folder is a file here: it is not walked into.
        links = [name for name in folders if os.path.islink(os.path.join(above, name))]
        for name in names + links:
            path, target = os.path.join(above, name), os.path.join(there, name)
            if path in own or os.path.lexists(target):
                continue
            if os.path.islink(path):
                os.symlink(os.readlink(path), target)
            elif above == programs:
                _rewrite(path, target, source, folder)
            else:
                os.link(path, target)


def _rewrite(path: str, target: str, source: str, folder: str) -> None:
    """Copies a program. It may name its environment's interpreter."""
    with open(path, "rb") as file:
        content = file.read()
    with open(target, "wb") as file:
        file.write(content.replace(os.fsencode(source), os.fsencode(folder)))
    shutil.copymode(path, target)
