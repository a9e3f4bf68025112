"""The wire as Python speaks it, as in test/golden/wire-v1.json. TypeScript's half is test/pure/wire/wire.test.ts."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import pytest
from vectors import GOLDEN, GOLDEN_FOLDER, by, names, read, same

from torchwire_worker.objects import Objects
from torchwire_worker.ops import read_batch, read_hello
from torchwire_worker.tensors import Frames
from torchwire_worker.values import Decoder, encode_plain, encode_settled
from torchwire_worker.wire import (
    HEADER_BYTES,
    Header,
    Limits,
    MessageType,
    WireError,
    check_frames,
    encode,
    read_header,
)

LIMITS = Limits()
KINDS = {name.lower(): kind for name, kind in MessageType.__members__.items()}


def limits_of(vector: dict[str, Any]) -> Limits:
    return LIMITS.smaller(vector["limits"])


def parts_of(vector: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(part) for part in vector["hex"]]


def receive(parts: list[bytes], limits: Limits = LIMITS) -> tuple[Header, memoryview, list[memoryview]]:
    head, *frames = map(memoryview, parts)
    header = read_header(head, limits)
    check_frames(header, [len(frame) for frame in frames], limits)
    return header, head[HEADER_BYTES:], frames


def test_the_vectors_are_what_their_maker_makes() -> None:
    made = subprocess.run([sys.executable, "-B", GOLDEN_FOLDER / "make.py"], capture_output=True, check=True).stdout
    assert made == (GOLDEN_FOLDER / "wire-v1.json").read_bytes()


@pytest.mark.parametrize("vector", **names(GOLDEN["headers"]))
def test_a_header_is_read(vector: dict[str, Any]) -> None:
    fields = vector["fields"]
    # This is the header by itself. The length of its meta is checked against the bytes that follow, so it gets none.
    head = bytearray.fromhex(vector["hex"])
    head[24:28] = bytes(4)
    header = read_header(bytes(head), msgspec.structs.replace(LIMITS, frames=2**16))
    assert header == Header(
        KINDS[list(KINDS)[fields["type"] - 1]],
        fields["flags"],
        fields["frames"],
        fields["session"],
        fields["parentCall"],
        fields["seq"],
        fields["ack"],
        0,
        fields["totalBytes"],
    )


@pytest.mark.parametrize("vector", **names([m for m in GOLDEN["messages"] if m["sender"] == "worker"]))
def test_a_message_of_ours_is_these_bytes(vector: dict[str, Any]) -> None:
    frames = [bytes.fromhex(frame) for frame in vector["frames"]]
    seq, call = (vector["fields"].get(name, 0) for name in ("seq", "parentCall"))
    head = encode(KINDS[vector["type"]], read(vector["meta"]), seq, len(frames), sum(map(len, frames)), call)
    assert [part.hex() for part in (head, *frames)] == vector["hex"]


def test_the_welcome_tells_of_the_limits_that_hold() -> None:
    vector = next(m for m in GOLDEN["messages"] if m["type"] == "welcome")
    head = encode(MessageType.WELCOME, {**vector["meta"], "limits": Limits()})
    assert [head.hex()] == vector["hex"]


@pytest.mark.parametrize("vector", **names([m for m in GOLDEN["messages"] if m["sender"] == "client"]))
def test_a_message_of_the_client_is_read(vector: dict[str, Any]) -> None:
    header, meta, frames = receive(parts_of(vector))
    fields = {"flags": 0, "session": 1, "parentCall": 0, "seq": 0, "ack": 0} | vector["fields"]
    assert header.type is KINDS[vector["type"]]
    assert (header.flags, header.session, header.parent_call, header.seq, header.ack) == tuple(fields.values())
    assert [frame.hex() for frame in frames] == vector["frames"]
    described = read(vector["meta"])
    if header.type is MessageType.BATCH:
        batch, operations = read_batch(meta, LIMITS)
        functions = [list(each) for each in batch.functions]
        parts = {**msgspec.structs.asdict(batch), "operations": operations, "functions": functions}
        omitted = {
            "first": None,
            "operations": None,
            "lane": 0,
            "generation": 0,
            "contexts": [],
            "finalised": [],
            "ended_contexts": [],
            "functions": [],
        }
        assert same(msgspec.to_builtins(parts, builtin_types=(bytes,)), omitted | described)
    elif header.type is MessageType.HELLO:
        assert msgspec.to_builtins(read_hello(meta)) == {"replaces": None} | described
    else:
        assert msgspec.msgpack.decode(meta) == described


@pytest.mark.parametrize("vector", **names(GOLDEN["arguments"]))
def test_an_argument_is_read(vector: dict[str, Any]) -> None:
    objects = Objects()
    objects[17] = object()
    frames = [memoryview(bytearray.fromhex(frame)) for frame in vector["frames"]]
    token = msgspec.msgpack.decode(bytes.fromhex(vector["hex"]))
    assert same(Decoder(objects, 0, frames, LIMITS)(token), read(vector["python"], objects))


@pytest.mark.parametrize("vector", **names(GOLDEN["replies"]))
def test_a_value_is_these_bytes(vector: dict[str, Any]) -> None:
    value, frames = read(vector["python"]), Frames(limits_of(vector))
    token: Any
    if vector["mode"] == "settle":
        token = encode_settled(value, frames)
    elif vector["mode"] == "ndarray":
        token = [4, *frames.add(value)]
    else:
        token = encode_plain(value, frames)
    assert msgspec.msgpack.encode(token).hex() == vector["hex"]
    assert [bytes(buffer).hex() for buffer in frames.buffers] == vector["frames"]
    assert frames.total_bytes == sum(len(frame) // 2 for frame in vector["frames"])


@pytest.mark.parametrize("vector", **names(by("worker", GOLDEN["refusedMessages"])))
def test_a_message_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(WireError) as caught:
        header, meta, _ = receive(parts_of(vector), limits_of(vector))
        assert header.type is MessageType.BATCH
        read_batch(meta, LIMITS)
    assert vector["says"] in str(caught.value)


@pytest.mark.parametrize("vector", **names(GOLDEN["refusedBatches"]))
def test_a_batch_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(WireError) as caught:
        read_batch(bytes.fromhex(vector["hex"]), limits_of(vector))
    assert vector["says"] in str(caught.value)


@pytest.mark.parametrize("vector", **names(by("worker", GOLDEN["refusedValues"])))
def test_a_value_is_refused(vector: dict[str, Any]) -> None:
    limits = limits_of(vector)
    frames = [memoryview(bytearray.fromhex(frame)) for frame in vector["frames"]]
    token = msgspec.msgpack.decode(bytes.fromhex(vector["hex"]))
    with pytest.raises(WireError) as caught:
        Decoder(Objects(), 0, frames, limits)(token)
    assert vector["says"] in str(caught.value)


@pytest.mark.parametrize(
    "meta", [b"", b"\x80", b"\x81\xa5token\x01", b"\x91" * 9999 + b"\x90", b"\x81\xa5token\xa1\xff"]
)
def test_a_greeting_of_another_shape_is_refused(meta: bytes) -> None:
    with pytest.raises(WireError, match="a greeting that is not one"):
        read_hello(meta)
