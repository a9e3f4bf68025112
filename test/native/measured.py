"""Plain PyTorch measures the weights in files: the reference of test/client/callbacks/checkpointer.test.ts.

    python measured.py --cases FILE --out FILE --threads 1

--cases has `xs` and `ys`, the rows of a data set, and `paths` of safetensors files with the weight of a Linear(1, 1)
without bias. It writes to --out, by path: `coefficient`; `loss`, the mean absolute error over all rows; and `weights`,
which the file's metadata names.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file


def measure(path, xs, ys):
    model = torch.nn.Linear(1, 1, bias=False)
    model.load_state_dict(load_file(path))
    model.eval()
    with torch.no_grad():
        loss = torch.nn.functional.l1_loss(model(xs), ys).item()
    with safe_open(path, "pt") as file:
        weights = (file.metadata() or {}).get("weights")
    return {"coefficient": model.weight.item(), "loss": loss, "weights": weights}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cases = json.loads(options.cases.read_text())
    xs, ys = torch.tensor(cases["xs"]).reshape(-1, 1), torch.tensor(cases["ys"]).reshape(-1, 1)
    options.out.write_text(json.dumps({path: measure(path, xs, ys) for path in cases["paths"]}))


if __name__ == "__main__":
    main()
