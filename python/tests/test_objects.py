from __future__ import annotations

import builtins
import operator

import pytest

from torchwire_worker import helpers
from torchwire_worker.objects import NoValue, Objects


def test_three_objects_are_there_from_the_start_and_count_for_none() -> None:
    objects = Objects()
    assert (objects[1], objects[2], objects[3]) == (builtins, operator, helpers)
    assert objects.kept == 0


def test_two_tables_share_nothing() -> None:
    objects, others = Objects(), Objects()
    objects[16] = "a"
    assert (objects.kept, others.kept) == (1, 0)


def test_a_place_that_holds_nothing_says_why() -> None:
    with pytest.raises(
        NoValue, match="reference #16 has no value: what should have made it failed, was not run, or was released"
    ):
        Objects()[16]


def test_ranges_are_freed_to_their_last_place() -> None:
    objects = Objects()
    for id in range(16, 26):
        objects[id] = id
    objects.release([16, 18, 20, 20, 25, 30])
    assert sorted(objects)[3:] == [19, 21, 22, 23, 24]
