"""A message of any bytes is understood, or it is a WireError. Nothing else happens, and no memory is allocated because
it says so.
"""

from __future__ import annotations

import random
import resource
from typing import Any

import msgspec
import pytest
from vectors import GOLDEN

from torchwire_worker.objects import NoValue, Objects
from torchwire_worker.ops import Call, Set, SetItem, read_batch, read_hello
from torchwire_worker.values import Decoder
from torchwire_worker.wire import HEADER_BYTES, Limits, MessageType, WireError, check_frames, encode, read_header

LIMITS = Limits()
ROUNDS = 4000


def receive(parts: list[bytes]) -> bool:
    """Do everything that a worker does with a message before it runs an operation, and read its values."""
    try:
        header = read_header(parts[0], LIMITS)
        frames = [memoryview(bytearray(part)) for part in parts[1:]]
        check_frames(header, [len(frame) for frame in frames], LIMITS)
        meta = parts[0][HEADER_BYTES:]
        if header.type is MessageType.HELLO:
            read_hello(meta)
        if header.type is not MessageType.BATCH:
            return True
        decode = Decoder(Objects(), 0, frames, LIMITS)
        for op in read_batch(meta, LIMITS)[1]:
            values: list[Any] = []
            if isinstance(op, Call):
                values = [*op.args, *op.kwargs.values()]
            elif isinstance(op, (Set, SetItem)):
                values = [op.value]
            for value in values:
                decode(value)
        return True
    except (WireError, NoValue):
        return False


def mutated(random: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(out) + 1)
        kind = random.randrange(5)
        if kind == 0:
            out[at:at] = random.randbytes(random.randint(1, 8))
        elif kind == 1:
            del out[at : at + random.randint(1, 8)]
        elif kind == 2:
            # These codes of msgpack claim the most: lists, maps, text, bytes and extensions of four thousand million
            # items.
            out[at : at + 5] = bytes([random.choice([0xDD, 0xDF, 0xDB, 0xC6, 0xC9])]) + b"\xff\xff\xff\xff"
        else:
            out[at : at + 1] = random.randbytes(1)
    return bytes(out)


@pytest.mark.parametrize("seed", range(3))
def test_random_bytes_are_refused(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(ROUNDS):
        assert not receive([dice.randbytes(dice.randrange(200)) for _ in range(dice.randint(1, 3))])


@pytest.mark.parametrize("seed", range(3))
def test_random_meta_behind_a_good_header_is_understood_or_refused(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(ROUNDS):
        head = bytearray(encode(dice.choice([MessageType.BATCH, MessageType.HELLO]), {}))
        meta = dice.randbytes(dice.randrange(300))
        head[24:28] = len(meta).to_bytes(4, "little")
        assert not receive([bytes(head[:HEADER_BYTES]) + meta])


@pytest.mark.parametrize("seed", range(5))
def test_broken_messages_are_understood_or_refused(seed: int) -> None:
    dice = random.Random(seed)
    samples = [[bytes.fromhex(part) for part in vector["hex"]] for vector in GOLDEN["messages"]]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    understood = 0
    for _ in range(ROUNDS):
        head, *frames = dice.choice(samples)
        if dice.random() < 0.3:
            head = mutated(dice, head)
        else:
            # Change only the meta, and make a header that fits it, so that more than the header's checks is tested.
            meta = mutated(dice, head[HEADER_BYTES:])
            head = head[:24] + len(meta).to_bytes(4, "little") + head[28:HEADER_BYTES] + meta
        if frames and dice.random() < 0.2:
            frames[0] = mutated(dice, frames[0])
        understood += receive([head, *frames])
    assert 0 < understood < ROUNDS
    # In KiB: no memory was allocated for a claimed length.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


@pytest.mark.parametrize("seed", range(3))
def test_random_values_are_read_or_refused(seed: int) -> None:
    dice = random.Random(seed)
    frames = [memoryview(bytearray(n)) for n in (0, 1, 8, 64)]
    decode = Decoder(Objects(), 0, frames, Limits(depth=8, dims=8))
    leaves: list[Any] = [None, True, 0, 1, 2, 3, 8, -1, 2**31, 2**40, 2**63, 2**64 - 1, 0.5, float("nan"), ""]
    leaves += ["float32", "uint8", "ff", b"", bytes(8)]

    def token(depth: int) -> Any:
        if depth == 0 or dice.random() < 0.4:
            return dice.choice(leaves)
        items = [token(depth - 1) for _ in range(dice.randrange(5))]
        return [dice.randrange(9), *items] if dice.random() < 0.9 else items

    read = 0
    for _ in range(ROUNDS):
        value = msgspec.msgpack.decode(msgspec.msgpack.encode(token(dice.randrange(11))))
        try:
            decode(value)
            read += 1
        except (WireError, NoValue):
            continue
    assert 0 < read < ROUNDS


@pytest.mark.parametrize("seed", range(3))
def test_random_tensors_are_read_or_refused(seed: int) -> None:
    dice = random.Random(seed)
    frames = [memoryview(bytearray(n)) for n in (0, 1, 8, 64)]
    decode = Decoder(Objects(), 0, frames, Limits(depth=8, dims=8))
    sizes: list[Any] = [0, 0, 1, 2, 4, 8, 16, -1, 2**31, 2**32, 2**40, 2**62, 2**63, 2**64 - 1, 0.5, "8", None, True]
    dtypes: list[Any] = [
        "float32",
        "float64",
        "int64",
        "int32",
        "uint8",
        "bool",
        "bfloat16",
        "complex64",
        "uint16",
        "Tensor",
        "",
        3,
        None,
    ]
    counts: list[list[Any]] = [*[[]] * 12, [1], [1], [2], [2], [4], [0], [-1], [5], ["1"], [1, 1]]
    read = 0
    for _ in range(ROUNDS):
        shape: Any = [dice.choice(sizes) for _ in range(dice.randrange(10))]
        index = dice.choice([0, 0, 1, 2, 3, 4, -1, 2**40, "0", None])
        try:
            tensor = decode(
                [4, index, dice.choice(dtypes), dice.choice([shape, shape, shape, 8, None]), *dice.choice(counts)]
            )
            assert tensor.numel() * tensor.element_size() <= 73
            read += 1
        except WireError:
            continue
    assert read > 10
