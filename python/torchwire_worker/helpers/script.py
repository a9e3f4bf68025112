"""Writes a fit of a learner's as one script of plain PyTorch."""

from __future__ import annotations

import io
import json
import sys
import tokenize
from typing import Any

import torch

from . import denominators, script_data, script_loop
from .script_modules import cover, describe, differs, path_of
from .script_optimizer import Schedule, optimizer_lines
from .script_values import NoForm, Values

# Names that the script itself has.
_NAMES = (
    "HERE DEVICE EPOCHS Path start main load schedule make_model inputs targets output forward loss_fn weight_of "
    "training_xs training_ys training_batches validation_xs validation_ys validation_batches"
).split()
_LOCALS = (
    "model optimizer scaler step epoch group total seen xs ys yhat loss weight batch batches i train validate".split()
)


def write(fit: dict[str, Any]) -> Script:
    """Return the script of a fit, and what it needs beside it. `fit` is what the client knows of the learner."""
    return Script(fit)


class Script:
    """The script, and the files beside it. Nothing of the learner is changed, but random numbers may be drawn."""

    def __init__(self, fit: dict[str, Any]) -> None:
        self._rng = torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
        self._fit = fit
        self._model: torch.nn.Module = fit["model"]
        # What of the fit is not in the script.
        self.gaps: list[str] = []
        self.values = Values([*_NAMES, *_LOCALS])
        self.values.describe = lambda module: describe(module, self.values)
        self._state: dict[str, Any] = {"model": _on_cpu(self._model.state_dict()), "rng": self._rng[0]}
        self._schedule: Schedule | None = None
        self._texts: dict[str, str] = {}
        source = self._source()
        self._texts["fit.py"] = source
        file = io.BytesIO()
        torch.save(self._state, file)
        self._start = torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)

    @property
    def plan(self) -> dict[str, Any]:
        """The texts of files by name, and the gaps."""
        texts = {name: text.encode() for name, text in self._texts.items()}
        return {"files": {**self.values.files, **texts}, "gaps": self.gaps}

    @property
    def size(self) -> int:
        """The bytes of start.pt."""
        return len(self._start)

    def read(self, at: int, size: int) -> torch.Tensor:
        """Return bytes of start.pt."""
        return self._start[at : at + size]

    def missing(self, what: str, why: str) -> str:
        """Note a gap that the script cannot do without, and return the statement that it has there."""
        self.gaps.append(f"{what}: {why}")
        text = f"{what}: {why}".replace("\\", "\\\\").replace('"', "'")
        return f'raise NotImplementedError("{" ".join(text.split())}")'

    # --- the script from its top to its end ---

    def _source(self) -> str:
        fit, values = self._fit, self.values
        for line in ("from pathlib import Path", "import torch", "import numpy as np"):
            values.imports[line] = None
            values._names.take(line.rpartition(" ")[2])
        make = self._make_model()
        steps = script_loop.Steps(self, fit)
        data = script_data.lines(self, fit)
        body = [
            *make,
            *self._frozen(),
            *self._placed(),
            "",
            *self._optimizer(),
            *steps.prepared,
            *self._random_numbers(),
            "",
            *steps.loop,
        ]
        indented = "\n".join(f"    {line}" if line else "" for line in body)
        settings = self._settings()
        constants = self.values.constants
        if constants:
            self._state["constants"] = constants
        if self._schedule is not None and self._schedule.table:
            self._texts["schedule.json"] = json.dumps(self._schedule.table)
            values.imports["import json"] = None
            settings.append('schedule = json.loads((HERE / "schedule.json").read_text())')
        imports = values.imports
        blocks = [self._docstring(steps.watchers), _imports([*imports]), "\n".join(settings)]
        blocks += [*values.blocks, *data, f"def main():\n{indented}", 'if __name__ == "__main__":\n    main()']
        return _double_quoted("\n\n\n".join(_grouped(blocks)) + "\n")

    def _docstring(self, watchers: list[str]) -> str:
        epochs = self._fit["epochs"]
        lines = [
            f'"""Trains {epochs} epoch{"s" * (epochs != 1)} as a torchwire learner does, bit for bit:',
            "",
            "    python fit.py",
            "",
            "It prints the mean loss of each epoch, and writes the trained weights to trained.pt. start.pt has the",
            "weights and the state of the random numbers with which training begins.",
            "",
            f"learner.toPython() has written it, with torch {torch.__version__}. Other versions, another number of",
            "threads and other machines may give other bits.",
        ]
        if watchers:
            lines += ["", f"These only watch the training, and are left out: {', '.join(watchers)}."]
        if self.gaps:
            lines += ["", "These have no form in Python, and the script says so at their places:"]
            lines += [f"- {gap}".replace("\\", "\\\\").replace('"""', "'''") for gap in self.gaps]
        return "\n".join([*lines, '"""'])

    def _settings(self) -> list[str]:
        lines = [
            "HERE = Path(__file__).resolve().parent",
            f"EPOCHS = {self._fit['epochs']}",
            *([f"DEVICE = {self._fit['device']!r}"] if self._fit["device"] != "cpu" else []),
            "",
            f"torch.set_num_threads({torch.get_num_threads()})",
        ]
        if torch.are_deterministic_algorithms_enabled():
            lines.append("torch.use_deterministic_algorithms(True)")
        if torch.get_float32_matmul_precision() != "highest":
            lines.append(f"torch.set_float32_matmul_precision({torch.get_float32_matmul_precision()!r})")
        if torch.get_default_dtype() != torch.float32:
            lines.append(f"torch.set_default_dtype({torch.get_default_dtype()})")
        if torch.backends.cudnn.benchmark:
            lines.append("torch.backends.cudnn.benchmark = True")
        return [*lines, "", 'start = torch.load(HERE / "start.pt", weights_only=True)']

    # --- the model ---

    def _make_model(self) -> list[str]:
        build, values = self._fit["build"], self.values
        self._requires = {}
        if build is None:
            try:
                source = describe(self._model, values)
            except NoForm as gap:
                return [self.missing("model", f"{gap}; give toPython({{ model: () => … }})")]
            values.blocks.append(f"def make_model():\n{_indented(f'return {source}')}")
        else:
            made = build()
            difference = differs(made, self._model) if isinstance(made, torch.nn.Module) else f"it is {made!r:.100}"
            if difference is not None:
                raise ValueError(f"toPython: model makes another model than the learner's: {difference}")
            self._requires = {name: param.requires_grad for name, param in made.named_parameters()}
            try:
                values.add_as(build, "make_model")
            except NoForm as gap:
                return [self.missing("model", str(gap))]
        return ["model = make_model()", 'model.load_state_dict(start["model"])']

    def _frozen(self) -> list[str]:
        changed = {
            id(param): param.requires_grad
            for name, param in self._model.named_parameters()
            if param.requires_grad != self._requires.get(name, True)
        }
        lines = []
        for required in (False, True):
            parts = cover(self._model, lambda param, required=required: changed.get(id(param)) is required)
            paths = [path_of(name, self._model) for name, _ in parts]
            if len(paths) == 1:
                lines.append(f"{paths[0]}.requires_grad_({required})")
            elif paths:
                lines += [f"for part in ({', '.join(paths)}):", f"    part.requires_grad_({required})"]
        return lines

    def _placed(self) -> list[str]:
        fit, lines = self._fit, []
        if fit["device"] != "cpu":
            lines.append("model.to(DEVICE)")
        if fit["channels_last"]:
            lines.append("model.to(memory_format=torch.channels_last)")
        if fit["compile"] is not None:
            given = ", ".join(f"{name}={value!r}" for name, value in fit["compile"].items())
            lines.append(f"model.compile({given})")
        return lines

    # --- the optimizer, and its schedules ---

    def _optimizer(self) -> list[str]:
        optimizer = self._fit["optimizer"]
        try:
            lines = optimizer_lines(optimizer, self._model, self.values)
        except NoForm as gap:
            return [self.missing("optimizer", str(gap))]
        if optimizer.state:
            self._state["optimizer"] = _on_cpu(optimizer.state_dict())
            lines.append('optimizer.load_state_dict(start["optimizer"])')
        return lines

    def schedule(self) -> list[str]:
        """Return the lines that set hyperparameters at each step."""
        self._schedule = Schedule(self._fit["optimizer"], self._fit["schedules"], self.values)
        return self._schedule.lines

    def keep(self, name: str, state: Any) -> str:
        """Put a state into start.pt, and return its expression."""
        self._state[name] = _on_cpu(state)
        return f'start["{name}"]'

    def _random_numbers(self) -> list[str]:
        lines = ['torch.set_rng_state(start["rng"])']
        if self._rng[1] is not None:
            self._state["cuda_rng"] = self._rng[1]
            lines.append('torch.cuda.set_rng_state_all(start["cuda_rng"])')
        return lines

    # --- the loss ---

    def function(self, function: Any, name: str, why: str | None) -> str:
        """Define a function that the client has recorded, and return its name; or one that raises, and says why."""
        if why is None:
            try:
                return self.values.add_as(function, name)
            except NoForm as gap:
                why = str(gap)
        self.values.blocks.append(f"def {name}(*_):\n    {self.missing(name, why)}")
        return name

    def weight(self) -> tuple[str, str]:
        """Return how much a batch weighs in the mean loss of an epoch, and what it adds to the total: expressions."""
        said, weigher = self._fit["weight"], self._fit["weigher"]
        if said is not None:
            return f"float({self.function(said, 'weight_of', None)}(yhat, ys))", "loss.item() * weight"
        denominator = None if weigher is None else weigher._denominator
        options = {} if weigher is None else weigher._options()
        known = {
            denominators._elements: "weight_of_elements",
            denominators._weighted_elements: "weight_of_elements",
            denominators._positions: "weight_of_classes",
            denominators._positions_or_probabilities: "weight_of_classes",
            denominators._rows: "weight_of_rows",
        }
        samples = f"len(xs{script_data.first_of(self._fit['training'].get('xs'))})"
        is_plain = options.get("weight") is None and options.get("ignore_index", -100) == -100
        if denominator in known and is_plain and options.get("reduction") != "none":
            total = "loss.item()" if options.get("reduction") == "sum" else "loss.item() * weight"
            if known[denominator] == "weight_of_classes" and self._fit["all_count"]:
                return "ys.numel()", total
            return f"{self.values.piece(known[denominator])}(yhat, ys)", total
        if denominator is not None and options.get("reduction") != "none":
            self.gaps.append("the mean loss that is printed: batches weigh by their samples, not by the loss's divisor")
        return samples, "loss.item() * weight"


def _on_cpu(state: Any) -> Any:
    """Copy a state, tensors to the CPU."""
    if isinstance(state, torch.Tensor):
        return state.detach().cpu().clone()
    if isinstance(state, dict):
        return {key: _on_cpu(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(map(_on_cpu, state))
    return state


def _indented(source: str) -> str:
    return "\n".join(f"    {line}" for line in source.splitlines())


def _double_quoted(source: str) -> str:
    """Return the source with the quotes that most people's formatters write."""
    lines = source.splitlines()
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    strings = [one for one in tokens if one.type == tokenize.STRING and one.string.startswith("'")]
    for one in reversed(strings):
        inside = one.string[1:-1]
        if inside.startswith("''") or '"' in inside or "\\" in inside:
            continue
        (row, start), (_, end) = one.start, one.end
        lines[row - 1] = f'{lines[row - 1][:start]}"{inside}"{lines[row - 1][end:]}'
    return "\n".join(lines) + "\n"


def _imports(lines: list[str]) -> str:
    """Order imports as people do: the future, the standard library, packages."""

    def rank(line: str) -> tuple[int, bool, str]:
        root = line.split()[1].partition(".")[0]
        standard = 0 if root == "__future__" else 1 if root in sys.stdlib_module_names else 2
        return standard, line.startswith("from "), line

    groups: dict[int, list[str]] = {}
    for line in sorted(lines, key=rank):
        groups.setdefault(rank(line)[0], []).append(line)
    return "\n\n".join("\n".join(group) for group in groups.values())


def _grouped(blocks: list[str]) -> list[str]:
    """Put one empty line between the top of the script's parts, and two around functions."""
    top, rest = blocks[:3], [block for block in blocks[3:] if block]
    out = ["\n\n".join(top)]
    for block in rest:
        if block.startswith(("def ", "class ", "@", "if __name__")) or out[-1].splitlines()[-1].startswith("    "):
            out.append(block)
        else:
            out[-1] += f"\n{block}"
    return out
