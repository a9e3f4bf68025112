"""Models and plain PyTorch loops for the worker of test/client/callbacks/backend.test.ts. It imports nothing of ours."""

import copy

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Tied(nn.Module):
    """A model with hard cases.

    It has one weight under two names, another parameter in the same memory, extra state that is no tensor, and buffers
    that no state dict has or that are replaced.
    """

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.last = nn.Linear(4, 4)
        self.last.weight = self.first.weight
        self.view = nn.Parameter(self.first.weight.data.t())
        self.norm = nn.BatchNorm1d(4)
        self.shared = self.norm
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 1))
        self.register_buffer("scale", torch.ones(4), persistent=False)
        self.register_buffer("steps", torch.zeros(()))
        self.note = {"runs": 0}

    def forward(self, x):
        if self.training:
            self.scale.mul_(1.25)
            self.steps = self.steps + 1
            self.note["runs"] += 1
        return self.normed(self.norm(self.last(self.first(x) * self.scale) + x @ self.view)) + self.steps

    def get_extra_state(self):
        return self.note

    def set_extra_state(self, state):
        self.note = state


class Caching(nn.Module):
    """It keeps what its first run made."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 1)
        self.cache = None
        self.register_buffer("kept", None, persistent=False)

    def forward(self, x):
        if self.cache is None:
            self.cache = torch.tensor([0.5])
            self.kept = torch.arange(4.0).sub(1)
        return self.linear(x * self.kept) * self.cache


class Loss(nn.Module):
    def __init__(self):
        super().__init__()
        self.margin = nn.Parameter(torch.full((3,), 2.0))

    def forward(self, yhat, y):
        return (yhat - y).square().mean() * self.margin.square().sum()


def tied():
    return Tied()


def caching():
    return Caching()


def lazy():
    return nn.Sequential(
        nn.Unflatten(1, (1, 4)),
        nn.LazyConv1d(3, 2),
        nn.LazyBatchNorm1d(),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.LazyLinear(1),
    )


def tensors(model):
    """Return all tensors by all of their names."""
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {name: [value.double().item() for value in tensor.detach().flatten()] for name, tensor in named}


def train(build, xs, ys, epochs, ema=None, swa=None, buffers=False, clip=None, look=False):
    """Train on batches of 8 rows, and validate on all rows after each epoch. With `look`, run the model once before."""
    torch.manual_seed(0)
    model, loss = build(), Loss() if clip else nn.MSELoss()
    torch.manual_seed(5)
    optimizer = torch.optim.SGD([*model.parameters(), *loss.parameters()], lr=0.05, momentum=0.9)
    averaged, losses = None, []
    if look:
        with torch.no_grad():
            model.eval()(xs)

    def update():
        nonlocal averaged
        if averaged is None:
            averaged = AveragedModel(
                model, multi_avg_fn=None if ema is None else get_ema_multi_avg_fn(ema), use_buffers=buffers
            )
        averaged.update_parameters(model)

    for epoch in range(epochs):
        model.train()
        for x, y in zip(xs.split(8), ys.split(8)):
            optimizer.zero_grad()
            loss(model(x), y).backward()
            if clip:
                nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip)
            optimizer.step()
            if ema is not None:
                update()
        if swa is not None and epoch + 1 >= swa:
            update()
        judged = copy.deepcopy(model if averaged is None else averaged.module).eval()
        with torch.no_grad():
            losses.append(loss(judged(xs), ys).item())
    return {
        "losses": losses,
        "model": tensors(model),
        "averaged": averaged and tensors(averaged.module),
        "loss": tensors(loss),
    }
