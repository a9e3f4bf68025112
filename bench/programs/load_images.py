"""Loads a folder of images as PyTorch's users do, for the bench.

    python load_images.py pil FOLDER SIZE BATCH               Pillow, in this process
    python load_images.py loader FOLDER SIZE BATCH WORKERS    torchvision's ImageFolder and torch's DataLoader

Prints the ids of its processes. For each line of its standard input it goes through all images once, and prints how
many they were.
"""

import os
import sys

import torch
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

if __name__ == "__main__":
    kind, folder, size, batch, *more = sys.argv[1:]
    side = int(size)
    steps = [transforms.Resize(side), transforms.CenterCrop(side), transforms.PILToTensor()]
    data = datasets.ImageFolder(folder, transforms.Compose(steps))
    workers = int(more[0]) if more else 0
    loader = DataLoader(data, batch_size=int(batch), shuffle=True, num_workers=workers, persistent_workers=workers > 0)

    def once():
        if kind == "loader":
            return sum(len(images) for images, _ in loader)
        seen = 0
        order = torch.randperm(len(data)).tolist()
        for start in range(0, len(order), int(batch)):
            seen += len(torch.stack([data[i][0] for i in order[start : start + int(batch)]]))
        return seen

    once()
    iterator = loader._iterator if workers else None
    print(os.getpid(), *(worker.pid for worker in (iterator._workers if iterator else [])), flush=True)
    for _ in sys.stdin:
        print(once(), flush=True)
