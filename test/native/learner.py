"""Plain PyTorch training loops with epochs and validation: the reference of the learner's parity test.

    python learner.py --data DIR --cases FILE --out FILE --threads 1

DIR holds MNIST's training files. The cases are a JSON list of objects:

- `seed`: set before the model is made; `noise_seed`: set after the model and its optimizer are made;
- `images`, `validation`: how many RGB images to train with, from the first on, and how many after them to validate with
  (0: no validation);
- `batch_size`, `drop_last`, `epochs`, `shuffle`: a seed, or null for the order of the data;
- `dropout`: with a dropout layer in the model;
- `noisy_loss`: the loss drops some of the scores, in validation too, which has its own random numbers;
- `optimizer`: `sgd` (momentum 0.9) or `adamw`; `lr`; `head_lr`: the rate of the last layer, then a group of its own, or
  null;
- `accumulate`: batches whose gradients are averaged; `clip`: the norm to clip to, or null;
- `channels_last`: images and model in this memory format;
- `fault`: null, or one deliberate mistake, to show that the comparison notices it: see FAULTS.

It writes to --out, for each case: `training` and `validation`, the losses of all steps as the float32's four bytes,
little-endian, in hexadecimal; and `weights_sha256` over all entries of the state_dict in order, the name of each in
UTF-8 and then its contiguous bytes.
"""

import argparse
import hashlib
import json
import math
import struct
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from idx import rgb_digits
from shuffle import permutation

FAULTS = {
    "lr-ulp": "the learning rate is the next float64",
    "skip-zero-grad": "gradients are not zeroed before the third update",
    "noise-seed": "noise_seed is one more",
    "shuffle-epoch": "epochs are counted from 1 in the shuffling",
    "validation-trains": "validation is done in train mode",
    "validation-draws": "validation takes its random numbers from those of the training",
    "whole-groups": "a last group with fewer batches is divided by as many as a whole one has",
    "clip-late": "gradients are clipped after the update",
    "head-lr": "the head has the learning rate of the rest",
    "contiguous": "memory is contiguous",
}


def make_model(dropout):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25 if dropout else 0.0),
        nn.Flatten(),
        nn.Linear(16 * 7 * 7, 10),
    )


def make_optimizer(case, model):
    lr, head_lr = case["lr"], case["head_lr"]
    if case["fault"] == "lr-ulp":
        lr = math.nextafter(lr, math.inf)
    if case["fault"] == "head-lr":
        head_lr = lr
    parameters = list(model.parameters())
    if head_lr is not None:
        head = list(model[-1].parameters())
        parameters = [{"params": parameters[: -len(head)]}, {"params": head, "lr": head_lr}]
    if case["optimizer"] == "adamw":
        return torch.optim.AdamW(parameters, lr=lr)
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9)


def batches(images, labels, batch_size, drop_last, order):
    count = len(images)
    end = count - count % batch_size if drop_last else count
    for start in range(0, end, batch_size):
        rows = order[start : min(start + batch_size, end)]
        yield images[rows], labels[rows]


def train(case, images, labels):
    fault, size = case["fault"], case["batch_size"]
    channels_last = case["channels_last"] and fault != "contiguous"
    torch.manual_seed(case["seed"])
    model = make_model(case["dropout"])
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimizer = make_optimizer(case, model)
    torch.manual_seed(case["noise_seed"] + (fault == "noise-seed"))

    middle, end = case["images"], case["images"] + case["validation"]
    losses = {"training": [], "validation": []}
    updates = 0

    def loss_of(xs, ys, kind):
        x = torch.from_numpy(xs).permute(0, 3, 1, 2)
        x = (x if channels_last else x.contiguous()).float().div(255)
        yhat = model(x)
        if case["noisy_loss"]:
            yhat = F.dropout(yhat, 0.1)
        loss = F.cross_entropy(yhat, torch.from_numpy(ys).long())
        losses[kind].append(struct.pack("<f", loss.item()).hex())
        return loss

    for epoch in range(case["epochs"]):
        order = list(range(middle))
        if case["shuffle"] is not None:
            order = permutation(middle, case["shuffle"], epoch + (fault == "shuffle-epoch"))
        model.train()
        data = list(batches(images[:middle], labels[:middle], size, case["drop_last"], order))
        for start in range(0, len(data), case["accumulate"]):
            group = data[start : start + case["accumulate"]]
            if not (fault == "skip-zero-grad" and updates == 2):
                optimizer.zero_grad()
            for xs, ys in group:
                loss = loss_of(xs, ys, "training")
                k = case["accumulate"] if fault == "whole-groups" else len(group)
                (loss / k).backward()
            if case["clip"] is not None and fault != "clip-late":
                nn.utils.clip_grad_norm_(model.parameters(), case["clip"])
            optimizer.step()
            if case["clip"] is not None and fault == "clip-late":
                nn.utils.clip_grad_norm_(model.parameters(), case["clip"])
            updates += 1

        model.train(fault == "validation-trains")
        drawn = torch.get_rng_state()
        with torch.inference_mode():
            for xs, ys in batches(images[middle:end], labels[middle:end], size, False, range(case["validation"])):
                loss_of(xs, ys, "validation")
        if fault != "validation-draws":
            torch.set_rng_state(drawn)

    return {**losses, "weights_sha256": hash_of(model)}


def hash_of(model):
    whole = hashlib.sha256()
    for name, value in model.state_dict().items():
        whole.update(name.encode())
        whole.update(value.contiguous().numpy().tobytes())
    return whole.hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(options.threads)
    cases = json.loads(options.cases.read_text())
    for case in cases:
        if case["fault"] is not None and case["fault"] not in FAULTS:
            raise SystemExit(f"fault is {case['fault']!r}; known are {', '.join(FAULTS)}")
    images, labels = rgb_digits(options.data, max(case["images"] + case["validation"] for case in cases))
    results = [train(case, images, labels) for case in cases]
    options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
