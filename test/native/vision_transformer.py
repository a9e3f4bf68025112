"""examples/vision-transformer.ts in plain PyTorch: `python vision_transformer.py IMAGES EPOCHS DIR`, where DIR holds
MNIST's files.

Prints the mean loss of each epoch, and then the accuracy, a number on each line.
"""

import math
import sys
from pathlib import Path

import timm.optim
import torch
import torch.nn.functional as F

from idx import read_idx
from shuffle import permutation

IMAGES, EPOCHS, FOLDER = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
BATCH, RATE = 64, 2e-3


def read(name, count):
    images = torch.from_numpy(read_idx(FOLDER / f"{name}-images-idx3-ubyte")[:count].copy())
    labels = torch.from_numpy(read_idx(FOLDER / f"{name}-labels-idx1-ubyte")[:count].copy())
    return images.unsqueeze(1).float().div(255).sub(0.1307).div(0.3081), labels.long()


training, labels = read("train", IMAGES)
test, test_labels = read("t10k", 2000)
torch.manual_seed(0)
model = timm.create_model("test_vit", num_classes=10, in_chans=1, img_size=28, patch_size=7)
groups = timm.optim.param_groups_layer_decay(model, weight_decay=0.05, layer_decay=0.75)
for group in groups:
    group["lr"] = RATE * group["lr_scale"]
optimizer = torch.optim.AdamW(groups)
steps = EPOCHS * math.ceil(IMAGES / BATCH)
rising = math.ceil(steps / 4)


def one_cycle(step):
    if step < rising:
        return (1 - 1 / 25) * (1 - math.cos(math.pi * step / rising)) / 2 + 1 / 25
    return (1 - 1e-5) * (1 + math.cos(math.pi * (step - rising) / (steps - rising))) / 2 + 1e-5


schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, one_cycle)
for epoch in range(EPOCHS):
    total = 0
    for rows in torch.tensor(permutation(IMAGES, 0, epoch)).split(BATCH):
        loss = F.cross_entropy(model(training[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += len(rows) * loss.item()
    print(total / IMAGES)
model.eval()
with torch.inference_mode():
    print((model(test).argmax(1) == test_labels).float().mean().item())
