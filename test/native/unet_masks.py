"""examples/unet/main.ts in plain PyTorch: `python unet_masks.py PICTURES EPOCHS DIR`, where DIR holds MNIST's files.

Prints the mean loss of each epoch, and then Dice and the intersection over union, a number on each line.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torchvision import tv_tensors
from torchvision.transforms import v2

from idx import read_idx
from my_unet import UNet
from shuffle import permutation

COUNT, EPOCHS, FOLDER = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
SIDE, BATCH = 48, 20
state = 1


def random():
    global state
    state = (state * 1_664_525 + 1_013_904_223) % 2**32
    return state / 2**32


def scenes(name, n):
    digits = read_idx(FOLDER / f"{name}-images-idx3-ubyte")
    masks = np.zeros((n, SIDE, SIDE), dtype=np.uint8)
    for i in range(2 * n):
        top, left = int((SIDE - 28) * random()), int((SIDE - 28) * random())
        masks[i // 2, top : top + 28, left : left + 28][digits[i] > 100] = 255
    seen = [int((90 if inside else 0) + 165 * random()) for inside in masks.flat]
    pictures = (torch.tensor(seen, dtype=torch.uint8).view(n, 1, SIDE, SIDE), torch.from_numpy(masks).unsqueeze(1))
    return [pixels.float().div(255) for pixels in pictures]


training, training_masks = scenes("train", COUNT)
test, test_masks = scenes("t10k", 200)
torch.manual_seed(0)
model = UNet(channels=1, width=8)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
change = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomAffine(15, translate=(0.1, 0.1), scale=(0.8, 1.2))])
for epoch in range(EPOCHS):
    total = 0
    for rows in torch.tensor(permutation(COUNT, 0, epoch)).split(BATCH):
        pairs = [change(tv_tensors.Image(training[i]), tv_tensors.Mask(training_masks[i])) for i in rows]
        xs, ys = (torch.stack([torch.as_tensor(part) for part in parts]) for parts in zip(*pairs))
        loss = F.binary_cross_entropy_with_logits(model(xs), ys)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += len(rows) * loss.item()
    print(total / COUNT)
model.eval()
with torch.inference_mode():
    found, there = torch.cat([model(xs) for xs in test.split(100)]) > 0, test_masks > 0.5
both, either = (found & there).sum().item(), (found | there).sum().item()
print(2 * both / (both + either))
print(both / either)
