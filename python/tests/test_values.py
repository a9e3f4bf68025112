"""The way of a value to the client, beyond the golden vectors, and the values that cannot go there."""

from __future__ import annotations

import collections
import decimal
import enum
import math
import types
from typing import Any

import numpy
import pytest
import torch

from torchwire_worker.objects import Objects
from torchwire_worker.tensors import ITEM_SIZES, Frames
from torchwire_worker.values import Decoder, encode_plain, encode_settled
from torchwire_worker.wire import Limits


class Level(enum.IntEnum):
    HIGH = 3


class Text(str):
    pass


class Color(str, enum.Enum):
    RED = "red"


class Flags(enum.IntFlag):
    A = 1
    B = 4


def own(base: Any) -> Any:
    """A subclass whose own methods say anything but its value."""

    def wrong(self: Any, *args: Any) -> Any:
        raise AssertionError("a method of the user's own was asked")

    names = (
        "__str__ __repr__ __format__ __int__ __index__ __float__ __bool__ __iter__ __len__ __getitem__ __bytes__ "
        "__buffer__ __contains__ __getattribute__"
    )
    return type(
        f"Own{base.__name__}",
        (base,),
        dict.fromkeys((*names.split(), "items", "keys", "values", "__class_getitem__"), wrong),
    )


Point = collections.namedtuple("Point", "x y")


class TestSettled:
    """`await ref` gives a scalar itself, and a reference for all else, so that `await` changes nothing that a program
    could notice.
    """

    @pytest.mark.parametrize(
        ("value", "name"),
        [
            (Level.HIGH, "Level"),
            (Text("a"), "Text"),
            (numpy.float32(1), "float32"),
            (numpy.bool_(True), numpy.bool_.__name__),
            (torch.tensor(1), "Tensor"),
            (b"a", "bytes"),
            ([], "list"),
            (1j, "complex"),
            (decimal.Decimal(1), "Decimal"),
            (int, "type"),
            (torch, "module"),
        ],
    )
    def test_what_is_no_plain_scalar_stays_a_reference(self, value: Any, name: str) -> None:
        assert encode_settled(value, Frames()) == [0, name]


class TestPlain:
    @pytest.mark.parametrize(
        ("value", "token"),
        [
            (Level.HIGH, 3),
            (Text("a"), "a"),
            (numpy.float64(0.5), 0.5),
            (bytearray(b"a"), b"a"),
            (memoryview(b"ab"), b"ab"),
            (Point(1, [2]), [1, 1, [1, 2]]),
            (frozenset([1]), [1, 1]),
            (range(2, 6, 2), [1, 2, 4]),
            ({"a": 1}.keys(), [1, "a"]),
            ({"a": 1}.values(), [1, 1]),
            ({"a": 1}.items(), [1, [1, "a", 1]]),
            (collections.OrderedDict(b=1, a=2), [3, "b", 1, "a", 2]),
            (types.MappingProxyType({1: None}), [3, 1, None]),
            (torch.Size([2, 3]), [1, 2, 3]),
        ],
    )
    def test_relatives_of_plain_values_are_taken_for_them(self, value: Any, token: Any) -> None:
        found = encode_plain(value, Frames())
        assert found == token
        assert type(found) is type(token)

    @pytest.mark.parametrize(
        ("value", "token"),
        [
            (Color.RED, "red"),
            (Flags.A | Flags.B, 5),
            (own(str)("größer"), "größer"),
            (own(int)(7), 7),
            (own(int)(2**70), [5, f"{2**70:x}"]),
            (own(float)(0.5), 0.5),
            (own(bytes)(b"ab"), b"ab"),
            (own(bytes)(), b""),
            (own(bytearray)(b"ab"), b"ab"),
            (own(list)([1, Color.RED]), [1, 1, "red"]),
            (own(tuple)((1, own(str)("a"))), [1, 1, "a"]),
            (own(set)({1}), [1, 1]),
            (own(frozenset)({1}), [1, 1]),
            (own(dict)({"a": own(int)(1)}), [3, "a", 1]),
            (own(collections.OrderedDict)(b=1, a=2), [3, "b", 1, "a", 2]),
            (collections.Counter("aab"), [3, "a", 2, "b", 1]),
            (own(collections.defaultdict)(int, a=1), [3, "a", 1]),
            ({Color.RED: Level.HIGH, own(str)("x"): [], numpy.int64(4): None}, [3, "red", 3, "x", [1], 4, None]),
            (collections.OrderedDict(b=1, a=2).keys(), [1, "b", "a"]),
            (collections.UserDict(a=1), [3, "a", 1]),
            (collections.ChainMap({"a": 1}, {"b": 2}), [3, "b", 2, "a", 1]),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_a_subclass_of_a_plain_type_is_that_type_s_value_whatever_its_methods_say(
        self, value: Any, token: Any
    ) -> None:
        found = encode_plain(value, Frames())
        assert found == token
        for part, other in zip(found, token) if type(token) is list else [(found, token)]:
            assert type(part) is type(other)

    def test_an_ordered_dict_keeps_its_own_order(self) -> None:
        value = collections.OrderedDict(a=1, b=2)
        value.move_to_end("a")
        assert encode_plain(value, Frames()) == [3, "b", 2, "a", 1]

    @pytest.mark.parametrize(
        ("value", "plain"),
        [
            (numpy.float32(0.1), 0.10000000149011612),
            (numpy.float16(0.1), 0.0999755859375),
            (numpy.float64(0.1), 0.1),
            (numpy.float32("nan"), math.nan),
            (numpy.int8(-3), -3),
            (numpy.uint8(200), 200),
            (numpy.int64(-(2**63)), -(2**63)),
            (numpy.uint64(2**64 - 1), 2**64 - 1),
            (numpy.int64(2**53), [5, f"{2**53:x}"]),
            (numpy.bool_(True), True),
            (numpy.str_("größer"), "größer"),
            (numpy.bytes_(b"ab"), b"ab"),
            (own(numpy.float32)(0.5), 0.5),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_a_scalar_of_numpy_is_the_number_that_it_holds(self, value: Any, plain: Any) -> None:
        found = encode_plain([value], Frames())[1]
        assert found == plain or (plain != plain and found != found)
        assert type(found) is type(plain)
        assert encode_plain({"a": value}, Frames())[2] == found or plain != plain

    @pytest.mark.parametrize(
        "value",
        [
            numpy.complex64(1j),
            numpy.complex128(1j),
            numpy.longdouble(1),
            numpy.datetime64("2020-01-01"),
            numpy.datetime64("2020-01-01", "ns"),
            numpy.timedelta64(1, "ns"),
            numpy.zeros(1, "i4,f4")[0],
            torch.float32,
            torch.device("cpu"),
        ],
    )
    def test_what_no_number_is_the_same_as_is_refused(self, value: Any) -> None:
        with pytest.raises(TypeError, match="has no JavaScript counterpart"):
            encode_plain([value], Frames())

    def test_a_masked_array_is_refused_since_its_mask_would_be_lost(self) -> None:
        with pytest.raises(TypeError, match=r"filled\(x\)"):
            encode_plain(numpy.ma.masked_array([1.0, 2.0], [True, False]), Frames())

    def test_what_only_claims_to_be_of_a_plain_type_is_not_taken_for_it(self) -> None:
        class Claims:
            __class__ = property(lambda self: int)  # type: ignore[assignment]

        with pytest.raises(TypeError, match="Claims, which has no JavaScript counterpart"):
            encode_plain(Claims(), Frames())

    @pytest.mark.parametrize(
        ("value", "path", "kind"),
        [
            (object(), "value", "builtins.object"),
            ([1, {"a": (2, object())}], "value[1]['a'][1]", "builtins.object"),
            ({"f": len}, "value['f']", "builtins.builtin_function_or_method"),
            ([1j], "value[0]", "builtins.complex"),
            ([torch.nn.ReLU()], "value[0]", "torch.nn.modules.activation.ReLU"),
        ],
    )
    def test_what_has_no_counterpart_is_refused_with_its_path(self, value: Any, path: str, kind: str) -> None:
        with pytest.raises(TypeError) as caught:
            encode_plain(value, Frames())
        assert str(caught.value).startswith(f"{path} is a {kind}, which has no JavaScript counterpart")

    @pytest.mark.parametrize(
        ("tensor", "message"),
        [
            (
                torch.ones(2, dtype=torch.uint16),
                "tensor of uint16, which cannot be sent; convert it first: .to(torch.int32)",
            ),
            (
                torch.ones(2, dtype=torch.uint32),
                "tensor of uint32, which cannot be sent; convert it first: .to(torch.int64)",
            ),
            (torch.ones(2, dtype=torch.uint64), ".view(torch.int64) for its bits, or .to(torch.float64)"),
            (torch.ones(2, dtype=torch.complex128), ".to(torch.complex64)"),
            (
                torch.ones(2).to(torch.float8_e4m3fn),
                "tensor of float8_e4m3fn, which cannot be sent; convert it first: .to(torch.float32)",
            ),
            (
                torch.eye(2).to_sparse(),
                "tensor of layout sparse_coo, which cannot be sent; convert it first: .to_dense()",
            ),
            (torch.eye(2).to_sparse_csr(), "tensor of layout sparse_csr"),
            (torch.ones(2, device="meta"), "tensor on the meta device"),
            (
                torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
                "tensor of qint8, which cannot be sent; convert it first: .dequantize()",
            ),
            (
                torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]),
                "nested tensor, which cannot be sent; convert it first: .unbind()",
            ),
            (numpy.ones(2, "uint16"), "tensor of uint16"),
        ],
    )
    def test_an_array_that_javascript_has_no_type_for_is_refused_with_advice(self, tensor: Any, message: str) -> None:
        frames = Frames()
        with pytest.raises(TypeError) as caught:
            encode_plain({"x": tensor}, frames)
        assert "value['x'] is a " in str(caught.value)
        assert message in str(caught.value)
        assert frames.buffers == []


class TestTensors:
    @pytest.mark.parametrize(
        "tensor",
        [
            torch.arange(6).reshape(2, 3).T,
            torch.arange(12.0).reshape(3, 4)[::2, 1::2],
            torch.arange(6.0).flip(0),
            torch.ones(2, 3, requires_grad=True) * 2,
            torch.tensor(5).expand(2, 2),
            torch.nn.Parameter(torch.ones(3)),
            torch.tensor([1 + 2j, 3 - 1j]).conj(),
            torch.tensor([[1 + 2j], [3 - 1j]]).mH,
            torch.tensor([1 + 2j, 3 - 1j]).conj().imag,
            torch.ones(3, dtype=torch.float16)[::2],
        ],
    )
    def test_one_of_any_layout_arrives_row_by_row(self, tensor: torch.Tensor) -> None:
        frames = Frames()
        index, dtype, shape = frames.add(tensor)
        assert (index, dtype, shape) == (0, str(tensor.dtype)[6:], list(tensor.shape))
        assert bytes(frames.buffers[0]) == tensor.detach().resolve_conj().resolve_neg().contiguous().numpy().tobytes()

    def test_a_frame_is_a_copy_of_what_the_tensor_was(self) -> None:
        frames, tensor = Frames(), torch.ones(2)
        frames.add(tensor)
        tensor.zero_()
        assert bytes(frames.buffers[0]) == b"\0\0\x80\x3f" * 2

    def test_an_array_of_numpy_is_one_too(self) -> None:
        frames = Frames()
        assert encode_plain(numpy.arange(3, dtype="int32"), frames) == [4, 0, "int32", [3]]
        assert bytes(frames.buffers[0]) == numpy.arange(3, dtype="int32").tobytes()

    def test_a_bool_of_another_byte_is_sent_as_one(self) -> None:
        # torch's copy keeps such bytes only for large tensors whose memory is not in reading order.
        frames = Frames()
        frames.add(torch.full((2, 2500), 2, dtype=torch.uint8).view(torch.bool).t())
        assert bytes(frames.buffers[0]) == b"\1" * 5000

    def test_a_frame_that_is_not_aligned_is_copied_to_where_it_is(self) -> None:
        frame = memoryview(bytearray(b"?\0\0\x80\x3f"))[1:]
        tensor = Decoder(Objects(), 0, [frame], Limits())([4, 0, "float32", [1]])
        assert tensor.data_ptr() % 4 == 0
        assert tensor.tolist() == [1.0]

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64"])
    def test_floats_are_aligned_as_torch_aligns_its_own(self, dtype: str) -> None:
        # Otherwise, the last bit of a product of matrices would depend on the address of a message.
        memory = memoryview(bytearray(1024))
        for offset in range(0, 64, 8):
            tensor = Decoder(Objects(), 0, [memory[offset : offset + 64]], Limits())(
                [4, 0, dtype, [64 // ITEM_SIZES[dtype]]]
            )
            assert tensor.data_ptr() % 64 == 0

    def test_integers_stay_where_they_are(self) -> None:
        memory = memoryview(bytearray(64))
        tensor = Decoder(Objects(), 0, [memory[8:16]], Limits())([4, 0, "uint8", [8]])
        memory[8] = 5
        assert tensor.tolist()[0] == 5


class TestDepth:
    def test_a_float_may_lie_as_deep_as_any_number(self) -> None:
        # The wire has a list here only because msgpack would not carry it as a float.
        token: Any = [6, bytes(8)]
        for _ in range(3):
            token = [1, token]
        assert Decoder(Objects(), 0, [], Limits(depth=3))(token) == [[[0.0]]]
