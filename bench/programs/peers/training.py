"""What the peers in PyTorch train: the same models from the same random numbers, and MNIST's first 10,000 images."""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[3] / "test" / "native"))

from idx import read_idx

COUNT = 10_000
BATCH = 64
# The images in an order that is mixed, and easy to say in both languages: image i is number 7919 i, modulo their number.
STRIDE = 7919


def make(name):
    """Return a fresh model and its optimizer."""
    torch.manual_seed(0)
    model = nn.Sequential(*{"mlp": mlp, "cnn": cnn}[name]())
    return model, torch.optim.Adam(model.parameters(), lr=3e-3)


def mlp():
    return nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)


def cnn():
    return (
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 10),
    )


def digits(folder):
    """Return the images, [10000, 28, 28], and their labels, both uint8."""
    images = read_idx(Path(folder) / "train-images-idx3-ubyte")[:COUNT]
    labels = read_idx(Path(folder) / "train-labels-idx1-ubyte")[:COUNT]
    order = np.arange(COUNT) * STRIDE % COUNT
    return np.ascontiguousarray(images[order]), np.ascontiguousarray(labels[order])
