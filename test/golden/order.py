"""Writes order-v1.json, what a seed means: `python test/golden/order.py > test/golden/order-v1.json`.

The orders are those of test/native/shuffle.py, which imports nothing of torchwire. A change here would make a seed mean another training.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "native"))

from shuffle import permutation  # noqa: E402

SEEDS = [(0, 0), (1, 0), (1, 1), (2**32 + 5, 2**32 - 1), (2**53 - 1, 7)]


def described(order: list[int]) -> dict[str, Any]:
    """Short ones as they are, long ones by the hash of their numbers, joined by commas."""
    text = ",".join(map(str, order))
    return {"order": order} if len(order) <= 20 else {"first": order[:5], "sha256": hashlib.sha256(text.encode()).hexdigest()}


def orders() -> list[dict[str, Any]]:
    return [
        {"n": n, "seed": seed, "epoch": epoch, **described(permutation(n, seed, epoch))}
        for n in (0, 1, 2, 7, 20, 64, 65, 1000, 60000)
        for seed, epoch in SEEDS
    ]


def splits() -> list[dict[str, Any]]:
    out = []
    for n in (0, 1, 5, 15, 1797, 60000):
        for fraction in (0.8, 0.5, 0.1, 1 / 3):
            for seed in (0, 42):
                order = permutation(n, seed)
                cut = math.floor(fraction * n + 0.5)
                parts = [described(sorted(part)) for part in (order[:cut], order[cut:])]
                out.append({"n": n, "fraction": fraction, "seed": seed, "sizes": [cut, n - cut], "parts": parts})
    return out


def loaders() -> list[dict[str, Any]]:
    """The first three passes of a shuffling DataLoader."""
    out = []
    for n, size, drop, seed in ((10, 3, False, 0), (10, 3, True, 0), (7, 7, False, 42), (5, 8, False, 1), (12, 4, False, 2**40)):
        passes = []
        for epoch in range(3):
            order = permutation(n, seed, epoch)
            batches = [order[at : at + size] for at in range(0, n, size)]
            passes.append([batch for batch in batches if len(batch) == size or not drop])
        out.append({"n": n, "batchSize": size, "dropLast": drop, "seed": seed, "passes": passes})
    return out


if __name__ == "__main__":
    tables = {"orders": orders(), "splits": splits(), "loaders": loaders()}
    rows = [f'"{name}": [\n' + ",\n".join(map(json.dumps, table)) + "\n]" for name, table in tables.items()]
    print("{\n" + ",\n".join(rows) + "\n}")
