from __future__ import annotations

import io
import pickle
from typing import Any

import pytest
import torch

from torchwire_worker.helpers import pickled, state
from torchwire_worker.helpers.loading import Loading, load_into
from torchwire_worker.helpers.state import DTYPES, Snapshot

nn = torch.nn


class Holder(nn.Module):
    """A module that has tensors of any kind as buffers."""

    def __init__(self, **tensors: torch.Tensor) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)


def bits(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).tolist())


def all_of(module: nn.Module) -> dict[str, bytes]:
    return {name: bits(value) for name, value in module.state_dict().items()}


def size(snapshot: Snapshot) -> int:
    return sum(torch.empty(shape, dtype=DTYPES[code]).nbytes for _, code, shape in snapshot.plan["tensors"])


def carried(source: state.Modules, target: state.Modules, piece: int = 5) -> Loading:
    """Read in pieces, as the client does."""
    snapshot = Snapshot(source)
    assert snapshot.plan["refused"] == []
    loading = Loading(target, snapshot.plan["tensors"], snapshot.plan["metadata"].get("torchwire.versions", ""))
    assert all(loading.wanted)
    left = size(snapshot)
    while left > 0:
        taken = loading.write(snapshot.read(min(piece, left)))
        left -= taken
    return loading


def one_of_each() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {code.lower(): torch.randint(0, 2, (3, 5)).to(dtype) for code, dtype in DTYPES.items()}


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_every_dtype_comes_back_bit_for_bit(piece: int) -> None:
    source = Holder(**one_of_each(), scalar=torch.tensor(3.5), empty=torch.empty(0, 4))
    target = Holder(**{name: torch.zeros_like(value) for name, value in source.state_dict().items()})
    assert len(DTYPES) >= 14
    carried(source, target, piece).commit()
    assert all_of(target) == all_of(source)


def test_larger_items_lie_first_and_the_order_is_kept_otherwise() -> None:
    module = Holder(a=torch.zeros(1).bool(), b=torch.zeros(1).double(), c=torch.zeros(1), d=torch.zeros(1).long())
    assert [name for name, _, _ in Snapshot(module).plan["tensors"]] == ["b", "d", "c", "a"]


def test_strides_are_those_of_memory_and_not_of_values() -> None:
    image = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).float()
    source = Holder(
        last=image.to(memory_format=torch.channels_last), t=torch.arange(6.0).reshape(2, 3).t(), part=image[:, 1]
    )
    target = Holder(
        last=torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last),
        t=torch.zeros(3, 2),
        part=torch.zeros(2, 4, 5),
    )
    carried(source, target).commit()
    assert torch.equal(target.last, image)
    assert target.last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(target.t, source.t)
    assert torch.equal(target.part, source.part)


def test_what_is_read_later_is_what_was_there_at_first() -> None:
    module = nn.Linear(3, 3)
    before = all_of(module)
    snapshot = Snapshot(module)
    with torch.no_grad():
        module.weight.fill_(7)
        module.bias.fill_(7)
    assert bits(torch.cat([snapshot.read(10), snapshot.read(38)])) == before["weight"] + before["bias"]


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embedding.weight


def test_tied_tensors_are_copied_once_and_written_under_both_names() -> None:
    source, target = Tied(), Tied()
    snapshot = Snapshot(source)
    assert [name for name, _, _ in snapshot.plan["tensors"]] == ["embedding.weight", "head.weight"]
    assert len({tensor.data_ptr() for tensor in snapshot._left}) == 1
    carried(source, target).commit()
    assert all_of(target) == all_of(source)
    assert target.head.weight is target.embedding.weight


def test_a_tied_tensor_is_found_under_either_name() -> None:
    source, target = Tied(), Tied()
    found = load_into(target, {"head.weight": source.head.weight.detach()}, strict=True)
    assert (found["is_loaded"], found["missing"], found["fitting"]) == (True, [], 1)
    assert all_of(target) == all_of(source)
    # A tensor that does not fit does not count for its other name.
    found = load_into(target, {"head.weight": torch.zeros(5, 4)}, strict=True)
    assert (found["is_loaded"], found["missing"]) == (False, ["embedding.weight"])
    assert all_of(target) == all_of(source)


def test_several_modules_have_prefixes() -> None:
    source, target = [{"g": nn.Linear(2, 3), "d": nn.BatchNorm1d(3)} for _ in range(2)]
    names = [name for name, _, _ in Snapshot(source).plan["tensors"]]
    assert sorted(names) == [
        "d.bias",
        "d.num_batches_tracked",
        "d.running_mean",
        "d.running_var",
        "d.weight",
        "g.bias",
        "g.weight",
    ]
    source["d"](source["g"](torch.ones(4, 2)))
    carried(source, target).commit()
    assert [all_of(m) for m in target.values()] == [all_of(m) for m in source.values()]


class Extra(nn.Linear):
    def __init__(self, extra: Any) -> None:
        super().__init__(2, 2)
        self.extra = extra

    def get_extra_state(self) -> Any:
        return self.extra

    def set_extra_state(self, extra: Any) -> None:
        self.extra = extra


def test_what_a_file_cannot_hold_is_named_and_nothing_is_copied() -> None:
    module = nn.ModuleDict(
        {
            "extra": Extra({"a": 1}),
            "lazy": nn.LazyLinear(3),
            "meta": nn.Linear(2, 2, bias=False, device="meta"),
            "sparse": Holder(x=torch.eye(2).to_sparse()),
            "wide": Holder(x=torch.zeros(2, dtype=torch.complex128)),
        }
    )
    plan = Snapshot(module).plan
    assert plan["tensors"] == []
    assert dict(plan["refused"]) == {
        "extra._extra_state": "it is a dict, not a tensor",
        "lazy.weight": "it has no shape before the module was run once",
        "lazy.bias": "it has no shape before the module was run once",
        "meta.weight": "it is on the meta device and has no values",
        "sparse.x": "its layout is torch.sparse_coo, not dense",
        "wide.x": "safetensors has no torch.complex128",
    }


def test_extra_state_that_is_a_tensor_is_a_tensor() -> None:
    source, target = Extra(torch.tensor([1.0, 2.0])), Extra(torch.zeros(2))
    carried(source, target).commit()
    assert target.extra.tolist() == [1, 2]


def test_a_loading_says_all_that_does_not_fit() -> None:
    module = nn.ModuleDict({"a": nn.Linear(2, 3), "b": Extra("text"), "meta": nn.Linear(2, 2, device="meta")})
    before = all_of(module["a"])
    tensors = [
        ("a.weight", "F32", [3, 3]),
        ("a.bias", "F99", [3]),
        ("other", "F32", [1]),
        ("meta.weight", "F32", [2, 2]),
    ]
    loading = Loading(module, tensors, "")
    assert loading.wanted == [True, False, True, True]
    loading.write(torch.zeros(4 * (9 + 1 + 4), dtype=torch.uint8))
    assert loading.commit() == {
        "is_loaded": False,
        "fitting": 0,
        "missing": ["b.weight", "b.bias", "b._extra_state", "meta.bias"],
        "unexpected": ["other"],
        "mismatched": [
            ["a.weight", "[3, 3] in the file, [3, 2] in the module"],
            ["a.bias", f"F99 in the file, which torch {torch.__version__} does not have"],
            [
                "meta.weight",
                "on the meta device in the module, where no values can be; first module.to_empty(device=...)",
            ],
        ],
        "problems": [],
        "prefix": None,
    }
    assert all_of(module["a"]) == before


def test_values_get_the_dtype_of_what_they_replace() -> None:
    target = Holder(a=torch.zeros(2, dtype=torch.bfloat16), b=torch.zeros(2).long())
    loading = Loading(target, [("a", "F64", [2]), ("b", "F32", [2])])
    loading.write(torch.tensor([1.5, 2.5], dtype=torch.float64).view(torch.uint8))
    loading.write(torch.tensor([3.0, 4.0]).view(torch.uint8))
    loading.commit()
    assert (target.a.dtype, target.a.tolist(), target.b.dtype, target.b.tolist()) == (
        torch.bfloat16,
        [1.5, 2.5],
        torch.int64,
        [3, 4],
    )


def test_a_bool_of_any_byte_is_0_or_1() -> None:
    target = Holder(a=torch.zeros(3).bool())
    loading = Loading(target, [("a", "BOOL", [3])])
    loading.write(torch.tensor([0, 2, 255], dtype=torch.uint8))
    loading.commit()
    assert target.a.view(torch.uint8).tolist() == [0, 1, 1]


def test_nothing_changes_before_the_last_byte_has_come() -> None:
    module = nn.Linear(2, 2)
    before = all_of(module)
    loading = Loading(module, [("weight", "F32", [2, 2]), ("bias", "F32", [2])])
    loading.write(torch.zeros(23, dtype=torch.uint8))
    with pytest.raises(RuntimeError, match="have not come"):
        loading.commit()
    assert all_of(module) == before


def test_a_module_that_changed_meanwhile_is_left_alone() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    loading = carried(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), module)
    module[1] = nn.Linear(2, 3)
    before = all_of(module)
    assert not loading.commit()["is_loaded"]
    assert all_of(module) == before


def test_a_lazy_module_takes_its_shape_from_the_file() -> None:
    source, target = nn.Linear(4, 3), nn.LazyLinear(3)
    carried(source, target).commit()
    assert all_of(target) == all_of(source)


def test_a_class_that_asks_for_its_version_is_told() -> None:
    class Versioned(nn.Linear):
        _version = 2

        def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
            assert local_metadata["version"] == 2
            super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    source, target = Versioned(2, 2), Versioned(2, 2)
    carried(source, target).commit()
    assert all_of(target) == all_of(source)


def test_loading_is_nothing_to_autograd_and_random_numbers() -> None:
    module = nn.Linear(2, 2)
    generator = torch.get_rng_state()
    with torch.inference_mode():
        carried(module, module).commit()
    assert torch.equal(torch.get_rng_state(), generator)
    assert module.weight.is_leaf and module.weight.requires_grad and not module.weight.is_inference()
    module(torch.ones(1, 2)).sum().backward()
    assert module.weight.grad is not None


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(TypeError, match="a Tensor is not a module"):
        Snapshot(dict(nn.Linear(2, 2).state_dict()))


class TestPickled:
    def opened(self, module: Any, content: bytes) -> tuple[pickled.Pickled, dict[str, Any]]:
        file = pickled.Pickled(module)
        # The tests wrote these files themselves, so a torch of any age can read them safely.
        file.refusal = None
        for at in range(0, len(content), 100):
            file.write(torch.frombuffer(bytearray(content[at : at + 100]), dtype=torch.uint8))
        return file, file.open()

    def saved(self, content: Any, **options: Any) -> bytes:
        file = io.BytesIO()
        torch.save(content, file, **options)
        return file.getvalue()

    @pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "model"])
    @pytest.mark.parametrize("zipped", [True, False])
    def test_a_state_dict_is_found_alone_or_under_a_usual_key(self, key: str | None, zipped: bool) -> None:
        source, target = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
        source(torch.randn(4, 3))
        state = source.state_dict()
        content = state if key is None else {"epoch": 3, key: state}
        file, found = self.opened(target, self.saved(content, _use_new_zipfile_serialization=zipped))
        assert found["problem"] is None
        found = file.commit()
        assert (found["is_loaded"], found["missing"], found["unexpected"], found["mismatched"]) == (True, [], [], [])
        assert all_of(target) == all_of(source)

    def test_extra_state_that_is_no_tensor_can_be_loaded(self) -> None:
        target = Extra({})
        file, found = self.opened(target, self.saved(Extra({"a": 1}).state_dict()))
        assert file.commit()["mismatched"] == []
        assert target.extra == {"a": 1}

    def test_what_does_not_fit_is_said_and_changes_nothing(self) -> None:
        target = nn.Linear(2, 3)
        before = all_of(target)
        file, _ = self.opened(target, self.saved({"weight": torch.ones(2), "other": torch.ones(1)}))
        found = file.commit()
        assert (found["missing"], found["unexpected"]) == (["bias"], ["other"])
        assert found["mismatched"] == [["weight", "[2] in the file, [3, 2] in the module"]]
        assert all_of(target) == before

    def test_code_is_not_run(self, tmp_path: Any) -> None:
        class Evil:
            def __reduce__(self) -> Any:
                return open, (str(tmp_path / "evil"), "w")

        for content in (self.saved(Evil()), self.saved({"a": torch.ones(1), "b": Evil()}), pickle.dumps(Evil())):
            _, found = self.opened(nn.Linear(1, 1), content)
            assert "torch.load(weights_only=True) refuses it" in found["problem"]
        assert list(tmp_path.iterdir()) == []

    def test_a_whole_model_is_refused(self) -> None:
        _, found = self.opened(nn.Linear(1, 1), self.saved(nn.Linear(1, 1)))
        assert "torch.save(model.state_dict(), path)" in found["problem"]

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02", b"nonsense" * 100])
    def test_what_is_no_such_file_is_refused(self, content: bytes) -> None:
        _, found = self.opened(nn.Linear(1, 1), content)
        assert "refuses it" in found["problem"]

    @pytest.mark.parametrize(
        ("content", "says"), [([1], "it holds a list"), ({"a": 1, "b": 2}, "it holds a dict with the keys a, b")]
    )
    def test_what_is_no_state_dict_is_refused(self, content: Any, says: str) -> None:
        _, found = self.opened(nn.Linear(1, 1), self.saved(content))
        assert found["problem"].startswith(says)

    def test_versions_of_torch_with_the_hole_are_refused(self) -> None:
        assert [pickled.refusal(v) is None for v in ("2.10.0", "2.14.1+cu128", "3.0", "2.10.0a0+git12")] == [True] * 4
        assert all("CVE-2025-32434" in (pickled.refusal(v) or "") for v in ("2.9.1", "2.6.0", "1.13.1+cpu", "2.5.0a0"))
