"""Runs batches in the order of their arrival, on the main thread: PyTorch's grad mode belongs to a thread. The batches
of a call run on the thread that called.
"""

from __future__ import annotations

import threading
from typing import Any

from . import errors, forked, prepared, running, warned
from .calls import Call as Asked
from .calls import Functions
from .context import Contexts
from .lanes import Lanes
from .objects import Objects
from .ops import Batch, Known, Op, Raise, Return
from .prepared import Plan
from .running import Run
from .tensors import Frames
from .wire import Limits

# The reply to a batch: its number, [id, value, id, value, …], the failure (if an operation failed), and the warnings
# (if there are any).
Reply = tuple[int, list[Any], dict[str, Any] | None] | tuple[int, list[Any], dict[str, Any] | None, dict[str, Any]]

# Python notes here which warnings it has shown, if the caller is to blame for them: here, the caller is each operation.
_warned_of: list[dict[Any, Any]] = [
    module.setdefault("__warningregistry__", {}) for module in (running.__dict__, prepared.__dict__)
]

# The bytes of a failure that a device tells late. (There may be one in each reply of a message.)
_LONGEST_LATE = 16 * 2**10


class Executor:
    def __init__(self, limits: Limits, objects: Objects | None = None) -> None:
        self.objects = Objects() if objects is None else objects
        self.functions = Functions()
        # The number of batches that were run.
        self.batches = 0
        self._limits = limits
        self._main = threading.main_thread().ident
        self._lanes = Lanes()
        self._contexts = Contexts(self.objects)
        self._warnings = warned.Collected()

    def run(
        self,
        seq: int,
        batch: Batch,
        operations: list[Op],
        frames: list[Any],
        out: Frames,
        call: Asked | None = None,
    ) -> Reply:
        """`call`: the call whose log the batch is of. Another batch waits meanwhile, in the middle of an operation."""
        self.batches += 1
        functions = self.functions.make(batch.functions) if batch.functions else ()
        run = Run(self.objects, batch.first, operations, frames, out, call, self._limits, functions)
        is_main = threading.get_ident() == self._main
        warnings = self._warnings if call is None else warned.Collected()
        outer = warned.running.at, warned.running.collected
        if is_main:
            # Python must show a warning again for each line of the program.
            for lines in _warned_of:
                lines.clear()
            warned.running.at, warned.running.collected = run.at, warnings
        if not self._lanes.is_closed(batch.lane, batch.generation):
            try:
                plan = self._plan(operations, batch.first)
                if batch.contexts:
                    with self._contexts.entered(batch.contexts):
                        run.forward(plan)
                else:
                    # (Entering nothing would cost as much as an operation.)
                    run.forward(plan)
            except BaseException as error:
                if forked.is_child:
                    forked.leave(error)
                # The client must hear of anything that a library raises, SystemExit too.
                run.fail(error)
        if run.failure is not None:
            self._lanes.fail(batch.lane, batch.generation)
        if call is not None and not call.is_over and any(type(op) in (Return, Raise) for op in operations):
            call.fail()
        run.clean_up()
        if batch.finalised:
            self.objects.release(batch.finalised)
        if batch.ended_contexts:
            self._contexts.end(batch.ended_contexts)
        if is_main:
            warned.running.at, warned.running.collected = outer
        reply = seq, run.values, run.failure
        if call is not None:
            told, left = warnings.take()
            return (*reply, {"told": told, "left": left}) if told else reply
        (told, left), (more, unsaid) = warnings.take(), warned.apart.take()
        return (*reply, {"told": told + more, "left": left + unsaid}) if told or more else reply

    def failed_late(self, reply: Reply, lane: tuple[int, int], error: BaseException) -> Reply:
        """Return the reply to a batch that was run, and of whose values a device says only now that it has none."""
        self._lanes.fail(*lane)
        seq, values, *_ = reply
        described = errors.describe(error, errors.Room(_LONGEST_LATE))
        errors.forget(error)
        return seq, [], {**described, "operation": "a value on the device", "id": values[0], "last": values[0]}

    def _plan(self, operations: list[Op], first: int) -> Plan | None:
        """Return what is known of operations that come for the second time, or later."""
        # A function of the client's may use what this batch has made: that must be in the table.
        if type(operations) is not Known or self.functions.exist:
            return None
        operations.runs += 1
        if operations.runs == 2:
            operations.plan = prepared.prepare(operations, self._limits)
        plan = operations.plan
        return plan if plan is not None and plan.highest < first and plan.limits is self._limits else None
