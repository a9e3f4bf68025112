"""Samples that stay in the worker, and their cache on its disk."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from torchwire_worker.helpers import kept, kept_cache
from torchwire_worker.helpers.kept import Store
from torchwire_worker.helpers.kept_cache import BadName, Cache
from torchwire_worker.helpers.ragged import split

PARTS = [("float32", [3, 2]), ("int64", []), ("bool", [5]), ("uint8", [0, 4]), ("bfloat16", [2])]
KEY = "float32 [3, 2], int64 []"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHWIRE_CACHE", str(tmp_path / "cache"))


def samples(count: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(count, 3, 2, generator=generator),
        torch.randint(-(2**40), 2**40, (count,), generator=generator),
        torch.rand(count, 5, generator=generator) > 0.5,
        torch.empty(count, 0, 4, dtype=torch.uint8),
        torch.randn(count, 2, generator=generator).bfloat16(),
    ]


def row_of(parts: list[Tensor], i: int) -> bytes:
    return b"".join(
        part[i].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for part in parts if part[i].numel()
    )


def hashes_of(parts: list[Tensor]) -> Tensor:
    all = b"".join(hashlib.sha256(KEY.encode() + row_of(parts, i)).digest() for i in range(len(parts[0])))
    return torch.frombuffer(bytearray(all), dtype=torch.uint8).reshape(-1, 32)


def filled(store: Store, parts: list[Tensor], batch: int = 4) -> Store:
    store.shelf(KEY, PARTS)
    count, hashes = len(parts[0]), hashes_of(parts)
    for at in range(0, count, batch):
        store.add(0, at, count - at, hashes[at : at + batch], *[part[at : at + batch] for part in parts])
    return store


def check(store: Store, parts: list[Tensor]) -> None:
    count = len(parts[0])
    for rows in (torch.randperm(count), torch.tensor([0, count - 1, 0]), torch.tensor([count // 2])):
        for found, part in zip(store.gather(0, rows.int()), parts, strict=True):
            whole = part[rows]
            assert found.dtype == whole.dtype and found.shape == whole.shape and found.stride() == whole.stride()
            assert torch.equal(found, whole)


@pytest.mark.parametrize("memory", [None, 0, 500], ids=["memory", "disk", "both"])
def test_rows_come_as_indexing_gives_them(memory: int | None) -> None:
    parts = samples(30)
    check(filled(Store(memory), parts), parts)


def test_more_may_come_than_was_said() -> None:
    parts = samples(30)
    store = Store()
    store.shelf(KEY, PARTS)
    for at in range(0, 30, 10):
        store.add(0, at, 10, hashes_of(parts)[at : at + 10], *[part[at : at + 10] for part in parts])
    check(store, parts)


LOOSE = "loose float32, int64"


def ragged(count: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(i % 4, 3, generator=generator), torch.arange(i % 3 + 1)) for i in range(count)]


def add_loose(store: Store, rows: list[tuple[Tensor, Tensor]]) -> Tensor:
    shapes = [[list(part.shape) for part in row] for row in rows]
    contents = [
        json.dumps(shape, separators=(",", ":")).encode() + b"\n" + b"".join(part.numpy().tobytes() for part in row)
        for shape, row in zip(shapes, rows)
    ]
    raw = b"".join(hashlib.sha256(LOOSE.encode() + content).digest() for content in contents)
    hashes = torch.frombuffer(bytearray(raw), dtype=torch.uint8).reshape(-1, 32)
    store.loose_shelf(LOOSE, ["float32", "int64"])
    flats = [torch.cat([row[i].flatten() for row in rows]) for i in range(2)]
    store.add_loose(0, 0, hashes, shapes, *flats)
    return hashes


@pytest.mark.parametrize("memory", [None, 0], ids=["memory", "disk"])
@pytest.mark.parametrize("is_recalled", [False, True], ids=["sent", "recalled"])
def test_arrays_of_different_lengths_are_padded_and_packed(memory: int | None, is_recalled: bool) -> None:
    rows = ragged(12)
    store = Store(memory, "ragged" if is_recalled else None)
    hashes = add_loose(store, rows)
    if is_recalled:
        store = Store(memory, "ragged")
        store.loose_shelf(LOOSE, ["float32", "int64"])
        store.recall(0, 0, 0, hashes)
    chosen = [5, 2, 5, 8, 3]
    pad = [torch.tensor([-1.5]), [0], "right", 1]
    left, right = store.gather(0, torch.tensor(chosen), [pad, "list"])
    expected = torch.nn.utils.rnn.pad_sequence([rows[i][0] for i in chosen], batch_first=True, padding_value=-1.5)
    assert torch.equal(left, expected) and left.stride() == expected.stride()
    parts = split(right, [list(rows[i][1].shape) for i in chosen])
    assert all(torch.equal(part, rows[i][1]) and part.data_ptr() % 64 == 0 for part, i in zip(parts, chosen))
    pad = [torch.tensor([7]), [0], "left", 4]
    same = [i for i in range(12) if i % 4 == 3]
    stacked, padded = store.gather(0, torch.tensor(same), ["stack", pad])
    assert torch.equal(stacked, torch.stack([rows[i][0] for i in same]))
    assert padded.tolist() == [[7] * (4 - len(rows[i][1])) + rows[i][1].tolist() for i in same]


def test_files_for_what_does_not_fit_have_no_names(tmp_path: Path) -> None:
    store = filled(Store(0), samples(8))
    assert os.listdir(tmp_path / "cache" / "spill") == []
    assert store.gather(0, torch.tensor([1]))[1].shape == (1,)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_that_reserves_nothing_is_written_to(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    parts = samples(30)
    check(filled(Store(0), parts), parts)


def test_without_a_folder_of_its_own_it_takes_that_of_temporary_files(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file is in the way")
    parts = samples(8)
    check(filled(Store(0), parts), parts)


def test_inference_mode_leaves_rows_that_can_be_added_later() -> None:
    parts = samples(8)
    store = Store()
    store.shelf(KEY, PARTS)
    with torch.inference_mode():
        store.add(0, 0, 8, hashes_of(parts)[:4], *[part[:4] for part in parts])
        assert store.gather(0, torch.tensor([1]))[0].is_inference()
    store.add(0, 4, 4, hashes_of(parts)[4:], *[part[4:] for part in parts])
    check(store, parts)
    weight = torch.ones(2, requires_grad=True)
    (store.gather(0, torch.tensor([1]))[0] * weight).sum().backward()
    assert weight.grad is not None


def test_a_batch_whose_samples_could_not_be_added_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(Store(0), samples(4))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    parts = samples(300_000, 1)
    store._shelves[0]._blocks[-1].rows = 4
    with pytest.raises(OSError, match="No space left"):
        store.add(0, 4, 10, hashes_of(samples(1)), *[part[:1] for part in parts])
    with pytest.raises(RuntimeError, match="could not be kept: OSError.*No space left"):
        store.gather(0, torch.tensor([0]))


@pytest.mark.parametrize("batch", [4, 12], ids=["several blocks", "one block"])
def test_rows_that_are_not_there_are_never_read(batch: int) -> None:
    parts = samples(12)
    store = Store()
    store.shelf(KEY, PARTS)
    for at in range(0, 12, batch):
        store.add(0, at, batch, hashes_of(parts)[at : at + batch], *[part[at : at + batch] for part in parts])
    for rows in ([12], [-1], [3, 100], [0, 12]):
        with pytest.raises(IndexError, match="rows .* of 12"):
            store.gather(0, torch.tensor(rows))
    check(store, parts)
    loose = Store()
    add_loose(loose, ragged(3))
    with pytest.raises(IndexError, match="rows -1 to -1 of 3"):
        loose.gather(0, torch.tensor([-1]), ["list", "list"])


def test_a_row_that_was_lost_never_gives_its_place_to_another() -> None:
    parts = samples(8)
    store = Store()
    store.shelf(KEY, PARTS)
    store.add(0, 0, 8, hashes_of(parts)[:2], *[part[:2] for part in parts])
    with pytest.raises(RuntimeError, match="rows from 4 come behind 2: those between are lost"):
        store.add(0, 4, 4, hashes_of(parts)[4:], *[part[4:] for part in parts])
    # The rows that are there may be right, but the client does not know that of any.
    with pytest.raises(RuntimeError, match="could not be kept: RuntimeError: rows from 4"):
        store.gather(0, torch.tensor([0]))
    for wrong in (hashes_of(parts)[:1], hashes_of(parts)[:3]):
        store = Store()
        store.shelf(KEY, PARTS)
        with pytest.raises(ValueError, match="rows for"):
            store.add(0, 0, 8, wrong, *[part[:2] for part in parts])


def test_a_later_session_finds_what_an_earlier_one_has_sent() -> None:
    parts = samples(12)
    filled(Store(cache="photos"), parts)
    later = Store(cache="photos")
    known = later.hashes()
    assert sorted(known.tolist()) == sorted(hashes_of(parts).tolist())
    later.shelf(KEY, PARTS)
    later.recall(0, 0, 12, hashes_of(parts)[:5])
    more = samples(3, 1)
    later.add(0, 5, 7, hashes_of(more), *more)
    later.recall(0, 8, 4, hashes_of(parts)[5:])
    check(later, [torch.cat([a[:5], b, a[5:]]) for a, b in zip(parts, more)])
    assert len(Store(cache="photos").hashes()) == 15
    assert len(Store(cache="others").hashes()) == 0


def test_the_same_sample_is_written_once() -> None:
    parts = samples(6)
    filled(Store(cache="photos"), parts)
    size = kept_cache.listed()[0]["bytes"]
    filled(Store(cache="photos"), parts)
    assert kept_cache.listed()[0]["bytes"] == size


def test_two_sessions_at_once_write_to_different_files() -> None:
    one, other = Cache("photos", None), Cache("photos", None)
    for i in range(20):
        for cache, name in ((one, "one"), (other, "other")):
            content = f"{name} {i}".encode() * 50
            cache.write(hashlib.sha256(content).digest(), content)
    folder = kept_cache.folder_of("photos")
    assert len(os.listdir(folder)) == 2
    assert len(Cache("photos", None)._places) == 40
    one.close()
    other.close()
    # Whoever comes next goes on with one of them.
    third = Cache("photos", None)
    third.write(hashlib.sha256(b"third").digest(), b"third")
    assert len(os.listdir(folder)) == 2


def test_two_processes_at_once() -> None:
    script = (
        "import hashlib, sys\n"
        "from torchwire_worker.helpers.kept_cache import Cache\n"
        "cache = Cache('photos', None)\n"
        "for i in range(300):\n"
        "    content = (f'{sys.argv[1]} {i} ' * 100).encode()\n"
        "    cache.write(hashlib.sha256(content).digest(), content)\n"
    )
    folder = os.path.dirname(os.path.dirname(os.path.dirname(kept_cache.__file__)))
    environ = {**os.environ, "PYTHONPATH": folder}
    running = [subprocess.Popen([sys.executable, "-c", script, str(n)], env=environ) for n in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    cache = Cache("photos", None)
    contents = [(f"{n} {i} " * 100).encode() for n in range(3) for i in range(300)]
    assert all(cache.read(hashlib.sha256(content).digest(), b"") == content for content in contents)


@pytest.mark.parametrize("cut", [1, 30, 60])
def test_a_record_that_was_left_half_written_is_not_there(cut: int) -> None:
    cache = Cache("photos", None)
    contents = [bytes([i]) * 40 for i in range(3)]
    for content in contents:
        cache.write(hashlib.sha256(content).digest(), content)
    cache.close()
    [name] = os.listdir(kept_cache.folder_of("photos"))
    path = os.path.join(kept_cache.folder_of("photos"), name)
    os.truncate(path, os.path.getsize(path) - cut)
    after = Cache("photos", None)
    assert len(after._places) == 2
    after.write(hashlib.sha256(contents[2]).digest(), contents[2])
    after.close()
    again = Cache("photos", None)
    assert [again.read(hashlib.sha256(content).digest(), b"") for content in contents] == contents


def test_damage_is_noticed_and_removed() -> None:
    parts = samples(3)
    filled(Store(cache="photos"), parts)
    folder = kept_cache.folder_of("photos")
    [name] = os.listdir(folder)
    with open(os.path.join(folder, name), "r+b") as file:
        file.seek(60)
        file.write(b"\xff\x00\xff")
    later = Store(cache="photos")
    later.shelf(KEY, PARTS)
    with pytest.raises(OSError, match="was damaged on the disk, and has been removed: run the program again"):
        later.recall(0, 0, 3, hashes_of(parts))
    assert os.listdir(folder) == []


def test_what_was_used_the_longest_ago_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_cache, "_FILE_BYTES", 1000)
    contents = [bytes([i]) * 400 for i in range(30)]
    hashes = [hashlib.sha256(content).digest() for content in contents]
    for i, (hash, content) in enumerate(zip(hashes, contents)):
        cache = Cache("photos", 8000)
        if i > 0:
            # The first one is used again and again.
            assert cache.read(hashes[0], b"") == contents[0]
        cache.write(hash, content)
        cache.close()
        for path, status in kept_cache._statuses(kept_cache.folder_of("photos")):
            os.utime(path, (status.st_mtime - 10, status.st_mtime - 10))
        assert kept_cache.listed()[0]["bytes"] <= 8000
    last = Cache("photos", 8000)
    assert hashes[0] in last and hashes[29] in last and hashes[2] not in last


def test_a_full_disk_ends_the_writing_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache("photos", None)
    cache.write(hashlib.sha256(b"one").digest(), b"one")
    write = os.write

    def half(file: int, content: bytes) -> int:
        write(file, content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    cache.write(hashlib.sha256(b"two").digest(), b"two")
    monkeypatch.setattr(os, "write", write)
    cache.write(hashlib.sha256(b"three").digest(), b"three")
    cache.close()
    assert len(Cache("photos", None)._places) == 1


@pytest.mark.parametrize("name", ["", ".", "..", "../photos", "a/b", "/tmp", ".hidden", "a\\b", "a\0b", "x" * 65, "ä"])
def test_names_that_are_paths_are_refused(name: str) -> None:
    with pytest.raises(BadName, match="is no name of a cache"):
        Cache(name, None)
    with pytest.raises(BadName):
        kept_cache.remove(name)


def test_caches_are_listed_and_removed(tmp_path: Path) -> None:
    assert kept_cache.listed() == []
    store = filled(Store(cache="photos"), samples(3))
    filled(Store(cache="a.b"), samples(3))
    assert [cache["name"] for cache in kept_cache.listed()] == ["a.b", "photos"]
    assert kept_cache.remove("photos") == kept_cache.listed()[0]["bytes"]
    assert [cache["name"] for cache in kept_cache.listed()] == ["a.b"]
    with pytest.raises(BadName, match="there is no cache 'photos'"):
        kept_cache.remove("photos")
    # A session that had it goes on.
    more = samples(2, 1)
    store.add(0, 3, 2, hashes_of(more), *more)
    assert os.listdir(tmp_path / "cache" / "samples") == ["a.b"]
    mode = os.stat(tmp_path / "cache" / "samples" / "a.b").st_mode & 0o777
    assert mode == 0o700


def digest(content: bytes, key: str = KEY) -> bytes:
    return hashlib.sha256(key.encode() + content).digest()


def test_a_small_cache_keeps_what_it_has_from_session_to_session() -> None:
    most = 8 * 2**20
    contents = [bytes([i]) * 100_000 for i in range(48)]
    cache = kept_cache.Cache("small", most)
    for content in contents[:40]:
        cache.write(digest(content), content)
    cache.close()
    # Each session adds one, and half of the room is left.
    for content in contents[40:]:
        cache = kept_cache.Cache("small", most)
        before = len(cache.hashes()) // 32
        cache.write(digest(content), content)
        cache.close()
        assert len(kept_cache.Cache("small", most).hashes()) // 32 == before + 1
    assert kept_cache.listed()[0]["bytes"] <= most


def test_a_record_that_another_session_cuts_off_while_it_is_read_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = kept_cache.Cache("cut", None)
    cache.write(digest(b"whole"), b"whole")
    cache.close()
    [path] = kept_cache._files_in(kept_cache.folder_of("cut"))
    size = os.path.getsize(path)
    with open(path, "ab") as file:
        file.write(bytes(100))
    read = kept_cache._pread

    def cut(file: int, length: int, start: int) -> bytes:
        if start >= size:
            os.truncate(path, size)
        return read(file, length, start)

    monkeypatch.setattr(kept_cache, "_pread", cut)
    assert kept_cache.Cache("cut", None).hashes() == digest(b"whole")


def test_what_is_no_file_is_passed_over() -> None:
    cache = kept_cache.Cache("pipes", None)
    os.mkfifo(os.path.join(kept_cache.folder_of("pipes"), "0.samples"))
    os.mkdir(os.path.join(kept_cache.folder_of("pipes"), "1.samples"))
    os.symlink("/dev/zero", os.path.join(kept_cache.folder_of("pipes"), "2.samples"))
    cache.write(digest(b"one"), b"one")
    cache.close()
    assert kept_cache.Cache("pipes", None).hashes() == digest(b"one")


def test_a_cache_behind_a_link_is_removed_there(tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.mkdir()
    os.makedirs(kept_cache.root())
    os.symlink(large, kept_cache.folder_of("linked"))
    # A process was killed while it removed another one.
    os.mkdir(os.path.join(kept_cache.root(), "." + "0" * 32))
    cache = kept_cache.Cache("linked", None)
    cache.write(digest(b"one"), b"one")
    cache.close()
    assert kept_cache.remove("linked") > 0
    assert os.listdir(kept_cache.root()) == []
    assert os.listdir(tmp_path) == ["cache"]


def test_damage_that_cannot_be_removed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = kept_cache.Cache("fixed", None)
    cache.write(digest(b"right"), b"wrong")
    cache.close()

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(kept_cache.Damaged, match="cannot be removed .*Permission denied.*: remove it"):
        kept_cache.Cache("fixed", None).read(digest(b"right"), KEY.encode())


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/user.slice/job.scope\n", ["memory.max", "user.slice/memory.max", "user.slice/job.scope/memory.max"]),
        ("5:cpu,memory:/slurm/job_1\n4:cpuset:/elsewhere\n", ["memory/slurm/job_1/memory.limit_in_bytes"]),
        ("garbage\n", ["memory.max", "memory/memory.limit_in_bytes"]),
    ],
)
def test_the_limits_of_all_groups_of_the_process_hold(tmp_path: Path, groups: str, files: list[str]) -> None:
    (tmp_path / "groups").write_text(groups)
    found = set(kept._limits(str(tmp_path / "groups"), "/root"))
    assert {os.path.join("/root", file) for file in files} <= found
    assert not any("elsewhere" in path for path in found)
