"""Work on the folder of managed environments: by one process at a time, and without empty folders left."""

import contextlib
import errno
import os
from typing import Iterator, Optional

from torchwire_worker import owners
from torchwire_worker.environment.client import SETUP, Failure, interrupt, tell
from torchwire_worker.environment.lock import hold
from torchwire_worker.environment.managed import check_owners


@contextlib.contextmanager
def locked(directory: str, there: str = "") -> Iterator[None]:
    """Holds the lock of `directory`, which is made where it is missing."""
    outermost = _make(directory, there)

    def on_wait(owner: str) -> None:
        tell(line="torchwire: another set-up is at work%s (%s); waiting for it" % (there, owner))

    def on_lost() -> None:
        interrupt(Failure("another set-up took over while this one was stopped.", SETUP))

    try:
        check_owners(directory)
        with hold(os.path.join(directory, ".lock"), on_wait, on_lost):
            yield
    finally:
        if outermost:
            _remove_empty(directory, outermost)


def _make(directory: str, there: str) -> Optional[str]:
    """Makes a folder; the outermost of its parents that was not there."""
    outermost, above = None, directory
    while not os.path.exists(above):
        outermost, above = above, os.path.dirname(above)
    try:
        owners.make(directory, 0o755)
        if not os.access(directory, os.W_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        why = errno.errorcode.get(error.errno or 0)
        raise Failure(
            "no Python environment can be made%s in %s (%s)." % (there, directory, why),
            None if there else "TORCHWIRE_CACHE=/folder/that/can/be/written " + SETUP,
        ) from None
    return outermost


def _remove_empty(folder: str, outermost: str) -> None:
    """Removes a folder and its parents up to `outermost`, as far as they are empty."""
    while folder.startswith(outermost):
        try:
            os.rmdir(folder)
        except OSError:
            # An environment is in it, or the lock of another set-up.
            return
        folder = os.path.dirname(folder)
