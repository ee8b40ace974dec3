"""Simulated domains: who hears what, and that the recordings kept are those that were asked for."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from model import simulated_domains
from model.audio import read_clip
from model.corpus import Clip, Corpus
from model.errors import AudioError, CorpusError, UsageError
from model.features import FrontEndConfig, extract
from model.simulated_domains import SimulatedDomains, domain_recordings, speech_parts
from model.virtual_microphone import VirtualMicrophone
from tests.conftest import CLI_ENV, ROOT
from tests.in_process import results_here
from tests.simulated import RATE_HZ, Samples, speech_like

FRONT_END = FrontEndConfig(remove_dc=True, prefbank="log")


def write(path: Path, samples: Samples) -> Path:
    soundfile.write(path, samples, RATE_HZ, subtype="FLOAT")
    return path


@pytest.fixture
def speech(tmp_path: Path) -> tuple[Path, ...]:
    """Five short recordings of simulated speech."""
    folder = tmp_path / "speech"
    folder.mkdir()
    return tuple(write(folder / f"s{k}.wav", speech_like(0.7, seed=k)) for k in range(5))


@pytest.fixture
def microphones(tmp_path: Path) -> tuple[Path, ...]:
    """Six impulse responses, far from alike."""
    folder = tmp_path / "responses"
    folder.mkdir()
    decay = 0.9 ** np.arange(60)
    return tuple(
        write(folder / f"m{k}.wav", decay * np.random.default_rng(k).standard_normal(60))
        for k in range(6)
    )


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """(domain, take) of all that is recorded: short sounds, in threads and not in processes."""
    done: list[tuple[int, int]] = []
    real = simulated_domains._record

    def spied(job: tuple[Any, Any, int, int]) -> object:
        done.append(job[2:])
        return real(job)

    monkeypatch.setattr(simulated_domains, "_record", spied)
    monkeypatch.setattr(simulated_domains, "SECONDS", 0.4)
    monkeypatch.setattr(simulated_domains, "results_of", results_here)
    return done


def recordings(domains: SimulatedDomains, folder: Path, **named: Any) -> np.ndarray:
    return domain_recordings(domains, FRONT_END, folder, processes=2, **named)


# Who hears what


def heard_in(
    domains: SimulatedDomains, monkeypatch: pytest.MonkeyPatch
) -> dict[tuple[int, int], list[tuple[VirtualMicrophone, Samples, float]]]:
    """By (domain, take): each device, what it heard, and a number that chance gave it."""
    heard: list[tuple[VirtualMicrophone, Samples, float]] = []
    real = VirtualMicrophone.record

    def spied(
        self: VirtualMicrophone, samples: Samples, rate_hz: int, rng: np.random.Generator
    ) -> Samples:
        heard.append((self, samples.copy(), float(rng.random())))
        return real(self, samples, rate_hz, rng)

    monkeypatch.setattr(VirtualMicrophone, "record", spied)
    found = {}
    for domain in range(domains.n_domains):
        for take in range(simulated_domains.TAKES):
            heard.clear()
            simulated_domains._record((domains, FRONT_END, domain, take))
            found[domain, take] = list(heard)
    return found


def test_all_devices_of_a_domain_hear_the_same_sound(
    speech: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulated_domains, "SECONDS", 0.4)
    found = heard_in(SimulatedDomains(speech, 3, 3), monkeypatch)
    sounds, chances, devices = [], set(), []
    for (domain, take), by_device in found.items():
        assert len(by_device) == 3
        for device, sound, chance in by_device:
            np.testing.assert_array_equal(sound, by_device[0][1])
            chances.add(chance)
            devices.append((domain, take, device))
        sounds.append(by_device[0][1])
    assert len(chances) == 18  # noise of each recording's own
    for k, sound in enumerate(sounds):  # of every take and domain another one
        assert all(not np.array_equal(sound, other) for other in sounds[:k])
    for domain in range(3):
        takes = [[m for d, t, m in devices if (d, t) == (domain, take)] for take in (0, 1)]
        assert takes[0] == takes[1]


def test_a_sound_is_of_eight_seconds_and_one_peak(speech: tuple[Path, ...]) -> None:
    domains = SimulatedDomains(speech, 6, 2)
    for domain in range(6):
        sound = domains.sound(domain, 0, RATE_HZ)
        assert sound.shape == (8 * RATE_HZ,)
        assert sound.dtype == np.float32
        assert np.abs(sound).max() == pytest.approx(0.1, rel=1e-6)
    assert domains.sound(0, 0, 16_000).shape == (8 * 16_000,)


def stairs(tmp_path: Path, n: int, seconds: float) -> tuple[Path, ...]:
    """Recordings that can be told by their level, which doubles from one to the next."""
    n_samples = round(seconds * RATE_HZ)
    return tuple(write(tmp_path / f"{k}.wav", np.full(n_samples, 2.0 ** (k - n))) for k in range(n))


def runs(sound: Samples) -> list[tuple[int, int]]:
    """Which recordings are heard one after another, by their level, and for how many samples."""
    steps = np.log2(sound / sound.max()).round().astype(int)
    edges = np.flatnonzero(np.diff(steps)) + 1
    return [(int(part[0]), len(part)) for part in np.split(steps, edges)]


def test_one_voice_is_neighbouring_recordings_in_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MIXED_SHARE", "ROOM_SHARE", "NOISE_SHARE"):
        monkeypatch.setattr(simulated_domains, name, 0.0)
    domains = SimulatedDomains(stairs(tmp_path, 7, 3.0), 8, 1)
    begun = set()
    for domain, take in np.ndindex(8, 2):
        parts = runs(domains.sound(domain, take, RATE_HZ))
        assert [length for _, length in parts] == [3 * RATE_HZ, 3 * RATE_HZ, 2 * RATE_HZ]
        levels = [level for level, _ in parts]
        assert len(set(levels)) == 3
        # Three of seven neighbours, after the last of them the first.
        steps = tuple(int(step) % 7 for step in np.diff(levels))
        assert steps in {(1, 1), (1, 5), (5, 1)}
        begun.add(steps)
    assert len(begun) > 1


@pytest.mark.parametrize("mixed", [0.0, 1.0])
@pytest.mark.parametrize("n", [2, 3, 6, 9])
def test_two_takes_share_no_recording(
    n: int, mixed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neighbours each, from anywhere: over the domains, a take is of all recordings."""
    monkeypatch.setattr(simulated_domains, "MIXED_SHARE", mixed)
    monkeypatch.setattr(simulated_domains, "SECONDS", 2.0)
    files = tuple(Path(f"{k}.wav") for k in range(n))
    heard: list[Path] = []

    def read(path: Path, rate_hz: int) -> Samples:
        heard.append(path)
        return speech_like(0.1, seed=files.index(path))

    monkeypatch.setattr(simulated_domains, "read_clip", read)
    domains = SimulatedDomains(files, 40, 1)
    by_take: tuple[set[Path], set[Path]] = (set(), set())
    for domain in range(40):
        takes = []
        for take in (0, 1):
            heard.clear()
            domains.sound(domain, take, RATE_HZ)
            takes.append({files.index(path) for path in heard})
            by_take[take].update(heard)
        assert not takes[0] & takes[1]
        for numbers in takes:  # twenty parts or more of n // 2 recordings
            assert len(numbers) <= n // 2
            assert any({(k + i) % n for i in range(n // 2)} >= numbers for k in range(n))
    assert by_take[0] == by_take[1] == set(files)


@pytest.mark.parametrize("n", [0, 1])
def test_two_recordings_of_speech_are_needed(n: int) -> None:
    speech = tuple(Path(f"{k}.wav") for k in range(n))
    with pytest.raises(UsageError, match=f"^{n} recordings of speech, 2 are needed$"):
        SimulatedDomains(speech, 1, 1)


def test_several_voices_are_the_middles_of_recordings_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulated_domains, "MIXED_SHARE", 1.0)
    for name in ("ROOM_SHARE", "NOISE_SHARE"):
        monkeypatch.setattr(simulated_domains, name, 0.0)
    # Quiet at both ends: only the middle is of the recording's level.
    files = stairs(tmp_path, 9, 3.0)
    for path in files:
        samples = read_clip(path, RATE_HZ)
        samples[: RATE_HZ // 2] = samples[-RATE_HZ // 2 :] = 1e-6
        write(path, samples)
    domains = SimulatedDomains(files, 8, 1)
    steps = set()
    for domain in range(8):
        parts = runs(domains.sound(domain, 1, RATE_HZ))
        assert all(length % (2 * RATE_HZ) == 0 for _, length in parts)
        assert min(level for level, _ in parts) >= -8
        steps |= set(np.diff([level for level, _ in parts]))
    assert len(steps) > 4


def test_little_speech_is_repeated(tmp_path: Path) -> None:
    speech = tuple(write(tmp_path / f"s{k}.wav", speech_like(0.5, k)) for k in range(2))
    domains = SimulatedDomains(speech, 4, 1)
    for domain, take in np.ndindex(4, 2):
        assert domains.sound(domain, take, RATE_HZ).shape == (8 * RATE_HZ,)


def test_a_domain_is_one_room_and_one_kind_of_noise(
    speech: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And about the stated share of domains has some."""
    used: list[tuple[object, ...]] = []

    def effect(name: str) -> Callable[..., Callable[..., Samples]]:
        def given_settings(*limits: float) -> Callable[..., Samples]:
            def apply(samples: Samples, rate_hz: int, rng: np.random.Generator) -> Samples:
                used.append((name, limits, float(rng.random())))
                return samples

            return apply

        return given_settings

    monkeypatch.setattr(simulated_domains, "Reverberation", effect("room"))
    monkeypatch.setattr(simulated_domains, "ColouredNoise", effect("noise"))
    monkeypatch.setattr(simulated_domains, "SECONDS", 0.01)
    domains = SimulatedDomains(speech, 200, 1)
    counts = {"room": 0, "noise": 0}
    rooms = set()
    for domain in range(200):
        takes = []
        for take in (0, 1):
            used.clear()
            domains.sound(domain, take, RATE_HZ)
            takes.append(list(used))
        for one, other in zip(*takes, strict=True):
            name, limits, chance = one
            assert other[:2] == (name, limits)
            low, high = limits[::2], limits[1::2]  # type: ignore[index]
            assert low == high  # one room, and not any of a range
            assert (other[2] == chance) == (name == "room")
            counts[str(name)] += 1
            if name == "room":
                rooms.add(limits)
    assert len(rooms) == counts["room"]
    for name, count in counts.items():
        share = {"room": simulated_domains.ROOM_SHARE, "noise": simulated_domains.NOISE_SHARE}[name]
        assert count == pytest.approx(200 * share, abs=28), name  # four standard deviations


def test_silence_is_no_speech(tmp_path: Path, made: list[tuple[int, int]]) -> None:
    """Whatever room and noise there are; and nothing of it is kept."""
    silent = tuple(write(tmp_path / f"silent{k}.wav", np.zeros(RATE_HZ)) for k in range(2))
    domains = SimulatedDomains(silent, 8, 1)
    for domain in range(8):
        with pytest.raises(CorpusError, match="silent") as caught:
            domains.sound(domain, 0, RATE_HZ)
        assert len(caught.value.lines) == 1
    with pytest.raises(CorpusError, match="silent"):
        recordings(domains, tmp_path / "kept")
    assert not list((tmp_path / "kept").iterdir())


# Devices


def parts_of(device: VirtualMicrophone) -> dict[str, Any]:
    return {**device.to_dict(), "name": ""}


def test_drawn_devices_are_each_domains_own(speech: tuple[Path, ...]) -> None:
    found = [
        parts_of(device)
        for seed in range(3)
        for domain in range(4)
        for device in SimulatedDomains(speech, 4, 3, seed=seed).devices(domain)
    ]
    assert len(found) == 36
    for k, device in enumerate(found):
        assert device not in found[:k]
    again = SimulatedDomains(speech, 4, 3, seed=2).devices(3)
    assert [parts_of(device) for device in again] == found[-3:]


def test_a_measured_response_is_one_device_in_every_domain(
    speech: tuple[Path, ...], microphones: tuple[Path, ...]
) -> None:
    domains = SimulatedDomains(speech, 12, 4, microphones)
    by_name: dict[str, VirtualMicrophone] = {}
    chosen = set()
    for domain in range(12):
        devices = domains.devices(domain)
        names = [device.name for device in devices]
        assert len(set(names)) == 4
        chosen.add(tuple(names))
        for device in devices:
            assert by_name.setdefault(device.name, device) == device
            assert device.response.kind == "measured"
            assert device.noise is not None
    assert set(by_name) == {f"virtual-m{k}" for k in range(6)}
    assert len(chosen) > 1
    assert len({device.gain_db for device in by_name.values()}) == 6
    # Of other seeds than anyone types.
    for k, path in enumerate(microphones):
        seed = simulated_domains.MEASURED_FROM + k
        expected = VirtualMicrophone.from_impulse_response(path, seed=seed)
        assert by_name[f"virtual-m{k}"] == expected
        for typed in range(6):
            assert expected != VirtualMicrophone.from_impulse_response(path, seed=typed)


def test_too_few_measured_responses(
    speech: tuple[Path, ...], microphones: tuple[Path, ...]
) -> None:
    with pytest.raises(UsageError, match="7 microphones are needed, and 6 are there"):
        SimulatedDomains(speech, 1, 7, microphones)
    assert len(SimulatedDomains(speech, 1, 6, microphones).devices(0)) == 6


def test_a_response_that_cannot_be_read(
    speech: tuple[Path, ...], tmp_path: Path, made: list[tuple[int, int]]
) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_text("no audio")
    with pytest.raises(AudioError, match=r"bad\.wav"):
        recordings(SimulatedDomains(speech, 1, 1, (bad,)), tmp_path / "kept")
    assert not list((tmp_path / "kept").iterdir())


# Parts of speech


@given(st.integers(1, 60), st.integers(1, 8), st.randoms(use_true_random=False))
def test_parts_of_speech_share_nothing_and_leave_nothing_out(
    n_files: int, n_parts: int, random: Any
) -> None:
    files = [Path(f"voice{k:02d}.wav") for k in range(n_files)]
    mixed = random.sample(files, n_files)
    corpus = Corpus("voices", tuple(Clip(path, "speech", path.stem) for path in mixed))
    needed = 2 * n_parts  # one for each take at least
    if n_files < needed:
        with pytest.raises(CorpusError, match=f"voices: {n_files} recordings .* {needed} are"):
            speech_parts(corpus, n_parts)
        return
    parts = speech_parts(corpus, n_parts)
    assert len(parts) == n_parts
    # In the order of their names, so that neighbours, perhaps of one voice, stay together.
    assert [path for part in parts for path in part] == files
    sizes = [len(part) for part in parts]
    assert min(sizes) >= 2
    assert max(sizes) - min(sizes) <= 1


# What is kept


@pytest.fixture
def domains(speech: tuple[Path, ...], microphones: tuple[Path, ...]) -> SimulatedDomains:
    return SimulatedDomains(speech, 2, 2, microphones, seed=3)


def test_recordings_are_the_features_of_what_devices_record(
    speech: tuple[Path, ...], tmp_path: Path
) -> None:
    """In processes of their own, as the program makes them; drawn devices."""
    domains = SimulatedDomains(speech, 1, 2, seed=4)
    found = recordings(domains, tmp_path / "kept")
    n_frames = FRONT_END.frames_in(8 * RATE_HZ)
    assert found.shape == (1, 2, 2, n_frames, FRONT_END.n_mels)
    assert found.dtype == np.float16
    for take in (0, 1):
        sound = domains.sound(0, take, RATE_HZ)
        for number, device in enumerate(domains.devices(0)):
            rng = np.random.default_rng((4, 5, 0, take, number))
            expected = extract(device.record(sound, RATE_HZ, rng), FRONT_END)[:, 39:]
            np.testing.assert_array_equal(found[0, number, take], expected.astype(np.float16))


def test_recordings_are_made_once(
    domains: SimulatedDomains, tmp_path: Path, made: list[tuple[int, int]]
) -> None:
    tracked: list[int] = []

    def track(order: Sequence[int]) -> Iterable[int]:
        for index in order:
            tracked.append(index)
            yield index

    first = recordings(domains, tmp_path / "kept", track=track)
    assert sorted(made) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert tracked == [0, 1, 2, 3]
    assert np.isfinite(first).all()
    assert first.shape[:3] == (2, 2, 2)
    for other in (first[0, 0, 1], first[0, 1, 0], first[1, 0, 0]):  # take, device, domain
        assert not np.array_equal(first[0, 0, 0], other)
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        "domains.json", "domains.npy"
    ]  # fmt: skip
    described = json.loads((tmp_path / "kept" / "domains.json").read_text())
    assert described["domains"] == [2, 2, 3]
    assert described["front_end"] == FRONT_END.to_dict()
    again = recordings(domains, tmp_path / "kept", track=track)
    assert len(made) == len(tracked) == 4
    np.testing.assert_array_equal(first, again)
    # Elsewhere the same; and files that moved are the same files.
    moved = tmp_path / "moved"
    shutil.copytree(domains.speech[0].parent, moved)
    speech = tuple(moved / path.name for path in domains.speech)
    elsewhere = dataclasses.replace(domains, speech=speech)
    np.testing.assert_array_equal(recordings(elsewhere, tmp_path / "other"), first)
    assert len(made) == 8
    recordings(elsewhere, tmp_path / "kept")
    assert len(made) == 8


def spoken_anew(domains: SimulatedDomains) -> SimulatedDomains:
    write(domains.speech[2], speech_like(0.7, seed=77))
    return domains


def measured_anew(domains: SimulatedDomains) -> SimulatedDomains:
    write(domains.microphones[5], 0.8 ** np.arange(60))
    return domains


CHANGES: dict[str, Callable[[SimulatedDomains], SimulatedDomains]] = {
    "another seed": lambda d: dataclasses.replace(d, seed=4),
    "more domains": lambda d: dataclasses.replace(d, n_domains=3),
    "fewer devices": lambda d: dataclasses.replace(d, n_devices=1),
    "drawn devices": lambda d: dataclasses.replace(d, microphones=()),
    "other speech": spoken_anew,
    "less speech": lambda d: dataclasses.replace(d, speech=d.speech[:-1]),
    "speech in another order": lambda d: dataclasses.replace(d, speech=d.speech[::-1]),
    "another response": measured_anew,
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_is_made_again(
    change: str, domains: SimulatedDomains, tmp_path: Path, made: list[tuple[int, int]]
) -> None:
    before = np.array(recordings(domains, tmp_path / "kept"))
    made.clear()
    changed = CHANGES[change](domains)
    after = recordings(changed, tmp_path / "kept")
    assert len(made) == 2 * changed.n_domains
    assert after.shape[:2] == (changed.n_domains, changed.n_devices)
    if after.shape == before.shape and change != "another response":  # it may be in no domain
        assert not np.array_equal(before, after)
    np.testing.assert_array_equal(recordings(changed, tmp_path / "anew"), after)


def test_another_front_end_is_made_again(
    domains: SimulatedDomains, tmp_path: Path, made: list[tuple[int, int]]
) -> None:
    recordings(domains, tmp_path / "kept")
    made.clear()
    domain_recordings(domains, FrontEndConfig(prefbank="log"), tmp_path / "kept")
    assert len(made) == 4


KILLED = """
import os, signal, sys
from pathlib import Path
from model.features import FrontEndConfig
from model.simulated_domains import SimulatedDomains, domain_recordings

def track(order):
    for index in order:
        if index == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        yield index

if __name__ == "__main__":
    speech = tuple(sorted(Path(sys.argv[1]).iterdir()))
    domain_recordings(SimulatedDomains(speech, 1, 1), FrontEndConfig(), Path(sys.argv[2]),
                      processes=1, track=track)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_killed_half_way_nothing_is_taken_for_whole(
    speech: tuple[Path, ...], tmp_path: Path, made: list[tuple[int, int]]
) -> None:
    folder, script = tmp_path / "kept", tmp_path / "killed.py"
    script.write_text(KILLED)
    done = subprocess.run(
        [sys.executable, script, speech[0].parent, folder],
        capture_output=True,
        env={**CLI_ENV, "PYTHONPATH": os.fspath(ROOT)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    left = [path.name for path in folder.iterdir()]
    assert left
    assert all(name.startswith(".domains.npy.") for name in left)
    whole = domain_recordings(SimulatedDomains(speech, 1, 1), FrontEndConfig(), folder)
    assert len(made) == 2
    assert whole.any(axis=(3, 4)).all()


@pytest.mark.parametrize("error", [KeyboardInterrupt, CorpusError])
def test_failing_half_way_leaves_nothing(
    error: type[BaseException],
    domains: SimulatedDomains,
    tmp_path: Path,
    made: list[tuple[int, int]],
) -> None:
    def track(order: Sequence[int]) -> Iterable[int]:
        for index in order:
            if index == 2:
                raise error("now")
            yield index

    recordings(domains, tmp_path / "kept")
    other = dataclasses.replace(domains, seed=9)
    with pytest.raises(error):
        recordings(other, tmp_path / "kept", track=track)
    # The whole recordings of before lie there still, described by nothing.
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["domains.npy"]
    made.clear()
    recordings(domains, tmp_path / "kept")
    assert len(made) == 4


@pytest.mark.parametrize("name", ["domains.json", "domains.npy"])
@pytest.mark.parametrize("damage", ["cut", "empty", "foreign", "no text", "gone"])
def test_damaged_recordings_are_made_again(
    name: str,
    damage: str,
    domains: SimulatedDomains,
    tmp_path: Path,
    made: list[tuple[int, int]],
) -> None:
    before = np.array(recordings(domains, tmp_path / "kept"))
    path = tmp_path / "kept" / name
    if damage == "gone":
        path.unlink()
    else:
        content = {
            "cut": path.read_bytes()[:-40],
            "empty": b"",
            "foreign": b"[1]",
            "no text": b"\xff\xfe\x00",
        }
        path.write_bytes(content[damage])
    made.clear()
    after = recordings(domains, tmp_path / "kept")
    assert len(made) == 4
    np.testing.assert_array_equal(before, after)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**20), st.integers(0, 60))
def test_chance_depends_on_seed_and_domain_alone(seed: int, domain: int) -> None:
    """Not on how many domains there are, nor on what was drawn before."""
    nowhere = (Path("nowhere.wav"), Path("neither.wav"))
    some, more = (SimulatedDomains(nowhere, n, 2, seed=seed) for n in (domain + 1, domain + 5))
    more.devices(0)
    assert some.devices(domain) == more.devices(domain)
