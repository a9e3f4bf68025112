"""The native side of the bench's GPU section: plain PyTorch as it is written for speed.

It reads a JSON object a line, on stdin.

    {"cmd": "init", "model": "resnet50", "batch": 128, "images": 512, "size": 224, "device": "cuda"}
    {"cmd": "run", "steps": 20}      the next 20 steps; with "item": true each loss is read in its step
    {"cmd": "quit"}, or the end of stdin

It answers every line by one. `init`: versions, and the device's name. `run`: `seconds` of wall time, until the device
has done all, and the last `loss`. It answers a failure by {"error": …}, and ends. The caller must warm it up.

Batches are gathered from an array in memory into pinned memory, a step ahead of the device, and copied beside its work.
Convolutional models compute in bfloat16 and in NHWC; the optimizers are fused. On the CPU the same is done without
streams and pinned memory.
"""

import json
import platform
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from shuffle import permutation
from torch import nn

CLASSES = 10
# Batches in pinned memory. So many steps are ahead of the device at most.
SLOTS = 4


def block(inputs, outputs):
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def resnet50(_):
    return torchvision.models.resnet50(weights=None, num_classes=CLASSES)


def cifar(_):
    return nn.Sequential(
        *block(3, 64),
        nn.MaxPool2d(2),
        *block(64, 128),
        nn.MaxPool2d(2),
        *block(128, 256),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(256, CLASSES),
    )


def mlp(size):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, 512), nn.ReLU(), nn.Linear(512, CLASSES))


MODELS = {"resnet50": resnet50, "cifar": cifar, "mlp": mlp}


def pixels(count):
    """Return bytes that are the same in every language."""
    return (np.arange(count, dtype=np.uint32) * np.uint32(2654435761) >> np.uint32(13)).astype(np.uint8)


class Slot:
    """A batch in pinned memory, and the event after the step that used it."""

    def __init__(self, batch, size):
        self.images = torch.empty(batch, size, size, 3, dtype=torch.uint8, pin_memory=True)
        self.labels = torch.empty(batch, dtype=torch.uint8, pin_memory=True)
        self.used = torch.cuda.Event()


class Loop:
    def __init__(self, model, batch, images, size, device):
        torch.manual_seed(0)
        self.device = torch.device(device)
        self.is_conv = model != "mlp"
        self.model = MODELS[model](size).to(self.device)
        if self.is_conv:
            self.model.to(memory_format=torch.channels_last)
        if model == "resnet50":
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3, momentum=0.9, fused=True)
        else:
            self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, fused=True)
        self.images = pixels(images * size * size * 3).reshape(images, size, size, 3)
        self.labels = (np.arange(images) % CLASSES).astype(np.uint8)
        self.order = np.array(permutation(images, 0))
        self.batch = batch
        self.place = 0
        self.step_number = 0
        if self.device.type == "cuda":
            self.slots = [Slot(batch, size) for _ in range(SLOTS)]
            self.copying = torch.cuda.Stream(self.device)

    def rows(self):
        """Return the next full batch. Every epoch has the same order."""
        if self.place + self.batch > len(self.order):
            self.place = 0
        rows = self.order[self.place : self.place + self.batch]
        self.place += self.batch
        return rows

    def next(self):
        """Return the next batch on the device, and its slot."""
        rows = self.rows()
        if self.device.type == "cpu":
            return torch.from_numpy(self.images[rows]), torch.from_numpy(self.labels[rows]), None
        slot = self.slots[self.step_number % SLOTS]
        slot.used.synchronize()
        np.take(self.images, rows, axis=0, out=slot.images.numpy())
        np.take(self.labels, rows, axis=0, out=slot.labels.numpy())
        computing = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self.copying):
            images = slot.images.to(self.device, non_blocking=True)
            labels = slot.labels.to(self.device, non_blocking=True)
        computing.wait_stream(self.copying)
        images.record_stream(computing)
        labels.record_stream(computing)
        return images, labels, slot

    def step(self):
        images, labels, slot = self.next()
        x = images.permute(0, 3, 1, 2)
        x = (x if self.is_conv else x.contiguous()).float().div(255)
        if self.is_conv:
            with torch.autocast(self.device.type, torch.bfloat16):
                outputs = self.model(x)
        else:
            outputs = self.model(x)
        loss = F.cross_entropy(outputs.float(), labels.long())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if slot is not None:
            slot.used.record()
        self.step_number += 1
        return loss.detach()

    def run(self, steps, item):
        self.model.train()
        start = time.perf_counter()
        for _ in range(steps):
            loss = self.step()
            if item:
                loss.item()
        # The last loss comes behind all other work of the device.
        value = loss.item()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return {"seconds": time.perf_counter() - start, "loss": value}


def serve():
    loop = None
    for line in sys.stdin:
        message = json.loads(line)
        match message.pop("cmd"):
            case "init":
                loop = Loop(**message)
                there = loop.device.type == "cuda"
                yield {
                    "python": platform.python_version(),
                    "torch": torch.__version__,
                    "torchvision": torchvision.__version__,
                    "device": torch.cuda.get_device_name(loop.device) if there else "cpu",
                }
            case "run":
                yield loop.run(message["steps"], message.get("item", False))
            case "quit":
                return
            case other:
                raise ValueError(f"cmd is {other!r}; known are init, run and quit")


def main():
    try:
        for answer in serve():
            print(json.dumps(answer, allow_nan=False), flush=True)
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
        raise


if __name__ == "__main__":
    main()
