"""Copies to and from a GPU, with one of the tests' own: a part of this machine's memory, whose copies take as long as
the test wants.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from batches import call, js
from test_session import World

from torchwire_worker import devices, staging
from torchwire_worker.helpers.batches import number, to_device
from torchwire_worker.helpers.denominators import weigher
from torchwire_worker.staging import Staging
from torchwire_worker.wire import URGENT, MessageType

UNWRITTEN = 77


class Copy:
    """A copy that happens when it is done: whoever reads before that reads something else."""

    def __init__(self, device: Device, into: torch.Tensor, source: torch.Tensor) -> None:
        self.device = device
        self.into = into
        self.source = source

    def is_done(self) -> bool:
        if self.device.error is not None:
            raise self.device.error
        return self not in self.device.under_way

    def wait(self) -> None:
        self.device.waited += 1
        while not self.is_done():
            self.device.go_on()


class Device:
    """A device that has what the tests say, and copies one thing after the other."""

    def __init__(self) -> None:
        self.far: list[torch.Tensor] = []
        self.under_way: list[Copy] = []
        self.error: Exception | None = None
        self.waited = 0
        self.pinned: list[int] = []

    def has(self, tensor: torch.Tensor) -> torch.Tensor:
        self.far.append(tensor)
        return tensor

    def go_on(self, copies: int = 1) -> None:
        for copy in self.under_way[:copies]:
            copy.into.copy_(copy.source)
        del self.under_way[:copies]

    def is_far(self, tensor: torch.Tensor) -> bool:
        return any(tensor.data_ptr() == one.data_ptr() for one in self.far)

    def takes(self, device: torch.device) -> bool:
        return device == torch.device("cpu:0")

    def pin(self, bytes: int) -> torch.Tensor:
        self.pinned.append(bytes)
        return torch.full((bytes,), UNWRITTEN, dtype=torch.uint8)

    def send(self, source: torch.Tensor, device: torch.device) -> tuple[torch.Tensor, Copy]:
        return self._begin(torch.empty_like(source), source)

    def fetch(self, tensor: torch.Tensor) -> tuple[torch.Tensor, Copy]:
        return self._begin(torch.full_like(tensor, UNWRITTEN), tensor.clone())

    def _begin(self, into: torch.Tensor, source: torch.Tensor) -> tuple[torch.Tensor, Copy]:
        copy = Copy(self, into, source)
        self.under_way.append(copy)
        return into, copy


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    device = Device()
    monkeypatch.setattr(devices, "layer", device)
    monkeypatch.setattr(devices, "counts", devices.Counts())
    return device


THERE = torch.device("cpu:0")


class TestStaging:
    def test_what_arrives_is_what_was_sent(self, device: Device) -> None:
        slots = Staging()
        for tensor in (
            torch.arange(24, dtype=torch.float32).reshape(2, 3, 4),
            torch.tensor([True, False, True]),
            torch.arange(5000, dtype=torch.int64),
            torch.tensor(3, dtype=torch.bfloat16),
        ):
            sent = slots.send(tensor, THERE)
            assert sent is not None
            device.go_on()
            assert sent.dtype == tensor.dtype
            assert sent.equal(tensor)
        assert (devices.counts.staged, devices.counts.waits) == (4, 0)
        assert devices.counts.staged_bytes == 24 * 4 + 3 + 5000 * 8 + 2

    def test_a_slot_is_not_written_before_its_copy_is_done(self, device: Device) -> None:
        slots = Staging()
        tensors = [torch.full((5000,), i, dtype=torch.uint8) for i in range(6)]
        sent = [slots.send(tensor, THERE) for tensor in tensors[:3]]
        assert len(device.pinned) == 3
        device.go_on()
        # The first slot is free, and no other.
        sent.append(slots.send(tensors[3], THERE))
        assert len(device.pinned) == 3
        sent.append(slots.send(tensors[4], THERE))
        assert len(device.pinned) == 4
        device.go_on(4)
        sent.append(slots.send(tensors[5], THERE))
        assert len(device.pinned) == 4
        device.go_on()
        assert all(one.equal(tensor) for one, tensor in zip(sent, tensors, strict=True))
        assert device.waited == 0

    def test_as_many_slots_as_there_are_copies_under_way(self, device: Device) -> None:
        slots = Staging()
        for step in range(100):
            for size in (20_000, 128):
                slots.send(torch.full((size,), step, dtype=torch.uint8), THERE)
            # Three steps are in flight.
            if step >= 2:
                device.go_on(2)
        assert sorted(device.pinned) == [4096] * 3 + [32768] * 3
        assert slots.pinned == sum(device.pinned)

    def test_it_waits_for_the_oldest_copy_where_too_much_would_be_pinned(self, device: Device) -> None:
        slots = Staging(most_bytes=4 * 8192)
        tensors = [torch.full((8000,), i, dtype=torch.uint8) for i in range(9)]
        sent = [slots.send(tensor, THERE) for tensor in tensors]
        assert len(device.pinned) == 4
        assert devices.counts.waits == 5
        assert slots.pinned == 4 * 8192
        device.go_on(4)
        assert all(one is not None and one.equal(tensor) for one, tensor in zip(sent, tensors, strict=True))

    def test_slots_of_other_sizes_make_room(self, device: Device) -> None:
        slots = Staging(most_bytes=64 * 1024)
        small = [slots.send(torch.full((4000,), i, dtype=torch.uint8), THERE) for i in range(16)]
        large = slots.send(torch.full((16_000,), 100, dtype=torch.uint8), THERE)
        assert slots.pinned <= 64 * 1024
        device.go_on(len(device.under_way))
        assert large is not None
        assert large.eq(100).all()
        assert all(one is not None and one.eq(i).all() for i, one in enumerate(small))

    def test_a_slot_that_a_prediction_made_is_one_for_training(self, device: Device) -> None:
        slots = Staging()
        with torch.inference_mode():
            slots.send(torch.arange(9, dtype=torch.uint8), THERE)
        assert not slots._slots[0].memory.is_inference()

    def test_a_long_tensor_and_an_empty_one_are_not_staged(self, device: Device) -> None:
        slots = Staging(most_bytes=4096)
        assert slots.send(torch.zeros(1025, dtype=torch.uint8), THERE) is None
        assert slots.send(torch.zeros(0), THERE) is None
        assert device.pinned == []

    def test_nothing_is_staged_where_nothing_can_be_pinned(
        self, device: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(_: int) -> torch.Tensor:
            raise RuntimeError("CUDA error: out of memory")

        monkeypatch.setattr(device, "pin", refuse)
        slots = Staging()
        assert slots.send(torch.zeros(10), THERE) is None
        assert slots.pinned == 0

    def test_a_copy_that_fails_leaves_its_slot(self, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: Any) -> Any:
            raise torch.OutOfMemoryError("out of memory")

        slots = Staging()
        with monkeypatch.context() as there:
            there.setattr(device, "send", refuse)
            with pytest.raises(torch.OutOfMemoryError):
                slots.send(torch.zeros(10), THERE)
        assert slots.send(torch.zeros(10), THERE) is not None
        assert len(device.pinned) == 1


class TestToDevice:
    @pytest.fixture(autouse=True)
    def slots(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Staging]:
        slots = Staging()
        monkeypatch.setattr("torchwire_worker.helpers.batches.staging", slots)
        yield slots

    def test_a_tensor_goes_by_a_slot(self, device: Device) -> None:
        tensor = torch.arange(6.0)
        sent = to_device(tensor, "cpu:0")
        device.go_on()
        assert sent is not tensor
        assert sent.equal(tensor)

    @pytest.mark.parametrize(
        "value",
        [
            torch.arange(6.0).reshape(2, 3).t(),
            torch.ones(2, requires_grad=True),
            torch.eye(2).to_sparse(),
            torch.nn.Parameter(torch.ones(2)),
        ],
        ids=["strided", "with a gradient", "sparse", "a parameter"],
    )
    def test_other_tensors_go_as_pytorch_moves_them(self, device: Device, value: torch.Tensor) -> None:
        moved = to_device(value, "cpu:0")
        assert (moved.layout, moved.requires_grad) == (value.layout, value.requires_grad)
        assert moved.to_dense().equal(value.to_dense())
        assert device.pinned == []

    def test_what_moves_itself_is_asked_to(self, device: Device) -> None:
        packed = torch.nn.utils.rnn.pack_sequence([torch.ones(2)])
        assert to_device(packed, "cpu:0").data.equal(torch.ones(2))
        assert device.pinned == []

    def test_a_device_of_another_kind_is_pytorchs_own_matter(self, device: Device) -> None:
        assert to_device(torch.ones(2), "meta").device.type == "meta"
        assert device.pinned == []


class TestNumbers:
    def test_a_number_on_a_device_stays_a_tensor(self, device: Device) -> None:
        loss = device.has(torch.tensor(2.5, requires_grad=True))
        found = number(loss)
        assert isinstance(found, torch.Tensor)
        assert not found.requires_grad
        assert number(torch.tensor(2.5)) == 2.5

    def test_several_numbers_are_no_loss_there_either(self, device: Device) -> None:
        with pytest.raises(RuntimeError, match="cannot be converted to Scalar"):
            number(device.has(torch.ones(3)))

    @pytest.mark.parametrize("reduction", ["mean", "sum"])
    def test_a_weigher_reads_nothing_there(
        self, device: Device, reduction: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        of = weigher(torch.nn.CrossEntropyLoss(ignore_index=1, reduction=reduction))
        yhat, ys = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
        loss = torch.nn.functional.cross_entropy(yhat, ys, ignore_index=1, reduction=reduction)
        plain = of.counted(loss, yhat, ys, False)
        device.has(loss)
        for name in ("item", "__float__", "__int__", "__bool__", "tolist", "cpu", "numpy"):
            monkeypatch.setattr(torch.Tensor, name, _refuse)
        value, weight, total = of.counted(loss, yhat, ys, False)
        monkeypatch.undo()
        assert [value.item(), weight.item()] == plain[:2] == [loss.item(), 3]
        # The client multiplies.
        assert (None if total is None else total.item()) == (plain[2] if reduction == "sum" else None)


def _refuse(*_: Any) -> Any:
    raise AssertionError("Python would wait for the device here")


class TestReplies:
    """The replies of a session. The batch `seq` computes `seq` on the device."""

    @pytest.fixture
    def world(self, device: Device) -> World:
        world = World()
        world.greets(b"a", 1)
        world.run()
        return world

    def asks(
        self, world: World, seq: int, flags: int = URGENT, generation: int = 0, of: torch.Tensor | None = None
    ) -> None:
        id = 100 + seq
        world.executor.objects[id] = devices.layer.has(torch.tensor(float(seq)) if of is None else of)
        operations = [js(id), call("int", seq), js(1000 + 10 * seq + 2)]
        world.comes(
            b"a",
            MessageType.BATCH,
            seq,
            first=1000 + 10 * seq,
            flags=flags,
            generation=generation,
            operations=operations,
        )

    def values(self, world: World) -> dict[int, Any]:
        """Return the numbers of all batches that were answered, by the numbers of these."""
        found = {}
        for said, frames in zip(world.said, world.parts, strict=True):
            if said.type is not MessageType.REPLY:
                continue
            for seq, values, failure in said.meta["replies"]:
                assert seq not in found
                if failure is not None:
                    found[seq] = failure["message"]
                elif not values:
                    found[seq] = None
                else:
                    (tag, frame, dtype, shape), plain = values[1::2]
                    assert (tag, dtype, shape, plain) == (4, "float32", [], seq)
                    found[seq] = torch.frombuffer(frames[frame], dtype=torch.float32).item()
        return found

    def test_a_batch_is_run_while_the_device_still_computes_the_one_before(self, world: World, device: Device) -> None:
        for seq in (1, 2, 3):
            self.asks(world, seq)
        world.run()
        assert world.executor.batches == 3
        assert self.values(world) == {}
        device.go_on()
        world.run()
        assert self.values(world) == {1: 1}
        device.go_on(2)
        world.run()
        assert self.values(world) == {1: 1, 2: 2, 3: 3}
        assert [*self.values(world)] == [1, 2, 3]
        assert (devices.counts.late, devices.counts.waits) == (3, 0)

    def test_a_reply_without_such_values_waits_behind_one_that_has_some(self, world: World, device: Device) -> None:
        self.asks(world, 1)
        world.asks(b"a", 2)
        world.run()
        assert world.executor.batches == 2
        assert not any(said.type is MessageType.REPLY for said in world.said)
        device.go_on()
        assert world.replies() == [(b"a", 1), (b"a", 2)]

    def test_replies_that_nobody_awaits_are_held_back_and_arrive_whole(self, world: World, device: Device) -> None:
        for seq in range(1, 9):
            self.asks(world, seq, flags=0)
        world.run()
        assert self.values(world) == {}
        device.go_on(8)
        world.run()
        assert self.values(world) == {seq: seq for seq in range(1, 9)}
        # They shared messages.
        assert len([said for said in world.said if said.type is MessageType.REPLY]) < 8

    def test_a_greeting_does_not_keep_a_reply_back(self, world: World, device: Device) -> None:
        self.asks(world, 1)
        world.run()
        world.greets(b"b", 2)
        assert [said.type for said in world.run()] == [MessageType.WELCOME]
        device.go_on()
        assert world.replies() == [(b"b", 1)]

    def test_the_farewell_waits_for_the_device(self, world: World, device: Device) -> None:
        self.asks(world, 1)
        self.asks(world, 2)
        world.comes(b"a", MessageType.CLOSE, 3)
        world.run()
        assert self.values(world) == {1: 1, 2: 2}
        assert world.said[-1].type is MessageType.CLOSED
        assert devices.counts.waits > 0

    def test_a_large_tensor_is_copied_at_once(self, world: World, device: Device) -> None:
        world.executor.objects[100] = device.has(torch.ones(20_000))
        world.comes(b"a", MessageType.BATCH, 1, first=1000, flags=URGENT, operations=[js(100)])
        assert world.replies() == [(b"a", 1)]
        assert devices.counts.late == 0

    def test_an_error_of_the_device_is_that_of_the_batch_and_those_behind_it_were_not_run(
        self, world: World, device: Device
    ) -> None:
        for seq in (1, 2, 3):
            self.asks(world, seq)
        world.run()
        device.go_on()
        world.run()
        device.error = RuntimeError("CUDA error: device-side assert triggered")
        world.run()
        assert self.values(world) == {1: 1, 2: "CUDA error: device-side assert triggered", 3: None}
        # The lane stays closed, until the client begins it anew.
        device.error = None
        self.asks(world, 4)
        world.run()
        assert self.values(world)[4] is None
        self.asks(world, 5, generation=1)
        world.run()
        device.go_on(len(device.under_way))
        world.run()
        assert self.values(world)[5] == 5

    def test_a_failure_names_a_place_of_its_own_batch(self, world: World, device: Device) -> None:
        self.asks(world, 1)
        world.run()
        device.error = RuntimeError("CUDA error: an illegal memory access was encountered")
        world.run()
        (said,) = [said for said in world.said if said.type is MessageType.REPLY]
        ((_, values, failure),) = said.meta["replies"]
        assert values == []
        assert (failure["id"], failure["last"], failure["operation"]) == (1010, 1010, "a value on the device")
        assert failure["mro"][0] == "RuntimeError"


def test_a_session_without_such_a_device_waits_for_nothing() -> None:
    before = vars(devices.counts).copy()
    world = World()
    world.greets(b"a", 1)
    world.executor.objects[100] = torch.tensor(1.0)
    world.comes(b"a", MessageType.BATCH, 1, first=1000, flags=URGENT, operations=[js(100)])
    world.run()
    assert vars(devices.counts) == before
    assert staging.staging.pinned == 0
