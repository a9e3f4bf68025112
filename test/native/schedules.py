"""Plain PyTorch loops with learning-rate schedules, and values of torch.optim.lr_scheduler: the reference of the
schedules.

    python schedules.py --data DIR --cases FILE --out FILE --threads 1

DIR holds MNIST's training files. The input is a JSON object:

- `values`: a list of [class in torch.optim.lr_scheduler, keywords, start, count]. It writes the first `count` learning
  rates and, for classes that change a momentum too, the momenta;
- `plateaus`: a list of [keywords of ReduceLROnPlateau, start, metrics]. It writes the rates after each metric;
- `trainings`: a list of cases: `optimizer`, a class of torch.optim, with `options`; `head_lr`: the rate of the last
  layer, then a group of its own, or null; `schedule`: one of SCHEDULES, or [class, keywords] in
  torch.optim.lr_scheduler; `epochs`, `images`, `batch_size`, `clip`, `accumulate`; `fault`: null, or one deliberate
  mistake: see FAULTS. It writes, for each, `losses` (as the float32's bytes, in hexadecimal), `rates` of each step and
  group, `betas` of each step if there are some, and `weights_sha256`.
"""

import argparse
import hashlib
import json
import math
import struct
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from idx import rgb_digits
from learner import make_model

FAULTS = {
    "late": "the schedule is one step behind",
    "nudge": "the fourth step's rate is larger by a millionth",
    "constant": "the rate stays what it is at first",
    "head": "the head has the rate of the rest",
}


def one_cycle(t, steps, top):
    """Return half a cosine up in the first quarter, and half a cosine down."""
    up = math.ceil(steps * 0.25)
    start, end = top / 25, top / 1e5
    if t - 1 < up:
        return (top - start) * ((1 - math.cos(math.pi * ((t - 1) / up))) / 2) + start
    return (top - end) * ((1 + math.cos(math.pi * ((t - 1 - up) / (steps - up)))) / 2) + end


def linear_warm_up(t, steps, top):
    """Return a rise from 0 in the first third, then a constant."""
    up = round(steps / 3)
    return top if t > up else top * (t - 1) / up


SCHEDULES = {"one-cycle": one_cycle, "linear-warm-up": linear_warm_up}


def optimizer_of(case, model):
    parameters = list(model.parameters())
    if case["head_lr"] is not None:
        head = list(model[-1].parameters())
        head_lr = case["options"]["lr"] if case["fault"] == "head" else case["head_lr"]
        parameters = [{"params": parameters[: -len(head)]}, {"params": head, "lr": head_lr}]
    return getattr(torch.optim, case["optimizer"])(parameters, **case["options"])


def train(case, images, labels):
    fault, size, accumulate = case["fault"], case["batch_size"], case["accumulate"]
    torch.manual_seed(0)
    model = make_model(dropout=False)
    model.train()
    optimizer = optimizer_of(case, model)
    batches = [(images[i : i + size], labels[i : i + size]) for i in range(0, case["images"], size)]
    groups = [batches[i : i + accumulate] for i in range(0, len(batches), accumulate)]
    steps = case["epochs"] * len(groups)
    schedule, scheduler = case["schedule"], None
    if not isinstance(schedule, str):
        name, keywords = schedule
        scheduler = getattr(torch.optim.lr_scheduler, name)(optimizer, **keywords)
    losses, rates, betas = [], [], []
    t = 0
    for _ in range(case["epochs"]):
        for group in groups:
            t += 1
            if scheduler is None:
                at = 1 if fault == "constant" else max(1, t - 1) if fault == "late" else t
                for each in optimizer.param_groups:
                    each["lr"] = SCHEDULES[schedule](at, steps, case["top"])
            if fault == "nudge" and t == 4:
                for each in optimizer.param_groups:
                    each["lr"] *= 1 + 1e-6
            rates.append([each["lr"] for each in optimizer.param_groups])
            if "betas" in optimizer.param_groups[0]:
                betas.append(optimizer.param_groups[0]["betas"][0])
            optimizer.zero_grad()
            for xs, ys in group:
                x = torch.from_numpy(xs).permute(0, 3, 1, 2).contiguous().float().div(255)
                loss = F.cross_entropy(model(x), torch.from_numpy(ys).long())
                losses.append(struct.pack("<f", loss.item()).hex())
                (loss if len(group) == 1 else loss / len(group)).backward()
            if case["clip"] is not None:
                nn.utils.clip_grad_norm_(model.parameters(), case["clip"])
            optimizer.step()
            if scheduler is not None and not (fault == "constant" or (fault == "late" and t == 1)):
                scheduler.step()
    whole = hashlib.sha256()
    for name, value in model.state_dict().items():
        whole.update(name.encode())
        whole.update(value.contiguous().numpy().tobytes())
    return {"losses": losses, "rates": rates, "betas": betas, "weights_sha256": whole.hexdigest()}


def values_of(name, keywords, start, count):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=start, momentum=0.9)
    scheduler = getattr(torch.optim.lr_scheduler, name)(optimizer, **keywords)
    rates, momenta = [], []
    for i in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        momenta.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        if i < count - 1:
            scheduler.step()
    return {"rates": rates, "momenta": momenta}


def plateau_of(keywords, start, metrics):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=start)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **keywords)
    rates = []
    for metric in metrics:
        scheduler.step(metric)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(options.threads)
    # A fault leaves out this step.
    warnings.simplefilter("ignore", UserWarning)
    wanted = json.loads(options.cases.read_text())
    trainings = wanted["trainings"]
    for case in trainings:
        if case["fault"] is not None and case["fault"] not in FAULTS:
            raise SystemExit(f"fault is {case['fault']!r}; known are {', '.join(FAULTS)}")
    images, labels = rgb_digits(options.data, max((case["images"] for case in trainings), default=1))
    results = {
        "values": [values_of(*one) for one in wanted["values"]],
        "plateaus": [plateau_of(*one) for one in wanted["plateaus"]],
        "trainings": [train(case, images, labels) for case in trainings],
    }
    options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
