"""Builds one environment: a folder that either gets its marker or is removed."""

import os
import re
import tempfile
import threading
import time
import uuid
from typing import Any, Dict, List, Optional

from torchwire_worker import owners
from torchwire_worker.environment.client import tell
from torchwire_worker.environment.install import Job, install
from torchwire_worker.environment.managed import (
    Managed,
    all_managed,
    check_environment,
    finish,
    leftovers,
    name_of,
    python_of,
)
from torchwire_worker.environment.packages import covers, installed, is_open, wanted
from torchwire_worker.environment.space import Filling, check_space, folder_size, free_space, gigabytes, remove

# What a project's packages may take, beside the files that are shared. Nobody knows it beforehand.
_PACKAGES_BYTES = 500e6


def build(order: Dict[str, Any], backend: Optional[str], is_default: bool = False) -> Dict[str, Any]:
    """The new environment's interpreter, and the packages that the project has there. The caller holds the lock.

    `is_default`: nobody has asked for this build of PyTorch.
    """
    directory, base, there = order["directory"], order["base"], order["there"]
    sizes = order["setup"]["sizes"]["asked" if backend else "default"]
    for folder in leftovers(directory):
        remove(folder)
    source = _source(order, backend)
    needed = sizes["uv"] if source is None else min(sizes["uv"], _PACKAGES_BYTES)
    check_space(directory, needed, there)

    # Each attempt has a name of its own: an installer that survived a kill writes into a folder that nobody uses.
    build_name = "+" + backend if backend else ""
    name = "%s-%s%s-%s" % (order["key"], name_of(base), build_name, uuid.uuid4().hex[:6])
    folder = os.path.join(directory, name)
    start = time.monotonic()
    space = "about %s on disk, %s free" % (gigabytes(needed), gigabytes(free_space(directory)))
    packages = wanted(order)
    what = "PyTorch" if packages is None else "PyTorch and " + ", ".join(packages["packages"])
    tell(line="torchwire: making a Python environment with %s%s (%s)" % (what, there, space))
    tell(line="  in %s" % folder)
    tell(line="  from Python %s, %s" % (base["version"], base["executable"]))
    if source is not None:
        tell(line="  sharing the files of %s" % source)

    def on_pip() -> None:
        if source is None:
            if sizes["pip"] > needed:
                tell(line="  with pip, which takes about %s while it is at work" % gigabytes(sizes["pip"]))
            check_space(directory, sizes["pip"], there)

    watch = _Watch(folder, [directory, os.path.expanduser("~"), tempfile.gettempdir()], needed)
    try:
        job = Job(order, folder, backend, is_default, source, watch.step, on_pip)
        installer = install(job)
        if packages is not None and is_open(order):
            packages = installed(packages, order["requirements"], job.ask)
        watch.stop()
        size = gigabytes(folder_size(folder))
        made = {"base": base["executable"], "version": base["version"], "installer": installer}
        file = (order.get("packages") or {}).get("file")
        more = {"backend": backend, "packages": packages, "projects": [file] if file else None}
        finish(folder, dict(made, **{name: value for name, value in more.items() if value is not None}))
    except BaseException:
        watch.stop()
        tell(live="  removing what was made")
        remove(folder)
        raise
    tell(line="torchwire: ready in %s, %s: %s" % (_duration(time.monotonic() - start), size, folder))
    return dict(executable=python_of(folder), **({} if packages is None else {"packages": packages}))


def _source(order: Dict[str, Any], backend: Optional[str]) -> Optional[str]:
    """The environment that has the most of what is wanted and nothing else: its files are shared."""
    packages = wanted(order)
    if packages is None:
        return None
    # (One of a build that was asked for has that in its name; another patch of Python has its own.)
    made = re.escape("%s-%s%s" % (order["key"], name_of(order["base"]), "+" + backend if backend else ""))
    found = [
        managed
        for managed in all_managed(order["directory"])
        if re.match(made + "-[0-9a-f]{6}$", os.path.basename(managed.folder))
        and os.path.realpath(managed.base) == os.path.realpath(order["base"]["executable"])
        and covers(packages, managed.packages)
        and _is_ours(managed)
    ]
    best = max(found, key=lambda managed: len((managed.packages or {"packages": []})["packages"]), default=None)
    return None if best is None else best.folder


def _is_ours(managed: Managed) -> bool:
    """Whether nobody else can write it."""
    try:
        check_environment(managed.folder, False, managed.base)
    except owners.OthersCanWrite:
        return False
    return True


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
