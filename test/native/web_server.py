"""examples/web-server.ts in plain PyTorch, but for the server: `python web_server.py IMAGES EPOCHS DIR`, where DIR
holds MNIST's files.

Prints the loss of each step, a number on each line; then the scores of the first five test digits, a JSON list on each
line; then, for each entry of the state_dict, its name and the sha256 of its contiguous bytes.
"""

import hashlib
import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from idx import read_idx
from shuffle import permutation

IMAGES, EPOCHS, FOLDER = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
BATCH = 32


def read(name, count):
    images = torch.from_numpy(read_idx(FOLDER / f"{name}-images-idx3-ubyte")[:count].copy())
    labels = torch.from_numpy(read_idx(FOLDER / f"{name}-labels-idx1-ubyte")[:count].copy())
    pixels = images.unsqueeze(1).float().div(255).sub(0.1307).div(0.3081)
    return pixels.repeat(1, 3, 1, 1), labels.long()


xs, ys = read("train", IMAGES)

torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(3, 16, 3, stride=2),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.Conv2d(16, 32, 3, stride=2),
    nn.ReLU(),
    nn.Flatten(),
    nn.Dropout(0.25),
    nn.Linear(32 * 6 * 6, 10),
)
optimizer = torch.optim.AdamW(model.parameters())
for epoch in range(EPOCHS):
    order = permutation(len(xs), 0, epoch)
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        loss = F.cross_entropy(model(xs[rows]), ys[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(loss.item())

model.eval()
with torch.inference_mode():
    for digit in read("t10k", 5)[0]:
        print(json.dumps(model(digit.unsqueeze(0))[0].tolist()))
for name, value in model.state_dict().items():
    print(name, hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest())
