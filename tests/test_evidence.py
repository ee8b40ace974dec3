"""Audio kept around events: bit-exact, honest about gaps, below its quota."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import stat
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from agent.evidence.flac import encode
from agent.evidence.recent_audio import Gap, RecentAudio
from agent.evidence.store import EvidenceStore, stem_of, verify
from model.errors import DevrecError
from tests.conftest import run_cli
from tests.evidence_rig import FACTS, RATE_HZ, Rig, event, noise, wait_for


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "evidence")


def test_audio_around_an_event_is_bit_exact(rig: Rig) -> None:
    heard = noise(10)
    rig.hear(0, heard[: 5 * RATE_HZ], block=137)
    rig.recorder.on_event(event(5 * RATE_HZ - 100))
    assert rig.recorder.written == 0
    rig.hear(5 * RATE_HZ, heard[5 * RATE_HZ :], block=1001)
    [(about, decoded)] = rig.close()
    assert rig.said == []
    first, end = 3 * RATE_HZ - 100, 6 * RATE_HZ - 100
    expected = (heard[first:end] * 32768).astype(np.int16)
    np.testing.assert_array_equal(decoded, expected)

    stem = "000001_20261124T101112.345Z_line-1_device_changed_20261124T101100Z-4f2a-1"
    flac = rig.folder / f"{stem}.flac"
    audio = about["audio"]
    assert audio == {
        "file": flac.name,
        "sha256": hashlib.sha256(flac.read_bytes()).hexdigest(),
        "pcm_sha256": hashlib.sha256(expected.astype("<i2").tobytes()).hexdigest(),
        "subtype": "PCM_16",
        "exact": True,
        "sample_rate_hz": RATE_HZ,
        "samples": 3 * RATE_HZ,
        "first_sample": first,
        "last_sample": end - 1,
        "first_sample_time": "2026-11-24T10:11:10.345Z",
        "gaps": [],
    }
    assert about["event"] == event(5 * RATE_HZ - 100)
    assert about["made_by"].items() >= FACTS.items()
    assert set(about["made_by"]) == {"agent_version", "host", *FACTS}
    assert list(verify(rig.folder)) == [(stem, None)]


@pytest.mark.parametrize(
    ("samples", "subtype", "exact"),
    [
        ([-1.0, 32767 / 32768, 1 / 32768], "PCM_16", True),
        ([-1.0, 1 - 2**-23, 2**-23], "PCM_24", True),
        ([0.1, -(2**-30)], "PCM_24", False),
        ([1.0, -1.5], "PCM_24", False),
        ([float("nan"), float("inf"), 0.5], "PCM_24", False),
    ],
)
def test_word_length_follows_the_samples(samples: list[float], subtype: str, exact: bool) -> None:
    values = np.array(samples, np.float32)
    data, facts, said_exact = encode(values, RATE_HZ)
    assert (facts.subtype, said_exact) == (subtype, exact)
    decoded = soundfile.read(io.BytesIO(data), dtype="float32")[0]
    if exact:
        np.testing.assert_array_equal(decoded, values)
    finite = np.where(np.isfinite(values), values, 0)
    np.testing.assert_allclose(decoded, np.clip(finite, -1, 1), atol=2**-23)


def test_24_bit_checksum_is_of_three_bytes_a_sample() -> None:
    integers = np.array([-(2**23), -1, 0, 1, 2**23 - 1], np.int64)
    _, facts, _ = encode((integers / 2**23).astype(np.float32), RATE_HZ)
    packed = b"".join(int(value).to_bytes(3, "little", signed=True) for value in integers)
    assert facts.pcm_sha256 == hashlib.sha256(packed).hexdigest()


def test_gaps_are_known_and_keep_positions(rig: Rig) -> None:
    heard = noise(6)
    gap = Gap(3 * RATE_HZ, 700)
    rig.hear(0, heard[: gap.position])
    rig.hear(gap.end, heard[gap.end :])
    rig.recorder.on_event(event(4 * RATE_HZ))
    [(about, decoded)] = rig.close()
    first = about["audio"]["first_sample"]
    assert first == 2 * RATE_HZ
    assert about["audio"]["gaps"] == [{"position": gap.position, "missing": gap.missing}]
    expected = (heard * 32768).astype(np.int16)
    expected[gap.position : gap.end] = 0
    np.testing.assert_array_equal(decoded, expected[first : 5 * RATE_HZ])


def test_what_was_wanted_before_a_long_gap_is_written(rig: Rig) -> None:
    heard = noise(3)
    rig.hear(0, heard)
    rig.recorder.on_event(event(3 * RATE_HZ))
    rig.hear(3600 * RATE_HZ, noise(3, seed=1))  # an hour later
    rig.recorder.on_event(event(3601 * RATE_HZ, 2))
    before, after = rig.close()
    np.testing.assert_array_equal(before[1], (heard[RATE_HZ:] * 32768).astype(np.int16))
    assert before[0]["audio"]["gaps"] == []
    assert after[0]["audio"]["first_sample"] == 3600 * RATE_HZ
    assert len(after[1]) == 2 * RATE_HZ


def test_a_stream_that_begins_anew_ends_what_was_wanted(rig: Rig) -> None:
    heard = noise(3)
    rig.hear(5 * RATE_HZ, heard)
    rig.recorder.on_event(event(8 * RATE_HZ))
    rig.hear(0, noise(1, seed=1))
    [(about, decoded)] = rig.close()
    assert about["audio"]["last_sample"] == 8 * RATE_HZ - 1
    np.testing.assert_array_equal(decoded, (heard[RATE_HZ:] * 32768).astype(np.int16))


def test_the_end_of_an_input_ends_the_waiting(rig: Rig) -> None:
    rig.hear(0, noise(3))
    rig.recorder.on_event(event(3 * RATE_HZ))
    rig.recorder.remove_input("line-1")
    wait_for(lambda: rig.recorder.written == 1)
    rig.hear(3 * RATE_HZ, noise(1))  # of an input that is no more: not an error
    [(about, _)] = rig.close()
    assert about["audio"]["last_sample"] == 3 * RATE_HZ - 1


def test_a_silent_input_is_not_waited_for_for_ever(rig: Rig) -> None:
    rig.hear(0, noise(3))
    rig.recorder.on_event(event(3 * RATE_HZ))
    rig.clock.now += 5.9
    rig.recorder.poll()
    time.sleep(0.1)
    assert rig.recorder.written == 0
    rig.clock.now += 0.2
    rig.recorder.poll()
    wait_for(lambda: rig.recorder.written == 1)
    rig.close()


def test_only_the_events_asked_for(rig: Rig) -> None:
    rig.hear(0, noise(3))
    rig.recorder.on_event(event(2 * RATE_HZ, event="gap"))
    rig.recorder.on_event(event(2 * RATE_HZ, 2, input="line-9"))
    assert rig.close() == []
    assert rig.said == ["evidence: lost: no audio of input 'line-9' was heard"]
    assert rig.recorder.lost == 1


def test_ring_against_the_whole_stream() -> None:
    rng = np.random.default_rng(1)
    capacity = 500
    ring = RecentAudio(capacity)
    whole = np.zeros(30_000, np.float32)
    heard = np.zeros(len(whole), bool)
    position = 1234
    while position < len(whole) - 1000:
        if rng.random() < 0.2:
            position += int(rng.integers(1, 700))
        block = rng.uniform(-1, 1, int(rng.integers(1, capacity + 1))).astype(np.float32)
        ring.accept(position, block)
        whole[position : position + len(block)] = block
        heard[position : position + len(block)] = True
        position += len(block)
        first = position - int(rng.integers(1, 2 * capacity))
        end = first + int(rng.integers(1, capacity))
        found = ring.excerpt(first, end)
        span = np.arange(max(first, position - capacity, 0), min(end, position))
        there = span[heard[span]]
        if not len(there):
            assert found is None
            continue
        assert found is not None
        assert (found.first, len(found.samples)) == (there[0], there[-1] + 1 - there[0])
        np.testing.assert_array_equal(found.samples, whole[there[0] : there[-1] + 1])
        missing = {p for gap in found.gaps for p in range(gap.position, gap.end)}
        assert missing == set(range(there[0], there[-1])) - set(there)


def test_names_are_safe() -> None:
    odd = stem_of(1, event(0, input="USB: \u00fc/../mic (hw:1,0)" + "x" * 300))
    assert len(odd) < 240
    assert "/" not in odd


def test_quota_removes_the_oldest_pairs_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "holiday.flac").write_bytes(b"x" * 5_000_000)
    store = EvidenceStore(tmp_path, 1)
    stems = []
    # As a clock goes that was wrong, set, and lost its battery.
    for year in (2099, 2025, 2026, 1970):
        stems.append(store.next_stem(event(0, end=f"{year}-01-01T00:00:00.000Z")))
        store.write(stems[-1], b"x" * 300_000, {})
    store.close()
    store = EvidenceStore(tmp_path, 1)
    stems.append(store.next_stem(event(0, end="1970-01-01T00:00:05.000Z")))
    store.write(stems[-1], b"x" * 300_000, {})
    pairs = [f"{stem}.{suffix}" for stem in stems[2:] for suffix in ("flac", "json")]
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".lock", *pairs, "holiday.flac"]
    with pytest.raises(DevrecError, match="larger than the quota of 1 MB"):
        store.write(store.next_stem(event(0)), b"x" * 1_100_000, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == left
    assert [stem for stem, _ in verify(tmp_path)] == stems[2:]
    store.close()


@pytest.mark.parametrize(("others", "mode"), [([], 0o750), (["holiday.flac"], 0o755)])
def test_recorded_speech_is_not_for_everybody(tmp_path: Path, others: list[str], mode: int) -> None:
    folder = tmp_path / "evidence"
    folder.mkdir()
    folder.chmod(0o755)
    for name in others:
        (folder / name).touch()
    store = EvidenceStore(folder, 1)
    stem = store.next_stem(event(0))
    store.write(stem, b"x", {})
    store.close()
    assert stat.S_IMODE(folder.stat().st_mode) == mode
    for path in folder.glob(f"{stem}.*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o137 == 0


def test_folder_that_another_writer_uses(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path, 1)
    being_written = tmp_path / f"{store.next_stem(event(0))}.flac"  # its JSON follows
    being_written.write_bytes(b"x")
    with pytest.raises(DevrecError, match="in use by another devrec-agent"):
        EvidenceStore(tmp_path, 2)
    assert being_written.exists()
    store.close()
    EvidenceStore(tmp_path, 2).close()
    assert not being_written.exists()


def test_folder_that_was_deleted_is_locked_anew(tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    store = EvidenceStore(folder, 1)
    shutil.rmtree(folder)
    store.write(store.next_stem(event(0)), b"x", {})
    with pytest.raises(DevrecError, match="in use by another devrec-agent"):
        EvidenceStore(folder, 1)
    store.close()


def test_events_that_come_where_nothing_is_heard_are_no_loss(tmp_path: Path) -> None:
    kinds = ("started", "input_state", "audio_lost")
    rig = Rig(tmp_path / "evidence", events=kinds)
    rig.recorder.remove_input("line-1")
    for kind in kinds:
        rig.recorder.on_event(event(0, event=kind))
    assert rig.close() == []
    assert (rig.recorder.lost, rig.said) == (0, [])


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DevrecError, match=r"evidence folder .*file/below: Not a directory"):
        EvidenceStore(tmp_path / "file" / "below", 1)


def test_verify_names_each_bad_pair(rig: Rig) -> None:
    rig.hear(0, noise(5))
    for number in range(1, 7):
        rig.recorder.on_event(event(3 * RATE_HZ, number))
    rig.close()
    assert run_cli("evidence", "verify", rig.folder).returncode == 0
    good, changed, cut, alone, lying, deep = sorted(rig.folder.glob("*.flac"))
    data = bytearray(changed.read_bytes())
    data[len(data) // 2] ^= 1
    changed.write_bytes(data)
    cut.unlink()
    alone.with_suffix(".json").unlink()
    about = json.loads(lying.with_suffix(".json").read_text())
    about["audio"]["pcm_sha256"] = "0" * 64
    lying.with_suffix(".json").write_text(json.dumps(about))
    deep.with_suffix(".json").write_text("[" * 200_000)
    done = run_cli("evidence", "verify", rig.folder)
    assert done.returncode == 3
    assert done.stderr == b""
    assert done.stdout.decode().splitlines() == [
        f"{changed.stem}: the FLAC file was changed: its sha256 differs",
        f"{cut.stem}: the FLAC file is missing",
        f"{alone.stem}: a FLAC file without its JSON: the agent was killed while it wrote",
        f"{lying.stem}: the FLAC file decodes to another pcm_sha256 than its JSON says",
        f"{deep.stem}: the JSON file is damaged",
        "1 good, 5 bad",
    ]
    for folder, code in ((rig.folder / "no", 1), (rig.folder.parent, 3)):
        done = run_cli("evidence", "verify", folder)
        assert done.returncode == code
        assert (done.stdout, done.stderr.count(b"\n")) == (b"", 1)
    assert good.is_file()
