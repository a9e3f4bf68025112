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
    converts = [_call(fit, "inputs"), _call(fit, "targets")]
    for name, side in sides:
        blocks.append(_side(script, name, side, fit["device"], converts))
    return blocks


def _call(fit: dict[str, Any], function: str) -> Callable[[str], str]:
    """Return how the function is called. One that changes nothing is not there."""
    is_there = fit[function] is not None or fit[f"{function}_gap"] is not None
    return lambda given: f"{function}({given})" if is_there else given


def _side(script: Script, name: str, side: dict[str, Any], device: str, converts: list[Callable[[str], str]]) -> str:
    head = f"def {name}_batches(epoch):"
    if "gap" in side:
        return f"{head}\n    {script.missing(f'{name} data', side['gap'])}"
    xs, ys = (_mapped(side[part], lambda file: f'load("{file}")') for part in ("xs", "ys"))
    arrays = [f"{name}_xs = {xs}", f"{name}_ys = {ys}"]
    move = "" if device == "cpu" else ".to(DEVICE)"
    cut = [_cut(side[part], f"{name}_{part}", f"[rows]{move}") for part in ("xs", "ys")]
    given = f"yield {', '.join(convert(one) for convert, one in zip(converts, cut))}"
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
            return [note, "at = 0", f"for size in {sizes}:", *_rows(given)]
        return [
            note,
            f"sizes = {sizes}",
            "at = sum(map(sum, sizes[:epoch]))",
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
    return ["    rows = slice(at, at + size)", f"    {given}", "    at += size"]


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


def _cut(tree: Tree, arrays: str, rows: str) -> str:
    """Return the rows of all arrays of a tree."""
    if isinstance(tree, str):
        return f"{arrays}{rows}"
    if isinstance(tree, dict):
        if all(isinstance(part, str) for part in tree.values()):
            return f"{{name: x{rows} for name, x in {arrays}.items()}}"
        parts = [f"{key!r}: " + _cut(part, f"{arrays}[{key!r}]", rows) for key, part in tree.items()]
        return f"{{{', '.join(parts)}}}"
    if all(isinstance(part, str) for part in tree):
        return f"[x{rows} for x in {arrays}]"
    return f"[{', '.join(_cut(part, f'{arrays}[{i}]', rows) for i, part in enumerate(tree))}]"


def first_of(tree: Tree) -> str:
    """Return the path of the first array in a tree: `["image"]`."""
    if isinstance(tree, dict):
        return next((f"[{key!r}]{first_of(part)}" for key, part in tree.items()), "")
    if isinstance(tree, (list, tuple)):
        return f"[0]{first_of(tree[0])}" if tree else ""
    return ""
