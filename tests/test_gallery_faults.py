"""Galleries when things go wrong, with the real faults: damage, a full disk, a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.errors import DevrecError, GalleryError
from model.gallery import Gallery
from model.gallery_archive import export_gallery, import_gallery
from model.gallery_file import read_device
from model.gallery_folder import read_devices, write_devices
from model.gallery_index import INDEX, index_from_json
from tests.conftest import ROOT
from tests.gallery_rig import MODEL, content, files_in, made_up_clip, made_up_device
from tests.small_disk import fill, small_disk

Damage = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One device of two short clips."""
    folder = tmp_path_factory.mktemp("gallery") / "g"
    write_devices(folder, [made_up_device("x", "a.wav", "b.wav", frames=3)])
    return folder


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    """Bytes changed, cut out, put in, or cut off."""
    kind = draw(st.sampled_from(["change", "cut", "insert", "end"]))
    place = draw(st.floats(0, 1, exclude_max=True))
    # Half of the time near the end, where a ZIP keeps its directory, or near the start.
    place = draw(st.sampled_from([place, place * 0.1, 1 - place * 0.1 - 1e-9]))
    new = draw(st.binary(min_size=1, max_size=8))

    def damage(data: bytes) -> bytes:
        at = int(place * len(data))
        after = {"change": at + len(new), "cut": at + len(new), "insert": at, "end": len(data)}
        put = b"" if kind in ("cut", "end") else new
        return data[:at] + put + data[after[kind] :]

    return damage


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(damage=damages())
def test_damaged_device_files(damage: Damage, folder: Path) -> None:
    [path] = folder.glob("*.npz")
    whole = content(read_device(path, "x"))
    try:
        found = content(read_device(damage(path.read_bytes()), "x"))
    except GalleryError:
        pass
    else:
        assert found == whole  # what was hit says nothing: a date, say


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(damage=damages())
def test_damaged_indexes(damage: Damage, folder: Path) -> None:
    with suppress(GalleryError):
        index_from_json(damage((folder / INDEX).read_bytes()), "index")


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(damage=damages())
def test_damaged_exports(
    damage: Damage, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    scratch = tmp_path_factory.mktemp("import")
    export_gallery(folder, scratch / "x.zip")
    (scratch / "y.zip").write_bytes(damage((scratch / "x.zip").read_bytes()))
    try:
        import_gallery(scratch / "g", scratch / "y.zip")
    except GalleryError:
        assert read_devices(scratch / "g") == []
    else:
        [found], [whole] = read_devices(scratch / "g"), read_devices(folder)
        assert found.clips[0].sha256 == whole.clips[0].sha256
        assert content(found)["clips"] == content(whole)["clips"]


def test_full_disk_leaves_the_gallery_as_it_was(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        gallery = Gallery.open(disk / "g", MODEL)
        gallery.add("x", [made_up_clip("a.wav")])
        before = files_in(disk / "g")
        ballast = fill(disk)
        with pytest.raises(DevrecError, match="No space left"):
            gallery.add("x", [made_up_clip("b.wav")], "add")
        with pytest.raises(DevrecError, match="No space left"):
            gallery.add("y", [made_up_clip("b.wav")])
        assert files_in(disk / "g") == before
        assert [device.name for device in gallery.devices] == ["x"]
        ballast.unlink()
        gallery.add("y", [made_up_clip("b.wav")])
        assert [device.name for device in Gallery.open(disk / "g", MODEL).devices] == ["x", "y"]


WRITES_FOR_EVER = """
import itertools, sys
from pathlib import Path
from typing import Any
from model.gallery_folder import write_devices
from tests.gallery_rig import made_up_device
folder = Path(sys.argv[1])
for state in itertools.count(int(sys.argv[2])):
    write_devices(folder, [made_up_device(name, f"{name}{state}.wav") for name in "xyz"])
    if state % 1000 == 1:
        print("writing", flush=True)
"""


def state_of(folder: Path) -> str:
    """The number of the state that a reader sees; all devices are of one."""
    devices = read_devices(folder)
    assert [device.name for device in devices] == ["x", "y", "z"]
    [state] = {device.clips[0].source[1:] for device in devices}
    return state


def test_readers_and_kills_see_whole_states(tmp_path: Path) -> None:
    folder = tmp_path / "g"
    rng = np.random.default_rng(3)
    for run in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITES_FOR_EVER, str(folder), str(1000 * run)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "writing\n"
            seen: set[str] = set()
            deadline = time.monotonic() + 30
            # By states, not by a number of reads: a slow disk may show one state for all of them.
            while len(seen) < 5 and time.monotonic() < deadline:
                seen.add(state_of(folder))
            assert len(seen) == 5
            time.sleep(rng.uniform(0, 0.1))
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=10)
        state_of(folder)
    for device in read_devices(folder):
        expected = made_up_clip(device.clips[0].source)
        np.testing.assert_array_equal(device.clips[0].load_features(), expected.load_features())
    write_devices(folder, [made_up_device("last", "last.wav")])
    assert len(list(folder.iterdir())) == 5  # the index and four devices: no leftovers
