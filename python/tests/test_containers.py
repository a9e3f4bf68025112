"""A container of tensors keeps its type, whatever that is."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils import _pytree

from torchwire_worker.helpers.amp import autocast_forward
from torchwire_worker.helpers.containers import tensors_in, with_tensors
from torchwire_worker.helpers.losses import of_parts
from torchwire_worker.helpers.metrics import detached
from torchwire_worker.helpers.summary import describe


class Pair(NamedTuple):
    out: Any
    more: Any


class OfOne(Pair):
    def __new__(cls, out: Any) -> OfOne:
        return super().__new__(cls, out, [out])


class Rows(list):  # type: ignore[type-arg]
    def __init__(self, first: Any, *, name: str) -> None:
        super().__init__([first])
        self.name = name
        self.first = first


class Fixed(tuple):  # type: ignore[type-arg]
    first: Any

    def __new__(cls, first: Any, second: Any) -> Fixed:
        made = super().__new__(cls, (first, second))
        made.first = first
        return made


class ByAttribute(dict):  # type: ignore[type-arg]
    def __init__(self, out: Any) -> None:
        super().__init__(out=out)

    def __getattr__(self, name: str) -> Any:
        return self[name]


class Ordered(collections.OrderedDict):  # type: ignore[type-arg]
    def __init__(self, out: Any) -> None:
        super().__init__()
        self["out"] = out


@dataclasses.dataclass
class Plain:
    out: Any
    more: Any = None


@dataclasses.dataclass(frozen=True)
class Frozen:
    out: Any


@dataclasses.dataclass(frozen=True)
class Slots:
    __slots__ = ("out",)
    out: Any


class Hidden(list):  # type: ignore[type-arg]
    """It has a private slot, and refuses requests for attributes."""

    __slots__ = ("__own",)

    def __init__(self, own: Any) -> None:
        super().__init__()
        self.__own = own

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def own(self) -> Any:
        return self.__own


@dataclasses.dataclass
class Late:
    out: Any
    factor: dataclasses.InitVar[int]
    doubled: Any = dataclasses.field(init=False)
    unset: Any = dataclasses.field(init=False)

    def __post_init__(self, factor: int) -> None:
        self.doubled = self.out * factor


class ModelOutput(collections.OrderedDict):  # type: ignore[type-arg]
    """Made like Hugging Face's: a dict of the fields that are not None, which are its attributes too."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            if getattr(self, field.name) is not None:
                super().__setitem__(field.name, getattr(self, field.name))

    def __getitem__(self, key: Any) -> Any:
        return list(self.values())[key] if isinstance(key, int) else super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        super().__setattr__(key, value)

    def __delitem__(self, key: Any) -> None:
        raise RuntimeError("it cannot be deleted")


@dataclasses.dataclass
class Scored(ModelOutput):
    loss: Any = None
    logits: Any = None
    hidden: Any = None


class OwnMapping(MutableMapping):  # type: ignore[type-arg]
    def __init__(self, out: Any) -> None:
        self._items = {"out": out}

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._items[key] = value

    def __delitem__(self, key: str) -> None:
        del self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


class Registered:
    def __init__(self, out: Any) -> None:
        self.out = out


_pytree.register_pytree_node(Registered, lambda one: ([one.out], None), lambda items, _: Registered(next(iter(items))))

CONTAINERS: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda x: x,
    "list": lambda x: [x, 1, "text", None],
    "tuple": lambda x: (x, (x,)),
    "dict": lambda x: {"out": x, 3: {"more": [x]}},
    "defaultdict": lambda x: collections.defaultdict(list, out=x),
    "OrderedDict": lambda x: collections.OrderedDict(out=x),
    "Counter": lambda x: collections.Counter({"out": x}),
    "deque": lambda x: collections.deque([x], maxlen=3),
    "UserDict": lambda x: collections.UserDict(out=x),
    "UserList": lambda x: collections.UserList([x]),
    "namedtuple": lambda x: Pair(x, [x]),
    "namedtuple with a constructor of its own": OfOne,
    "subclass of list": lambda x: Rows(x, name="rows"),
    "subclass of tuple": lambda x: Fixed(x, 2),
    "subclass of dict": ByAttribute,
    "subclass of OrderedDict": Ordered,
    "dataclass": Plain,
    "dataclass in a dataclass": lambda x: Plain(1, Plain([x])),
    "frozen dataclass": Frozen,
    "dataclass with slots": Slots,
    "private slot": Hidden,
    "dataclass with fields that are no arguments": lambda x: Late(x, 2),
    "ModelOutput": lambda x: Scored(logits=x, hidden=(x * 2, x * 3)),
    "mapping": OwnMapping,
    "registered class": Registered,
    "torch.return_types": lambda x: torch.max(x.expand(2, 2), 1),
    "PackedSequence": lambda x: torch.nn.utils.rnn.pack_sequence([x]),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_types_are_kept(kind: str) -> None:
    x = torch.ones(2, requires_grad=True)
    given = CONTAINERS[kind](x)
    found = detached(given)
    assert type(found) is type(given)
    assert tensors_in(given)[0].requires_grad
    assert tensors_in(found)
    assert not any(tensor.requires_grad for tensor in tensors_in(found))
    assert len(tensors_in(found)) == len(tensors_in(given))
    assert with_tensors(lambda tensor: tensor, given) is given


@pytest.mark.parametrize("kind", CONTAINERS)
def test_half_floats_are_full_ones_after_autocast(kind: str) -> None:
    class Model(torch.nn.Module):
        def forward(self, x: Tensor) -> Any:
            return CONTAINERS[kind](x)

    model = Model()
    autocast_forward(model, "cpu", "bfloat16")
    x = torch.ones(2, dtype=torch.bfloat16)
    found = model(x)
    assert type(found) is type(CONTAINERS[kind](x))
    assert {tensor.dtype for tensor in tensors_in(found) if tensor.is_floating_point()} == {torch.float32}


def test_what_is_in_them_is_what_it_was() -> None:
    x = torch.arange(3.0, requires_grad=True)
    scored = detached(Scored(logits=x, hidden=(x * 2,)))
    assert scored.logits is scored["logits"] is scored[0]
    assert scored.loss is None
    assert list(scored) == ["logits", "hidden"]
    assert scored.hidden[0].tolist() == [0, 2, 4]
    rows = detached(Rows(x, name="rows"))
    assert (rows.name, rows.first.requires_grad, rows.first is rows[0]) == ("rows", False, True)
    assert detached(ByAttribute(x)).out.requires_grad is False
    assert detached(Fixed(x, 2)).first.requires_grad is False
    late = detached(Late(x, 2))
    assert late.doubled.tolist() == [0, 2, 4]
    assert not hasattr(late, "unset")
    own = OwnMapping(x)
    assert detached(own)["out"].requires_grad is False
    assert own["out"] is x
    assert detached(Hidden(x)).own().requires_grad is False
    missing = detached(collections.defaultdict(list, out=x))["other"]
    assert missing == []
    assert detached(collections.deque([x], maxlen=3)).maxlen == 3
    assert detached({"out": x, "name": "text", "none": None})["name"] == "text"


def test_what_contains_itself() -> None:
    x = torch.ones(2, requires_grad=True)
    one: list[Any] = [x]
    one.append((one, x))
    found = detached(one)
    assert found[1][0] is found
    assert not found[1][1].requires_grad
    both = ([x],)
    both[0].append(both)  # type: ignore[arg-type]
    again = detached(both)
    assert again[0][1] is again
    plain = Plain(x)
    plain.more = plain
    assert detached(plain).more.out.requires_grad is False


def test_what_is_no_container_is_left_as_it_is() -> None:
    linear = torch.nn.Linear(2, 2)
    normal = torch.distributions.Normal(torch.zeros(2, requires_grad=True), 1)
    for one in ["text", b"bytes", 3, None, range(3), {1, 2}, linear, normal, Plain, object()]:
        assert detached(one) is one
        assert tensors_in(one) == []
    found = detached([linear, torch.ones(1, requires_grad=True)])
    assert found[0] is linear


def test_a_compiled_model_is_one_graph() -> None:
    class Model(torch.nn.Module):
        def forward(self, x: Tensor) -> Any:
            return {"out": [x * 2], "more": (x.bfloat16(),)}

    model = Model()
    autocast_forward(model, "cpu", "bfloat16")
    found = torch.compile(model, backend="eager", fullgraph=True)(torch.ones(2))
    assert found["more"][0].dtype is torch.float32


def test_a_summary_has_the_shapes_of_all_of_them() -> None:
    class Model(torch.nn.Module):
        def forward(self, x: Tensor) -> Any:
            return Plain(x, Scored(logits=x[0], hidden=collections.defaultdict(list, a=[x, x])))

    assert describe(Model(), [2, 3])["layers"][0]["outputs"] == [[2, 3], [3], [2, 3], [2, 3]]


def test_a_loss_of_several_outputs_takes_them_by_attribute() -> None:
    @dataclasses.dataclass
    class Normal:
        var: Tensor
        input: Tensor

    call = of_parts(F.gaussian_nll_loss, [("input", "input"), ("var", "var")], [("target", "target")])
    mean, var, target = torch.zeros(3), torch.full((3,), 2.0), torch.arange(3.0)
    assert call(Normal(var=var, input=mean), target) == F.gaussian_nll_loss(mean, target, var)
