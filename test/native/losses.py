"""Losses and their gradients in plain PyTorch: the reference of test/client/losses/losses-parity.test.ts.

    python losses.py --cases FILE --out FILE --threads 1

The cases are a JSON list of objects:

- `function`: its name in torch.nn.functional; `options`: its keyword arguments, where {dtype, shape, data} is a tensor;
- `arguments`: its arguments, as {dtype, shape, data}; those of a float type that are `outputs` get gradients;
- `outputs`: the indices of the arguments that are a model's outputs.

It writes to --out, for each case: `value`, the bytes of the loss in hexadecimal; `mean`, the loss with reduction "mean"
(null if all targets are ignored); and `gradients`, the sha256 of each output's gradient (that of the sum, if there are
several losses).
"""

import argparse
import hashlib
import json
from pathlib import Path

import torch
import torch.nn.functional as F


def tensor(value):
    return torch.tensor(value["data"], dtype=getattr(torch, value["dtype"])).view(value["shape"])


def run(case):
    arguments = [tensor(value) for value in case["arguments"]]
    outputs = [arguments[i].requires_grad_() for i in case["outputs"]]
    options = {name: tensor(value) if isinstance(value, dict) else value for name, value in case["options"].items()}
    function = getattr(F, case["function"])
    loss = function(*arguments, **options)
    loss.sum().backward()
    mean = loss if options.get("reduction") == "batchmean" else function(*arguments, **{**options, "reduction": "mean"})
    return {
        "mean": None if mean.isnan() else mean.item(),
        "value": loss.detach().numpy().tobytes().hex(),
        "gradients": [hashlib.sha256(output.grad.numpy().tobytes()).hexdigest() for output in outputs],
    }


def main():
    parser = argparse.ArgumentParser()
    for name in ("cases", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)
    arguments.out.write_text(json.dumps([run(case) for case in json.loads(arguments.cases.read_text())]))


main()
