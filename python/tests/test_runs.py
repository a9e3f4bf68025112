"""The description of a run, in plain values."""

from __future__ import annotations

import json

import torch

from torchwire_worker.helpers.runs import describe


def test_a_module_and_its_optimizer() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1, bias=False))
    groups = [
        {"name": "default", "params": model[0].parameters()},
        {"name": "head", "params": model[1].parameters(), "lr": torch.tensor(0.25)},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.5, betas=(0.5, 0.75))
    found = describe(model, optimizer)
    assert found["model"] == {
        "class": "torch.nn.modules.container.Sequential",
        "parameters": 12,
        "trainable": 12,
        "bytes": 48,
        "layers": [["", "Sequential", 0], ["0", "Linear", 9], ["1", "Linear", 3]],
    }
    assert found["optimizer"]["class"] == "torch.optim.adamw.AdamW"
    default, head = found["optimizer"]["groups"]
    assert (default["name"], default["lr"], default["betas"], default["parameters"]) == ("default", 0.5, [0.5, 0.75], 9)
    assert (head["lr"], head["parameters"]) == (0.25, 3)
    assert json.loads(json.dumps(found)) == found


def test_several_and_what_is_no_optimizer_of_torch() -> None:
    class Own:
        pass

    line = torch.nn.Linear(1, 1)
    found = describe({"a": line, "b": line}, {"a": torch.optim.SGD(line.parameters(), lr=1.0), "b": Own()})
    assert [found["model"][name]["parameters"] for name in "ab"] == [2, 2]
    assert found["optimizer"]["a"]["groups"][0]["lr"] == 1.0
    assert found["optimizer"]["b"]["groups"] == []
