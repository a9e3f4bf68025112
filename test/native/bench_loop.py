"""The native training loop of the bench: one process for all rounds. It reads a JSON object a line from stdin.

    python bench_loop.py [--mallopt] [--threads T]

    {"cmd": "init", "model": "resnet18", "batch": 64, "data": DIR}  a fresh model, its optimizer, and RGB digits in memory
    {"cmd": "run", "steps": 20}                                     the next 20 steps; with "item": true the loss is read at each
    {"cmd": "quit"}, or the end of stdin

It answers every line by one. `init`: versions, threads, mallopt, images. `run`: `seconds` of wall time, `cpu_seconds`
and `minor_faults` of the whole process, and the last `loss`. It answers a failure by {"error": …}, and ends. The caller
must warm it up.

Losses are read when the run ends, unless "item" is set; reading them is part of the time. --mallopt gives glibc's
malloc the settings of torchwire's worker, before torch is loaded.
"""

import argparse
import ctypes
import json
import platform
import resource
import sys
import time

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
GIBIBYTE = 1 << 30

LEARNING = {"cnn": ("adam", 1e-3), "mlp": ("adam", 1e-3), "resnet18": ("sgd", 0.01)}


def keep_memory():
    """Keep freed activations in the process, instead of mapping them anew at each step.

    Set both or none: one alone makes it worse.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        raise RuntimeError("--mallopt needs glibc")
    for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
        if libc.mallopt(parameter, GIBIBYTE) != 1:
            raise RuntimeError(f"mallopt({parameter}, {GIBIBYTE}) was refused")


class Loop:
    def __init__(self, model, batch, data, seed=0):
        import numpy as np
        import torch

        from idx import rgb_digits
        from models import MODELS, OPTIMIZERS
        from shuffle import permutation

        if model not in MODELS:
            raise ValueError(f"model is {model!r}; known are {', '.join(MODELS)}")
        torch.manual_seed(seed)
        self.model = MODELS[model]()
        optimizer, lr = LEARNING[model]
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters(), lr)
        self.images, self.labels = rgb_digits(data, 20_000)
        self.order = np.array(permutation(len(self.images), seed))
        self.batch = batch
        self.place = 0

    def rows(self):
        """Return the next full batch. Every epoch has the same order, so that no shuffle runs within a run."""
        if self.place + self.batch > len(self.order):
            self.place = 0
        rows = self.order[self.place : self.place + self.batch]
        self.place += self.batch
        return rows

    def step(self, images, labels):
        import torch
        import torch.nn.functional as F

        x = images.permute(0, 3, 1, 2).contiguous().float().div(255)
        y = labels.long()
        loss = F.cross_entropy(self.model(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    def run(self, steps, item):
        import torch

        images, labels = self.images, self.labels
        losses = []
        before = resource.getrusage(resource.RUSAGE_SELF)
        start = time.perf_counter()
        for _ in range(steps):
            rows = self.rows()
            loss = self.step(torch.from_numpy(images[rows]), torch.from_numpy(labels[rows]))
            losses.append(loss.item() if item else loss.detach())
        losses = [float(loss) for loss in losses]
        seconds = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "seconds": seconds,
            "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "minor_faults": after.ru_minflt - before.ru_minflt,
            "loss": losses[-1],
        }


def serve(options):
    import numpy
    import torch
    import torchvision

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    loop = None
    for line in sys.stdin:
        message = json.loads(line)
        match message["cmd"]:
            case "init":
                loop = Loop(message["model"], message["batch"], message["data"])
                yield {
                    "python": platform.python_version(),
                    "numpy": numpy.__version__,
                    "torch": torch.__version__,
                    "torchvision": torchvision.__version__,
                    "threads": torch.get_num_threads(),
                    "mallopt": options.mallopt,
                    "images": len(loop.images),
                }
            case "run":
                if loop is None:
                    raise ValueError("run came before init")
                yield loop.run(message["steps"], message.get("item", False))
            case "quit":
                return
            case other:
                raise ValueError(f"cmd is {other!r}; known are init, run and quit")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mallopt", action="store_true", help="keep freed memory, as torchwire's worker does")
    parser.add_argument("--threads", type=int, help="PyTorch's threads; its own choice by default")
    options = parser.parse_args()
    try:
        if options.mallopt:
            keep_memory()
        for answer in serve(options):
            print(json.dumps(answer, allow_nan=False), flush=True)
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
        raise


if __name__ == "__main__":
    main()
