"""Builds one environment: a folder that either gets its marker or is removed."""

import os
import tempfile
import threading
import time
import uuid
from typing import Any, Dict, List, Optional

from torchwire_worker.environment.client import tell
from torchwire_worker.environment.install import Job, install
from torchwire_worker.environment.managed import finish, leftovers, name_of, python_of
from torchwire_worker.environment.space import Filling, check_space, folder_size, free_space, gigabytes, remove


def build(order: Dict[str, Any], backend: Optional[str]) -> str:
    """The interpreter of the new environment. The caller holds the lock."""
    directory, base, there = order["directory"], order["base"], order["there"]
    sizes = order["setup"]["sizes"]["asked" if backend else "default"]
    for folder in leftovers(directory):
        remove(folder)
    needed = sizes["uv"]
    check_space(directory, needed, there)

    # Each attempt has a name of its own: an installer that survived a kill writes into a folder that nobody uses.
    build_name = "+" + backend if backend else ""
    name = "%s-%s%s-%s" % (order["key"], name_of(base), build_name, uuid.uuid4().hex[:6])
    folder = os.path.join(directory, name)
    start = time.monotonic()
    space = "about %s on disk, %s free" % (gigabytes(needed), gigabytes(free_space(directory)))
    tell(line="torchwire: making a Python environment with PyTorch%s (%s)" % (there, space))
    tell(line="  in %s" % folder)
    tell(line="  from Python %s, %s" % (base["version"], base["executable"]))

    def on_pip() -> None:
        if sizes["pip"] > needed:
            tell(line="  with pip, which takes about %s while it is at work" % gigabytes(sizes["pip"]))
        check_space(directory, sizes["pip"], there)

    watch = _Watch(folder, [directory, os.path.expanduser("~"), tempfile.gettempdir()], needed)
    try:
        installer = install(Job(order, folder, backend, watch.step, on_pip))
        watch.stop()
        size = gigabytes(folder_size(folder))
        made = {"base": base["executable"], "version": base["version"], "installer": installer}
        finish(folder, dict(made, backend=backend) if backend else made)
    except BaseException:
        watch.stop()
        tell(live="  removing what was made")
        remove(folder)
        raise
    tell(line="torchwire: ready in %s, %s: %s" % (_duration(time.monotonic() - start), size, folder))
    return python_of(folder)


class _Watch:
    """Says twice a second which step it is, since when, and how much has been written."""

    def __init__(self, folder: str, around: List[str], expected: int) -> None:
        self._folder = folder
        self._written = Filling(around)
        self._expected = expected
        self._step = ""
        self._start = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def step(self, step: str) -> None:
        self._step = step

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        size, next_measuring = 0, 0.0
        while not self._over.wait(0.5):
            start = time.monotonic()
            if start > next_measuring:
                size = folder_size(self._folder)
                # Measuring twenty thousand files must take a tenth of the time at most.
                next_measuring = start + max(2.0, 10 * (time.monotonic() - start))
            written = max(size, self._written.bytes())
            # It may be more than expected: pip keeps its downloads until it is done.
            total = " of about %s" % gigabytes(self._expected) if written < self._expected else ""
            passed = _duration(time.monotonic() - self._start)
            tell(live="  %s: %s, %s%s written" % (self._step, passed, gigabytes(written), total))


def _duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s`."""
    whole = round(seconds)
    return "%d s" % whole if whole < 60 else "%d min %02d s" % divmod(whole, 60)
