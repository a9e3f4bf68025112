"""Plain PyTorch training loops, one for each optimizer: the reference of test/client/optim/optim-parity.test.ts.

    python optimizers.py --cases FILE --out FILE --threads 1

The cases are a JSON list of objects:

- `optimizer`: a class of torch.optim; `options`: its keyword arguments, with lists for tuples;
- `model`: "mlp", "dropout" (the same with a dropout layer), "matrices" (without biases) or "sparse" (an embedding with
  sparse gradients);
- `head`: null, or options of the last layer, which is then a group of its own;
- `before`, `after`: changes to the gradients before the optimizer's step, and to its update: pairs of a name and its
  numbers, as in Flux;
- `fault`: null, or "lr": learning rates that are off by a hundred-thousandth, to show that the comparison notices it.

It writes to --out, for each case: `losses` of all steps, as the float32's four bytes, little-endian, in hexadecimal;
and `weights_sha256` over all entries of the state_dict in order, the name of each in UTF-8 and then its bytes.
"""

import argparse
import hashlib
import json
import struct
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

STEPS, BATCH = 20, 8


def number(k):
    """Return numbers between -1 and 1 that are the same in every language."""
    return ((k * 37 + 11) % 101) / 50 - 1


def batch(step, kind):
    start = step * BATCH
    if kind == "sparse":
        xs = torch.tensor([[(5 * (start + i) + 7 * j) % 12 for j in range(4)] for i in range(BATCH)])
    else:
        xs = torch.tensor([[number(4 * (start + i) + j) for j in range(4)] for i in range(BATCH)])
    ys = torch.tensor([[number(3 * (start + i) + j + 50) for j in range(3)] for i in range(BATCH)])
    return xs, ys


def make_model(kind):
    if kind == "sparse":
        return nn.EmbeddingBag(12, 3, sparse=True)
    bias = kind != "matrices"
    dropout = [nn.Dropout(0.25)] if kind == "dropout" else []
    return nn.Sequential(nn.Linear(4, 8, bias=bias), nn.Tanh(), *dropout, nn.Linear(8, 3, bias=bias))


def make_optimizer(case, model):
    options, head = (
        {name: tuple(value) if isinstance(value, list) else value for name, value in these.items()}
        for these in (case["options"], case["head"] or {})
    )
    parameters = list(model.parameters())
    if head:
        last = list(model[-1].parameters())
        parameters = [{"params": parameters[: -len(last)]}, {"params": last, **head}]
    optimizer = getattr(torch.optim, case["optimizer"])(parameters, **options)
    if case["fault"] == "lr":
        for group in optimizer.param_groups:
            group["lr"] *= 1 + 1e-5
    return optimizer


def decay_of(name, values, step):
    if name == "invDecay":
        return 1 / (1 + values[0] * step)
    eta, decay, every, clip, start = values
    for n in range(1, step + 1):
        if n > start and n % every == 0:
            eta = max(eta * decay, clip)
    return eta


@torch.no_grad()
def change_gradients(parts, model, step):
    for p in model.parameters():
        for name, values in parts:
            if name == "weightDecay":
                p.grad = p.grad.add(p, alpha=values[0])
            elif name == "clipValue":
                p.grad = p.grad.clamp(-values[0], values[0])
            elif name == "clipNorm":
                norm = p.grad.norm()
                if norm > values[0]:
                    p.grad = p.grad * (values[0] / norm)
            else:
                p.grad = p.grad * decay_of(name, values, step)


@torch.no_grad()
def change_update(parts, model, optimizer, step):
    """Do as AdamW: shrink the weights before the step, and change the learning rates for it. Return the old rates."""
    rate, shrink = 1.0, 0.0
    for name, values in parts:
        if name == "weightDecay":
            shrink += values[0]
        else:
            rate, shrink = rate * decay_of(name, values, step), shrink * decay_of(name, values, step)
    if shrink:
        for p in model.parameters():
            p.mul_(1 - shrink)
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] *= rate
    return rates


def train(case):
    torch.manual_seed(3)
    model = make_model(case["model"])
    optimizer = make_optimizer(case, model)
    losses = []
    for step in range(STEPS):
        xs, ys = batch(step, case["model"])

        def evaluate():
            optimizer.zero_grad()
            loss = F.mse_loss(model(xs), ys)
            loss.backward()
            return loss

        if case["optimizer"] == "LBFGS":
            loss = optimizer.step(evaluate)
        else:
            loss = evaluate()
            change_gradients(case["before"], model, step + 1)
            rates = change_update(case["after"], model, optimizer, step + 1)
            optimizer.step()
            for group, rate in zip(optimizer.param_groups, rates):
                group["lr"] = rate
        losses.append(struct.pack("<f", loss.item()).hex())

    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return {"losses": losses, "weights_sha256": digest.hexdigest()}


def main():
    parser = argparse.ArgumentParser()
    for name in ("cases", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)
    cases = json.loads(arguments.cases.read_text())
    known = [case for case in cases if hasattr(torch.optim, case["optimizer"])]
    results = {id(case): train(case) for case in known}
    arguments.out.write_text(json.dumps([results.get(id(case)) for case in cases]))


main()
