"""Plain PyTorch on samples of different lengths: the reference of test/client/data/ragged.test.ts.

    python ragged.py --cases FILE --out FILE --threads 1

--cases has `sequences` [T][F], `labels` [T] and `batches`, lists of indices; and `images` [H][W][3] in bytes, `boxes`
[n][4], `classes` [n] and `pairs`, again lists of indices. It writes to --out:

- `tagger`: the weights of a transformer layer after a pass over `batches`, padded by pad_sequence, and the mean loss of
  all labels;
- `detector`: the sum of Faster R-CNN's losses in each step over `pairs`, the sum of its weights in the end, and what it
  then finds in the first three images and in the fourth.
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parameters_to_vector
from torch.nn.utils.rnn import pad_sequence
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign


def tag(sequences, labels, batches):
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    total, count = 0.0, 0
    for indices in batches:
        xs = pad_sequence([torch.tensor(sequences[i]) for i in indices], batch_first=True)
        ys = pad_sequence([torch.tensor(labels[i]) for i in indices], batch_first=True, padding_value=-100)
        yhat = model(xs, src_key_padding_mask=ys == -100)
        loss = F.cross_entropy(yhat.transpose(1, 2), ys, ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        here = (ys != -100).sum().item()
        total, count = total + loss.item() * here, count + here
    return {"weights": [p.flatten().tolist() for p in model.parameters()], "loss": total / count}


def detect(images, boxes, classes, pairs):
    def xs_of(indices):
        return [torch.tensor(images[i], dtype=torch.uint8).permute(2, 0, 1).contiguous().float().div(255) for i in indices]

    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU())
    backbone.out_channels = 8
    model = FasterRCNN(
        backbone,
        3,
        min_size=32,
        max_size=64,
        rpn_anchor_generator=AnchorGenerator(((8, 16),), ((1.0,),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 3, 2),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    for indices in pairs:
        xs = xs_of(indices)
        targets = [
            {"boxes": torch.tensor(boxes[i]).reshape(-1, 4), "labels": torch.tensor(classes[i], dtype=torch.int64)}
            for i in indices
        ]
        loss = sum(model(xs, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    weights = parameters_to_vector(model.parameters()).double().sum().item()
    model.eval()
    with torch.no_grad():
        found = [each for some in (xs_of(range(3)), xs_of([3])) for each in model(some)]
    return {
        "losses": losses,
        "weights": weights,
        "found": [{name: part.tolist() for name, part in each.items()} for each in found],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True)
    cases = json.loads(options.cases.read_text())
    found = {
        "tagger": tag(cases["sequences"], cases["labels"], cases["batches"]),
        "detector": detect(cases["images"], cases["boxes"], cases["classes"], cases["pairs"]),
    }
    options.out.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
