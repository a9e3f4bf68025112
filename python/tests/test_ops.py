"""The operations of a batch: those of a step that comes again are decoded once."""

from __future__ import annotations

import msgspec

from torchwire_worker import ops
from torchwire_worker.ops import read_batch
from torchwire_worker.wire import Limits

LIMITS = Limits()


def batch(count: int, text: str) -> bytes:
    """Return the meta of a batch of calls."""
    operations = [[2, 1, ["len"], [text], {}] for _ in range(count)]
    return msgspec.msgpack.encode({"first": 16, "operations": operations})


def test_a_full_batch_with_long_arguments_is_decoded_once() -> None:
    meta = batch(256, "as long as a tensor is described, with its shape")
    assert len(meta) > 10_000
    assert read_batch(meta, LIMITS)[1] is read_batch(meta, LIMITS)[1]


def test_what_is_remembered_is_bounded_in_bytes_and_in_number() -> None:
    for i in range(300):
        read_batch(batch(1, str(i)), LIMITS)
    assert len(ops._known) <= 256
    for i in range(300):
        read_batch(batch(256, f"{i:0200}"), LIMITS)
    assert 0 < sum(map(len, ops._known)) <= 2 * 2**20
    # A longer one is not kept.
    meta = batch(4096, "longer than a batch of a client is")
    assert read_batch(meta, LIMITS)[1] is not read_batch(meta, LIMITS)[1]
