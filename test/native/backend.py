"""Plain PyTorch training loops with the features of PyTorchBackend: the reference of test/client/callbacks/backend.test.ts.

    python backend.py --data DIR --out FILE --threads 1

Every case trains a small model with batch normalisation and dropout on 96 RGB digits in 6 batches of 16, twice over,
and validates on 32 others after each epoch. It writes to --out, by the name of the case: `losses` of all training steps
and `validation`, as the float32's four bytes in hexadecimal; `weights`, the sha256 over all entries of the state_dict;
and `averaged`, the same of the averaged model, if there is one.
"""

import argparse
import copy
import json
import struct
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn
from torchvision.transforms import v2

from idx import rgb_digits
from learner import hash_of, make_model

CASES = {
    "clipping by value": {"clip_value": 0.01},
    "clipping by norm and by value": {"clip_norm": 1.0, "clip_value": 0.05},
    "bf16": {"amp": torch.bfloat16},
    "fp16 with scaling": {"amp": torch.float16, "scale": True},
    "fp16 with scaling and clipping": {"amp": torch.float16, "scale": True, "clip_norm": 0.5},
    "EMA": {"ema": 0.9},
    "EMA with buffers": {"ema": 0.9, "buffers": True},
    "EMA and bf16": {"ema": 0.9, "amp": torch.bfloat16},
    "SWA": {"swa": 1},
    "compiled": {},
    "augmented": {"augment": True},
    "MixUp": {"mix": "MixUp"},
    "CutMix": {"mix": "CutMix"},
    "augmented and MixUp": {"augment": True, "mix": "MixUp"},
}


def hexed(loss):
    return struct.pack("<f", loss.item()).hex()


def train(
    images,
    labels,
    clip_norm=None,
    clip_value=None,
    amp=None,
    scale=False,
    ema=None,
    buffers=False,
    swa=None,
    augment=False,
    mix=None,
):
    torch.manual_seed(0)
    model = make_model(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    averaged = None
    if ema is not None:
        averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(ema), use_buffers=buffers)
    if swa is not None:
        averaged = AveragedModel(model)
    scaler = torch.amp.GradScaler("cpu") if scale else None
    transform = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomCrop(28, padding=2)]) if augment else None
    mixer = getattr(v2, mix)(num_classes=10, alpha=0.4) if mix else None
    torch.manual_seed(5)
    losses, validation = [], []

    def inputs(rows):
        return torch.from_numpy(images[rows]).permute(0, 3, 1, 2).contiguous().float().div(255)

    def targets(rows):
        return torch.from_numpy(labels[rows]).long()

    def forward(net, x):
        if amp is None:
            return net(x)
        with torch.autocast("cpu", amp):
            return net(x)

    for epoch in range(2):
        model.train()
        for start in range(0, 96, 16):
            x, y = inputs(slice(start, start + 16)), targets(slice(start, start + 16))
            if transform is not None:
                x = torch.stack([transform(one) for one in x])
            if mixer is not None:
                x, y = mixer(x, y)
            optimizer.zero_grad()
            loss = F.cross_entropy(forward(model, x).float(), y)
            (scaler.scale(loss) if scaler else loss).backward()
            if scaler and (clip_norm or clip_value):
                scaler.unscale_(optimizer)
            if clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
            if clip_value is not None:
                torch.nn.utils.clip_grad_value_(model.parameters(), clip_value)
            if scaler:
                scaler.step(optimizer)
                scaler.update()
            else:
                optimizer.step()
            if ema is not None:
                averaged.update_parameters(model)
            losses.append(hexed(loss))
        if swa is not None and epoch + 1 >= swa:
            averaged.update_parameters(model)
        judged = averaged.module if ema is not None else model
        was = judged.training
        judged.eval()
        with torch.no_grad():
            for start in (96, 112):
                rows = slice(start, start + 16)
                validation.append(hexed(F.cross_entropy(forward(judged, inputs(rows)).float(), targets(rows))))
        judged.train(was)
    if swa is not None:
        drawn = torch.get_rng_state()
        update_bn([inputs(slice(start, start + 16)) for start in range(0, 96, 16)], averaged)
        torch.set_rng_state(drawn)
    return {
        "losses": losses,
        "validation": validation,
        "weights": hash_of(model),
        "averaged": None if averaged is None else hash_of(averaged.module),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(options.threads)
    images, labels = rgb_digits(options.data, 128)
    results = {name: train(copy.deepcopy(images), copy.deepcopy(labels), **case) for name, case in CASES.items()}
    options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
