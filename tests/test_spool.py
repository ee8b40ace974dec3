"""The spool keeps order and loses nothing: over crashes, damage, full disks."""

from __future__ import annotations

import errno
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.outlets.spool import Spool
from model.errors import DevrecError
from tests.conftest import ROOT
from tests.small_disk import fill, small_disk


def event(number: int, size: int = 0) -> dict[str, Any]:
    return {"event": "gap", "id": number, "filler": "x" * size}


def ids(spool: Spool, limit: int = 100_000, after: int = 0) -> list[int]:
    return [entry.event["id"] for entry in spool.read(after, limit)]


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A folder for many events, where the disk's speed is not the question."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture
def quick() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


def open_spool(folder: Path, said: list[str] | None = None, max_mb: int = 4) -> Spool:
    return Spool(folder, [].append if said is None else said.append, max_mb)


def crashed(folder: Path, copies: list[Path]) -> Path:
    """The files as a new process finds them when the old one was killed at this moment."""
    copy = folder.parent / f"{folder.name}-{len(copies)}"
    shutil.copytree(folder, copy)
    copies.append(copy)
    return copy


def test_first_in_first_out_over_restarts(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    for number in range(10):
        spool.append(event(number))
    entries = spool.read(0, 4)
    assert [entry.event["id"] for entry in entries] == [0, 1, 2, 3]
    assert not any(entry.inherited for entry in entries)
    assert ids(spool, 2, entries[-1].number) == [4, 5]
    spool.acknowledge(entries[1].number)
    assert (spool.waiting, spool.delivered, spool.lost) == (8, 2, 0)
    spool.close()
    spool = open_spool(tmp_path)
    spool.append(event(10))
    assert ids(spool) == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert [entry.inherited for entry in spool.read(0, 100)] == [True] * 8 + [False]
    assert spool.waiting == 9
    spool.close()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 5)),
        st.tuples(st.just("acknowledge"), st.integers(1, 7)),
        st.tuples(st.sampled_from(["crash", "restart"]), st.just(0)),
    ),
    max_size=25,
)


@given(steps)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_interleaving_loses_or_reorders(sequence: list[tuple[str, int]]) -> None:
    with folder_in_memory() as folder:
        copies = [folder / "spool"]
        spool = open_spool(copies[0])
        expected: list[int] = []
        following = 0
        for step, count in sequence:
            if step == "append":
                for _ in range(count):
                    spool.append(event(following))
                    expected.append(following)
                    following += 1
            elif step == "acknowledge":
                read = spool.read(0, count)
                assert [entry.event["id"] for entry in read] == expected[:count]
                if read:
                    spool.acknowledge(read[-1].number)
                    del expected[: len(read)]
            else:
                if step == "crash":
                    copies[-1:] = [copies[-1], crashed(copies[-1], copies)]
                spool.close()
                spool = open_spool(copies[-1])
            assert ids(spool) == expected
            assert spool.waiting == len(expected)
        assert spool.lost == 0
        spool.close()


KILLED_WRITER = """
import itertools, sys
from pathlib import Path
from agent.outlets.spool import Spool
spool = Spool(Path(sys.argv[1]), print, 64)
entries = spool.read(0, 1_000_000)
if entries:
    spool.acknowledge(entries[len(entries) // 2].number)
    print("acknowledged", entries[len(entries) // 2].event["id"], flush=True)
for number in itertools.count(entries[-1].event["id"] + 1 if entries else 0):
    spool.append({"id": number, "filler": "x" * 500})
    print("appended", number, flush=True)
"""


def test_killed_writer_loses_nothing_it_has_confirmed(tmp_path: Path) -> None:
    acknowledged = appended = -1
    for seed in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", KILLED_WRITER, tmp_path / "spool"],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        assert writer.stdout is not None
        lines = [writer.stdout.readline()]
        time.sleep(random.Random(seed).uniform(0.02, 0.2))
        writer.kill()
        lines += writer.communicate()[0].splitlines(keepends=True)
        for line in lines:
            if not line.endswith(b"\n"):
                continue  # torn by the kill
            word, number = line.split()
            if word == b"acknowledged":
                acknowledged = int(number)
            else:
                appended = int(number)
        spool = open_spool(tmp_path / "spool", max_mb=64)
        waiting = ids(spool)
        spool.close()
        assert waiting == list(range(waiting[0], waiting[-1] + 1))
        assert waiting[0] == acknowledged + 1
        assert waiting[-1] >= appended
    assert appended > 10


def test_log_cut_anywhere_by_a_power_cut_leaves_a_beginning(quick: Path) -> None:
    folder = quick / "spool"
    spool = open_spool(folder)
    for number in range(40):
        spool.append(event(number, 300))
    log = (folder / "events.sqlite-wal").read_bytes()
    lengths = random.Random(1).sample(range(len(log)), 12)
    copies: list[Path] = []
    for length in sorted(lengths):
        copy = crashed(folder, copies)
        (copy / "events.sqlite-wal").write_bytes(log[:length])
        said: list[str] = []
        after = open_spool(copy, said)
        assert ids(after) == list(range(after.waiting))
        assert not said
        after.append(event(99))
        assert ids(after)[-1] == 99
        after.close()
    spool.close()


@pytest.mark.parametrize("damage", ["noise", "half", "header", "middle"])
def test_damaged_file_is_set_aside(quick: Path, damage: str) -> None:
    spool = open_spool(quick)
    for number in range(300):
        spool.append(event(number, 500))
    spool.close()
    path = quick / "events.sqlite"
    raw = path.read_bytes()
    noise = random.Random(3).randbytes(len(raw))
    damaged = {
        "noise": noise,
        "half": raw[: len(raw) // 2],
        "header": bytes(100) + raw[100:],
        "middle": raw[:40_000] + noise[40_000:60_000] + raw[60_000:],
    }[damage]
    path.write_bytes(damaged)
    said: list[str] = []
    spool = open_spool(quick, said)
    assert len(said) == 1
    assert "damaged" in said[0]
    assert "set aside as" in said[0]
    assert (quick / "events.sqlite.damaged").read_bytes() == damaged
    spool.append(event(1))
    spool.close()
    assert ids(open_spool(quick)) == [1]


def test_damage_while_running(quick: Path) -> None:
    said: list[str] = []
    spool = open_spool(quick, said, max_mb=16)
    for number in range(1000):  # more than SQLite keeps in memory
        spool.append(event(number, 5000))
    path = quick / "events.sqlite"
    for name in ("", "-wal"):
        file = Path(f"{path}{name}")
        with file.open("r+b") as raw:
            raw.write(random.Random(3).randbytes(file.stat().st_size))
    read = spool.read(0, 2000)
    assert not read
    spool.append(event(1000))
    assert ids(spool) == [1000]
    assert (spool.lost, spool.waiting) == (1000, 1)
    assert sum("set aside" in line for line in said) == 1
    assert sum("are lost, 1000 so far" in line for line in said) == 1
    spool.close()
    assert ids(open_spool(quick)) == [1000]


@pytest.mark.parametrize("deleted", ["folder", "file", "replaced"])
def test_files_deleted_while_running(quick: Path, deleted: str) -> None:
    folder, said = quick / "spool", list[str]()
    spool = open_spool(folder, said)
    for number in range(3):
        spool.append(event(number))
    if deleted == "folder":
        shutil.rmtree(folder)
    else:
        (folder / "events.sqlite").unlink()
    if deleted == "replaced":
        (folder / "events.sqlite").write_bytes(b"something else")
    spool.settle()
    assert said == [f"spool {folder}: its file was deleted: begun anew, 3 events are lost"]
    assert (spool.lost, spool.waiting) == (3, 0)
    spool.append(event(3))
    assert ids(spool) == [3]
    with pytest.raises(DevrecError, match="in use by another devrec-agent"):
        open_spool(folder)
    assert ids(open_spool(crashed(folder, [folder]))) == [3]
    spool.acknowledge(spool.read(0, 1)[0].number)
    spool.close()
    assert ids(open_spool(folder)) == []


def test_only_this_user_can_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "events.sqlite").touch(0o644)
    spool = open_spool(folder)
    spool.append(event(0))
    assert folder.stat().st_mode & 0o077 == 0
    assert {path.stat().st_mode & 0o077 for path in folder.iterdir()} == {0}
    spool.close()


def test_lock_that_fails_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    before = len([*Path("/proc/self/fd").iterdir()])
    for _ in range(3):
        with pytest.raises(DevrecError, match="cannot be used: No locks available"):
            open_spool(tmp_path)
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_bounded_oldest_out(quick: Path) -> None:
    said: list[str] = []
    spool = open_spool(quick, said, max_mb=1)
    for number in range(1500):
        spool.append(event(number, 200 + number % 1500))
        if number % 100 == 0:
            assert sum(file.stat().st_size for file in quick.iterdir()) <= 1_000_000
    kept = ids(spool)
    assert kept == list(range(kept[0], 1500))
    assert spool.lost == kept[0] > 0
    assert spool.waiting == len(kept) > 300
    assert len(said) == 1
    assert "it is full" in said[0]
    spool.close()


def test_one_agent_alone(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    writer = subprocess.Popen(
        [sys.executable, "-c", KILLED_WRITER, folder], stdout=subprocess.PIPE, cwd=ROOT
    )
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(DevrecError, match="in use by another devrec-agent"):
            open_spool(folder)
    finally:
        writer.kill()
        writer.communicate()
    open_spool(folder).close()


def test_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DevrecError, match="cannot be used"):
        open_spool(tmp_path / "file")


def test_full_disk_falls_back_to_memory_and_keeps_the_order(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        said: list[str] = []
        spool = open_spool(disk / "spool", said)
        for number in range(20):
            spool.append(event(number, 500))
        ballast = fill(disk)
        for number in range(20, 600):
            spool.append(event(number, 500))
        assert len(said) == 1
        assert "full: new events wait in memory" in said[0]
        assert ids(spool) == list(range(600))
        spool.acknowledge(spool.read(0, 10)[-1].number)  # cannot be removed now
        assert ids(spool) == list(range(10, 600))
        spool.acknowledge(spool.read(0, 290)[-1].number)
        assert ids(spool) == list(range(300, 600))
        assert (spool.waiting, spool.delivered, spool.lost) == (300, 300, 0)
        ballast.unlink()
        time.sleep(1.05)
        spool.settle()
        assert said[1:] == [f"spool {disk / 'spool'}: the disk takes events again"]
        spool.append(event(600))
        copy = crashed(disk / "spool", [tmp_path])  # all of it is on the disk now
        assert ids(open_spool(copy)) == list(range(300, 601))
        spool.close()


def test_spool_that_has_filled_the_disk_itself_is_emptied(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        spool = open_spool(disk / "spool", max_mb=64)
        for number in range(2500):
            spool.append(event(number, 500))
        entries = spool.read(0, 10_000)
        assert [entry.event["id"] for entry in entries][:1000] == list(range(1000))
        assert entries[-1].event["id"] == 2499
        assert spool.lost == 2500 - len(entries)  # no room in memory either
        spool.acknowledge(entries[-1].number)
        spool.append(event(2500))
        spool.close()
        assert ids(open_spool(disk / "spool")) == [2500]


def test_disk_full_from_the_start(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        open_spool(disk / "old").close()
        spool = open_spool(disk / "old")
        spool.append(event(0))
        spool.close()
        ballast = fill(disk)
        old, new = open_spool(disk / "old"), open_spool(disk / "new")
        for spool in (old, new):
            spool.append(event(1))
        assert ids(old) == [0, 1]
        assert ids(new) == [1]
        ballast.unlink()
        old.close()
        new.close()
        assert ids(open_spool(disk / "old")) == [0, 1]
        assert ids(open_spool(disk / "new")) == [1]
