"""Averages and copies of weights go by tensor. They are compared with torch.optim.swa_utils, used by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from torchwire_worker.helpers.averaging import Average
from torchwire_worker.helpers.checkpoint import Kept
from torchwire_worker.helpers.loading import load_into
from torchwire_worker.helpers.optim import clip_gradients
from torchwire_worker.helpers.trial import Trial

nn = torch.nn


class Tied(nn.Module):
    """It has one weight under two names, extra state that is no tensor, a buffer outside the state dict, one that is
    replaced, and one that was expanded.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.last = nn.Linear(4, 4)
        self.last.weight = self.first.weight
        # This is another parameter in the same memory.
        self.view = nn.Parameter(self.first.weight.data.t())
        self.norm = nn.BatchNorm1d(4)
        self.parametrized = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
        self.register_buffer("scale", torch.ones(4), persistent=False)
        self.register_buffer("steps", torch.zeros(()))
        self.register_buffer("wide", torch.zeros(1).expand(4))
        self.register_buffer("absent", None)
        self.note = {"runs": 0}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.scale.mul_(1.25)
            self.steps = self.steps + 1
            self.note["runs"] += 1
        return (
            self.parametrized(self.norm(self.last(self.first(x) * self.scale) + x @ self.view)) + self.steps + self.wide
        )

    def get_extra_state(self) -> Any:
        return self.note

    def set_extra_state(self, state: Any) -> None:
        self.note = state


def everything(module: nn.Module) -> dict[str, bytes]:
    tensors = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    return {name: t.detach().clone().numpy().tobytes() for name, t in tensors}


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model.train()
    optimizer.zero_grad()
    model(torch.randn(8, 4)).square().mean().backward()
    optimizer.step()


def output(model: nn.Module) -> torch.Tensor:
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    with torch.no_grad():
        found = model(torch.linspace(-1, 1, 12).reshape(3, 4))
    for part, mode in modes:
        part.training = mode
    return found


def made(build: Callable[[], nn.Module] = Tied) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = build()
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


@pytest.mark.parametrize("buffers", [False, True])
@pytest.mark.parametrize("decay", [0.9, None])
def test_a_model_with_tied_and_shared_tensors_shows_its_average_and_has_its_own_again(
    decay: float | None, buffers: bool
) -> None:
    model, optimizer = made()
    average = Average(model, decay, buffers)
    # AveragedModel itself cannot write to an expanded buffer.
    model.wide = model.wide.clone()
    average._make()
    theirs = AveragedModel(
        model, multi_avg_fn=None if decay is None else get_ema_multi_avg_fn(decay), use_buffers=buffers
    )
    for _ in range(3):
        step(model, optimizer)
        average.update()
        theirs.update_parameters(model)
    own, note = everything(model), dict(model.note)
    assert not average.begin(False)
    average.end()
    assert average.begin(True)
    assert everything(model) == everything(theirs.module) == everything(average.module) != own
    assert torch.equal(output(model), output(theirs.module))
    average.end()
    assert everything(model) == own
    assert model.note == note
    assert model.last.weight is model.first.weight


def test_before_the_first_update_there_is_nothing_to_show() -> None:
    model, optimizer = made(lambda: nn.Linear(4, 4))
    average = Average(model, None, False)
    step(model, optimizer)
    own = everything(model)
    assert not average.begin(True)
    assert everything(model) == own
    average.end()
    assert everything(model) == own


def by_load(model: nn.Module, values: dict[str, Any]) -> None:
    assert load_into(model, values, True)["is_loaded"]


def by_hand(model: nn.Module, values: dict[str, Any]) -> None:
    for name, param in model.named_parameters():
        param.data.copy_(values[name])


@pytest.mark.parametrize("replace", [by_load, by_hand])
@pytest.mark.parametrize("shown", [False, True])
def test_other_weights_begin_a_new_average(replace: Callable[[nn.Module, dict[str, Any]], None], shown: bool) -> None:
    model, optimizer = made(lambda: nn.Linear(4, 4))
    other = {name: torch.full_like(value, 0.5) for name, value in model.state_dict().items()}
    average = Average(model, 0.9, False)
    module = average.module
    for _ in range(2):
        average.begin(False)
        step(model, optimizer)
        average.update()
        average.end()
    if shown:
        assert average.begin(True)
        replace(model, other)
        average.end()
    else:
        replace(model, other)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in other.items())
    assert not average.begin(True)
    average.end()
    assert all(torch.equal(model.state_dict()[name], value) for name, value in other.items())
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for _ in range(2):
        average.begin(False)
        step(model, optimizer)
        average.update()
        theirs.update_parameters(model)
        average.end()
    assert average.module is module
    assert everything(average.module) == everything(theirs.module)


@pytest.mark.parametrize("shown", [False, True])
def test_a_load_that_is_refused_or_changes_nothing_is_none(shown: bool) -> None:
    model, optimizer = made(lambda: nn.Linear(4, 4))
    average = Average(model, 0.9, False)
    average.begin(False)
    for _ in range(3):
        step(model, optimizer)
        average.update()
    average.end()
    own = copy.deepcopy(model.state_dict())
    assert average.begin(shown) is shown
    there = everything(model)
    assert not load_into(model, {**own, "bias": torch.zeros(3)}, True)["is_loaded"]
    assert everything(model) == there
    assert load_into(model, own, True)["is_loaded"]
    assert everything(model) == there
    average.end()
    assert everything(model) == {name: value.numpy().tobytes() for name, value in own.items()}
    assert average.begin(True)


def test_what_is_done_to_weights_within_an_epoch_is_a_part_of_the_training() -> None:
    model, optimizer = made(lambda: nn.Linear(4, 4))
    average = Average(model, 0.9, False)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for _ in range(3):
        average.begin(False)
        step(model, optimizer)
        with torch.no_grad():
            model.weight.clamp_(-0.1, 0.1)
        average.update()
        theirs.update_parameters(model)
        with torch.no_grad():
            model.weight.mul_(0.5)
        average.end()
    assert average.begin(True)
    assert everything(model) == everything(theirs.module)


def test_another_head() -> None:
    model, optimizer = made(lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)))
    average = Average(model, 0.9, False)
    average.begin(False)
    step(model, optimizer)
    average.update()
    average.end()
    model[1] = nn.Linear(4, 2)
    assert not average.begin(True)
    average.update()
    average.end()
    assert average.begin(True)


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv1d(3, 2), nn.LazyBatchNorm1d(), nn.Flatten(), nn.LazyLinear(2))


def run(model: nn.Module) -> torch.Tensor:
    return model(torch.arange(40.0).reshape(4, 2, 5).sin())


def test_a_lazy_model_is_averaged_from_its_first_update_on() -> None:
    model, optimizer = made(lazy)
    average = Average(model, 0.9, False)
    with pytest.raises(RuntimeError, match="no average before its first training step"):
        average.module  # noqa: B018
    theirs = None
    for epoch in range(3):
        assert average.begin(True) is (epoch > 0)
        average.end()
        average.begin(False)
        optimizer.zero_grad()
        run(model).square().mean().backward()
        optimizer.step()
        theirs = theirs or AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
        average.update()
        theirs.update_parameters(model)
        average.end()
    assert theirs is not None and everything(average.module) == everything(theirs.module)


def test_a_lazy_model_is_lazy_again_after_a_trial() -> None:
    def trained(trial: bool) -> dict[str, bytes]:
        model, optimizer = made(lazy)
        if trial:
            kinds = [type(part) for part in model.modules()]
            random = torch.get_rng_state()
            kept = Trial([model], optimizer)
            run(model).sum().backward()
            optimizer.step()
            kept.restore()
            torch.set_rng_state(random)
            assert [type(part) for part in model.modules()] == kinds
            assert all(param.grad is None and torch.nn.parameter.is_lazy(param) for param in model.parameters())
        for _ in range(2):
            optimizer.zero_grad()
            run(model).square().mean().backward()
            optimizer.step()
        assert [type(part) for part in model][:2] == [nn.Conv1d, nn.BatchNorm1d]
        return everything(model)

    assert trained(True) == trained(False)


def test_kept_is_everything_by_tensor() -> None:
    model, optimizer = made()
    step(model, optimizer)
    before, note = everything(model), dict(model.note)
    with torch.inference_mode():
        kept = Kept(model)
    for _ in range(2):
        step(model, optimizer)
    with torch.inference_mode():
        # A module may do this in validation: it replaces its buffer.
        model.steps = model.steps + 5
    assert everything(model) != before
    for _ in range(2):
        kept.restore()
        assert everything(model) == before
        assert model.note == note
        assert model.last.weight is model.first.weight
        step(model, optimizer)


def test_a_trial_has_the_parameters_of_the_loss() -> None:
    model, _ = made(lambda: nn.Linear(4, 4))
    margin = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([{"params": model.parameters()}, {"params": [margin]}])
    trial = Trial([model], optimizer)
    (model(torch.ones(1, 4)).sum() * margin.sum()).backward()
    optimizer.step()
    assert margin[0] != 1
    trial.restore()
    assert margin.tolist() == [1, 1] and margin.grad is None and not optimizer.state


@pytest.mark.parametrize(("norm", "value"), [(0.5, None), (None, 0.01), (0.5, 0.05)])
def test_gradients_of_all_that_an_optimizer_has(norm: float | None, value: float | None) -> None:
    def gradients(clip: Callable[[dict[str, torch.optim.Optimizer]], None]) -> list[list[float]]:
        torch.manual_seed(0)
        one, two, margin, frozen = (
            nn.Linear(4, 4),
            nn.Linear(4, 1),
            nn.Parameter(torch.ones(3)),
            nn.Parameter(torch.ones(1), requires_grad=False),
        )
        optimizers: dict[str, torch.optim.Optimizer] = {
            "one": torch.optim.SGD([{"params": one.parameters()}, {"params": [margin, frozen]}], lr=1),
            "two": torch.optim.Adam(two.parameters()),
        }
        (two(one(torch.ones(2, 4))).sum() * (margin * torch.tensor([3.0, 4.0, 5.0])).sum()).backward()
        clip(optimizers)
        return [p.grad.flatten().tolist() for p in [*one.parameters(), margin, *two.parameters()] if p.grad is not None]

    def by_hand(optimizers: dict[str, torch.optim.Optimizer]) -> None:
        for optimizer in optimizers.values():
            params = [p for group in optimizer.param_groups for p in group["params"]]
            if norm is not None:
                torch.nn.utils.clip_grad_norm_(params, norm)
            if value is not None:
                torch.nn.utils.clip_grad_value_(params, value)

    assert gradients(lambda optimizers: clip_gradients(optimizers, norm, value)) == gradients(by_hand)


def test_a_copy_of_the_model_is_nobodys() -> None:
    model, optimizer = made(lambda: nn.Linear(4, 4))
    average = Average(model, 0.9, False)
    step(model, optimizer)
    average.update()
    zeros = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    assert load_into(copy.deepcopy(model), zeros, True)["is_loaded"]
    assert average.begin(True)
