"""Histograms of parameters and gradients."""

from __future__ import annotations

import math

import pytest
import torch

from torchwire_worker.helpers.histograms import histogram, parameters_and_gradients


@pytest.mark.parametrize("bins", [1, 7, 50])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_counts_are_those_of_torch(bins: int, dtype: torch.dtype) -> None:
    values = torch.randn(1000, generator=torch.Generator().manual_seed(bins)).to(dtype).reshape(10, 100)
    found = histogram(values, bins)
    exact = values.double()
    expected, edges = torch.histogram(exact.flatten(), bins)
    # In float32, a number on an edge may fall to either side of it.
    differences = [abs(a - b) for a, b in zip(found["counts"], expected.tolist())]
    assert sum(differences) <= (0 if dtype is torch.float64 else 2 * bins)
    assert sum(found["counts"]) == 1000
    assert (
        (found["low"], found["high"]) == (edges[0].item(), edges[-1].item()) == (exact.min().item(), exact.max().item())
    )
    assert found["sum"] == pytest.approx(exact.sum().item(), rel=1e-5, abs=1e-3)
    assert found["sum_squares"] == pytest.approx(exact.square().sum().item(), rel=1e-5)
    assert found["not_finite"] == 0


def test_what_is_not_finite_is_counted_apart() -> None:
    found = histogram(torch.tensor([1.0, math.nan, 3.0, math.inf, -math.inf]), 2)
    assert found == {
        "low": 1.0,
        "high": 3.0,
        "counts": [1, 1],
        "sum": 4.0,
        "sum_squares": pytest.approx(10),
        "not_finite": 3,
    }
    assert histogram(torch.tensor([math.nan]), 5) == {
        "low": 0,
        "high": 0,
        "counts": [0],
        "sum": 0,
        "sum_squares": 0,
        "not_finite": 1,
    }
    assert histogram(torch.empty(0), 5)["counts"] == [0]


def test_equal_numbers_are_one_bin() -> None:
    assert histogram(torch.full((4,), 2.0), 50) == {
        "low": 2,
        "high": 2,
        "counts": [4],
        "sum": 8,
        "sum_squares": 16,
        "not_finite": 0,
    }


def test_whole_complex_and_sparse_numbers() -> None:
    assert histogram(torch.tensor([1, 2, 2]), 2)["counts"] == [1, 2]
    assert histogram(torch.tensor([1 + 3j]), 2)["counts"] == [1, 1]
    sparse = torch.sparse_coo_tensor([[0, 0, 1]], [1.0, 1.0, 4.0], (3,))
    assert histogram(sparse, 4)["counts"] == [1, 0, 1, 1]


def test_sums_of_half_floats_do_not_overflow() -> None:
    assert histogram(torch.full((10,), 300.0, dtype=torch.float16), 2)["sum_squares"] == pytest.approx(900_000)


def test_which_parameters() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1), torch.nn.LazyLinear(4))
    model[0].bias.requires_grad_(False)
    model[:2](torch.ones(1, 2)).sum().backward()
    model[1].bias.grad = None
    weights, gradients = parameters_and_gradients(model, 5)
    assert list(weights) == ["0.weight", "1.weight", "1.bias"]
    assert list(gradients) == ["0.weight", "1.weight"]
    before = [p.clone() for p in model[:2].parameters()]
    several, _ = parameters_and_gradients({"a": model[0], "b": model[1]}, 5)
    assert list(several) == ["a.weight", "b.weight", "b.bias"]
    assert all(torch.equal(p, q) for p, q in zip(model[:2].parameters(), before))
