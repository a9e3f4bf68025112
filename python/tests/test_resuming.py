"""A training that is put back goes on with the same bits, by plain PyTorch on both sides."""

from __future__ import annotations

import copy
import math
import os
import random
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from torchwire_worker.helpers import disk
from torchwire_worker.helpers.averaging import Average
from torchwire_worker.helpers.gathering import Roc
from torchwire_worker.helpers.resuming import TREE, Point, Restoring, read
from torchwire_worker.helpers.tree import Unwritable, from_json, to_json

nn = torch.nn
OPTIMIZERS = [
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    ("Adam", {"lr": 0.01, "amsgrad": True}),
    ("AdamW", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.5, "centered": True}),
    ("Adagrad", {"lr": 0.05}),
    ("Adadelta", {}),
    ("Adamax", {}),
    ("NAdam", {}),
    ("RAdam", {}),
    ("ASGD", {}),
    ("Rprop", {}),
    ("LBFGS", {"lr": 0.1, "max_iter": 3}),
]


class Net(nn.Module):
    """It has tied weights, batch normalisation, dropout, a buffer outside of the state dict, and extra state."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.3)
        self.last = nn.Linear(4, 4)
        self.last.weight = self.first.weight
        self.register_buffer("seen", torch.zeros(()), persistent=False)
        self.note: dict[str, Any] = {"runs": 0}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += 1
        self.note["runs"] += 1
        return self.last(self.drop(self.norm(self.first(x)))) * (1 + self.seen / 100)

    def get_extra_state(self) -> Any:
        return self.note

    def set_extra_state(self, state: Any) -> None:
        self.note = state


class Training:
    def __init__(self, seed: int, kind: str, options: dict[str, Any]) -> None:
        torch.manual_seed(seed)
        random.seed(seed)
        numpy.random.seed(seed)
        self.model = Net()
        self.optimizer = getattr(torch.optim, kind)(self.model.parameters(), **options)
        self.average = Average(self.model, 0.9, False)
        self.generator = torch.Generator().manual_seed(seed)
        self.tracked = {"average": self.average, "generator": self.generator}

    def step(self) -> float:
        noise = random.random() + numpy.random.rand() + float(torch.rand((), generator=self.generator))
        x = torch.randn(8, 4) + noise

        def loss() -> torch.Tensor:
            self.optimizer.zero_grad()
            value = self.model(x).square().mean()
            value.backward()
            return value

        value = self.optimizer.step(loss)
        self.average.update()
        return float(value.detach())

    def everything(self) -> list[bytes]:
        tensors = [*self.model.parameters(), *self.model.buffers(), *self.average.module.parameters()]
        return [one.detach().numpy().tobytes() for one in tensors] + [str(self.model.note).encode()]


def carried(point: Point, into: Training) -> None:
    """Through bytes, as files have them."""
    restoring = Restoring(
        point.model.plan["tensors"],
        point.model.plan["metadata"].get("torchwire.versions", ""),
        point.rest.plan["tensors"],
        point.rest.plan["metadata"][TREE],
    )
    for mine, theirs in ((point.model, restoring.model), (point.rest, restoring.rest)):
        for raw in mine.rest():
            theirs.write(raw)
    restoring.commit(into.model, into.optimizer, into.tracked)


def test_the_workers_own_files_are_read_as_they_were_written(tmp_path: Path) -> None:
    whole = Training(1, "Adam", {"lr": 0.01})
    whole.step()
    point = Point(whole.model, whole.optimizer, whole.tracked)
    rest = [whole.step() for _ in range(2)]
    paths = [str(tmp_path / name) for name in ("model", "rest")]
    for path, copies in zip(paths, (point.model, point.rest)):
        disk.write_tensors(path, disk.bytes_of(copies))

    again = Training(2, "Adam", {"lr": 0.01})
    read(*paths).commit(again.model, again.optimizer, again.tracked)
    assert [again.step() for _ in range(2)] == rest
    assert again.everything() == whole.everything()

    os.truncate(paths[1], os.path.getsize(paths[1]) - 1)
    with pytest.raises(RuntimeError, match="the bytes of some tensors have not come"):
        read(*paths).commit(again.model, again.optimizer, again.tracked)


@pytest.mark.parametrize("kind, options", OPTIMIZERS)
def test_goes_on_with_the_same_bits(kind: str, options: dict[str, Any]) -> None:
    whole = Training(1, kind, options)
    for _ in range(3):
        whole.step()
    point = Point(whole.model, whole.optimizer, whole.tracked)
    rest = [whole.step() for _ in range(3)]

    again = Training(2, kind, options)
    again.step()
    carried(point, again)
    assert [again.step() for _ in range(3)] == rest
    assert again.everything() == whole.everything()
    assert again.model.first.weight is again.model.last.weight

    cold = Training(2, kind, options)
    assert [cold.step() for _ in range(3)] != rest


def test_keeps_the_dtype_of_an_optimizers_state() -> None:
    """load_state_dict alone casts it to the parameter's: moments in float32 of weights in bfloat16 lose their bits."""

    def made() -> tuple[Any, Any]:
        model = nn.Linear(3, 3, dtype=torch.bfloat16)
        return model, torch.optim.Adam(model.parameters())

    model, optimizer = made()
    state = {"step": torch.tensor(3.0), "exp_avg": torch.rand(3, 3), "exp_avg_sq": torch.rand(3, 3)}
    optimizer.state[model.weight] = copy.deepcopy(state)
    other, others = made()
    point = Point(model, optimizer, {})
    carried(point, Into(other, others))
    for key, value in state.items():
        assert torch.equal(others.state[other.weight][key], value), key


class Into:
    def __init__(self, model: Any, optimizer: Any) -> None:
        self.model, self.optimizer, self.tracked = model, optimizer, {}


def test_restores_what_is_trained_outside_of_the_model() -> None:
    def made() -> tuple[Any, Any, Any]:
        model, temperature = nn.Linear(2, 2), nn.Parameter(torch.rand(()))
        return model, temperature, torch.optim.SGD([*model.parameters(), temperature], lr=0.1)

    model, temperature, optimizer = made()
    other, another, others = made()
    assert not torch.equal(temperature, another)
    carried(Point(model, optimizer, {}), Into(other, others))
    assert torch.equal(temperature, another)


class OnCpu(Training):
    """In float16 by autocast, with a scaler whose scale is too large at first."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, "SGD", {"lr": 0.05})
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40 if seed == 1 else 2.0**3, growth_interval=2)
        self.tracked["scaler"] = self.scaler

    def step(self) -> float:
        with torch.autocast("cpu", torch.float16):
            loss = self.model(torch.randn(8, 4)).float().square().mean()
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return self.scaler.get_scale()


@pytest.mark.parametrize("before", [3, 40])
def test_a_scaler_goes_on_with_its_scale_and_its_count(before: int) -> None:
    """Updates are left out until the scale fits, and then it grows again and again."""
    whole = OnCpu(1)
    scales = [whole.step() for _ in range(before)]
    assert scales[0] == 2.0**39
    point = Point(whole.model, whole.optimizer, whole.tracked)
    rest = [whole.step() for _ in range(45)]
    assert min(rest) < 2.0**30 and sorted(rest) != rest
    again = OnCpu(2)
    again.step()
    carried(point, again)
    assert [again.step() for _ in range(45)] == rest
    assert again.everything() == whole.everything()
    assert again.scaler.state_dict() == whole.scaler.state_dict()


METRICS: dict[str, Callable[[Any], Any]] = {
    "counts": lambda tm: tm.Accuracy(task="multiclass", num_classes=4),
    "lists": lambda tm: tm.AUROC(task="multiclass", num_classes=4),
    "numbers outside of the state": lambda tm: tm.wrappers.Running(tm.Accuracy(task="multiclass", num_classes=4), 4),
    "tensors outside of the state": lambda tm: tm.MinMaxMetric(tm.Accuracy(task="multiclass", num_classes=4)),
    "metrics with one state": lambda tm: tm.MetricCollection(
        [kind(task="multiclass", num_classes=4, average="macro") for kind in (tm.Precision, tm.Recall, tm.AUROC)]
    ),
    "draws": lambda tm: tm.BootStrapper(tm.Accuracy(task="multiclass", num_classes=4), num_bootstraps=3),
}


@pytest.mark.parametrize("made", METRICS.values(), ids=METRICS)
def test_a_metric_of_torchmetrics_goes_on_in_the_middle_of_an_epoch(made: Callable[[Any], Any]) -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    draws = torch.Generator().manual_seed(0)
    batches = [(torch.rand(8, 4, generator=draws), torch.randint(4, (8,), generator=draws)) for _ in range(9)]

    def epoch(metric: Any, which: slice) -> str:
        for batch in batches[which]:
            metric.update(*batch)
        return str(metric.compute())

    model = nn.Linear(1, 1)
    whole, again, cold = (made(torchmetrics) for _ in range(3))
    epoch(whole, slice(0, 3))
    whole.reset()
    epoch(whole, slice(3, 6))
    point = Point(model, None, {"metric": whole})
    value = epoch(whole, slice(6, 9))
    epoch(again, slice(0, 2))
    restored = Into(model, None)
    restored.tracked["metric"] = again
    carried(point, restored)
    assert epoch(again, slice(6, 9)) == value
    assert epoch(cold, slice(6, 9)) != value


@pytest.mark.parametrize("bins", [None, 8])
def test_scores_that_were_gathered_go_on(bins: int | None) -> None:
    draws = torch.Generator().manual_seed(0)
    batches = [(torch.randn(8, generator=draws), torch.randint(2, (8,), generator=draws)) for _ in range(6)]
    how: list[Any] = [None] * 5
    whole, again, cold = (Roc("macro", None, bins, how) for _ in range(3))
    for batch in batches[:3]:
        whole.update(*batch)
    again.load_state_dict({name: one.clone() for name, one in whole.state_dict().items()})
    for one in (whole, again, cold):
        for batch in batches[3:]:
            one.update(*batch)
    assert again.compute() == whole.compute() != cold.compute()


def test_restores_modes_and_frozen_parameters() -> None:
    def made() -> nn.Module:
        return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))

    model, other = made(), made()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    carried(Point(model, None, {}), Into(other, None))
    assert [part.training for part in other.modules()] == [True, True, False]
    assert [param.requires_grad for param in other.parameters()] == [False, True, True, True]


def test_a_model_that_does_not_fit_stays_as_it_was() -> None:
    model, other = nn.Linear(2, 2), nn.Linear(3, 2)
    before = other.weight.detach().clone()
    with pytest.raises(ValueError, match="does not fit the model.*weight"):
        carried(Point(model, None, {}), Into(other, None))
    assert torch.equal(other.weight, before)


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, 2**80, -0.0, 1.0, 1e-320, math.inf, "text", b"\x00\xff", (1, [2.5, {"a": ()}]),
        {3: "x", (1, 2): None}, {1, 2}, frozenset({1}), deque([1]), torch.Size([2, 3]), 1 + 2j,
        numpy.float32(0.1), numpy.int64(3),
    ],
)  # fmt: skip
def test_a_tree_is_read_back_as_it_was(value: Any) -> None:
    found = from_json(to_json(value, {}, "it") if not hasattr(value, "dtype") else _there(value), _tensors)
    assert found == value
    assert type(found) is type(value)


_tensors: dict[str, torch.Tensor] = {}


def _there(value: Any) -> str:
    _tensors.clear()
    return to_json(value, _tensors, "it")


def test_a_tree_keeps_tensors_and_nan() -> None:
    tensors: dict[str, torch.Tensor] = {}
    text = to_json(OrderedDict(a=[torch.arange(3)], b=math.nan, c=numpy.arange(2, dtype="uint32")), tensors, "it")
    found = from_json(text, tensors)
    assert torch.equal(found["a"][0], torch.arange(3))
    assert math.isnan(found["b"])
    assert found["c"].dtype == numpy.uint32 and found["c"].tolist() == [0, 1]


@pytest.mark.parametrize(
    "value, place",
    [
        ({"a": [object()]}, r"it\.a\.0: a builtins\.object"),
        ([torch.rand(2).to_sparse()], r"it\.0: its layout"),
        (len, "it: a builtins"),
    ],
)
def test_a_tree_refuses_what_it_cannot_write_and_says_where(value: Any, place: str) -> None:
    with pytest.raises(Unwritable, match=place):
        to_json(value, {}, "it")
