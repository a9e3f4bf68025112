"""Models whose outputs are structures, and those that compute their own loss. They import nothing of ours."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class ModelOutput(OrderedDict):
    """As Hugging Face's: a dict whose items are attributes, too, without those that are None."""

    def __init__(self, **items: Any) -> None:
        super().__init__((name, value) for name, value in items.items() if value is not None)
        self.__dict__.update(self)


@dataclass
class Out:
    logits: torch.Tensor
    loss: Any = None
    states: tuple[Any, ...] = ()
    name: str = "out"


Pair = namedtuple("Pair", ["logits", "states"])


class Classifier(nn.Module):
    """Gives `kind` of the logits [N, 3] of inputs [N, 2], and states."""

    def __init__(self, kind: str = "output") -> None:
        super().__init__()
        self.kind = kind
        self.body = nn.Linear(2, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> Any:
        state = self.body(x).tanh()
        logits = self.head(state)
        if self.kind == "tensor":
            return logits
        if self.kind == "output":
            return ModelOutput(loss=None, logits=logits, hidden_states=(state, x))
        if self.kind == "dataclass":
            return Out(logits, states=(state, x))
        if self.kind == "nested":
            return {"heads": [{"logits": logits}, None], "state": {"last": state}, "layers": 2}
        return Pair(logits, state)


class Visit(nn.Module):
    """Takes inputs nested by name and by position, and gives logits [N, 3] and a prognosis [N, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Linear(8, 4)
        self.site = nn.Embedding(5, 4)
        self.age = nn.Linear(1, 4)
        self.head = nn.Linear(4, 4)

    def forward(self, image: Any, meta: Any) -> Any:
        state = self.image(image.flatten(1)) + self.site(meta["site"]) + self.age(meta["at"][0])
        y = self.head((state * meta["at"][1]["weight"]).tanh())
        return {"label": y[:, :3], "more": [y[:, 3:]]}


class Swapped(nn.Module):
    """Takes its two inputs the other way round."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, a: Any, b: Any) -> Any:
        return self.inner(b, a)


class Echo(nn.Module):
    """Gives its inputs as they are, with a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(()))

    def forward(self, text: Any, others: Any) -> Any:
        return {"text": {**text, "w": self.w}, "others": others}


def visit_loss(model: nn.Module, image: Any, meta: Any, ys: Any) -> torch.Tensor:
    y = model(image, meta)
    return F.cross_entropy(y["label"], ys["label"]) + F.mse_loss(y["more"][0], ys["more"][0]["prognosis"])


def visits(xs: Any, ys: Any, size: int) -> list[tuple[Any, Any, Any]]:
    """Batches of `visit_loss` of nested rows."""

    def part(value: Any, start: int) -> Any:
        if isinstance(value, dict):
            return {name: part(one, start) for name, one in value.items()}
        return value[start : start + size] if isinstance(value, torch.Tensor) else [part(one, start) for one in value]

    return [
        (part(xs["image"], start), part(xs["meta"], start), part(ys, start))
        for start in range(0, len(ys["label"]), size)
    ]


class Tagger(nn.Module):
    """As Hugging Face's for tokens: it computes its loss from `labels` [N, T], of which -100 do not count."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None) -> ModelOutput:
        state = self.embed(input_ids)
        if attention_mask is not None:
            state = state * attention_mask.unsqueeze(-1)
        logits = self.head(state.cumsum(1))
        loss = None if labels is None else F.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return ModelOutput(loss=loss, logits=logits, hidden_states=(state,))


class Detector(nn.Module):
    """As torchvision's: losses in training, detections otherwise, of a list of images [3, H, W] of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3, 8)
        self.boxes = nn.Linear(8, 4)
        self.classes = nn.Linear(8, 3)

    def forward(self, images: Any, targets: Any = None) -> Any:
        features = self.body(torch.stack([image.mean((1, 2)) for image in images])).relu()
        boxes, scores = self.boxes(features), self.classes(features)
        if self.training:
            return {
                "loss_classifier": F.cross_entropy(scores, torch.stack([target["labels"][0] for target in targets])),
                "loss_box_reg": F.l1_loss(boxes, torch.stack([target["boxes"][0] for target in targets])),
            }
        return [
            {"boxes": box.reshape(1, 4), "labels": score.argmax().reshape(1), "scores": score.softmax(0).amax()[None]}
            for box, score in zip(boxes, scores)
        ]


def images(sizes: list[int]) -> list[tuple[list[Any], list[Any]]]:
    """Batches of so many images, each of another size, with a box in each."""
    made = torch.Generator().manual_seed(7)

    def batch(size: int) -> tuple[list[Any], list[Any]]:
        pictures = [torch.rand(3, 24 + 4 * i, 32, generator=made) for i in range(size)]
        corner = [torch.rand(1, 2, generator=made) * 8 for _ in range(size)]
        boxes = [torch.cat([one, one + 10], 1) for one in corner]
        return pictures, [{"boxes": box, "labels": torch.tensor([1 + i % 2])} for i, box in enumerate(boxes)]

    return [batch(size) for size in sizes]


def faster_rcnn() -> nn.Module:
    """A detector of torchvision's with the smallest of backbones."""
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign

    backbone: Any = nn.Sequential(nn.Conv2d(3, 4, 3, 4, 1), nn.ReLU())
    backbone.out_channels = 4
    return FasterRCNN(
        backbone,
        min_size=32,
        max_size=48,
        rpn_anchor_generator=AnchorGenerator(((8, 16),), ((1.0,),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 2, 2),
        box_head=nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU()),
        box_predictor=_Predictor(),
    )


class _Predictor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Linear(8, 3)
        self.boxes = nn.Linear(8, 12)

    def forward(self, x: Any) -> Any:
        return self.scores(x), self.boxes(x)


def train(model: Any, batches: Any, epochs: int, lr: float, loss_of: Any) -> list[float]:
    """The plain loop. Returns the loss of each step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    seen = []
    model.train()
    for _ in range(epochs):
        for batch in batches:
            loss = loss_of(model, *batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append(loss.item())
    return seen


def train_lbfgs(model: Any, batches: Any, epochs: int, loss_of: Any) -> list[float]:
    """The plain loop of L-BFGS. Returns the loss before each step."""
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4)
    seen = []
    model.train()
    for _ in range(epochs):
        for batch in batches:

            def closure(batch: Any = batch) -> torch.Tensor:
                optimizer.zero_grad()
                loss = loss_of(model, *batch)
                loss.backward()
                return loss

            seen.append(optimizer.step(closure).item())
    return seen


class Normed(nn.Module):
    """Computes its loss in training, for which it needs the targets `labels`, and normalises over batches."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.head = nn.Linear(2, 3)

    def forward(self, x: torch.Tensor, labels: Any = None) -> Any:
        logits = self.head(self.norm(x))
        return {"loss": F.cross_entropy(logits, labels)} if self.training else logits


def averaged(model: nn.Module, batches: Any, epochs: int, lr: float) -> Any:
    """The plain loop with SWA over the ends of epochs. Returns the buffers of the mean, with its statistics made anew."""
    from torch.optim.swa_utils import AveragedModel

    mean = AveragedModel(model)
    for _ in range(epochs):
        train(model, batches, 1, lr, lambda model, x, y: model(x, labels=y)["loss"])
        mean.update_parameters(model)
    norm = mean.module.norm
    norm.reset_running_stats()
    norm.momentum = None
    mean.train()
    with torch.no_grad():
        for x, y in batches:
            mean(x, labels=y)
    return mean.module.state_dict()
