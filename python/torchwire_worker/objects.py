"""The objects that the client's references keep, by their place in its log."""

from __future__ import annotations

import builtins
import operator
from typing import Any

from torchwire_worker import helpers

WELL_KNOWN: dict[int, Any] = {1: builtins, 2: operator, 3: helpers}


class NoValue(LookupError):
    """The value of a reference was never made, or was released."""


class Objects(dict[int, Any]):
    def __init__(self) -> None:
        super().__init__(WELL_KNOWN)

    def __missing__(self, id: int) -> Any:
        raise NoValue(f"reference #{id} has no value: what should have made it failed, was not run, or was released")

    @property
    def kept(self) -> int:
        return len(self) - len(WELL_KNOWN)

    def release(self, ranges: list[int]) -> None:
        """Free [first, last, first, last, …]. Skip places that hold nothing."""
        for i in range(0, len(ranges), 2):
            for id in range(ranges[i], ranges[i + 1] + 1):
                self.pop(id, None)
