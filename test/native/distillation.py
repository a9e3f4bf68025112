"""examples/distillation.ts in plain PyTorch: `python distillation.py IMAGES DIR`, where DIR holds MNIST's files.

Prints the mean loss of each epoch, the teacher's and then the student's, and how many of the 3s the student knows.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from idx import read_idx
from shuffle import permutation

IMAGES, FOLDER = int(sys.argv[1]), Path(sys.argv[2])
BATCH, TEMPERATURE = 64, 8


def read(name, count):
    images = torch.from_numpy(read_idx(FOLDER / f"{name}-images-idx3-ubyte")[:count].copy())
    labels = torch.from_numpy(read_idx(FOLDER / f"{name}-labels-idx1-ubyte")[:count].copy())
    return images.unsqueeze(1).float().div(255).sub(0.1307).div(0.3081), labels.long()


def network(width):
    return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, width), nn.ReLU(), nn.Linear(width, 10))


def train(model, images, labels, epochs, loss_of):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for epoch in range(epochs):
        total = 0
        for rows in torch.tensor(permutation(len(images), 0, epoch)).split(BATCH):
            loss = loss_of(images[rows], labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += len(rows) * loss.item()
        print(total / len(images))


def distance(xs, ys):
    with torch.no_grad():
        told = F.softmax(teacher(xs) / TEMPERATURE, 1)
    return F.cross_entropy(student(xs) / TEMPERATURE, told)


digits, labels = read("train", IMAGES)
test, test_labels = read("t10k", 2000)
torch.manual_seed(0)
teacher = network(512)
train(teacher, digits, labels, 3, lambda xs, ys: F.cross_entropy(teacher(xs), ys))
student = network(128)
train(student, digits[labels != 3], labels[labels != 3], 10, distance)
with torch.inference_mode():
    print((student(test[test_labels == 3]).argmax(1) == 3).float().mean().item())
