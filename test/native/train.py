"""A plain PyTorch training loop, the reference of the parity test: the bits of every loss, and a hash of the weights.

    python train.py --model resnet18 --optimizer sgd --lr 0.05 --steps 30 --batch-size 16 --seed 0 --threads 2 --data DIR --out FILE

DIR holds MNIST's training files. It writes to FILE as JSON:

- `losses`: the loss of each step;
- `loss_bits`: the same as the float32's four bytes, little-endian, in hexadecimal;
- `weights`: the sha256 of the contiguous bytes of each entry of the state_dict, in its order;
- `weights_sha256`: over all entries in order, the name of each in UTF-8 and then its contiguous bytes;
- `num_threads`, `versions`, `fault`, and the `seconds` that the steps took.

--fault makes one deliberate mistake, to show that the comparison notices it. lr-ulp needs a rate at a tie: the kernels
see the rate (SGD), or Adam's step size at step 1, rounded to float32, where almost every rate is the same as its
float64 neighbours. These are not: 0.01000000024214387 for sgd, 0.0010000000242143866 for adam.
"""

import argparse
import hashlib
import json
import math
import platform
import struct
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchvision

from idx import rgb_digits
from models import MODELS, OPTIMIZERS
from shuffle import permutation

FAULTS = {
    "lr-ulp": "the learning rate is the next float64",
    "lr-ulp32": "the learning rate is the next float32",
    "skip-zero-grad": "gradients are not zeroed at step 10",
    "swap-batches": "batches 4 and 5 change places",
}


def batches(images, labels, batch_size, steps, seed):
    """Return `steps` full batches in the order of permutation(n, seed)."""
    order = permutation(len(images), seed)
    for step in range(steps):
        rows = order[step * batch_size : (step + 1) * batch_size]
        yield images[rows], labels[rows]


def train(options):
    if options.fault and options.steps < 12:
        raise SystemExit("--fault needs 12 steps or more to make its mistake and to show it")
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    model = MODELS[options.model]()

    lr = options.lr
    if options.fault == "lr-ulp":
        lr = math.nextafter(lr, math.inf)
    if options.fault == "lr-ulp32":
        lr = float(np.nextafter(np.float32(lr), np.float32(np.inf)))
    optimizer = OPTIMIZERS[options.optimizer](model.parameters(), lr)

    images, labels = rgb_digits(options.data, options.images or options.steps * options.batch_size)
    if len(images) < options.steps * options.batch_size:
        raise SystemExit(f"{options.steps} batches of {options.batch_size} need more than {len(images)} images")
    data = list(batches(images, labels, options.batch_size, options.steps, options.seed))
    if options.fault == "swap-batches":
        data[4], data[5] = data[5], data[4]

    losses = []
    start = time.perf_counter()
    for step, (xs, ys) in enumerate(data):
        x = torch.from_numpy(xs).permute(0, 3, 1, 2).contiguous().float().div(255)
        y = torch.from_numpy(ys).long()
        loss = F.cross_entropy(model(x), y)
        if not (options.fault == "skip-zero-grad" and step == 10):
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    seconds = time.perf_counter() - start

    weights, whole = {}, hashlib.sha256()
    for name, value in model.state_dict().items():
        content = value.contiguous().numpy().tobytes()
        weights[name] = hashlib.sha256(content).hexdigest()
        whole.update(name.encode())
        whole.update(content)

    return {
        "model": options.model,
        "fault": options.fault,
        "losses": [loss if math.isfinite(loss) else None for loss in losses],
        "loss_bits": [struct.pack("<f", loss).hex() for loss in losses],
        "weights": weights,
        "weights_sha256": whole.hexdigest(),
        "num_threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
        },
        "seconds": seconds,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--optimizer", choices=OPTIMIZERS, required=True)
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--images", type=int, help="RGB images to draw batches from; steps * batch-size by default")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fault", choices=FAULTS, help="; ".join(f"{name}: {what}" for name, what in FAULTS.items()))
    options = parser.parse_args()
    result = train(options)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
