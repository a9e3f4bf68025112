"""Fail-stop: after an operation failed, the later operations of its lane are not run."""

from __future__ import annotations


class Lanes:
    """The lanes. One is closed in the generation in which it failed; a batch of a newer generation opens it again."""

    def __init__(self) -> None:
        self._failed: dict[int, int] = {}

    def fail(self, lane: int, generation: int) -> None:
        self._failed[lane] = generation

    def is_closed(self, lane: int, generation: int) -> bool:
        failed = self._failed.get(lane)
        if failed is None:
            return False
        if generation > failed:
            del self._failed[lane]
            return False
        return True
