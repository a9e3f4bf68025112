"""The counts of metrics, for kinds of outputs and targets that no test from TypeScript sends."""

from __future__ import annotations

import math
from collections import namedtuple
from typing import Any

import pytest
import torch

from torchwire_worker.helpers.gathering import Confusion, Roc, begin
from torchwire_worker.helpers.metrics import detached, errors, hits, residuals, retrieved, surprise

# Nothing is known, so the shapes decide.
UNKNOWN: list[Any] = [None, None, None, None, None]


class TestDetached:
    def test_what_holds_tensors_keeps_its_form(self) -> None:
        Pair = namedtuple("Pair", "a b")
        x = torch.ones(2, requires_grad=True)
        given: Any = {"out": x, "more": (x, [x, 1]), "pair": Pair(x, "text")}
        found = detached(given)
        assert not found["out"].requires_grad
        assert not found["more"][1][0].requires_grad
        assert type(found["more"]) is tuple
        assert found["more"][1][1] == 1
        assert isinstance(found["pair"], Pair)
        assert not found["pair"].a.requires_grad
        assert x.requires_grad


class TestHits:
    @pytest.mark.parametrize("k", [1, 2])
    def test_scores_that_are_no_numbers_are_no_hits(self, k: int) -> None:
        scores = torch.full((4, 3), math.nan)
        assert hits(scores, torch.tensor([0, 2, 1, 2]), k, UNKNOWN).tolist() == [0, 4, 0]

    def test_the_first_of_equal_scores_goes_before(self) -> None:
        scores = torch.zeros(3, 3)
        assert [hits(scores, torch.tensor([0, 1, 2]), k, UNKNOWN)[0].item() for k in (1, 2, 3)] == [1, 2, 3]

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    @pytest.mark.parametrize("targets", [torch.uint8, torch.int32, torch.int64, torch.float32])
    def test_any_dtype_will_do(self, dtype: torch.dtype, targets: torch.dtype) -> None:
        scores = torch.eye(3, dtype=dtype)
        assert hits(scores, torch.tensor([0, 1, 1], dtype=targets), 1, UNKNOWN).tolist() == [2, 3, 0]
        assert hits(scores, torch.tensor([0, 1, 0], dtype=targets), 2, UNKNOWN).tolist() == [3, 3, 0]

    def test_a_byte_is_no_negative_number(self) -> None:
        scores = torch.zeros(1, 200)
        scores[0, 156] = 1
        # 156 and -100 are the same byte.
        assert hits(scores, torch.tensor([156], dtype=torch.uint8), 1, UNKNOWN).tolist() == [1, 1, 0]


class TestRetrieved:
    @pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
    def test_answers_of_any_dtype(self, dtype: torch.dtype) -> None:
        truth = torch.tensor([1, 0, 1, 1]).to(dtype)
        assert retrieved(torch.tensor([1.0, 1, -1, 2]), truth, True, UNKNOWN).tolist() == [[2], [3], [3]]

    def test_a_byte_is_no_negative_number(self) -> None:
        truth = torch.tensor([156], dtype=torch.uint8)
        assert retrieved(torch.tensor([1.0]), truth, True, UNKNOWN).tolist() == [[1], [1], [1]]

    def test_one_class_is_yes_or_no(self) -> None:
        assert retrieved(torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 1]), True, UNKNOWN).tolist() == [[1], [1], [2]]


class TestSums:
    def test_half_precision_is_added_up_in_double(self) -> None:
        many = torch.full((100_000,), 0.1, dtype=torch.float16)
        total, count = errors(many, torch.zeros(100_000, dtype=torch.float16), 1).tolist()
        assert total == pytest.approx(100_000 * many[0].item(), rel=1e-12)
        assert count == 100_000

    def test_whole_numbers_do_not_overflow(self) -> None:
        bytes_ = torch.full((4,), 200, dtype=torch.uint8)
        assert errors(bytes_, torch.zeros(4, dtype=torch.uint8), 2).tolist() == [160_000, 4]
        assert residuals(bytes_, torch.zeros(4, dtype=torch.uint8))[3].item() == 160_000

    def test_surprise_of_half_precision_is_that_of_single(self) -> None:
        scores = torch.randn(50, 7, generator=torch.Generator().manual_seed(0)).half()
        targets = torch.arange(50) % 7
        expected = torch.nn.functional.cross_entropy(scores.float(), targets, reduction="sum")
        assert surprise(scores, targets, UNKNOWN).tolist() == [pytest.approx(expected.item(), rel=1e-6), 50, 0]


class TestGathered:
    def test_in_inference_mode_and_asked_outside_of_it(self) -> None:
        roc, matrix = Roc("macro", None, None, UNKNOWN), Confusion(UNKNOWN)
        binned = Roc("macro", None, 8, UNKNOWN)
        with torch.inference_mode():
            for _ in range(2):
                for one in (roc, matrix, binned):
                    one.update(torch.tensor([1.0, -1, 2, -2]), torch.tensor([1, 0, 0, 1]))
        assert roc.compute() == binned.compute() == 0.25
        assert matrix.compute().tolist() == [[2, 2], [2, 2]]

    def test_a_score_that_is_no_number_makes_none(self) -> None:
        roc = Roc("macro", None, None, UNKNOWN)
        roc.update(torch.tensor([1.0, math.nan]), torch.tensor([1, 0]))
        assert math.isnan(roc.compute())

    def test_probabilities_near_one_are_still_told_apart(self) -> None:
        roc = Roc("macro", None, None, UNKNOWN)
        # softmax in single precision gives 1.0 for both.
        roc.update(torch.tensor([[40.0, 0], [30, 0], [35, 0]]), torch.tensor([0, 1, 0]))
        assert roc.compute() == 1

    def test_the_smallest_and_the_largest_probability_are_in_bins(self) -> None:
        roc = Roc("macro", False, 2, UNKNOWN)
        roc.update(torch.tensor([0.0, 1.0, 0.49, 0.5]), torch.tensor([0, 1, 0, 1]))
        assert roc.compute() == 1

    def test_areas_of_more_pairs_than_a_double_can_count(self) -> None:
        roc = Roc("macro", False, 2, UNKNOWN)
        half = 10**8
        counts = torch.tensor([[[half, half + 1], [half - 1, half]]])
        roc.load_state_dict({"counts": counts})
        p, n = 2 * half - 1, 2 * half + 1
        assert roc.compute() == (2 * half * half + (half - 1) * half + half * (half + 1)) / (2 * p * n)


class TestBegin:
    def test_what_cannot_be_moved_is_reset_all_the_same(self) -> None:
        class Plain:
            was_reset = False

            def reset(self) -> None:
                self.was_reset = True

        plain = Plain()
        begin(plain, torch.ones(1))
        assert plain.was_reset
