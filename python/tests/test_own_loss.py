"""Losses that models compute in their forward."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from torchwire_worker.helpers.amp import autocast_forward
from torchwire_worker.helpers.own_loss import compute


class _Words(torch.nn.Module):
    def forward(self, x: Any, labels: Any = None) -> Any:
        return {"loss": x.sum(), "logits": x}


class WordsForCausalLM(_Words):
    pass


class _Typed(_Words):
    loss_type = "ForCausalLM"


class _Wrapper(torch.nn.Module):
    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **named: Any) -> Any:
        return self.module(*args, **named)


class _Adapted(torch.nn.Module):
    """As those of peft, which have a tuner, which has the model."""

    def __init__(self, name: str, inner: torch.nn.Module) -> None:
        super().__init__()
        self.peft_config: dict[str, Any] = {}
        self.add_module(name, inner)
        self.inner = [inner]

    def forward(self, *args: Any, **named: Any) -> Any:
        return self.inner[0](*args, **named)


class _Holds(_Words):
    """It has such a model, and labels of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.base_model = WordsForCausalLM()


LABELS = torch.tensor([[0, 1, -100], [2, -100, -100]])


def _weight(model: torch.nn.Module, labels: Any = LABELS) -> float | None:
    return compute(model, [torch.ones(2)], {}, labels, None).weight()


def test_weighs_by_the_labels_that_count() -> None:
    assert _weight(_Words()) == 3
    assert _weight(_Holds()) == 3
    assert _weight(_Words(), LABELS.float()) is None
    assert _weight(_Words(), LABELS.tolist()) is None
    assert _weight(_Words(), torch.tensor([1, 2, -100])) == 2
    assert _weight(_Words(), {"labels": LABELS}) == 3


@pytest.mark.parametrize(
    "model",
    [
        WordsForCausalLM(),
        _Typed(),
        _Wrapper(_Typed()),
        _Adapted("base_model", _Adapted("model", _Typed())),
        _Adapted("base_model", _Typed()),
    ],
)
def test_leaves_the_first_label_of_a_row_out_where_each_is_predicted_from_those_before(model: Any) -> None:
    assert _weight(model) == 1


def test_finds_the_parameter_through_wrappers_and_autocast() -> None:
    class Takes(torch.nn.Module):
        def forward(self, x: Any, targets: Any) -> Any:
            return {"a": x.sum(), "b": targets.sum()}

    made = Takes()
    autocast_forward(made, "cpu", "bfloat16")
    for model in (Takes(), _Wrapper(Takes()), made, torch.compile(Takes(), backend="eager")):
        computed = compute(model, [torch.ones(2)], {}, torch.ones(3), None)  # type: ignore[arg-type]
        assert computed.loss is not None
        assert computed.counted(computed.loss, None, None, False) == [5.0, None, None, {"a": 2.0, "b": 3.0}]


def test_has_no_loss_in_eval_mode_alone() -> None:
    class Detector(torch.nn.Module):
        def forward(self, images: Any, targets: Any = None) -> Any:
            return [{"boxes": images}]

    computed = compute(Detector().eval(), [torch.ones(1)], {}, [], None)
    assert computed.loss is None
    assert computed.counted(None, None, None, False) == [None, None, None, {}]
    with pytest.raises(ValueError, match="gives a list of 1 and no loss"):
        _ = compute(Detector().train(), [torch.ones(1)], {}, [], None).loss


def test_a_single_prediction_is_no_loss() -> None:
    class One(torch.nn.Module):
        def forward(self, x: Any, labels: Any = None) -> Any:
            return x.sum() if self.training else x

    assert compute(One().eval(), [torch.ones(1, 1)], {}, None, None).loss is None
    assert compute(One().train(), [torch.ones(1, 1)], {}, None, None).loss == 1
