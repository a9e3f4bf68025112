"""The loop of a fit as lines of a script: what is made before it, and the loop itself."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .script import Script

_WIDTH = 100


class Steps:
    """`prepared` goes before the loop, `loop` is the loop. Functions that they call are defined in the script."""

    def __init__(self, script: Script, fit: dict[str, Any]) -> None:
        self._script = script
        self._fit = fit
        self.prepared: list[str] = []
        self.watchers: list[str] = fit["watchers"]
        self._gaps: dict[str, list[str]] = {}
        for gap in fit["callbacks"]:
            script.gaps.append(f"{gap['name']}: {gap['why']}")
            comment = textwrap.wrap(f"# Not here: {gap['name']}: {gap['why']}", _WIDTH, subsequent_indent="# ")
            self._gaps.setdefault(gap["place"], []).extend(comment)
        self._define()
        self._averages = [self._average(one) for one in fit["averages"]]
        self.loop = self._loop()

    def _define(self) -> None:
        script, fit = self._script, self._fit
        for name in ("inputs", "targets"):
            if fit[name] is not None or fit[f"{name}_gap"] is not None:
                script.function(fit[name], name, fit[f"{name}_gap"])
        amp = fit["amp"]
        if amp is not None:
            kind, dtype = fit["device"].partition(":")[0], {"bf16": "bfloat16", "fp16": "float16"}[amp]
            full = script.values.piece("full")
            script.values.blocks.append(
                "def forward(model, *args, **named):\n"
                f'    with torch.autocast("{kind}", torch.{dtype}):\n'
                f"        return {full}(model(*args, **named))"
            )
            if amp == "fp16":
                self.prepared.append(f'scaler = torch.amp.GradScaler("{kind}")')
                if fit["scaler"] is not None:
                    state = script.keep("scaler", fit["scaler"].state_dict())
                    self.prepared.append(f"scaler.load_state_dict({state})")
        if fit["output"] is not None or fit["output_gap"] is not None:
            script.function(fit["output"], "output", fit["output_gap"])
        script.function(fit["loss"], "loss_fn", fit["loss_gap"])
        self._weight, self._total = script.weight()

    def _average(self, average: dict[str, Any]) -> dict[str, Any]:
        values = self._script.values
        name = average["name"].lower()
        decay, buffers = average["decay"], average["buffers"]
        given = ["model"]
        values.imports["from torch.optim.swa_utils import AveragedModel"] = None
        if decay is not None:
            del values.imports["from torch.optim.swa_utils import AveragedModel"]
            values.imports["from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn"] = None
            given.append(f"multi_avg_fn=get_ema_multi_avg_fn({decay!r})")
        if buffers:
            given.append("use_buffers=True")
        self.prepared.append(f"{name} = AveragedModel({', '.join(given)})")
        state = average["average"].state()
        if state is not None:
            self.prepared.append(f"{name}.load_state_dict({self._script.keep(name, state)})")
        return {**average, "name": name}

    # --- the loop ---

    def _loop(self) -> list[str]:
        fit = self._fit
        schedule = self._script.schedule() if fit["schedules"] else []
        validation = self._validation() if fit["validation"] is not None else []
        body = [
            *self._gaps_at("epochBegin"),
            "model.train()",
            "total = seen = 0.0",
            *self._training(schedule),
            'print(f"epoch {epoch + 1} training {total / seen}")',
            *self._averaged("epochs"),
            *validation,
            *self._gaps_at("epochEnd"),
        ]
        trained = ['"model": model.state_dict()']
        trained += [f'"{one["name"]}": {one["name"]}.module.state_dict()' for one in self._averages]
        return [
            *(["step = 0"] if schedule else []),
            "for epoch in range(EPOCHS):",
            *_in(body),
            f'torch.save({{{", ".join(trained)}}}, HERE / "trained.pt")',
        ]

    def _training(self, schedule: list[str]) -> list[str]:
        fit = self._fit
        size = fit["accumulate"]
        scaled = "scaler.scale(loss).backward()" if fit["amp"] == "fp16" else "loss.backward()"
        forward = [*self._gaps_at("stepBegin"), *self._forward("model"), *self._gaps_at("backwardBegin")]
        check = []
        if fit["stops_on_nan"]:
            check = ["if loss.isnan() and weight > 0:", '    raise ArithmeticError("the loss is NaN")']
        update = [*self._gaps_at("backwardEnd"), *self._update()]
        if schedule:
            update.append("step += 1")
        if size == 1:
            head = ["for xs, ys in training_batches(epoch):"]
            return [
                *head,
                *_in([*schedule, *forward, *check, "optimizer.zero_grad()", scaled, *update, *self._counted()]),
            ]
        groups = self._script.values.piece("groups_of")
        share = scaled.replace("loss.", "(loss / len(batches)).").replace("(loss)", "(loss / len(batches))")
        return [
            f"for batches in {groups}(training_batches(epoch), {size}):",
            *_in(
                [
                    *schedule,
                    "optimizer.zero_grad()",
                    "for xs, ys in batches:",
                    *_in([*forward, *check, share, *self._counted()]),
                    *update,
                ]
            ),
        ]

    def _forward(self, model: str) -> list[str]:
        fit = self._fit
        given = {"one": "xs", "list": "*xs"}.get(fit["kind"], "**xs")
        called = f"{model}({given})" if fit["amp"] is None else f"forward({model}, {given})"
        if fit["output"] is not None or fit["output_gap"] is not None:
            called = f"output({called})"
        return [f"yhat = {called}", "loss = loss_fn(yhat, ys)", f"weight = {self._weight}"]

    def _counted(self) -> list[str]:
        lines = [f"total += {self._total}", "seen += weight"]
        # (A batch in which no target counts has no loss.)
        can_be_none = self._weight.startswith(("weight_of_classes", "float("))
        return ["if weight > 0:", *_in(lines)] if can_be_none else lines

    def _update(self) -> list[str]:
        fit = self._fit
        params = '[p for group in optimizer.param_groups for p in group["params"]]'
        mine = [param for group in fit["optimizer"].param_groups for param in group["params"]]
        if len(mine) == len(own := [*fit["model"].parameters()]) and all(a is b for a, b in zip(mine, own)):
            params = "model.parameters()"
        clips = []
        if fit["clip_norm"] is not None:
            clips.append(f"torch.nn.utils.clip_grad_norm_({params}, {fit['clip_norm']!r})")
        if fit["clip_value"] is not None:
            clips.append(f"torch.nn.utils.clip_grad_value_({params}, {fit['clip_value']!r})")
        lines = clips
        if fit["amp"] == "fp16":
            lines = [*(["scaler.unscale_(optimizer)"] if clips else []), *clips]
            lines += ["scaler.step(optimizer)", "scaler.update()"]
        elif fit["closure"]:
            why = "an optimizer that evaluates the loss again within its step"
            lines = [self._script.missing("optimizer.step()", why)]
        else:
            lines = [*clips, "optimizer.step()"]
        return [*lines, *self._averaged("updates"), *self._gaps_at("stepEnd")]

    def _averaged(self, when: str) -> list[str]:
        lines = []
        for one in self._averages:
            if one["shown"] != when:
                continue
            update = f"{one['name']}.update_parameters(model)"
            start = one["start"] - self._fit["epochs_before"]
            lines += [update] if start <= 1 else [f"if epoch + 1 >= {start}:", f"    {update}"]
        return lines

    def _validation(self) -> list[str]:
        model, lines = "model", []
        for one in self._averages:
            if one["validate"]:
                lines = [f"validated = {one['name']}.module if {one['name']}.n_averaged > 0 else model"]
                model = "validated"
        return [
            "",
            *lines,
            f"{model}.eval()",
            "total = seen = 0.0",
            "with torch.no_grad(), torch.random.fork_rng():",
            "    for xs, ys in validation_batches(epoch):",
            *_in(_in([*self._forward(model), *self._counted()])),
            'print(f"epoch {epoch + 1} validation {total / seen}")',
        ]

    def _gaps_at(self, place: str) -> list[str]:
        return self._gaps.get(place, [])


def _in(lines: list[str]) -> list[str]:
    return [f"    {line}" if line else "" for line in lines]
