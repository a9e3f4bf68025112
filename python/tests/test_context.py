"""Ambient state is entered before a batch, and left after it, even after an error. None of it remains."""

from __future__ import annotations

import random
from typing import Any

import numpy
import pytest
import torch
from batches import Client, call, context, js, settle


@pytest.fixture(params=[False, True], ids=["interpreted", "prepared"])
def client(request: pytest.FixtureRequest) -> Client:
    return Client(request.param)


def grad_enabled(client: Client, **fields: Any) -> Any:
    torch_id = client.keep(torch)
    return client.run(call("is_grad_enabled", target=torch_id), settle(client.next + 1), **fields).value


def modes(module: torch.nn.Module) -> list[bool]:
    return [part.training for part in module.modules()]


class TestGradients:
    @pytest.mark.parametrize(
        ("mode", "enabled"), [("no_grad", False), ("inference", False), ("grad", True), (None, True)]
    )
    def test_a_mode_holds_for_its_batch_alone(self, client: Client, mode: str | None, enabled: bool) -> None:
        assert grad_enabled(client, contexts=[context(mode=mode)]) is enabled
        assert grad_enabled(client) is True

    def test_the_inner_one_counts(self, client: Client) -> None:
        layers = [context(1, mode="no_grad"), context(2, mode="grad")]
        assert grad_enabled(client, contexts=layers) is True
        assert grad_enabled(client, contexts=layers[::-1]) is False

    @pytest.mark.parametrize("mode", ["no_grad", "inference"])
    def test_an_error_inside_leaves_gradients_on(self, client: Client, mode: str) -> None:
        assert client.run(call("int", "x"), contexts=[context(mode=mode)]).failure is not None
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()

    def test_what_was_made_in_inference_mode_says_so(self, client: Client) -> None:
        answer = client.run(call("ones", 2, target=client.keep(torch)), contexts=[context(mode="inference")])
        assert client.objects[answer.first + 1].is_inference()


class TestModules:
    @pytest.fixture
    def net(self) -> torch.nn.Module:
        net = torch.nn.Sequential(
            torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.Dropout(), torch.nn.BatchNorm1d(2))
        )
        # The user has frozen this one: it is in eval mode while the rest trains.
        net[1][1].eval()
        return net

    def test_every_part_gets_its_own_mode_back(self, client: Client, net: torch.nn.Module) -> None:
        before = modes(net)
        id, probe = client.keep(net), client.keep(lambda: modes(net))
        inside = client.run(call("", target=probe), js(client.next), contexts=[context(eval=[id])])
        assert inside.value == [1, False, False, False, False, False]
        assert modes(net) == before == [True, True, True, True, False]
        inside = client.run(call("", target=probe), js(client.next), contexts=[context(train=[id])])
        assert inside.value == [1, True, True, True, True, True]
        assert modes(net) == before

    def test_also_after_an_error(self, client: Client, net: torch.nn.Module) -> None:
        before = modes(net)
        client.run(call("int", "x"), contexts=[context(eval=[client.keep(net)])])
        assert modes(net) == before

    def test_what_was_replaced_inside_keeps_the_mode_it_came_with(self, client: Client, net: torch.nn.Module) -> None:
        new = torch.nn.Linear(2, 2)
        id = client.keep(net)
        client.run([3, id, "0", [0, client.keep(new)]], contexts=[context(eval=[id])])
        assert net[0] is new
        assert new.training
        assert modes(net) == [True, True, True, True, False]

    def test_a_module_that_has_no_value_fails_the_batch_and_enters_nothing(self, client: Client) -> None:
        seen = client.keep([])
        answer = client.run(call("append", 1, target=seen), contexts=[context(mode="no_grad", eval=[99999])])
        assert answer.failed["type"] == "torchwire_worker.objects.NoValue"
        assert answer.failed["id"] == answer.first
        assert client.objects[seen] == []
        assert torch.is_grad_enabled()

    def test_what_is_no_module_fails_too(self, client: Client) -> None:
        assert (
            client.run(call("len", [1]), contexts=[context(eval=[client.keep(5)])]).failed["type"] == "AttributeError"
        )


def draws() -> tuple[float, float, float]:
    return torch.rand(1).item(), random.random(), float(numpy.random.rand())


def seeded() -> None:
    torch.manual_seed(1)
    random.seed(1)
    numpy.random.seed(1)


class TestRandomNumbers:
    def drawn(self, client: Client, **fields: Any) -> Any:
        return client.run(call("", target=client.keep(draws)), js(client.next), **fields).value[1:]

    def test_what_is_drawn_in_a_fork_changes_nothing_outside(self, client: Client) -> None:
        seeded()
        expected = [list(draws()) for _ in range(3)]
        seeded()
        found = [self.drawn(client)]
        self.drawn(client, contexts=[context(rng=True)])
        found.append(self.drawn(client))
        self.drawn(client, contexts=[context(rng=True)])
        found.append(self.drawn(client))
        assert found == expected

    def test_a_fork_begins_where_the_generators_are_and_goes_on_from_batch_to_batch(self, client: Client) -> None:
        seeded()
        expected = [list(draws()) for _ in range(2)]
        seeded()
        layer = context(5, rng=True)
        assert [self.drawn(client, contexts=[layer]), self.drawn(client, contexts=[layer])] == expected
        # Another context begins anew.
        assert self.drawn(client, contexts=[context(6, rng=True)]) == expected[0]

    def test_one_that_has_ended_is_forgotten(self, client: Client) -> None:
        seeded()
        layer = context(5, rng=True)
        first = self.drawn(client, contexts=[layer])
        client.run(ended_contexts=[5])
        assert self.drawn(client, contexts=[layer]) == first

    def test_an_error_inside_leaves_the_generators_outside_as_they_were(self, client: Client) -> None:
        def fail() -> None:
            draws()
            raise ValueError

        seeded()
        expected = list(draws())
        seeded()
        client.run(call("", target=client.keep(fail)), contexts=[context(rng=True)])
        assert list(draws()) == expected
