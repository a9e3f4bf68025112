"""examples/simclr.ts in plain PyTorch: `python simclr.py IMAGES EPOCHS DIR`, where DIR holds MNIST's files.

Prints the mean loss of each epoch, and then the two fractions, a number on each line.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from idx import read_idx
from shuffle import permutation

IMAGES, EPOCHS, FOLDER = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
BATCH = 64


def read(name, count):
    images = torch.from_numpy(read_idx(FOLDER / f"{name}-images-idx3-ubyte")[:count].copy())
    labels = torch.from_numpy(read_idx(FOLDER / f"{name}-labels-idx1-ubyte")[:count].copy())
    return images.unsqueeze(1).float().div(255), labels.long()


training, known_labels = read("train", IMAGES)
test, test_labels = read("t10k", 2000)

torch.manual_seed(0)
encoder = nn.Sequential(
    nn.Conv2d(1, 16, 3, stride=2, padding=1),
    nn.ReLU(),
    nn.Conv2d(16, 32, 3, stride=2, padding=1),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(32 * 7 * 7, 64),
)
model = nn.Sequential(encoder, nn.ReLU(), nn.Linear(64, 32))


def look(xs):
    maps = torch.randn_like(xs.flatten(1).narrow(1, 0, 6)).mul(0.15).view(-1, 2, 3) + torch.eye(2, 3)
    return F.grid_sample(xs, F.affine_grid(maps, xs.shape, align_corners=False), align_corners=False)


def contrast(z):
    rows = F.normalize(z)
    scores = (rows @ rows.t()).fill_diagonal_(-torch.inf) / 0.5
    others = torch.arange(len(z)).view(2, -1).flip(0).flatten()
    return F.cross_entropy(scores, others)


@torch.inference_mode()
def nearest():
    known, seen = F.normalize(encoder(training[:100])), F.normalize(encoder(test))
    return (known_labels[:100][(seen @ known.t()).argmax(1)] == test_labels).float().mean().item()


before = nearest()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
for epoch in range(EPOCHS):
    order = permutation(len(training), 0, epoch)
    losses = []
    for start in range(0, len(order) - BATCH + 1, BATCH):
        xs = training[order[start : start + BATCH]]
        loss = contrast(model(torch.cat([look(xs), look(xs)])))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(sum(losses) / len(losses))
print(before)
print(nearest())
