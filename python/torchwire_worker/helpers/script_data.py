"""The data of a fit as lines of a script: arrays in files, and functions that give their batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .script import Script

# An array's name, or several by position or by name.
Tree = Any


def lines(script: Script, fit: dict[str, Any]) -> list[str]:
    blocks = []
    sides = [(name, fit[name]) for name in ("training", "validation") if fit[name] is not None]
    if any("gap" not in side for _, side in sides):
        blocks.append('def load(name):\n    return torch.from_numpy(np.load(HERE / f"{name}.npy"))')
    for name, side in sides:
        blocks.append(_side(script, name, side, fit["device"]))
    return blocks


def _side(script: Script, name: str, side: dict[str, Any], device: str) -> str:
    head = f"def {name}_batches(epoch):"
    if "gap" in side:
        return f"{head}\n    {script.missing(f'{name} data', side['gap'])}"
    xs, ys = (_mapped(side[part], lambda file: f'load("{file}")') for part in ("xs", "ys"))
    arrays = [f"{name}_xs = {xs}", f"{name}_ys = {ys}"]
    move = "" if device == "cpu" else ".to(DEVICE)"
    cut = [_mapped(_named(side[part], f"{name}_{part}"), lambda array: f"{array}[rows]{move}") for part in ("xs", "ys")]
    given = f"yield inputs({cut[0]}), targets({cut[1]})"
    return "\n".join([*arrays, "", "", head, *(f"    {line}" for line in _batches(script, name, side, given))])


def _batches(script: Script, name: str, side: dict[str, Any], given: str) -> list[str]:
    order, size, length = side["order"], side["batch_size"], side["length"]
    if order == "as given":
        each = "" if len(side["sizes"]) == 1 else "[epoch]"
        script.values.imports["import json"] = None
        script._texts[f"{name}_sizes.json"] = _json(side["sizes"][0] if each == "" else side["sizes"])
        sizes = f'json.loads((HERE / "{name}_sizes.json").read_text())'
        note = '"""Give the batches as the program did: their rows are in the files in this order."""'
        if each == "":
            return [note, "start = 0", f"for size in {sizes}:", *_rows(given)]
        return [
            note,
            f"sizes = {sizes}",
            "start = sum(map(sum, sizes[:epoch]))",
            "for size in sizes[epoch]:",
            *_rows(given),
        ]
    whole = length - length % size if side["drop_last"] else length
    if order == "rows":
        return [
            f"for i in range(0, {whole}, {size}):",
            f"    rows = slice(i, min(i + {size}, {whole}))",
            f"    {given}",
        ]
    if order == "permutation":
        first = side["epoch"]
        count = f"{first} + epoch" if first else "epoch"
        made = f"order = {script.values.piece('permutation')}({side['samples']}, {side['seed']}, {count})"
    else:
        made = f'order = np.load(HERE / "{name}_order.npy")[epoch].astype(np.int64)'
    return [made, f"for i in range(0, {whole}, {size}):", f"    rows = order[i : i + {size}]", f"    {given}"]


def _rows(given: str) -> list[str]:
    return ["    rows = slice(start, start + size)", f"    {given}", "    start += size"]


def _json(value: Any) -> str:
    import json

    return json.dumps(value)


def _mapped(tree: Tree, change: Callable[[str], str]) -> str:
    if isinstance(tree, dict):
        return (
            "{" + ", ".join(f"{key!r}: {_mapped(value, change)}" for key, value in tree.items()).replace("'", '"') + "}"
        )
    if isinstance(tree, (list, tuple)):
        return f"[{', '.join(_mapped(value, change) for value in tree)}]"
    return change(tree)


def _named(tree: Tree, path: str) -> Tree:
    """Return the same tree with the expression of each array."""
    if isinstance(tree, dict):
        return {key: _named(value, f'{path}["{key}"]') for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_named(value, f"{path}[{i}]") for i, value in enumerate(tree)]
    return path
