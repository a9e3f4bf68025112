"""The far end of stdio.mjs: a training script that gets its batches as JSON, a line each, and answers a line each.

    python stdio.py MODEL
"""

import json
import sys

import torch
import torch.nn.functional as F
from training import make


def main():
    model, optimizer = make(sys.argv[1])
    for line in sys.stdin:
        message = json.loads(line)
        if "images" not in message:
            model, optimizer = make(sys.argv[1])
            answer = {}
        elif "labels" in message:
            x = torch.tensor(message["images"], dtype=torch.uint8).view(-1, 1, 28, 28).float().div(255)
            loss = F.cross_entropy(model(x), torch.tensor(message["labels"]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            answer = {"loss": loss.item()}
        else:
            with torch.no_grad():
                x = torch.tensor(message["images"], dtype=torch.uint8).view(-1, 1, 28, 28).float().div(255)
                answer = {"classes": model(x).argmax(1).tolist()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
