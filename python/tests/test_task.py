"""The reading of outputs and targets, compared with scikit-learn and PyTorch."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn import metrics as sklearn
from torch import Tensor

from torchwire_worker.helpers.gathering import Confusion, Roc
from torchwire_worker.helpers.metrics import hits, retrieved, surprise
from torchwire_worker.helpers.predictions import classified

BCE, LOGITS, CE, NLL = "binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "nll_loss"


def how(loss: Any = None, **said: Any) -> list[Any]:
    return [loss, *(said.get(name) for name in ("task", "axis", "ignore", "threshold"))]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def ratio(found: Tensor) -> float:
    sum_, count, odd = found.tolist()
    assert odd == 0
    return sum_ / count


SHAPES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "[N, 1] and [N, 1]": ((40, 1), (40, 1)),
    "[N, 1] and [N]": ((40, 1), (40,)),
    "[N] and [N, 1]": ((40,), (40, 1)),
    "[N] and [N]": ((40,), (40,)),
    "labels [N, L]": ((40, 5), (40, 5)),
    "pixels [N, 1, H, W] and [N, H, W]": ((6, 1, 3, 4), (6, 3, 4)),
    "pixels [N, 1, H, W] and [N, 1, H, W]": ((6, 1, 3, 4), (6, 1, 3, 4)),
}


class TestYesOrNo:
    @pytest.mark.parametrize(
        "dtype", [torch.float32, torch.int64, torch.bool, torch.uint8, torch.float64, torch.bfloat16]
    )
    @pytest.mark.parametrize("shapes", SHAPES)
    def test_accuracy_is_that_of_every_answer(self, shapes: str, dtype: torch.dtype) -> None:
        outputs, targets = drawn(*SHAPES[shapes][0]), drawn(*SHAPES[shapes][1], seed=1).gt(0)
        truth = targets.flatten().numpy()
        expected = sklearn.accuracy_score(truth, outputs.flatten().numpy() > 0)
        assert ratio(hits(outputs, targets.to(dtype), 1, how(LOGITS))) == expected
        assert ratio(hits(outputs.sigmoid(), targets.to(dtype), 1, how(BCE))) == expected
        if shapes != "labels [N, L]":
            assert ratio(hits(outputs, targets.to(dtype), 1, how())) == expected

    @pytest.mark.parametrize("shapes", SHAPES)
    def test_perplexity_is_e_to_the_log_loss(self, shapes: str) -> None:
        outputs, targets = drawn(*SHAPES[shapes][0]), drawn(*SHAPES[shapes][1], seed=1).gt(0).float()
        expected = sklearn.log_loss(targets.flatten().numpy(), outputs.flatten().double().sigmoid().numpy())
        assert ratio(surprise(outputs, targets, how(LOGITS))) == pytest.approx(expected, rel=1e-6)
        assert ratio(surprise(outputs.sigmoid(), targets, how(BCE))) == pytest.approx(expected, rel=1e-6)

    def test_probabilities_are_a_yes_above_a_half(self) -> None:
        outputs, targets = drawn(50).sigmoid(), drawn(50, seed=1).gt(0)
        found, truth = (outputs > 0.5).numpy(), targets.numpy()
        assert ratio(hits(outputs, targets, 1, how(BCE))) == sklearn.accuracy_score(truth, found)
        right, of_found, there = retrieved(outputs, targets, True, how(torch.nn.BCELoss())).flatten().tolist()
        assert [right / of_found, right / there] == [
            sklearn.precision_score(truth, found),
            sklearn.recall_score(truth, found),
        ]
        matrix = Confusion(how(partial(F.binary_cross_entropy)))
        matrix.update(outputs, targets)
        assert matrix.compute().tolist() == sklearn.confusion_matrix(truth, found).tolist()
        binned = Roc("macro", None, 1000, how(BCE))
        binned.update(outputs, targets)
        assert binned.compute() == pytest.approx(sklearn.roc_auc_score(truth, outputs.numpy()), abs=1e-2)

    def test_a_threshold_of_ones_own(self) -> None:
        outputs, targets = drawn(50), drawn(50, seed=1).gt(0)
        expected = sklearn.accuracy_score(targets.numpy(), (outputs > 0.7).numpy())
        assert ratio(hits(outputs, targets, 1, how(LOGITS, threshold=0.7))) == expected

    def test_answers_of_one_and_minus_one(self) -> None:
        outputs, targets = drawn(50), drawn(50, seed=1).sign()
        expected = sklearn.accuracy_score(targets.numpy() > 0, outputs.numpy() > 0)
        for loss in ("soft_margin_loss", "hinge_loss", None):
            assert ratio(hits(outputs, targets, 1, how(loss))) == expected

    def test_what_does_not_count(self) -> None:
        outputs, targets = drawn(50), drawn(50, seed=1).gt(0).float()
        targets[::3] = 255
        kept = targets != 255
        expected = sklearn.accuracy_score(targets[kept].numpy(), (outputs[kept] > 0).numpy())
        assert ratio(hits(outputs, targets, 1, how(LOGITS, ignore=255))) == expected
        assert hits(outputs, targets, 1, how(LOGITS))[2] == 17

    def test_an_output_that_is_no_number_meets_neither_answer(self) -> None:
        outputs, targets = torch.tensor([1.0, float("nan"), float("nan"), -1]), torch.tensor([1, 0, 1, 0])
        assert hits(outputs, targets, 1, how(LOGITS)).tolist() == [2, 4, 0]
        matrix = Confusion(how(LOGITS))
        matrix.update(outputs, targets)
        assert matrix.compute().tolist() == [[1, 0], [0, 1]]

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int32, torch.bool])
    def test_outputs_of_any_dtype(self, dtype: torch.dtype) -> None:
        outputs = torch.tensor([1, 0, 1, 0]).to(dtype)
        assert hits(outputs, torch.tensor([1, 0, 0, 0]), 1, how(LOGITS)).tolist() == [3, 4, 0]

    @pytest.mark.parametrize("k", [2, 3])
    def test_there_are_no_largest_of_one(self, k: int) -> None:
        with pytest.raises(ValueError, match="use accuracy"):
            hits(drawn(4, 1), torch.ones(4, 1), k, how(LOGITS))

    def test_numbers_are_told_by_the_targets_where_nothing_else_tells(self) -> None:
        assert hits(drawn(8, 1), drawn(8, 1, seed=1), 1, how())[2] == 8
        assert hits(drawn(8, 1), torch.full((8,), 3), 1, how())[2] == 8
        # The program or the loss says that smoothed answers are labels.
        smooth = torch.full((8, 1), 0.9)
        assert hits(drawn(8, 1), smooth, 1, how())[2] == 8
        assert hits(drawn(8, 1), smooth, 1, how(LOGITS))[2] == hits(drawn(8, 1), smooth, 1, how(task="labels"))[2] == 0


class TestClasses:
    @pytest.mark.parametrize("k", [1, 2, 4])
    @pytest.mark.parametrize("loss", [CE, NLL, None, torch.nn.CrossEntropyLoss(), F.cross_entropy])
    def test_the_largest_scores(self, loss: Any, k: int) -> None:
        scores, targets = drawn(60, 5), torch.arange(60) % 5
        expected = sklearn.top_k_accuracy_score(targets.numpy(), scores.numpy(), k=k, labels=range(5))
        assert ratio(hits(scores, targets, k, how(loss))) == expected

    def test_of_two_classes(self) -> None:
        scores, targets = drawn(60, 2), torch.arange(60) % 2
        assert ratio(hits(scores, targets, 1, how(CE))) == sklearn.accuracy_score(
            targets.numpy(), scores.argmax(1).numpy()
        )

    def test_along_another_axis(self) -> None:
        scores, targets = drawn(6, 5, 7), torch.arange(42).reshape(6, 7) % 5
        expected = sklearn.accuracy_score(targets.flatten().numpy(), scores.argmax(1).flatten().numpy())
        assert ratio(hits(scores, targets, 1, how(CE))) == expected
        assert ratio(hits(scores.movedim(1, -1), targets, 1, how(CE, axis=-1))) == expected

    @pytest.mark.parametrize("loss", [CE, "kl_div", "focal_loss"])
    def test_targets_that_are_probabilities(self, loss: str) -> None:
        scores, targets = drawn(60, 5).softmax(1), drawn(60, 5, seed=1).softmax(1)
        truth = targets.argmax(1).numpy()
        assert ratio(hits(scores, targets, 1, how(loss))) == sklearn.accuracy_score(truth, scores.argmax(1).numpy())
        matrix = Confusion(how(loss))
        matrix.update(scores, targets)
        assert (
            matrix.compute().tolist()
            == sklearn.confusion_matrix(truth, scores.argmax(1).numpy(), labels=range(5)).tolist()
        )
        roc = Roc("macro", None, None, how(loss))
        roc.update(scores, targets)
        probabilities = scores if loss == "focal_loss" else scores.softmax(1)
        expected = np.mean([sklearn.roc_auc_score(truth == c, probabilities[:, c].double().numpy()) for c in range(5)])
        assert roc.compute() == pytest.approx(expected, abs=1e-3)

    def test_surprise_is_the_loss(self) -> None:
        scores, targets = drawn(60, 5), torch.arange(60) % 5
        expected = sklearn.log_loss(targets.numpy(), scores.double().softmax(1).numpy())
        assert ratio(surprise(scores, targets, how(CE))) == pytest.approx(expected, rel=1e-6)
        assert ratio(surprise(scores.log_softmax(1), targets, how(NLL))) == pytest.approx(expected, rel=1e-6)
        assert ratio(surprise(scores.softmax(1), targets, how("cross_entropy_of_probabilities"))) == pytest.approx(
            expected, rel=1e-6
        )
        soft = drawn(60, 5, seed=1).softmax(1)
        assert ratio(surprise(scores, soft, how(CE))) == pytest.approx(F.cross_entropy(scores, soft).item(), rel=1e-6)

    def test_double_precision_is_kept(self) -> None:
        scores, targets = drawn(60, 5).double() / 3, torch.arange(60) % 5
        expected = F.cross_entropy(scores, targets).item()
        assert ratio(surprise(scores, targets, how(CE))) == pytest.approx(expected, rel=1e-14)

    def test_probabilities_are_never_ignored(self) -> None:
        scores, targets = drawn(50, 3), drawn(50, 3, seed=1).softmax(1)
        expected = sklearn.accuracy_score(targets.argmax(1).numpy(), scores.argmax(1).numpy())
        for loss in (torch.nn.CrossEntropyLoss(ignore_index=0), partial(F.cross_entropy, ignore_index=0)):
            assert ratio(hits(scores, targets, 1, how(loss))) == expected
            lost = F.cross_entropy(scores.double(), targets.double()).item()
            assert ratio(surprise(scores, targets, how(loss))) == pytest.approx(lost, rel=1e-6)

    @pytest.mark.parametrize(
        "loss",
        [
            torch.nn.HingeEmbeddingLoss(),
            torch.compile(torch.nn.HingeEmbeddingLoss()),
            "hinge_embedding_loss",
            "siamese_contrastive_loss",
        ],
    )
    def test_distances_have_no_threshold(self, loss: Any) -> None:
        with pytest.raises(ValueError, match="is a loss of numbers"):
            hits(drawn(20, 1).abs(), drawn(20, 1, seed=1).sign(), 1, how(loss))
        assert "no loss of classes" in classified(drawn(20, 1).abs(), drawn(20, 2), loss, None)["problem"]

    @pytest.mark.parametrize(
        "loss",
        [
            torch.nn.CrossEntropyLoss(ignore_index=3),
            partial(F.cross_entropy, ignore_index=3),
            torch.nn.NLLLoss(ignore_index=3),
        ],
    )
    def test_what_the_loss_ignores_does_not_count(self, loss: Any) -> None:
        scores, targets = drawn(60, 5), torch.arange(60) % 5
        kept = targets != 3
        expected = sklearn.accuracy_score(targets[kept].numpy(), scores[kept].argmax(1).numpy())
        assert ratio(hits(scores, targets, 1, how(loss))) == expected
        assert ratio(surprise(scores, targets, how(loss))) == pytest.approx(
            F.cross_entropy(scores[kept], targets[kept]).item(), rel=1e-6
        )
        assert retrieved(scores, targets, False, how(loss))[2].tolist() == [12, 12, 12, 0, 12]
        # A task that the program names comes first.
        assert hits(scores, targets, 1, how(loss, ignore=4))[1] == 48

    def test_one_class_is_none(self) -> None:
        for measure in (partial(hits, k=1), partial(retrieved, binary=False), surprise):
            with pytest.raises(
                ValueError, match=r"outputs of shape \[8, 1\] have one class along axis 1.*bceWithLogits"
            ):
                measure(drawn(8, 1), torch.zeros(8, dtype=torch.long), how=how(CE))
        with pytest.raises(ValueError, match="one class"):
            hits(drawn(8, 1), torch.zeros(8), 1, how(task="classes"))

    def test_labels_that_were_taken_for_classes_are_counted(self) -> None:
        several = torch.tensor([[1.0, 1, 0], [0, 0, 1], [0, 0, 0]])
        assert hits(drawn(3, 3), several, 1, how()).tolist()[2] == 2
        assert hits(drawn(3, 3), several, 1, how(CE)).tolist()[2] == 0
        assert hits(drawn(3, 3), torch.eye(3, dtype=torch.bool), 1, how())[2] == 0
        expected = sklearn.accuracy_score(several.flatten().numpy() > 0, drawn(3, 3).flatten().numpy() > 0)
        assert ratio(hits(drawn(3, 3), several, 1, how(task="labels"))) == expected


class TestNumbers:
    @pytest.mark.parametrize(
        "loss",
        ["mse_loss", "l1_loss", torch.nn.HuberLoss(), F.smooth_l1_loss, partial(F.mse_loss), "multilabel_margin_loss"],
    )
    def test_have_no_classes(self, loss: Any) -> None:
        for shape in ((8, 1), (8,)):
            x = drawn(*shape)
            with pytest.raises(ValueError, match=r"loss of numbers: measure meanAbsoluteError\(\)"):
                hits(x, x, 1, how(loss))
        for shape in ((8, 1), (8,), (8, 3)):
            x = drawn(*shape)
            with pytest.raises(ValueError, match=r"loss of numbers: measure meanAbsoluteError\(\)"):
                surprise(x, x, how(loss))
        x = drawn(8, 3)
        assert hits(x, x, 1, how(loss))[2] == 8

    def test_but_of_one_hot_targets_and_of_what_is_said(self) -> None:
        hot = F.one_hot(torch.arange(60) % 5, 5).float()
        expected = sklearn.accuracy_score(np.arange(60) % 5, drawn(60, 5).argmax(1).numpy())
        assert ratio(hits(drawn(60, 5), hot, 1, how("mse_loss"))) == expected
        answers = drawn(60, 1, seed=1).gt(0).float()
        expected = sklearn.accuracy_score(answers.numpy() > 0, drawn(60, 1).numpy() > 0.5)
        assert ratio(hits(drawn(60, 1), answers, 1, how("mse_loss", task="labels", threshold=0.5))) == expected


class TestRefused:
    def test_several_outputs(self) -> None:
        with pytest.raises(TypeError, match=r"the outputs are a dict of logits, aux, and this metric takes one tensor"):
            hits({"logits": drawn(2, 2), "aux": 1}, torch.zeros(2), 1, how(CE))
        with pytest.raises(TypeError, match="the targets are a list of 2"):
            hits(drawn(2, 2), [1, 2], 1, how(CE))

    def test_complex_numbers(self) -> None:
        with pytest.raises(TypeError, match="complex"):
            hits(torch.zeros(2, dtype=torch.complex64), torch.zeros(2), 1, how(LOGITS))

    def test_shapes_that_do_not_go_together(self) -> None:
        with pytest.raises(ValueError, match="one output for each target"):
            hits(drawn(8, 3), torch.zeros(8), 1, how(LOGITS))
        with pytest.raises(ValueError, match="ask for targets of shape"):
            hits(drawn(8, 3), torch.zeros(7), 1, how(CE))


class TestOfALossOfOnesOwn:
    def test_a_module_of_the_same_name_is_not_pytorchs(self) -> None:
        class MSELoss(torch.nn.Module):
            pass

        def cross_entropy(yhat: Tensor, ys: Tensor) -> Tensor:
            return yhat

        targets = torch.arange(8) % 2
        assert hits(drawn(8, 2), targets, 1, how(MSELoss())).tolist() == hits(drawn(8, 2), targets, 1, how()).tolist()
        assert hits(drawn(8, 1), targets, 1, how(cross_entropy))[1] == 8


class TestClassified:
    def found(self, outputs: Tensor, loss: Any = None, task: Any = None) -> dict[str, Any]:
        return classified(outputs, torch.zeros(len(outputs), 3), loss, task)

    @pytest.mark.parametrize("shape", [(7,), (7, 1)])
    def test_one_output_is_a_sigmoid(self, shape: tuple[int, ...]) -> None:
        z = drawn(*shape)
        p = z.flatten().sigmoid()
        for loss in (LOGITS, None):
            torch.testing.assert_close(self.found(z, loss)["probabilities"], torch.stack([1 - p, p], 1))
        torch.testing.assert_close(self.found(z.sigmoid(), BCE)["probabilities"], torch.stack([1 - p, p], 1))

    def test_classes_and_labels(self) -> None:
        z = drawn(7, 4)
        for loss, outputs, expected in [
            (CE, z, z.softmax(1)),
            (None, z, z.softmax(1)),
            (NLL, z.log_softmax(1), z.softmax(1)),
            ("cross_entropy_of_probabilities", z.softmax(1), z.softmax(1)),
            (LOGITS, z, z.sigmoid()),
            (BCE, z.sigmoid(), z.sigmoid()),
        ]:
            torch.testing.assert_close(self.found(outputs, loss)["probabilities"], expected)

    def test_precision_is_kept(self) -> None:
        assert self.found(drawn(7, 4).double())["scores"].dtype is torch.float64
        assert self.found(drawn(7, 4).bfloat16())["scores"].dtype is torch.float32
        assert self.found(torch.tensor([[2**24 + 1, 0]]))["scores"].tolist() == [[2**24 + 1, 0]]

    @pytest.mark.parametrize(
        ("outputs", "loss", "why"),
        [
            (drawn(7, 1), CE, r"outputs of shape \[7, 1\] are one class"),
            (drawn(7, 3), "mse_loss", "trained with mse_loss, which is no loss of classes"),
            (drawn(7, 3, 2), CE, r"outputs of shape \[7, 3, 2\], which are no scores"),
            (torch.zeros(7, 2, dtype=torch.complex64), CE, "complex"),
            ({"out": 1}, CE, "a dict of out"),
        ],
    )
    def test_what_has_no_classes(self, outputs: Any, loss: str, why: str) -> None:
        problem = classified(outputs, torch.zeros(7, 3), loss, None)["problem"]
        assert "leave out topK and classes" in problem
        with pytest.raises(ValueError, match=why):
            raise ValueError(problem)
