"""Reports to the client what Python code writes to standard output and errors, if the worker serves elsewhere."""

from __future__ import annotations

import codecs
import io
import os
import re
import sys
import threading
from collections.abc import Callable
from typing import Any

from . import errors

# A progress bar ends its line with a carriage return.
_END = re.compile(r"\r?\n|\r(?!\n)")
# In characters. Longer lines are reported in parts.
_LONGEST = 64 * 2**10
# (Half of a surrogate pair becomes six characters.)
_LONGEST_IN_BYTES = 6 * _LONGEST


class Output(io.FileIO):
    """A raw stream that writes to a descriptor, and reports the same in lines."""

    def __init__(self, descriptor: int, encoding: str, tell: Callable[[str], None]) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._tell = tell
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._rest = ""
        # A signal handler or a finalizer may write while a write is in progress.
        self._lock = threading.RLock()
        self._pid = os.getpid()

    def write(self, data: Any) -> int:
        whole = memoryview(data).cast("B")
        written = 0
        while written < len(whole):
            written += super().write(whole[written:]) or 0
        # A forked child, such as a DataLoader's, has no link.
        if os.getpid() == self._pid:
            with self._lock:
                # Take large data in pieces: a line's end is searched for in the unfinished line, whose length is
                # bounded.
                for start in range(0, len(whole), _LONGEST):
                    self._take(self._decoder.decode(bytes(whole[start : start + _LONGEST])))
        return written

    def _take(self, text: str) -> None:
        *lines, self._rest = _END.split(self._rest + text)
        if len(self._rest) > _LONGEST:
            lines.append(self._rest)
            self._rest = ""
        for line in lines:
            for start in range(0, len(line) or 1, _LONGEST):
                self._tell(errors.text(line[start : start + _LONGEST], _LONGEST_IN_BYTES))

    def finish(self) -> None:
        """Report the line that was not ended."""
        with self._lock:
            rest, self._rest = self._rest, ""
            if rest:
                self._tell(errors.text(rest, _LONGEST_IN_BYTES))


_outputs: list[Output] = []


def tell_client(tell: Callable[[dict[str, Any]], None]) -> None:
    """Report standard output and errors to the client.

    They stay what Python makes them: text files over descriptors 1 and 2, with a `buffer`.
    """
    for name in ("stdout", "stderr"):
        before = getattr(sys, name)
        if not isinstance(before, io.TextIOWrapper):
            continue
        before.flush()
        output = Output(before.fileno(), before.encoding, lambda line, name=name: tell({"stream": name, "line": line}))
        output.name = f"<{name}>"
        stream = io.TextIOWrapper(
            output, before.encoding, before.errors, "\n", before.line_buffering, write_through=True
        )  # type: ignore[arg-type]
        stream.mode = "w"  # type: ignore[misc]
        _outputs.append(output)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def finish() -> None:
    for output in _outputs:
        output.finish()
