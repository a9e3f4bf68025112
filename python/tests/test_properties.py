"""Properties that hold for every value, and for any bytes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from vectors import GOLDEN, same

from torchwire_worker.objects import NoValue, Objects
from torchwire_worker.ops import read_batch, read_hello
from torchwire_worker.tensors import ITEM_SIZES, Frames
from torchwire_worker.values import Decoder, encode_plain
from torchwire_worker.wire import HEADER_BYTES, Limits, MessageType, WireError, check_frames, encode, read_header

# Hypothesis keeps files from run to run, which do not belong in the repository.
set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "torchwire-hypothesis")
often = settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
# Small sets, so that chance reaches all of them.
LIMITS = Limits(frame_bytes=16, frames=64, depth=6, dims=5, text_bytes=40)


@st.composite
def tensors(draw: st.DrawFn, most: int = 4) -> torch.Tensor:
    """Draw a tensor of any dtype, any bits and any layout."""
    dtype = draw(st.sampled_from(sorted(ITEM_SIZES)))
    shape = draw(st.lists(st.integers(0, most), max_size=4))
    length = torch.Size(shape).numel() * ITEM_SIZES[dtype]
    data = draw(st.binary(min_size=length, max_size=length))
    if dtype == "bool":
        data = bytes(byte & 1 for byte in data)
    kind = getattr(torch, dtype)
    tensor = torch.frombuffer(bytearray(data), dtype=kind).reshape(shape) if data else torch.empty(shape, dtype=kind)
    axes = draw(st.permutations(range(len(shape))))
    tensor = tensor.permute(axes)
    for axis, n in enumerate(tensor.shape):
        tensor = tensor.narrow(axis, *draw(st.sampled_from([(0, n), (n // 2, n - n // 2)])))
    return tensor.conj() if dtype == "complex64" and draw(st.booleans()) else tensor


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
# In Python, 1, 1.0 and True are one key.
keys = st.none() | st.integers(min_value=2) | text | st.tuples(st.integers(), text)
values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**66), 2**66)
    | st.floats()
    | text
    | st.binary(max_size=20)
    | tensors(2),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)


def decoder(frames: list[Any], limits: Limits = LIMITS) -> Decoder:
    return Decoder(Objects(), 0, [memoryview(bytearray(frame)) for frame in frames], limits)


def listed(value: Any) -> Any:
    """Return the value as it is sent: a tuple as a list, a tensor row by row."""
    if isinstance(value, torch.Tensor):
        return value.resolve_conj().contiguous()
    if isinstance(value, (list, tuple)):
        return [listed(item) for item in value]
    return {key: listed(item) for key, item in value.items()} if isinstance(value, dict) else value


@often
@given(values.filter(lambda value: not _has_tuple_keys(value)))
def test_what_was_encoded_is_decoded_to_the_same(value: Any) -> None:
    frames = Frames(Limits(frame_bytes=16))
    token = msgspec.msgpack.decode(msgspec.msgpack.encode(encode_plain(value, frames)))
    assert all(len(frame) <= 16 for frame in frames.buffers)
    assert same(decoder(frames.buffers, Limits())(token), listed(value))


def _has_tuple_keys(value: Any) -> bool:
    # JavaScript has no tuples: such a key comes back as a list, which is no key.
    if isinstance(value, dict):
        return any(isinstance(key, tuple) for key in value) or any(map(_has_tuple_keys, value.values()))
    return isinstance(value, list) and any(map(_has_tuple_keys, value))


@often
@given(values)
def test_encoding_ends_in_a_value_within_the_limits_or_in_their_error(value: Any) -> None:
    frames = Frames(LIMITS)
    try:
        token = encode_plain(value, frames)
    except WireError as error:
        assert "the limit is" in str(error)
        return
    assert len(frames.buffers) <= LIMITS.frames
    assert all(len(frame) <= LIMITS.frame_bytes for frame in frames.buffers)
    if not _has_tuple_keys(value):
        decoder(frames.buffers)(msgspec.msgpack.decode(msgspec.msgpack.encode(token)))


tokens = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 9)
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | text
    | st.sampled_from(sorted(ITEM_SIZES))
    | st.binary(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.builds(lambda tag, items: [tag, *items], st.integers(0, 8), st.lists(inner, max_size=5))
        | st.dictionaries(text, inner, max_size=2)
    ),
    max_leaves=15,
)
tensor_tokens = st.builds(
    lambda *parts: [4, *parts[:3], *parts[3]],
    st.integers(-1, 4),
    st.sampled_from([*sorted(ITEM_SIZES), "uint16", "Tensor"]),
    st.lists(st.integers(-1, 9), max_size=6) | tokens,
    st.just([]) | st.lists(st.integers(0, 4), max_size=2),
)


@often
@given(tokens | tensor_tokens, st.lists(st.binary(max_size=16), max_size=4))
def test_any_token_is_a_value_or_refused(token: Any, frames: list[bytes]) -> None:
    try:
        decoder(frames)(token)
    except (WireError, NoValue):
        return


@often
@given(st.lists(st.binary(max_size=80), min_size=1, max_size=3))
def test_any_bytes_are_a_message_or_refused(parts: list[bytes]) -> None:
    with pytest.raises(WireError):
        # Chance alone makes no valid header. If it did, this test would need another look.
        header = read_header(parts[0], LIMITS)
        check_frames(header, [len(part) for part in parts[1:]], LIMITS)


@often
@given(st.sampled_from(GOLDEN["messages"]), st.data())
def test_a_message_with_other_bytes_in_it_is_read_or_refused(vector: dict[str, Any], data: st.DataObject) -> None:
    parts = [bytearray.fromhex(part) for part in vector["hex"]]
    for _ in range(data.draw(st.integers(1, 3))):
        part = data.draw(st.sampled_from(parts))
        if part:
            part[data.draw(st.integers(0, len(part) - 1))] = data.draw(st.integers(0, 255))
    try:
        header = read_header(bytes(parts[0]), Limits())
        check_frames(header, [len(part) for part in parts[1:]], Limits())
        meta = bytes(parts[0][HEADER_BYTES:])
        if header.type is MessageType.HELLO:
            Limits().smaller(read_hello(meta).limits)
        elif header.type is MessageType.BATCH:
            read_batch(meta, Limits())
    except WireError:
        return


@often
@given(tokens)
def test_any_meta_is_a_batch_or_a_greeting_or_refused(meta: Any) -> None:
    head = encode(MessageType.BATCH, meta)
    read_header(head, Limits())
    for read in (lambda meta: read_batch(meta, Limits()), read_hello):
        with pytest.raises(WireError):
            read(head[HEADER_BYTES:])


@often
@given(st.dictionaries(st.sampled_from(["frames", "depth", "textBytes", "unknown"]), st.integers(-(2**70), 2**70)))
def test_limits_that_are_told_only_ever_lower_ours(theirs: dict[str, int]) -> None:
    ours = Limits()
    try:
        found = ours.smaller(theirs)
    except WireError:
        assert any(limit < 1 for name, limit in theirs.items() if name != "unknown")
        return
    assert (found.frames, found.depth, found.text_bytes) == (
        min(1024, theirs.get("frames", 1024)),
        min(64, theirs.get("depth", 64)),
        min(2**24, theirs.get("textBytes", 2**24)),
    )
    assert found.frame_bytes == ours.frame_bytes
