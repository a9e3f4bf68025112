"""The command `replay`."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from typing import Any

from .. import errors, settings, warned
from ..ops import Op, Release
from ..wire import WireError
from .container import BadFile, File

# Exit codes: it failed in the same operation with the same error, or was stopped where --until says; it did not;
# nothing was run. The last is of a process that another one watches: it has lived.
_SAME, _OTHER, _NOTHING, _LIVED = 0, 1, 2, 120
# The innermost lines of a traceback are told.
_MOST_FRAMES = 8


def add_to(commands: Any) -> None:
    command = commands.add_parser("replay", help="run the file of a failed step again, up to what failed")
    command.set_defaults(run=replay)
    command.add_argument("file", metavar="FILE", help="a torchwire-crash-….twr")
    command.add_argument(
        "--trust",
        action="store_true",
        help="run it: it can do all that a program can, so know who made it. Default: tell what is in it",
    )
    command.add_argument(
        "--until", metavar="N[:K]", type=_until, help="stop after batch N, or before operation K of batch N"
    )
    command.add_argument(
        "--print",
        metavar="NAME",
        action="append",
        default=[],
        dest="shown",
        help="print a value where it stops: xs, ys, yhat, loss, model; may come several times",
    )
    command.add_argument(
        "--in-python",
        metavar="DIR",
        dest="folder",
        help="write it as a script of Python, with its arrays beside it, into a new folder; nothing is run",
    )
    command.add_argument("--watched", action="store_true", help=argparse.SUPPRESS)


def replay(options: argparse.Namespace) -> int:
    try:
        file = File(options.file)
        for name in options.shown:
            if not _named(file, name):
                raise BadFile(f"{options.file} has no {name}: it has {', '.join(sorted(file.about.names))}")
        if options.until is not None and options.until[0] > _batches(file):
            raise BadFile(f"{options.file} has {_batches(file)} batches, and --until is {options.until[0]}")
    except BadFile as error:
        _say(str(error))
        return _NOTHING
    if not options.watched:
        _describe(file)
    if options.folder is not None:
        return _written(file, options.folder)
    if not options.trust:
        _say(
            "nothing was run. It can do all that a program can, such as read files and open connections. If you know "
            "who made it, add --trust"
        )
        return _NOTHING
    if file.about.error.kind == "gone" and options.until is None and not options.watched:
        return _watch(file)
    return _Replay(file, options.until, options.shown, options.watched).run()


def _written(file: File, folder: str) -> int:
    from .script import write_script

    try:
        path = write_script(file, folder)
    except (OSError, ValueError, WireError) as error:
        _say(f"no script can be written to {folder}: {error}")
        return _NOTHING
    _say(f"written to {path}; nothing was run. It does what the file does: read it before you run it")
    return _SAME


def _watch(file: File) -> int:
    """Run it in another process, which is to die."""
    code = subprocess.run([sys.executable, *sys.argv[:2], "--watched", *sys.argv[2:]]).returncode
    error = file.about.error
    if code == _LIVED:
        return _OTHER
    how = f"by {_signal_name(-code)}" if code < 0 else f"with code {code}"
    # (What ended a worker on another machine is not known.)
    told = error.signal or error.exitCode
    if told is None or told == (_signal_name(-code) if code < 0 else code):
        _say(f"failed as in the program: Python was ended {how}, in the operation that was told last")
        return _SAME
    _say(f"Python was ended {how}; in the program, {error.message}")
    return _OTHER


class _Replay:
    def __init__(self, file: File, until: tuple[int, int] | None, shown: list[str], is_watched: bool) -> None:
        self._file = file
        self._until = until
        self._shown = shown
        self._is_watched = is_watched
        # Where it is.
        self._batch = self._operation = 0
        self._tells = False

    def run(self) -> int:
        about = self._file.about
        try:
            device = settings.apply(about.settings)
        except settings.NoDevice as error:
            _say(f"{error} The worker of the file had {about.settings.device}.")
            return _OTHER
        here = settings.versions()
        for name, version in about.versions.items():
            if here.get(name) != version:
                _say(f"{name} was {version}, and is {here.get(name, 'missing')} here")
        _say(f"running {_batches(self._file)} batches on {device}")
        return self._run()

    def _run(self) -> int:
        from .player import Ended, Player

        about, until = self._file.about, self._until
        self._player = player = Player(self._file, self._goes_on)
        restore, last = about.restore, _batches(self._file)
        try:
            for record in self._file.records:
                if restore is not None and record.place == restore.before:
                    player.restore(restore)
                if record.header.parent_call:
                    continue
                self._batch += 1
                self._tells = about.error.kind == "gone" and record.place in about.failed
                failures = player.run(record)
                # (A program may go on after a failure.)
                is_new = any(place not in about.failed for place, _ in failures)
                if failures and (is_new or self._batch == last):
                    return self._failed([failure for _, failure in failures], self._batch == last)
                if until is not None and self._batch == until[0]:
                    return self._stopped(until)
        except Ended:
            return self._lived("the file ends here, in a call of a function of the program's")
        return self._lived(f"did not fail here: all {last} batches ran")

    def _goes_on(self, op: Op, operation: int) -> bool:
        self._operation = operation
        if self._until == (self._batch, operation):
            return False
        if self._tells and type(op) is not Release:
            at = warned.running.at
            _say(f"batch {self._batch}, operation {operation}: {at()[1]() if at is not None else ''}")
        return True

    def _stopped(self, until: tuple[int, int]) -> int:
        self._show()
        _say(f"stopped {f'before operation {until[1]} of' if until[1] else 'after'} batch {until[0]}")
        return _SAME

    def _failed(self, failures: list[dict[str, Any]], is_last: bool) -> int:
        self._show()
        error = self._file.about.error
        same = next((one for one in failures if one["id"] == error.id and one["type"] == error.type), None)
        failure = same or failures[-1]
        for frame in failure["frames"][-_MOST_FRAMES:]:
            _say(f'  File "{frame["file"]}", line {frame["line"]}, in {frame["name"]}\n      {frame["source"]}', "")
        _say(f"  {failure['type']}: {failure['message']}", "")
        _say(f"batch {self._batch}, operation {self._operation}: {failure['operation']} failed")
        if not is_last or same is None:
            _say(f"this is another failure than in the program: {_shown_error(self._file)}")
            return _OTHER
        if same["message"] != error.message:
            _say(f"the same error in the same operation, in other words; in the program: {error.message}")
        else:
            _say("failed as in the program: the same error in the same operation")
        return _SAME

    def _lived(self, how: str) -> int:
        self._show()
        _say(f"{how}. In the program: {_shown_error(self._file)}")
        return _LIVED if self._is_watched else _OTHER

    def _show(self) -> None:
        for asked in self._shown:
            for name, id in _named(self._file, asked):
                value = dict.get(self._player.objects, id, _NONE)
                print(f"{name} was not made" if value is _NONE else f"{name} = {_text_of(value)}", flush=True)


_NONE = object()


def _describe(file: File) -> None:
    about = file.about
    _say(", ".join([f"{file.path}: {about.time}", f"torchwire {about.torchwire}", *filter(None, [about.place])]))
    _say(_shown_error(file))
    if about.restore is not None:
        _say(f"it has the checkpoint after {about.restore.steps} steps, and {_batches(file)} batches around it")
    if about.cut:
        _say("the steps before the last ones are missing: it cannot give the same bits")
    if file.left_out:
        _say(f"{file.left_out} bytes of arrays are missing: zeros take their place, and it may not fail as it did")
    if about.settings.seed is None and about.restore is None:
        _say("its worker had no seed: weights that it drew are others here")


def _shown_error(file: File) -> str:
    error = file.about.error
    if error.kind == "gone":
        return error.message
    site = "" if error.site is None else f" at {error.site}"
    return f"{error.type}: {error.message} (in {error.operation}{site})"


def _named(file: File, asked: str) -> list[tuple[str, int]]:
    """Return the names that `asked` means, with their ids: "xs" is also "xs.image"."""
    return [(name, id) for name, id in file.about.names.items() if name == asked or name.startswith(asked + ".")]


def _batches(file: File) -> int:
    return sum(not record.header.parent_call for record in file.records)


def _text_of(value: Any) -> str:
    import torch

    torch.set_printoptions(precision=9)
    try:
        shown = repr(value)
    except BaseException as error:
        return f"a value whose repr fails: {errors.text(type(error).__name__)}"
    if not isinstance(value, torch.Tensor):
        return shown
    about = f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if value.numel() and (value.is_floating_point() or value.is_complex()):
        about += f", {int(value.isnan().sum())} of {value.numel()} are NaN"
    return f"{shown}\n  ({about})"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _until(told: str) -> tuple[int, int]:
    batch, _, operation = told.partition(":")
    if not batch.isdigit() or int(batch) < 1 or (":" in told and not (operation.isdigit() and int(operation) > 0)):
        raise argparse.ArgumentTypeError("it is the number of a batch, or N:K with that of an operation, both from 1")
    return int(batch), int(operation or 0)


def _say(line: str, start: str = "torchwire: ") -> None:
    print(start + errors.text(line, 64 * 2**10), file=sys.stderr, flush=True)
