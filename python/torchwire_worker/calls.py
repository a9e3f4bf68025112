"""Functions of the client's, as Python calls them.

A call is a question to the client, and waits for the answer on the thread that called. Meanwhile this thread runs the
operations of the function, and no others: they are a log of their own, whose messages name the call (`parentCall`). So
a function may await values of what it does. Everything behind the operation that called waits for its turn.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from . import errors
from .tensors import Frames
from .values import REFERENCE, encode_settled

# A client's functions that call each other through Python nest no deeper: each call takes a dozen of Python's frames.
DEEPEST = 32


class JavaScriptError(Exception):
    """A function of the client's has thrown. The client has the error itself, and gives it to whoever awaits."""

    __module__ = "torchwire"

    def __init__(self, message: str, stack: str = "") -> None:
        super().__init__(message)
        # JavaScript's, with the lines of the program.
        self.stack = stack


class Functions:
    """Makes Python functions of the client's, and notes which of them Python has freed."""

    def __init__(self) -> None:
        # Calls the client: its id of a function, the arguments, the keywords.
        self.ask: Callable[[int, tuple[Any, ...], dict[str, Any]], Any] = _unanswered
        # Whether there has been one.
        self.exist = False
        self._freed: deque[int] = deque()
        # By the client's number of each function: one that is passed again is the same object here too.
        self._alive: weakref.WeakValueDictionary[int, Callable[..., Any]] = weakref.WeakValueDictionary()

    def make(self, told: list[tuple[int, int, str]]) -> list[Callable[..., Any]]:
        """Return the functions that a batch passes. Each is told by its id in this batch, its number and its name."""
        made = []
        for id, number, name in told:
            function = self._alive.get(number)
            if function is None:
                self._alive[number] = function = self._make(id, name)
            else:
                self._freed.append(id)
            made.append(function)
        self.exist = self.exist or bool(made)
        return made

    def take_freed(self) -> list[int]:
        """Return the ids that the client can forget."""
        freed: list[int] = []
        while self._freed:
            freed.append(self._freed.popleft())
        return freed

    def _make(self, id: int, name: str) -> Callable[..., Any]:
        # A function and no object with `__call__`: a scheduler would save that one's attributes.
        def function(*args: Any, **kwargs: Any) -> Any:
            return self.ask(id, args, kwargs)

        function.__name__ = function.__qualname__ = name
        weakref.finalize(function, self._freed.append, id).atexit = False
        return function


def _unanswered(*_: object) -> Any:
    raise ConnectionError("there is no client that could run this function")


class Call:
    """A call that waits. `objects` are the arguments that the client has references to, in their order."""

    __slots__ = ("_error", "_value", "depth", "failure", "id", "is_over", "objects", "waiting")

    def __init__(self, objects: list[Any], within: Call | None) -> None:
        self.id = 0
        self.objects = objects
        self.depth = 1 if within is None else within.depth + 1
        # Messages of its log that wait for their turn.
        self.waiting: deque[Any] = deque()
        # The first exception of an operation of its log.
        self.failure: BaseException | None = None
        self.is_over = False
        self._value: Any = None
        self._error: BaseException | None = None

    def give(self, value: Any) -> None:
        self._value, self.is_over = value, True

    def throw(self, number: int, message: str, stack: str) -> None:
        """End the call by an error that the client knows by `number`: one of its own, or `failure`."""
        error = self.failure
        if error is None or errors.number_of(error) != number:
            error = JavaScriptError(message, stack)
            errors.mark(error, number)
        self._error, self.is_over = error, True

    def fail(self) -> None:
        """End the call because its end could not be run."""
        self._error = self.failure or RuntimeError("the function could not be ended: its lane had failed")
        self.is_over = True

    def result(self) -> Any:
        error, value = self._error, self._value
        # (An error holds this frame by its traceback.)
        self._error = self.failure = self._value = None
        self.objects = []
        if error is None:
            return value
        try:
            raise error
        finally:
            del error


def encode_call(args: tuple[Any, ...], kwargs: dict[str, Any], frames: Frames) -> tuple[dict[str, Any], list[Any]]:
    """Return the arguments as the client is told them, and the objects among them: it gets references to those."""
    objects: list[Any] = []

    def encode(value: Any, path: str) -> Any:
        frames.count(64, path)
        token = encode_settled(value, frames)
        if type(token) is list and token[0] == REFERENCE:
            objects.append(value)
        return token

    meta: dict[str, Any] = {"args": [encode(value, f"args[{i}]") for i, value in enumerate(args)]}
    if kwargs:
        meta["kwargs"] = {errors.text(name): encode(value, name) for name, value in kwargs.items()}
    return meta, objects
