"""A plain script: PyTorch, MNIST, a small CNN, and the first step of its training.

More steps follow, to see its memory.

    python first_step.py FOLDER_OF_MNIST STEPS

Prints "first LOSS" after the first step, and "rest BYTES" after the others: its resident bytes (Linux).
"""

import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

BATCH = 64


def main():
    folder, steps = sys.argv[1], int(sys.argv[2])
    images = np.fromfile(f"{folder}/train-images-idx3-ubyte", np.uint8)[16:].reshape(-1, 28, 28)
    labels = np.fromfile(f"{folder}/train-labels-idx1-ubyte", np.uint8)[8:]
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for i in range(steps + 1):
        rows = slice(i * BATCH, (i + 1) * BATCH)
        x = torch.from_numpy(images[rows]).unsqueeze(1).float().div(255)
        y = torch.from_numpy(labels[rows]).long()
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        value = loss.item()
        if i == 0:
            print("first", value, flush=True)
    with open("/proc/self/statm") as statm:
        print("rest", int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"), flush=True)


main()
