"""A plain PyTorch loop over a U-Net of two files, and the reference of the test that sends them to workers.

    python unet.py --out FILE --threads 1

It writes to --out: `losses`, those of all steps as the float32's four bytes, little-endian, in hexadecimal; and
`weights_sha256` over all entries of the state_dict in order, the name of each in UTF-8 and then its contiguous bytes.
"""

import argparse
import hashlib
import json
import struct
from pathlib import Path

import torch
import torch.nn.functional as F

from my_unet import UNet

IMAGES, BATCH, EPOCHS, SIDE = 12, 4, 2, 16


def data():
    """Every number is a multiple of 1/64, so that each language makes the same."""
    count = IMAGES * SIDE * SIDE
    xs = (torch.arange(3 * count) * 37 % 64).float().div(64).reshape(IMAGES, 3, SIDE, SIDE)
    ys = (torch.arange(count) * 11 % 3 == 0).float().reshape(IMAGES, 1, SIDE, SIDE)
    return xs, ys


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(0)
    model = UNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    xs, ys = data()
    losses = []
    for _ in range(EPOCHS):
        for x, y in zip(xs.split(BATCH), ys.split(BATCH)):
            loss = F.binary_cross_entropy_with_logits(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(struct.pack("<f", loss.item()).hex())
    hash = hashlib.sha256()
    for name, value in model.state_dict().items():
        hash.update(name.encode())
        hash.update(value.contiguous().numpy().tobytes())
    options.out.write_text(json.dumps({"losses": losses, "weights_sha256": hash.hexdigest()}))


main()
