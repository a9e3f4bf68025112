"""Batches: the places of results, fail-stop, lanes and their generations, freed references."""

from __future__ import annotations

import types
import weakref
from typing import Any

import pytest
from batches import BUILTINS, Client, call, get, js, ref, release, settle


class Box:
    """An object with attributes and items, distinct from others."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__ |= attributes


@pytest.fixture(params=[False, True], ids=["interpreted", "prepared"])
def client(request: pytest.FixtureRequest) -> Client:
    return Client(request.param)


class TestOperations:
    def test_a_chain_gives_every_link_a_place(self, client: Client) -> None:
        inner = Box(leaf=7)
        box = client.keep(Box(inner=inner))
        answer = client.run(get(box, "inner", "leaf"), settle(client.next))
        first = answer.first
        assert client.objects[first] is inner
        assert client.objects[first + 1] == 7
        # The fetch asked for the first link, by the place that it got in advance.
        assert answer.values == {first + 2: [0, "Box"]}

    def test_a_call_at_the_end_of_a_chain_takes_one_place_more(self, client: Client) -> None:
        text = client.keep("a-b-c")
        answer = client.run(call("upper.__str__", target=text))
        links = [client.objects[answer.first + i] for i in range(2)]
        assert links[0].__name__ == "upper"
        assert answer.failure is None
        answer = client.run(call("split", "-", target=text, maxsplit=1), js(client.next + 1))
        assert answer.value == [1, "a", "b-c"]

    def test_a_call_without_a_chain_takes_one_place(self, client: Client) -> None:
        function = client.keep(lambda *args, **kwargs: (args, kwargs))
        answer = client.run(call("", 1, ref(function), target=function, a=[6, bytes(8)]))
        assert client.objects[answer.first] == ((1, client.objects[function]), {"a": 0.0})
        assert answer.first + 1 == client.next

    def test_each_kind_of_operation_does_what_python_does(self, client: Client) -> None:
        box = client.keep(Box(gone=1))
        items = client.keep({"a": 1})
        answer = client.run(
            [0, "os.path"],
            [3, box, "x", [1, 1, 2]],
            [4, box, "gone"],
            [6, items, "b", ref(box)],
            [5, items, "b"],
            [7, items, "a"],
        )
        assert isinstance(client.objects[answer.first], types.ModuleType)
        assert client.objects[box].__dict__ == {"x": [1, 2]}
        assert client.objects[items] == {"b": client.objects[box]}
        assert client.objects[answer.first + 4] is client.objects[box]

    def test_an_import_gives_the_module_that_is_named_not_its_package(self, client: Client) -> None:
        answer = client.run([0, "xml.etree.ElementTree"], get(client.next, "__name__"), settle(client.next + 1))
        assert answer.value == "xml.etree.ElementTree"

    def test_a_value_is_read_where_it_stands_in_the_log(self, client: Client) -> None:
        items = client.keep([1])
        n = client.next
        answer = client.run(
            js(items), call("append", 2, target=items), js(items), call("clear", target=items), js(items)
        )
        assert answer.values == {n: [1, 1], n + 3: [1, 1, 2], n + 6: [1]}

    def test_a_fetch_of_an_unknown_mode_fails(self, client: Client) -> None:
        assert "mode 3" in client.run([8, BUILTINS, 3]).failed["message"]

    def test_a_tensor_that_comes_with_a_batch_lies_over_its_frame(self, client: Client) -> None:
        frame = memoryview(bytearray(b"\0\0\x80\x3f\0\0\0\x40"))
        answer = client.run(call("identity", [4, 0, "float32", [2]], target=3), [8, client.next + 1, 2], frames=[frame])
        assert client.objects[answer.first + 1].tolist() == [1.0, 2.0]
        assert answer.value == [4, 0, "float32", [2]]
        assert bytes(client.frames.buffers[0]) == bytes(frame)


class TestFailure:
    def test_what_follows_a_failed_operation_is_not_run(self, client: Client) -> None:
        seen = client.keep([])
        answer = client.run(call("append", 1, target=seen), call("int", "x"), call("append", 2, target=seen), js(seen))
        assert client.objects[seen] == [1]
        assert answer.values == {}
        assert answer.failed["type"] == "ValueError"

    def test_the_failure_names_the_places_of_the_operation(self, client: Client) -> None:
        box = client.keep(Box(inner=Box()))
        answer = client.run(get(box, "inner"), call("inner.miss.deeper", target=box))
        assert answer.failed["id"] == answer.first + 2
        assert answer.failed["last"] == answer.first + 4
        assert answer.failed["operation"] == "Box.inner.miss"

    def test_the_values_before_it_are_told(self, client: Client) -> None:
        answer = client.run(call("len", [1, 1, 2]), settle(client.next + 1), call("int", "x"))
        assert answer.value == 2
        assert answer.failed["id"] == answer.first + 4

    @pytest.mark.parametrize(
        ("operation", "said"),
        [
            ([0, "no_such_module"], "import no_such_module"),
            (call("int", "x"), "builtins.int(...)"),
            (call("nope", "x"), "builtins.nope"),
            (get(16, "nope"), "Box.nope"),
            ([3, 16, "fixed", 1], "Box.fixed = ..."),
            ([4, 16, "nope"], "del Box.nope"),
            ([5, 16, 1], "Box[...]"),
            ([6, 16, 1, 2], "Box[...] = ..."),
            ([7, 16, 1], "Box[...]"),
            ([8, 16, 1], "the value of Box"),
        ],
    )
    def test_the_failure_says_what_was_asked_for(self, client: Client, operation: list[Any], said: str) -> None:
        class Fixed(Box):
            fixed = property(lambda _: 1)

        Fixed.__name__ = "Box"
        client.keep(Fixed())
        assert client.run(operation).failed["operation"] == said

    def test_a_result_of_a_failed_operation_has_no_value(self, client: Client) -> None:
        answer = client.run(call("int", "x"))
        answer = client.run(settle(answer.first + 1), generation=1)
        assert answer.failed["type"] == "torchwire_worker.objects.NoValue"
        assert "has no value" in answer.failed["message"]

    @pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, RecursionError])
    def test_whatever_is_raised_is_the_clients_to_know(self, client: Client, kind: type[BaseException]) -> None:
        def fail() -> None:
            raise kind("now")

        assert client.run(call("", target=client.keep(fail))).failed["type"] == kind.__name__
        assert client.run(call("len", []), generation=1).failed["message"] != "now"

    def test_a_malformed_argument_fails_its_operation_alone(self, client: Client) -> None:
        answer = client.run(call("len", [1]), call("print", [99, 1]), call("len", [1]))
        assert answer.failed["type"] == "torchwire_worker.wire.WireError"
        assert answer.failed["id"] == answer.first + 3


class TestLanes:
    def test_a_failure_closes_its_lane_for_later_batches(self, client: Client) -> None:
        seen = client.keep([])
        client.run(call("int", "x"))
        answer = client.run(call("append", 1, target=seen), js(seen))
        assert (answer.values, answer.failure, client.objects[seen]) == ({}, None, [])

    def test_other_lanes_go_on(self, client: Client) -> None:
        seen = client.keep([])
        client.run(call("int", "x"), lane=1)
        client.run(call("append", 0, target=seen))
        client.run(call("append", 2, target=seen), lane=2)
        client.run(call("append", 1, target=seen), lane=1)
        assert client.objects[seen] == [0, 2]

    def test_a_newer_generation_opens_it_again_and_an_older_one_stays_closed(self, client: Client) -> None:
        seen = client.keep([])
        client.run(call("int", "x"), generation=4)
        for generation in (4, 3):
            client.run(call("append", generation, target=seen), generation=generation)
        client.run(call("append", 5, target=seen), generation=5)
        assert client.objects[seen] == [5]
        # If it fails once more, that generation is closed.
        client.run(call("int", "x"), generation=5)
        client.run(call("append", 55, target=seen), generation=5)
        client.run(call("append", 6, target=seen), generation=6)
        assert client.objects[seen] == [5, 6]


class TestFreeing:
    def test_a_release_is_done_at_its_place(self, client: Client) -> None:
        box = client.keep(Box(x=1))
        before = client.objects.kept
        answer = client.run(get(box, "x"), release(box, box), get(box, "x"))
        assert answer.failed["type"] == "torchwire_worker.objects.NoValue"
        # The box is gone; the value that was read from it remains.
        assert client.objects[answer.first] == 1
        assert client.objects.kept == before

    def test_releases_are_done_whatever_failed_before(self, client: Client) -> None:
        ids = [client.keep(Box()) for _ in range(4)]
        weak = [weakref.ref(client.objects[id]) for id in ids]
        client.run(call("int", "x"), release(ids[0], ids[1]))
        client.run(release(ids[2], ids[2]))
        assert [alive() is None for alive in weak] == [True, True, True, False]

    def test_releases_in_a_closed_lane_free_only_what_they_name(self, client: Client) -> None:
        keep, free = client.keep(Box()), client.keep(Box())
        client.run(call("int", "x"), lane=7)
        answer = client.run(call("len", []), release(free, free), js(keep), lane=7)
        assert (answer.values, answer.failure) == ({}, None)
        assert keep in client.objects
        assert free not in client.objects

    def test_what_was_finalised_goes_with_any_batch(self, client: Client) -> None:
        ids = [client.keep(Box()) for _ in range(5)]
        client.run(call("int", "x"), finalised=[ids[0], ids[1], ids[3], ids[3]])
        assert [id in client.objects for id in ids] == [False, False, True, False, True]

    def test_places_that_hold_nothing_are_passed_over(self, client: Client) -> None:
        assert client.run(release(500, 510, 400, 400)).failure is None

    def test_the_table_is_as_large_as_what_is_kept(self, client: Client) -> None:
        box = client.keep(Box(x=Box()))
        sizes = set()
        for _ in range(100):
            n = client.next
            client.run(get(box, "x"), call("id", ref(n)), release(n, n + 2))
            sizes.add(client.objects.kept)
        assert sizes == {1}
