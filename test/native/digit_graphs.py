"""examples/digit-graphs.ts in plain PyTorch and torch_geometric: `python digit_graphs.py GRAPHS EPOCHS DIR`, where DIR
holds MNIST's files.

Prints for each epoch its loss, and the loss and the accuracy on the test graphs, as JSON; then what the first five of
those are taken for, and by how many percent, as JSON.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GraphConv, Sequential, global_max_pool

from idx import read_idx
from shuffle import permutation


def graph(image, label):
    ink = image.astype(np.int64).reshape(14, 2, 14, 2).sum((1, 3))
    nodes = [(y, x) for y in range(14) for x in range(14) if ink[y, x] >= 400]
    edges = [
        (i, j)
        for i, (y, x) in enumerate(nodes)
        for j, (v, u) in enumerate(nodes)
        if i != j and abs(y - v) < 2 and abs(x - u) < 2
    ]
    return Data(
        x=torch.tensor([(y / 7 - 1, x / 7 - 1) for y, x in nodes]),
        edge_index=torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).t().contiguous(),
        y=int(label),
    )


def graphs(folder, name, count):
    images = read_idx(folder / f"{name}-images-idx3-ubyte")[:count]
    labels = read_idx(folder / f"{name}-labels-idx1-ubyte")[:count]
    return [graph(image, label) for image, label in zip(images, labels)]


def layer(channels):
    return [(GraphConv(channels, 64, aggr="max"), "x, edge_index -> x"), nn.ReLU()]


def main(count, epochs, folder):
    training, test = graphs(folder, "train", count), graphs(folder, "t10k", 1000)
    torch.manual_seed(0)
    model = Sequential(
        "x, edge_index, batch",
        [
            *layer(2),
            *layer(64),
            *layer(64),
            *layer(64),
            (global_max_pool, "x, batch -> x"),
            nn.Linear(64, 10),
        ],
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def scores(some):
        batch = Batch.from_data_list(some)
        return model(batch.x, batch.edge_index, batch.batch), batch.y

    for epoch in range(epochs):
        order = permutation(len(training), 0, epoch)
        total = 0
        for start in range(0, len(order), 64):
            yhat, ys = scores([training[i] for i in order[start : start + 64]])
            loss = F.cross_entropy(yhat, ys)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(ys)
        lost = right = 0
        with torch.no_grad():
            for start in range(0, len(test), 250):
                yhat, ys = scores(test[start : start + 250])
                lost += F.cross_entropy(yhat, ys).item() * len(ys)
                right += (yhat.argmax(1) == ys).sum().item()
        print(json.dumps([total / len(training), lost / len(test), right / len(test)]))
    with torch.no_grad():
        found = scores(test[:5])[0].softmax(1).max(1)
    print(json.dumps([[label, round(100 * p)] for p, label in zip(*map(torch.Tensor.tolist, found))]))


# torch_geometric's Sequential imports the module that it was called from.
if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
