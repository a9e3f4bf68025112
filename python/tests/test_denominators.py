"""The denominators of losses: times the mean, they give the sum, as PyTorch's own reductions say."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from torchwire_worker.helpers import losses
from torchwire_worker.helpers.denominators import _functions, weigher, weigher_of

torch.manual_seed(0)
x, y = torch.randn(4, 3, 5), torch.randn(4, 3, 5)
wide = torch.randn(4, 1, 5)
p, q = torch.rand(4, 3, 5).clamp(0.1, 0.9), torch.rand(4, 3, 5).clamp(0.1, 0.9)
signs = torch.randn(4, 3, 5).sign()
labels = torch.randint(0, 3, (4, 5))
labels[0] = -100
weight = torch.tensor([0.5, 2.0, 3.0])
scores, indices = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
of_pair = ([("input1", "input1"), ("input2", "input2")], [("target", "target")])
of_three = ([("anchor", "anchor"), ("positive", "positive"), ("negative", "negative")], [])
of_gaussian = ([("input", "input"), ("var", "var")], [("target", "target")])

CASES = [
    *[
        (f, x, y, {})
        for f in (F.l1_loss, F.mse_loss, F.huber_loss, F.smooth_l1_loss, F.hinge_embedding_loss, F.soft_margin_loss)
    ],
    *[(f, wide, y, {}) for f in (F.l1_loss, F.mse_loss, F.huber_loss, F.smooth_l1_loss, F.hinge_embedding_loss)],
    (F.cross_entropy, x, labels, {}),
    (F.cross_entropy, x, labels, {"weight": weight}),
    (F.cross_entropy, x, labels, {"label_smoothing": 0.3, "weight": weight}),
    (F.cross_entropy, x, labels.clamp(min=0), {"ignore_index": 2, "weight": weight}),
    (F.cross_entropy, x, q, {"weight": weight, "label_smoothing": 0.1}),
    (F.cross_entropy, scores[0], torch.tensor(1), {"weight": weight}),
    (F.cross_entropy, scores[0], torch.rand(3), {}),
    (F.nll_loss, x, labels, {"weight": weight}),
    (F.binary_cross_entropy, p, q, {"weight": torch.rand(5)}),
    (F.binary_cross_entropy_with_logits, x, q, {"pos_weight": torch.rand(5)}),
    (F.kl_div, x, q, {}),
    (F.poisson_nll_loss, x, q, {}),
    (F.multi_margin_loss, scores, indices, {"weight": weight}),
    (F.multi_margin_loss, scores[0], indices[0], {}),
    (F.multilabel_margin_loss, scores, torch.tensor([[0, 2, -1]] * 4), {}),
    (F.multilabel_soft_margin_loss, x, q, {}),
    *[(f, p, q, {}) for f in (losses.msle, losses.binary_cross_entropy, losses.poisson_loss, losses.binary_focal_loss)],
    *[(f, x, signs, {}) for f in (losses.hinge_loss, losses.squared_hinge_loss, losses.siamese_contrastive_loss)],
    *[
        (f, p, q, {"dim": d})
        for f in (losses.cross_entropy_of_probabilities, losses.kl_divergence, losses.focal_loss)
        for d in (1, -1)
    ],
    (losses.cross_entropy_of_probabilities, p, labels.clamp(min=0), {}),
    (losses.focal_loss, p, labels.clamp(min=0), {}),
]
PARTS = [
    (F.gaussian_nll_loss, of_gaussian, [x, p], y),
    (F.gaussian_nll_loss, of_gaussian, [x, p[..., 0]], y),
    (F.gaussian_nll_loss, of_gaussian, [x, p[..., :1]], y),
    (F.margin_ranking_loss, of_pair, [x, wide], signs),
    (F.cosine_embedding_loss, of_pair, [scores, scores + 1], torch.tensor([1, -1, 1, -1])),
    (F.cosine_embedding_loss, of_pair, [scores[0], scores[1]], torch.tensor(1)),
    (F.triplet_margin_loss, of_three, [x, y, p], None),
    (F.triplet_margin_with_distance_loss, of_three, [x, y, p], None),
]


@pytest.mark.parametrize("options", [{"size_average": False}, {"reduce": True, "size_average": False}])
def test_a_sum_by_its_old_name_is_a_sum(options):
    with pytest.warns(UserWarning, match="size_average"):
        total = F.cross_entropy(x, labels, **options)
    value, weight, counted = weigher(partial(F.cross_entropy, **options)).counted(total, x, labels, False)
    assert value == counted == total.item()
    assert counted / weight == pytest.approx(F.cross_entropy(x, labels).item(), rel=1e-6)
    assert weigher(partial(F.cross_entropy, reduce=False)).weight(x, labels) is None


def test_of_a_compiled_loss_as_of_the_loss():
    loss = nn.CrossEntropyLoss(ignore_index=2, weight=weight)
    of_loss = weigher(loss).weight(x, labels.clamp(min=0))
    assert weigher(torch.compile(loss, backend="eager")).weight(x, labels.clamp(min=0)) == of_loss is not None


@pytest.mark.parametrize(("function", "yhat", "ys", "options"), CASES)
def test_mean_times_weight_is_the_sum(function, yhat, ys, options):
    mean, total = function(yhat, ys, **options), function(yhat, ys, **options, reduction="sum")
    counted = weigher(partial(function, **options)).counted(mean, yhat, ys, False)
    assert counted[0] == mean.item()
    assert counted[2] == pytest.approx(total.item(), rel=1e-5)
    # The same holds for the sum itself.
    of_sum = weigher(partial(function, **options, reduction="sum")).counted(total, yhat, ys, False)
    assert of_sum == [total.item(), counted[1], total.item()]
    assert weigher(partial(function, **options, reduction="sum")).counted(total, yhat, ys, True) == [
        total.item(),
        None,
        None,
    ]
    assert weigher(partial(function, **options, reduction="none")).counted(mean, yhat, ys, False) == [
        mean.item(),
        None,
        None,
    ]


@pytest.mark.parametrize(("function", "names", "outputs", "target"), PARTS)
def test_of_several_outputs(function, names, outputs, target):
    call = losses.of_parts(function, *names)
    mean, total = call(outputs, target), call(outputs, target, reduction="sum")
    found = weigher_of("torch.nn.functional", function.__name__, *names, {}).counted(mean, outputs, target, False)
    assert found[2] == pytest.approx(total.item(), rel=1e-5)


def test_weighted_squares_are_divided_by_the_weights():
    # Only newer releases of PyTorch take weights here.
    assert weigher(partial(F.mse_loss, weight=p)).weight(x, y) == pytest.approx(p.double().sum().item())


def test_batchmean_and_sequences():
    assert weigher(partial(F.kl_div, reduction="batchmean")).weight(x, q) == 4
    given = (
        [("log_probs", "log_probs")],
        [("targets", "targets"), ("input_lengths", "input_lengths"), ("target_lengths", "target_lengths")],
    )
    of_ctc = weigher_of("torch.nn.functional", "ctc_loss", *given, {})
    assert of_ctc.weight(torch.randn(10, 3, 5), [labels, labels, labels]) == 3


def test_a_distance_of_ones_own_is_not_computed():
    asked = []

    def distance(one, other):
        asked.append(one.device.type)
        return (one - other).abs().sum(-1)

    found = weigher_of(
        "torch.nn.functional", "triplet_margin_with_distance_loss", *of_three, {"distance_function": distance}
    )
    assert found.weight([x, y, p], None) == 12
    assert asked == ["meta", "meta"]


class Doubled(nn.MSELoss):
    def forward(self, input, target):
        return 2 * super().forward(input, target)


@pytest.mark.parametrize(
    "unknown",
    [
        Doubled(),
        lambda yhat, ys: yhat.sum(),
        "mse",
        None,
        partial(F.mse_loss, x),
        losses.dice_coeff_loss,
        nn.GaussianNLLLoss(),
    ],
)
def test_of_what_is_not_known_there_is_no_weight(unknown):
    assert weigher(unknown).counted(torch.tensor(2.0), x, y, False) == [2.0, None, None]


def test_a_module_is_asked_at_each_step():
    module = nn.CrossEntropyLoss()
    found = weigher(module)
    assert found.weight(x, labels) == 15
    module.ignore_index = 1
    assert found.weight(x, labels.clamp(min=0)) == 20 - (labels.clamp(min=0) == 1).sum().item()


def test_bytes_as_targets():
    found = weigher(partial(F.cross_entropy, weight=weight))
    assert found.weight(scores, indices.to(torch.uint8)) == weight[indices].sum().item()


def test_every_loss_that_is_a_mean_is_tested():
    tested = {case[0] for case in CASES} | {case[0] for case in PARTS} | {F.ctc_loss}
    assert tested == set(_functions())
