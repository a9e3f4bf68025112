"""Trusts a file only if nobody but this user and root can write it, as sshd's StrictModes does.

The same holds for every folder above it up to the root, and for the targets of all links on the way. No syntax past
Python 3.6: it also runs on the far side of an ssh connection.
"""

import errno
import os
import stat
from typing import Any, Dict, Optional  # noqa: F401 - type comments, for old Pythons

_MOST_LINKS = 40
_LONGEST_FILE = 1 << 20
_WRITABLE = 0o022


class OthersCanWrite(Exception):
    """Others can write `path`. `command` mends it, if one does."""

    def __init__(self, path, why, command):
        # type: (str, str, Optional[str]) -> None
        super().__init__(why)
        self.path = path
        self.command = command


def check(path, found=None, shared=False, any_owner=False, follow=True):
    # type: (str, Optional[Dict[str, Any]], bool, bool, bool) -> str
    """Return the real path, or raise.

    `found` is kept between calls, so that a folder above many files is examined once. `shared`: a group may write, as
    in a project that several people work on. `any_owner`: it may belong to anybody, as the user has named it. Without
    `follow`, a link that is the last part is examined itself, and not its target.

    Raises OthersCanWrite, or OSError if the path cannot be examined.
    """
    if not hasattr(os, "getuid"):
        # Windows has no modes, and a user's folder there is the user's alone.
        return os.path.realpath(path)
    found = {} if found is None else found
    real, links = "/", 0
    rest = os.path.join(os.getcwd(), path).split("/")[::-1]
    _judge(real, found, False, shared, any_owner)
    while rest:
        name = rest.pop()
        if name in ("", ".", ".."):
            real = os.path.dirname(real) if name == ".." else real
            continue
        here = os.path.join(real, name)
        is_last = not any(rest)
        status = _judge(here, found, is_last, shared, any_owner)
        if not stat.S_ISLNK(status.st_mode) or (is_last and not links and not follow):
            real = here
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        target = os.readlink(here)
        if target.startswith("/"):
            real = "/"
        rest.extend(target.split("/")[::-1])
    return real


def read(path, found=None):
    # type: (str, Optional[Dict[str, Any]]) -> str
    """Return the text of a file that passes the check.

    The file that is checked is the file that is read: between the two, only this user could change where the path
    leads.
    """
    file = os.open(check(path, found), os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(file, "rb") as source:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no file", path)
        if hasattr(os, "getuid"):
            _refuse(path, status, True)
        return source.read(_LONGEST_FILE).decode("utf-8", "replace")


def make(folder, mode):
    # type: (str, int) -> None
    """Make a folder and those above it, all of this mode (os.makedirs gives the mode to the last alone)."""
    if os.path.isdir(folder):
        return
    above = os.path.dirname(os.path.abspath(folder))
    if above != folder:
        make(above, mode)
    try:
        os.mkdir(folder, mode)
    except FileExistsError:
        # Another process was faster, or it is a file.
        if not os.path.isdir(folder):
            raise


def _judge(path, found, is_last, shared, any_owner):
    # type: (str, Dict[str, Any], bool, bool, bool) -> Any
    status = found.get(path)
    if status is None:
        status = found[path] = os.lstat(path)
    _refuse(path, status, is_last, shared, any_owner)
    return status


def _refuse(path, status, is_last, shared=False, any_owner=False):
    # type: (str, Any, bool, bool, bool) -> None
    mode, uid = stat.S_IMODE(status.st_mode), os.getuid()
    # The owner of / is root, even in a user namespace that has no number for root.
    if not any_owner and status.st_uid not in (uid, 0, os.lstat("/").st_uid):
        why = "%s belongs to another user (uid %d, mode %04o), who could put anything there" % (
            path,
            status.st_uid,
            mode,
        )
        # Do not advise to take a folder above it from its owner.
        raise OthersCanWrite(
            path, why, "chown %d %s" % (uid, path) if is_last and not stat.S_ISLNK(status.st_mode) else None
        )
    if stat.S_ISLNK(status.st_mode) or not mode & (0o002 if shared else _WRITABLE):
        return
    is_folder = stat.S_ISDIR(status.st_mode)
    # With the sticky bit, nobody can remove or replace our files; but others may add to the last folder, which is
    # listed.
    if is_folder and mode & stat.S_ISVTX and not is_last:
        return
    # A secret that Kubernetes mounts is open to all, and read-only.
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return
    fitting = "go-w" if not is_last or (not is_folder and mode & 0o111) else "700" if is_folder else "600"
    why = "others can write %s%s (uid %d, mode %04o)" % ("into " if is_folder else "", path, status.st_uid, mode)
    raise OthersCanWrite(path, why, "chmod %s %s" % ("o-w" if shared else fitting, path))
