"""Whole lines only: in the file whatever happens to the disk, on standard output for any reader."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agent.outlets.json_lines import JsonLinesFile, StandardOutput
from agent.outlets.outlet import OutletQueue, ReceiverGoneError
from model.errors import DevrecError
from tests.conftest import ROOT
from tests.mosquitto import wait_until
from tests.small_disk import fill, small_disk


def event(number: int, size: int = 0) -> dict[str, Any]:
    return {"event": "gap", "id": number, "filler": "ä" * size}


def numbers(path: Path) -> list[int]:
    """Which events a file holds; fails on a line that is torn."""
    text = path.read_bytes()
    assert text == b"" or text.endswith(b"\n")
    return [json.loads(line)["id"] for line in text.splitlines()]


def open_file(path: Path, said: list[str] | None = None, keep: int = 2) -> JsonLinesFile:
    return JsonLinesFile(path, [].append if said is None else said.append, 1, keep)


def test_rotation_keeps_whole_lines_and_so_many_files(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    outlet = open_file(path)
    for number in range(220):  # 20 kB each
        outlet.deliver(event(number, 10_000))
    outlet.close(0)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["events.jsonl", "events.jsonl.1", "events.jsonl.2"]
    assert all(file.stat().st_size <= 1_000_000 for file in files)
    kept = [number for file in reversed(files) for number in numbers(file)]
    assert kept == list(range(kept[0], 220))
    assert len(kept) > 100
    assert {file.stat().st_mode & 0o137 for file in files} == {0}


def test_rotation_without_older_files(tmp_path: Path) -> None:
    outlet = open_file(tmp_path / "e", keep=0)
    for number in range(60):
        outlet.deliver(event(number, 10_000))
    assert [file.name for file in tmp_path.iterdir()] == ["e"]
    assert numbers(tmp_path / "e")[-1] == 59


@pytest.mark.parametrize("torn", [b'{"event": "gap", "id"', b"\0" * 300, b'{"event": "g\0\0\0'])
def test_torn_last_line_is_cut(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "e"
    path.write_bytes(b'{"id": 1}\n' + torn)
    said: list[str] = []
    outlet = open_file(path, said)
    outlet.deliver(event(2))
    assert numbers(path) == [1, 2]
    assert len(said) == 1
    assert f"{len(torn)} bytes" in said[0]


def test_last_line_that_only_lacks_its_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "e"
    path.write_bytes(b'{"id": 1}\n{"id": 2}')
    open_file(path).deliver(event(3))
    assert numbers(path) == [1, 2, 3]


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"my notes\nnot finished")
    with pytest.raises(DevrecError, match="not a file of ours"):
        open_file(path)
    assert path.read_bytes() == b"my notes\nnot finished"


def test_file_of_another_agent(tmp_path: Path) -> None:
    outlet = open_file(tmp_path / "e")
    with pytest.raises(DevrecError, match="in use by another"):
        open_file(tmp_path / "e")
    outlet.close(0)
    open_file(tmp_path / "e").close(0)


@pytest.mark.parametrize("path", ["/dev/null", "/dev"])
def test_no_regular_file(path: str) -> None:
    with pytest.raises(DevrecError, match=r"not a regular file|Is a directory"):
        open_file(Path(path))


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DevrecError, match="No such file or directory"):
        open_file(tmp_path / "missing" / "e")


def test_file_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "e"
    outlet = open_file(path)
    outlet.deliver(event(1))
    path.rename(tmp_path / "moved")
    outlet.deliver(event(2))
    path.unlink()
    outlet.deliver(event(3))
    assert numbers(tmp_path / "moved") == [1]
    assert numbers(path) == [3]


def test_full_disk_leaves_whole_lines_and_works_again(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        path, said = disk / "e", list[str]()
        queue = OutletQueue(open_file(path, said), said.append)
        queue.offer(event(0, 100))
        wait_until(lambda: queue.delivered == 1)
        ballast = fill(disk)
        for number in range(1, 60):  # the file's last page has room for a few
            queue.offer(event(number, 100))
        wait_until(lambda: queue.delivered + queue.lost == 60)
        assert 0 < queue.lost < 60
        before = numbers(path)
        assert before == list(range(len(before)))
        assert said == [f"file {path}: event lost: [Errno 28] No space left on device"]
        ballast.unlink()
        queue.offer(event(60))
        wait_until(lambda: len(said) == 2)
        assert said[1] == f"file {path}: works again; {queue.lost} events were lost so far"
        assert numbers(path) == [*before, 60]
        queue.stop(time.monotonic() + 5)


def test_disk_full_from_the_start(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m,nr_inodes=2") as disk:
        said: list[str] = []
        other = disk / "other"
        other.touch()
        outlet = open_file(disk / "e", said)
        assert said == [f"file {disk / 'e'}: cannot be begun yet: No space left on device"]
        with pytest.raises(OSError, match="No space"):
            outlet.deliver(event(0))
        other.unlink()
        outlet.deliver(event(1))
        assert numbers(disk / "e") == [1]


KILLED_WRITER = """
import itertools, sys
from pathlib import Path
from agent.outlets.json_lines import JsonLinesFile
outlet = JsonLinesFile(Path(sys.argv[1]), print, 1, 1000)
for number in itertools.count():
    outlet.deliver({"id": number, "filler": "x" * 3000})
    print(number, flush=True)
"""


def test_killed_writer_loses_nothing_it_has_confirmed(tmp_path: Path) -> None:
    path = tmp_path / "e"
    writer = subprocess.Popen(
        [sys.executable, "-c", KILLED_WRITER, path], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert writer.stdout is not None
    lines = [writer.stdout.readline() for _ in range(400)]  # more than one file
    writer.kill()
    lines += writer.communicate()[0].splitlines(keepends=True)
    confirmed = [int(line) for line in lines if line.endswith(b"\n")][-1]
    open_file(path).close(0)
    written = [n for file in sorted(tmp_path.iterdir(), reverse=True) for n in numbers(file)]
    assert written == list(range(len(written)))
    assert len(written) > confirmed


def test_slow_reader_of_standard_output_gets_everything() -> None:
    reader, writer = os.pipe()
    said: list[str] = []
    queue = OutletQueue(StandardOutput(writer), said.append)
    for number in range(100):  # 1 MB, of which the pipe takes 64 kB
        queue.offer(event(number, 5000))
    assert queue.delivered < 100
    with os.fdopen(reader, "rb") as lines:
        assert [json.loads(lines.readline())["id"] for _ in range(100)] == list(range(100))
    queue.stop(time.monotonic() + 5)
    os.close(writer)
    assert queue.delivered == 100


def test_blocked_reader_of_standard_output_does_not_hold_up_the_end() -> None:
    reader, writer = os.pipe()
    said: list[str] = []
    queue = OutletQueue(StandardOutput(writer), said.append)
    for number in range(20):
        queue.offer(event(number, 5000))
    wait_until(lambda: not select.select([], [writer], [], 0)[1])
    began = time.monotonic()
    queue.stop(began + 0.5)
    assert time.monotonic() - began < 1.5
    wait_until(lambda: queue.delivered + queue.lost == 20)
    assert any("nobody reads" in line for line in said)
    # A line that was torn by giving up is ended before anything else is written.
    os.set_blocking(reader, False)
    while select.select([reader], [], [], 0)[0]:
        os.read(reader, 1 << 20)
    queue.outlet.stop_by(float("inf"))
    queue.outlet.deliver(event(99))
    assert [json.loads(line)["id"] for line in os.read(reader, 4096).split(b"\n") if line] == [99]
    os.close(reader)
    os.close(writer)


def test_reader_of_standard_output_that_has_gone() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(ReceiverGoneError):
        StandardOutput(writer).deliver(event(1))
    os.close(writer)
