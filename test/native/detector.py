"""examples/detector.ts in plain PyTorch: `python detector.py PICTURES EPOCHS DIR`, where DIR holds MNIST's files.

Prints for each epoch its loss, the four parts of that, and mAP and mAP at 50 % of the test pictures, as JSON; then what
is found first in three of them, a line for each.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchmetrics.detection import MeanAveragePrecision
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

from idx import read_idx
from shuffle import permutation

PICTURES, EPOCHS, FOLDER = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
seed = 1


def below(n):
    global seed
    seed = (seed * 1_664_525 + 1_013_904_223) % 2**32
    return int(n * (seed / 2**32))


def picture(images, labels, n):
    pixels = np.zeros((64, 32 * n), np.uint8)
    digits = [below(len(images)) for _ in range(n)]
    boxes = []
    for i, digit in enumerate(digits):
        left, top = 32 * i + below(5), below(64 - 27)
        pixels[top : top + 28, left : left + 28] = images[digit]
        rows, columns = np.nonzero(images[digit])
        boxes.append([left + columns.min(), top + rows.min(), left + columns.max() + 1, top + rows.max() + 1])
    x = torch.from_numpy(pixels).unsqueeze(0).float().div(255)
    found = torch.from_numpy(np.array(boxes, np.float32)), torch.from_numpy(labels[digits].astype(np.int64) + 1)
    return x, dict(zip(["boxes", "labels"], found))


def pictures(name, digits, count):
    images = read_idx(FOLDER / f"{name}-images-idx3-ubyte")[:digits]
    labels = read_idx(FOLDER / f"{name}-labels-idx1-ubyte")[:digits]
    return [picture(images, labels, 2 + below(3)) for _ in range(count)]


def block(from_, to, stride):
    return [nn.Conv2d(from_, to, 3, stride=stride, padding=1), nn.BatchNorm2d(to), nn.ReLU()]


training = pictures("train", 20_000, PICTURES)
test = pictures("t10k", 2000, 100)

torch.manual_seed(0)
backbone = nn.Sequential(*block(1, 16, 2), *block(16, 32, 2), *block(32, 32, 1))
backbone.out_channels = 32
model = FasterRCNN(
    backbone,
    11,
    min_size=64,
    max_size=128,
    image_mean=[0.13],
    image_std=[0.31],
    rpn_anchor_generator=AnchorGenerator([[20]], [[1, 2]]),
    rpn_pre_nms_top_n_train=200,
    rpn_post_nms_top_n_train=100,
    rpn_post_nms_top_n_test=30,
    rpn_batch_size_per_image=64,
    box_roi_pool=MultiScaleRoIAlign(["0"], 6, 2),
    box_batch_size_per_image=32,
)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
metric = MeanAveragePrecision(backend="faster_coco_eval")

for epoch in range(EPOCHS):
    model.train()
    order = permutation(len(training), 0, epoch)
    sums = {}
    for start in range(0, len(order), 8):
        xs, ys = zip(*[training[i] for i in order[start : start + 8]])
        losses = model(xs, ys)
        loss = sum(losses.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for name, value in {"loss": loss, **losses}.items():
            sums[name] = sums.get(name, 0) + len(xs) * value.item()
    model.eval()
    metric.reset()
    with torch.no_grad():
        for start in range(0, len(test), 20):
            xs, ys = zip(*test[start : start + 20])
            metric.update(model(xs), ys)
    found = metric.compute()
    print(json.dumps([total / len(training) for total in sums.values()] + [found[k].item() for k in ("map", "map_50")]))

with torch.no_grad():
    for (_, target), found in zip(test, model([x for x, _ in test[:3]])):
        for k in range(min(len(target["labels"]), len(found["scores"]))):
            left, top, *_ = found["boxes"][k]
            print(f"{found['labels'][k] - 1} at {left:.0f}, {top:.0f}, by {100 * found['scores'][k].item():.0f} %")
