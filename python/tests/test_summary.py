from __future__ import annotations

from typing import Any

import pytest
import torch

from torchwire_worker.helpers.summary import describe

nn = torch.nn


def layers(described: dict[str, Any], *fields: str) -> list[list[Any]]:
    return [[layer[field] for field in fields] for layer in described["layers"]]


def test_every_module_with_its_own_parameters() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.ReLU(), nn.BatchNorm1d(4)))
    model[0].weight.requires_grad_(False)
    described = describe(model)
    assert layers(described, "name", "type", "parameters", "trainable", "outputs", "calls") == [
        ["", "Sequential", 0, 0, [], 0],
        ["0", "Linear", 16, 4, [], 0],
        ["1", "Sequential", 0, 0, [], 0],
        ["1.0", "ReLU", 0, 0, [], 0],
        ["1.1", "BatchNorm1d", 8, 8, [], 0],
    ]
    # The buffers are running mean and variance, and a counter of 8 bytes.
    assert (described["parameters"], described["trainable"], described["bytes"]) == (24, 12, 24 * 4 + 8 * 4 + 8)


def test_tied_parameters_count_once() -> None:
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
    model[1].weight = model[0].weight
    described = describe(model)
    assert (described["parameters"], described["bytes"]) == (15, 60)


@pytest.mark.parametrize("given", [[2, 3], torch.ones(2, 3), [torch.ones(2, 3)], {"input": torch.ones(2, 3)}])
def test_shapes_come_from_a_run(given: Any) -> None:
    relu = nn.ReLU()
    model = nn.Sequential(nn.Linear(3, 4), relu, nn.Linear(4, 5), relu)
    described = describe(model, given)
    assert layers(described, "name", "outputs", "calls") == [
        ["", [[2, 5]], 1],
        ["0", [[2, 4]], 1],
        ["1", [[2, 4]], 2],
        ["2", [[2, 5]], 1],
    ]


def test_zeros_have_the_models_own_dtype() -> None:
    assert describe(nn.Linear(3, 4).double(), [2, 3])["layers"][0]["outputs"] == [[2, 4]]


def test_all_tensors_of_an_output_are_seen() -> None:
    described = describe(nn.LSTM(3, 4), torch.ones(5, 2, 3))
    assert described["layers"][0]["outputs"] == [[5, 2, 4], [1, 2, 4], [1, 2, 4]]


def test_no_hook_stays_whatever_happens() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5))
    describe(model, [1, 3])
    with pytest.raises(RuntimeError):
        describe(model, [1, 99])
    with pytest.raises(TypeError):
        describe(model, [torch.ones(1), "text"])
    assert [len(module._forward_hooks) for module in model.modules()] == [0, 0, 0]


def test_a_lazy_model_is_not_given_its_shapes_by_a_summary() -> None:
    model = nn.Sequential(nn.LazyLinear(4))
    assert describe(model)["parameters"] == 0
    with pytest.raises(RuntimeError, match="run the model once"):
        describe(model, [1, 3])
    assert isinstance(model[0], nn.LazyLinear)


class _Both(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Embedding(3, 4)
        self.body = torch.nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


def test_a_shape_is_one_of_whole_numbers_where_an_embedding_asks_for_them() -> None:
    model = torch.nn.Sequential(torch.nn.Embedding(3, 4), torch.nn.Linear(4, 2))
    assert describe(model, [5, 6])["layers"][0]["outputs"] == [[5, 6, 2]]
    assert [layer["calls"] for layer in describe(model, [5, 6])["layers"]] == [1, 1, 1]
    # One that takes floats too gets those, and what is wrong is what is wrong with them.
    both = _Both()
    assert describe(both, [5, 4])["layers"][0]["outputs"] == [[5, 2]]
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        describe(both, [5, 6])
