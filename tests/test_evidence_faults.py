"""Evidence when things go wrong, with the real faults: a kill, a full disk, a disk that hangs."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.evidence.store import EvidenceStore, verify
from tests.conftest import ROOT
from tests.evidence_rig import RATE_HZ, Rig, event, noise, wait_for
from tests.small_disk import fill, small_disk


def test_leftovers_of_a_kill_are_removed_at_the_start(tmp_path: Path) -> None:
    stem = "000001_20261124T101112.345Z_line-1_unknown_r-1"
    whole = "000002_20261124T101113.345Z_line-1_unknown_r-2"
    for name in (
        f"{stem}.flac",
        f".{stem}.flac.ab_1cd2e.flac",
        f".{whole}.json.ab_1cd2e.json",
        f"{whole}.flac",
        f"{whole}.json",
        ".hidden.flac",
        "other.flac",
    ):
        (tmp_path / name).write_bytes(b"x")
    EvidenceStore(tmp_path, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".hidden.flac",
        ".lock",
        f"{whole}.flac",
        f"{whole}.json",
        "other.flac",
    ]


WRITES_FOR_EVER = """
import sys, itertools
from pathlib import Path
import numpy as np
from agent.config.settings import EvidenceSection
from agent.evidence.recorder import EvidenceRecorder
folder, run = Path(sys.argv[1]), sys.argv[2]
section = EvidenceSection(folder=folder, before_s=1, after_s=0, quota_mb=1)
recorder = EvidenceRecorder(section, {}, print)
recorder.add_input("line-1", 8000)
noise = np.random.default_rng(0).integers(-32768, 32768, 8000) / 32768
recorder.accept("line-1", 0, noise.astype(np.float32))
for number in itertools.count():
    at = f"2026-11-24T10:{number // 60 % 60:02}:{number % 60:02}.{run}Z"
    event = {"event": "unknown", "id": str(number), "input": "line-1"}
    recorder.on_event({**event, "end": at, "end_sample": 8000})
    while recorder.written + recorder.lost <= number:
        pass
    if number == 1:
        print("writing", flush=True)
"""


def test_sigkill_leaves_no_corrupt_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for run in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITES_FOR_EVER, str(tmp_path), f"{run:03}"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        time.sleep(rng.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
    described = {path.stem for path in tmp_path.glob("0*.json")}
    wrong = {stem: why for stem, why in verify(tmp_path) if why is not None}
    assert not described & set(wrong)
    EvidenceStore(tmp_path, 1)
    results = list(verify(tmp_path))
    assert len(results) >= 2
    assert [why for _, why in results if why is not None] == []
    assert [path.name for path in tmp_path.glob(".*")] == [".lock"]


def test_full_disk_is_said_and_listening_goes_on(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        rig = Rig(disk)
        ballast = fill(disk)
        rig.hear(0, noise(5))
        for number in (1, 2):
            rig.recorder.on_event(event(3 * RATE_HZ, number))
            wait_for(lambda number=number: rig.recorder.lost == number)  # type: ignore[misc]
        assert rig.said == [f"evidence: lost: {disk} cannot be written: No space left on device"]
        assert {*disk.iterdir()} == {ballast, disk / ".lock"}
        ballast.unlink()
        heard = noise(5, seed=1)
        rig.hear(5 * RATE_HZ, heard)
        rig.recorder.on_event(event(8 * RATE_HZ, 3))
        [(about, decoded)] = rig.close()
        assert about["event"]["id"].endswith("-3")
        expected = (heard[RATE_HZ : 4 * RATE_HZ] * 32768).astype(np.int16)
        np.testing.assert_array_equal(decoded, expected)
        assert rig.said[1:] == ["evidence: written again; 2 were lost so far"]


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[Path]:
    """A real file system that can be frozen; skips where none can be made."""
    for program in ("mkfs.ext4", "fsfreeze", "mount"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} program")
    image, folder = tmp_path / "image", tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    folder.mkdir()
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    mount = ["mount", "-o", "loop", str(image), str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_hangs_does_not_stop_the_listening(ext4: Path) -> None:
    """Frozen as a dying SD card is: writing blocks in the kernel."""
    rig = Rig(ext4 / "evidence", before_s=1.0, after_s=0.0)
    if subprocess.run(["fsfreeze", "-f", str(ext4)], check=False).returncode != 0:
        pytest.skip("file systems cannot be frozen here")
    try:
        position, longest = 0, 0.0
        for number in range(1, 60):
            begun = time.perf_counter()
            rig.hear(position, noise(1, seed=number))
            position += RATE_HZ
            rig.recorder.on_event(event(position, number))
            longest = max(longest, time.perf_counter() - begun)
        assert longest < 1.0  # a second of audio, and blocks for none of it
        left = 59 - rig.recorder.lost
        assert left in (32, 33)  # the queue, and one in the thread's hands
        assert rig.said == ["evidence: lost: the disk is too slow: too much waits to be written"]
        begun = time.monotonic()
        rig.recorder.close(begun + 0.3)
        assert time.monotonic() - begun < 2
        assert rig.said[1:] == [f"evidence: {left} could not be written before the end"]
    finally:
        subprocess.run(["fsfreeze", "-u", str(ext4)], check=True)
    wait_for(lambda: rig.recorder.written == left)
    wait_for(lambda: "evidence" not in [thread.name for thread in threading.enumerate()])
    EvidenceStore(ext4 / "evidence", 1).close()  # free for others
