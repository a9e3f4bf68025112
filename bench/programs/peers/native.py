"""The plain PyTorch script among the peers. It speaks as serve.mjs does.

    python native.py MODEL FOLDER_OF_MNIST
"""

import json
import os
import sys
import time

import torch
import torch.nn.functional as F
from training import BATCH, COUNT, digits, make


class Native:
    def __init__(self, name, folder):
        self.name = name
        self.images, self.labels = digits(folder)
        self.fresh()

    def fresh(self):
        self.model, self.optimizer = make(self.name)
        self.place = 0

    def step(self):
        rows = slice(self.place, self.place + BATCH)
        self.place = self.place + BATCH if self.place + 2 * BATCH <= COUNT else 0
        x = torch.from_numpy(self.images[rows]).unsqueeze(1).float().div(255)
        loss = F.cross_entropy(self.model(x), torch.from_numpy(self.labels[rows]).long())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def run(self, steps):
        start = time.perf_counter()
        for _ in range(steps):
            loss = self.step()
        return {"seconds": time.perf_counter() - start, "loss": loss}

    def accuracy(self):
        right = 0
        with torch.no_grad():
            for i in range(0, COUNT, 1000):
                x = torch.from_numpy(self.images[i : i + 1000]).unsqueeze(1).float().div(255)
                right += int((self.model(x).argmax(1) == torch.from_numpy(self.labels[i : i + 1000])).sum())
        return right / COUNT

    def learn(self, goal, most, batches):
        self.fresh()
        start = time.perf_counter()
        for epoch in range(1, most + 1):
            for _ in range(batches):
                loss = self.step()
            accuracy = self.accuracy()
            if accuracy >= goal:
                break
        return {"seconds": time.perf_counter() - start, "epochs": epoch, "accuracy": accuracy, "loss": loss}


def main():
    native = Native(*sys.argv[1:3])
    print(json.dumps({"versions": {}, "pids": [os.getpid()]}), flush=True)
    for line in sys.stdin:
        message = json.loads(line)
        if message["cmd"] == "run":
            answer = native.run(message["steps"])
        else:
            answer = native.learn(message["accuracy"], message["epochs"], message.get("batches", COUNT // BATCH))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
