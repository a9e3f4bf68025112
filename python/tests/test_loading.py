"""The outcome of a load is compared with load_state_dict itself, on another module."""

from __future__ import annotations

import copy
import io
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision

from torchwire_worker.helpers import pickled, state
from torchwire_worker.helpers.loading import Loading, differing_prefix, load_into, renamed
from torchwire_worker.helpers.state import Snapshot

nn = torch.nn


def bits(module: nn.Module) -> dict[str, Any]:
    return {
        name: (
            value.dtype,
            list(value.shape),
            bytes(value.detach().contiguous().reshape(-1).view(torch.uint8).tolist()),
        )
        if isinstance(value, torch.Tensor) and not torch.nn.parameter.is_lazy(value)
        else repr(value)
        for name, value in [
            *module.named_parameters(remove_duplicate=False),
            *module.named_buffers(remove_duplicate=False),
        ]
    }


def from_pt(module: Any, content: Any, **options: Any) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(content, file)
    reading = pickled.Pickled(module)
    # The tests wrote these files themselves, so a torch of any age can read them safely.
    reading.refusal = None
    reading.write(torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8))
    assert reading.open()["problem"] is None
    return reading.commit(**options)


def from_safetensors(module: Any, content: Any, **options: Any) -> dict[str, Any]:
    return load_into(module, dict(content), metadata={}, **{"strict": True, **options})


class Renaming(nn.Linear):
    """It knows an older name of its weight, and another scale in version 1."""

    _version = 2

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
        if prefix + "kernel" in state_dict:
            state_dict[prefix + "weight"] = state_dict.pop(prefix + "kernel")
        if local_metadata.get("version", 1) < 2:
            state_dict[prefix + "weight"] = state_dict[prefix + "weight"] * 2
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


class Hooked(nn.Linear):
    def __init__(self) -> None:
        super().__init__(2, 3)
        self.register_load_state_dict_pre_hook(self._translate)

    @staticmethod
    def _translate(module: Any, state: Any, prefix: str, *_: Any) -> None:
        for name in [*state]:
            if name.startswith(prefix + "old_"):
                state[prefix + name.removeprefix(prefix + "old_")] = state.pop(name)


def without(module: nn.Module, part: str) -> Any:
    full = module.state_dict()
    kept = OrderedDict((name, value) for name, value in full.items() if part not in name)
    kept._metadata = full._metadata  # type: ignore[attr-defined]
    return kept


def old_batch_norm() -> Any:
    kept = without(nn.Sequential(nn.BatchNorm1d(3)), "num_batches_tracked")
    kept._metadata["0"] = {}
    return kept


def old_weight_norm() -> Any:
    with pytest.warns(FutureWarning):
        return nn.utils.weight_norm(nn.Linear(2, 3)).state_dict()


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "no num_batches_tracked": (lambda: nn.Sequential(nn.BatchNorm1d(3)), old_batch_norm),
    "old weight_norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 3)), old_weight_norm),
    "a _load_from_state_dict": (lambda: Renaming(2, 3), lambda: {"kernel": torch.ones(3, 2), "bias": torch.ones(3)}),
    "the present version": (lambda: Renaming(2, 3), lambda: Renaming(2, 3).state_dict()),
    "a pre-hook": (Hooked, lambda: {"old_weight": torch.ones(3, 2), "old_bias": torch.ones(3)}),
    "one number in a list": (lambda: holder(a=torch.zeros(())), lambda: {"a": torch.ones(1)}),
    "a lazy module": (lambda: nn.LazyLinear(3), lambda: nn.Linear(2, 3).state_dict()),
    "attention": (lambda: nn.MultiheadAttention(4, 2), lambda: nn.MultiheadAttention(4, 2).state_dict()),
    "other dtypes": (lambda: nn.Linear(2, 3).half(), lambda: nn.Linear(2, 3).double().state_dict()),
    "a parametrization": (
        lambda: nn.utils.parametrizations.orthogonal(nn.Linear(3, 3)),
        lambda: nn.utils.parametrizations.orthogonal(nn.Linear(3, 3)).state_dict(),
    ),
}


def holder(**tensors: torch.Tensor) -> nn.Module:
    module = nn.Module()
    for name, tensor in tensors.items():
        module.register_buffer(name, tensor)
    return module


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("load", [from_pt, from_safetensors])
def test_what_load_state_dict_takes_is_taken(case: str, load: Callable[..., dict[str, Any]]) -> None:
    make, content = CASES[case]
    ours, plain, values = make(), make(), content()
    # A safetensors file has no _metadata.
    plain.load_state_dict(values if load is from_pt else dict(values))
    found = load(ours, values)
    assert (found["is_loaded"], found["missing"], found["unexpected"], found["mismatched"], found["problems"]) == (
        True,
        [],
        [],
        [],
        [],
    )
    assert bits(ours) == bits(plain)


@pytest.mark.parametrize("name", ["densenet121", "mnasnet1_0", "shufflenet_v2_x0_5", "squeezenet1_1"])
def test_models_of_torchvision_also_from_files_of_old(name: str) -> None:
    torch.manual_seed(0)
    options = {"init_weights": False} if name == "googlenet" else {}
    source, target, plain = (torchvision.models.get_model(name, **options) for _ in range(3))
    for content in (source.state_dict(), without(source, "num_batches_tracked")):
        for one in content._metadata.values():
            one["version"] = 1
        plain.load_state_dict(content)
        assert from_pt(target, content)["is_loaded"]
        assert all(torch.equal(a, b) for a, b in zip(target.state_dict().values(), plain.state_dict().values()))
    assert from_safetensors(target, source.state_dict())["is_loaded"]


def test_a_version_comes_back_from_a_file_of_ours() -> None:
    source, target = nn.Sequential(Renaming(2, 3)), nn.Sequential(Renaming(2, 3))
    snapshot = Snapshot({"a": source})
    assert snapshot.plan["metadata"] == {"torchwire.versions": '{"a.0": 2}'}
    assert Snapshot(nn.Sequential(nn.BatchNorm1d(2))).plan["metadata"] == {}
    loading = Loading({"a": target}, snapshot.plan["tensors"], snapshot.plan["metadata"]["torchwire.versions"])
    loading.write(snapshot.read(36))
    assert loading.commit()["is_loaded"]
    assert bits(target) == bits(source)


class Fails(nn.Linear):
    """Raise after its own values are in."""

    def __init__(self, kind: str = "") -> None:
        super().__init__(2, 3)
        self.kind, self.seen, self.extra = kind, ["nothing"], {"a": 1}
        self.register_buffer("other", torch.zeros(2), persistent=False)

    def get_extra_state(self) -> Any:
        return self.extra

    def set_extra_state(self, extra: Any) -> None:
        self.extra = extra

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        with torch.no_grad():
            self.other.fill_(7)
        self.seen.append("something")
        self.added = 1
        self.weight.data = torch.ones(5, 5)
        if self.kind == "collected":
            args[-1].append("it is not as I like it")
        elif self.kind:
            raise {"ValueError": ValueError, "KeyboardInterrupt": KeyboardInterrupt}[self.kind]("no")


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("kind", ["collected", "ValueError", "KeyboardInterrupt"])
def test_what_is_refused_half_way_leaves_everything_as_it_was(kind: str, strict: bool) -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.LazyLinear(4), nn.BatchNorm1d(4), Fails(kind))
    lazy, weight = module[1].weight, module[3].weight
    before, attributes = copy.deepcopy(bits(module)), dict(vars(module[3]))
    content = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 4), nn.BatchNorm1d(4), Fails()).state_dict()
    content["3._extra_state"] = {"a": 2}
    if kind == "KeyboardInterrupt":
        with pytest.raises(KeyboardInterrupt):
            from_pt({"m": module}, {f"m.{name}": value for name, value in content.items()}, strict=strict)
    else:
        found = from_pt({"m": module}, {f"m.{name}": value for name, value in content.items()}, strict=strict)
        assert (found["is_loaded"], found["problems"]) == (
            False,
            [{"collected": "it is not as I like it", "ValueError": "ValueError: no"}[kind]],
        )
    assert bits(module) == before
    assert module[1].weight is lazy and torch.nn.parameter.is_lazy(lazy) and module[3].weight is weight
    assert vars(module[3]) == attributes and module[3].seen == ["nothing"] and module[3].extra == {"a": 1}


def test_of_several_modules_all_are_left_where_one_is_refused() -> None:
    modules = {"a": nn.BatchNorm1d(2), "b": nn.Linear(2, 2)}
    before = {name: bits(one) for name, one in modules.items()}
    values = {f"a.{name}": torch.ones_like(value) for name, value in modules["a"].state_dict().items()}
    found = from_safetensors(
        modules, {**values, "b.weight": torch.ones(2, 3), "b.bias": torch.ones(2), "c.x": torch.ones(1)}
    )
    assert found["is_loaded"] is False
    assert found["mismatched"] == [["b.weight", "[2, 3] in the file, [2, 2] in the module"]]
    assert found["unexpected"] == ["c.x"]
    assert {name: bits(one) for name, one in modules.items()} == before
    assert from_safetensors(modules, {**values, "c.x": torch.ones(1)}, strict=False)["is_loaded"]
    assert modules["a"].num_batches_tracked == 1


def compiled(module: nn.Module) -> nn.Module:
    return torch.compile(module, backend="eager")  # type: ignore[return-value]


def nested() -> nn.Module:
    return compiled(nn.Sequential(nn.BatchNorm1d(2), compiled(nn.Sequential(Renaming(2, 2)))))


def test_compiled_modules_have_the_names_of_those_that_are_not() -> None:
    torch.manual_seed(0)
    plain, one, other = nn.Sequential(nn.BatchNorm1d(2), nn.Sequential(Renaming(2, 2))), nested(), nested()
    assert "_orig_mod.1._orig_mod.0.weight" in one.state_dict()
    assert list(state.all_of({"m": one})) == [f"m.{name}" for name in plain.state_dict()]
    assert Snapshot(one).plan["metadata"] == {"torchwire.versions": '{"1.0": 2}'}
    assert from_safetensors(one, plain.state_dict())["is_loaded"]
    assert from_pt(one, plain.state_dict())["is_loaded"]
    assert list(bits(one).values()) == list(bits(plain).values())
    # Plain Python saved this from a compiled module.
    assert from_pt(other, one.state_dict())["is_loaded"]
    assert list(bits(other).values()) == list(bits(plain).values())
    found = from_safetensors(one, {"0.weight": torch.ones(2), "1.0.weight": torch.ones(3, 2)})
    assert (found["missing"][0], found["mismatched"][0][0]) == ("0.bias", "1.0.weight")


@pytest.mark.parametrize(
    ("theirs", "ours", "prefix"),
    [
        (["module.a.w", "module.b"], ["a.w", "b"], ["module.", ""]),
        (["a.w", "b"], ["module.a.w", "module.b"], ["", "module."]),
        (["model.a", "model.b"], ["net.a", "net.b"], ["model.", "net."]),
        (["model.a", "model.b", "loss.c"], ["a", "b"], ["model.", ""]),
        (["m.bn.weight"], ["bn.weight", "bn.num_batches_tracked"], ["m.", ""]),
        (["a"], ["a", "b"], None),
        (["x.a", "b"], ["a", "b"], None),
        ([], ["a"], None),
    ],
)
def test_the_prefix_that_differs(theirs: list[str], ours: list[str], prefix: Any) -> None:
    assert differing_prefix(theirs, ours) == prefix


def test_versions_go_with_new_names() -> None:
    assert renamed({"": {"version": 1}, "m": {"version": 2}, "m.bn": {"version": 3}}, {"m.bn.weight": "bn.weight"}) == {
        "": {"version": 2},
        "bn": {"version": 3},
    }
    found = from_pt(
        nn.Sequential(Renaming(2, 3)),
        nn.ModuleDict({"m": nn.Sequential(Renaming(2, 3))}).state_dict(),
        names=["0.weight", "0.bias"],
    )
    assert found["is_loaded"]
