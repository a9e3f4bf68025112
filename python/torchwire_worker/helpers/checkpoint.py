"""Weights that stay in the worker: a copy to go back to, and safetensors files on its own disk."""

from __future__ import annotations

import os
import uuid
from threading import Thread
from typing import Any

from ..shown import one_line
from .disk import remove, sync_folder
from .keeping import Extra, Values, parts_of
from .loading import load_into, metadata_in
from .safetensors_file import header_of, read_safetensors
from .state import VERSIONS, Modules, Snapshot, each


class Kept:
    """A copy of what modules hold, on their devices."""

    def __init__(self, modules: Modules) -> None:
        parts = parts_of(module for _, module in each(modules))
        self._values, self._extra = Values(parts), Extra(parts)

    def restore(self) -> None:
        """Put the copy back into the same modules."""
        self._values.restore()
        self._extra.restore()

    def state_dict(self) -> dict[str, Any]:
        return {"values": self._values.copies(), "extra": self._extra.copies()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take another copy of the same modules, in the place of this one."""
        self._values.replace(state["values"])
        self._extra.replace(state["extra"])


class Saving:
    """A safetensors file of the state as it was when this was made. A thread of its own writes it."""

    def __init__(self, modules: Modules, path: str, metadata: dict[str, str]) -> None:
        snapshot = Snapshot(modules)
        refused = snapshot.plan["refused"]
        if refused:
            raise TypeError(
                f"a safetensors file holds dense tensors only: {', '.join(f'{name} ({why})' for name, why in refused)}"
            )
        self._path = path
        # From here on there are only bytes: PyTorch belongs to the main thread.
        self._bytes = [
            header_of(snapshot.plan["tensors"], {"format": "pt", **snapshot.plan["metadata"], **metadata}),
            *(raw.numpy().data for raw in snapshot.rest()),
        ]
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name="checkpoint", daemon=True)
        self._thread.start()

    def is_done(self) -> bool:
        """Return whether the file is written, or raise the error that writing it raised."""
        if self._thread.is_alive():
            return False
        self._thread.join()
        if self._error is not None:
            raise self._error
        return True

    def _run(self) -> None:
        try:
            self._write()
        except BaseException as error:
            self._error = error
        finally:
            self._bytes = []

    def _write(self) -> None:
        folder, name = os.path.split(self._path)
        temporary = os.path.join(folder, f".{name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            with open(temporary, "xb") as file:
                for piece in self._bytes:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
        except BaseException:
            remove(temporary)
            raise
        sync_folder(folder)


def load(modules: Modules, path: str) -> None:
    """Load a file into modules that have exactly its tensors, as `load_state_dict` does. If it raises, the modules are
    as they were.
    """
    tensors, metadata = read_safetensors(path)
    found = load_into(modules, tensors, strict=True, metadata=metadata_in(metadata.get(VERSIONS)))
    if not found["is_loaded"]:
        wrong = {what: found[what] for what in ("missing", "unexpected", "mismatched", "problems") if found[what]}
        raise ValueError(f"{path} does not fit the module: {one_line(wrong, 2000)}")
