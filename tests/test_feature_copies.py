"""Feature copies: what is in them, when they are made again, and that nothing half made counts."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from model import feature_copies
from model.audio import read_clip
from model.augmentation.augmentation import Augmentation, Chain, Samples
from model.augmentation.level import Gain
from model.augmentation.noise import ColouredNoise
from model.corpus import Clip, Corpus, read_corpus
from model.feature_copies import (
    AugmentedCopy,
    FeatureCopies,
    Original,
    augmented_copies,
    make_feature_copies,
    plain_copies,
)
from model.features import FrontEndConfig, extract
from tests.conftest import CLI_ENV, ROOT
from tests.in_process import results_here
from tests.simulated import RATE_HZ, record, speech_like, write_corpus

FRONT_END = FrontEndConfig(remove_dc=True, prefbank="log")
NOISY = Chain([(0.8, ColouredNoise(10, 30)), (0.8, Gain())])
SECONDS = {"simA_1": 0.4, "simA_2": 0.7, "simB_1": 0.4, "simB_2": 0.55}


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Two simulated devices, clips of different lengths."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name, seconds in SECONDS.items():
        write_clip(folder / f"{name}.wav", seconds)
    return read_corpus(folder)


def write_clip(path: Path, seconds: float, seed: int = 0) -> None:
    heard = record(speech_like(seconds, seed), "AB".index(path.stem[3]), seed)
    soundfile.write(path, heard, RATE_HZ, subtype="PCM_16")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the clips that copies are made of, in this process instead of slow new ones."""
    names: list[str] = []
    real = feature_copies._copy

    def spied(job: tuple[Clip, FrontEndConfig, object]) -> object:
        names.append(job[0].path.name)
        return real(job)  # type: ignore[arg-type]

    monkeypatch.setattr(feature_copies, "_copy", spied)
    monkeypatch.setattr(feature_copies, "results_of", results_here)
    return names


def copies_of(
    corpus: Corpus, folder: Path, augmentation: Augmentation = NOISY, n: int = 2, seed: int = 0
) -> FeatureCopies:
    variants = augmented_copies(augmentation, n, seed)
    return make_feature_copies(corpus, FRONT_END, variants, folder, processes=2)


def test_copies_hold_the_features_of_what_chance_made(corpus: Corpus, tmp_path: Path) -> None:
    """In processes of their own, as the program makes them."""
    copies = copies_of(corpus, tmp_path / "copies")
    assert copies.n_copies == 3
    assert copies.clips == corpus.clips
    for clip in corpus.clips:
        samples = read_clip(clip.path, RATE_HZ)
        plain = extract(samples, FRONT_END)
        held = copies.features(0, clip)
        assert held.dtype == np.float32
        np.testing.assert_array_equal(held, plain.astype(np.float16))
        np.testing.assert_allclose(held, plain, rtol=2**-11, atol=1e-6)
        for number in (1, 2):
            changed = AugmentedCopy(NOISY, number, 0).apply(samples, RATE_HZ, clip)
            expected = extract(changed, FRONT_END).astype(np.float16)
            np.testing.assert_array_equal(copies.features(number, clip), expected)
        np.testing.assert_array_equal(copies.of(clip)[1], copies.features(2, clip))
    assert not np.array_equal(copies.features(1, corpus.clips[0]), copies.features(0, clip))


def test_copies_are_made_once(corpus: Corpus, tmp_path: Path, made: list[str]) -> None:
    first = copies_of(corpus, tmp_path / "copies")
    assert len(made) == 12
    again = copies_of(corpus, tmp_path / "copies")
    assert len(made) == 12
    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(first.starts, again.starts)
    moved = tmp_path / "moved"
    corpus.clips[0].path.parent.rename(moved)
    copies_of(read_corpus(moved), tmp_path / "copies")  # the same recordings, elsewhere
    assert len(made) == 12


CHANGES: dict[str, Callable[[Corpus, Path], object]] = {
    "recipe": lambda corpus, folder: copies_of(corpus, folder, Chain([(0.8, ColouredNoise())])),
    "probability": lambda corpus, folder: copies_of(
        corpus, folder, Chain([(0.7, step) for _, step in NOISY.steps])
    ),
    "number of copies": lambda corpus, folder: copies_of(corpus, folder, n=3),
    "seed": lambda corpus, folder: copies_of(corpus, folder, seed=1),
    "front end": lambda corpus, folder: make_feature_copies(
        corpus, replace(FRONT_END, remove_dc=False), augmented_copies(NOISY, 2, 0), folder
    ),
    "fewer clips": lambda corpus, folder: copies_of(Corpus("less", corpus.clips[:-1]), folder),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_is_made_again(
    change: str, corpus: Corpus, tmp_path: Path, made: list[str]
) -> None:
    copies_of(corpus, tmp_path / "copies")
    made.clear()
    changed = CHANGES[change](corpus, tmp_path / "copies")
    assert isinstance(changed, FeatureCopies)
    assert len(made) == changed.n_copies * len(changed.clips)


def test_another_recording_of_the_same_name_is_made_again(
    corpus: Corpus, tmp_path: Path, made: list[str]
) -> None:
    before = copies_of(corpus, tmp_path / "copies").features(1, corpus.clips[1])
    made.clear()
    write_clip(corpus.clips[1].path, SECONDS[corpus.clips[1].path.stem], seed=5)
    again = read_corpus(corpus.clips[1].path.parent)  # a corpus is hashed once
    after = copies_of(again, tmp_path / "copies").features(1, again.clips[1])
    assert len(made) == 12
    assert before.shape == after.shape
    assert not np.array_equal(before, after)


def test_clips_in_another_order_are_made_again(tmp_path: Path, made: list[str]) -> None:
    """Also where the same file names recur in every device's folder."""
    corpus = read_corpus(write_corpus(tmp_path / "c", 2, 2, seconds=0.3, naming="folders"))
    turned = Corpus(corpus.name, corpus.clips[2:] + corpus.clips[:2])
    assert turned.content_hash() == corpus.content_hash()
    copies_of(corpus, tmp_path / "copies")
    made.clear()
    copies = copies_of(turned, tmp_path / "copies")
    assert len(made) == 12
    for clip in corpus.clips:
        expected = extract(read_clip(clip.path, RATE_HZ), FRONT_END).astype(np.float16)
        np.testing.assert_array_equal(copies.features(0, clip), expected)


@dataclass(frozen=True)
class Recorded:
    """Keeps what it draws."""

    drawn: list[float] = field(default_factory=list)

    def __call__(self, samples: Samples, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
        self.drawn.append(float(rng.random()))
        return samples


def test_clips_of_a_device_share_conditions(corpus: Corpus) -> None:
    drawn: dict[tuple[str, int, int], set[float]] = {}
    for number in (1, 2):
        for seed in (0, 1):
            for clip in corpus.clips:
                kept = Recorded()
                AugmentedCopy(Chain([(1.0, kept)]), number, seed).apply(
                    np.zeros(len(clip.group) * 1000, np.float32), RATE_HZ, clip
                )
                drawn.setdefault((clip.device, number, seed), set()).update(kept.drawn)
    assert len(drawn) == 8
    assert all(len(values) == 1 for values in drawn.values())
    assert len(set().union(*drawn.values())) == 8


def test_a_clip_left_out_changes_no_other(corpus: Corpus, tmp_path: Path, made: list[str]) -> None:
    whole = copies_of(corpus, tmp_path / "whole")
    rest = Corpus(corpus.name, tuple(c for c in corpus.clips if c.path.stem != "simA_2"))
    without = copies_of(rest, tmp_path / "without")
    for clip in rest.clips:
        for number in range(3):
            np.testing.assert_array_equal(
                whole.features(number, clip), without.features(number, clip)
            )


KILLED = """
import os, signal, sys
from pathlib import Path
from model.corpus import read_corpus
from model.feature_copies import Original, make_feature_copies
from model.features import FrontEndConfig

def track(order):
    for index in order:
        if index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        yield index

if __name__ == "__main__":
    make_feature_copies(read_corpus(Path(sys.argv[1])), FrontEndConfig(), [Original()],
                        Path(sys.argv[2]), processes=1, track=track)
"""


def test_killed_half_way_nothing_is_taken_for_whole(
    corpus: Corpus, tmp_path: Path, made: list[str]
) -> None:
    folder, script = tmp_path / "copies", tmp_path / "killed.py"
    script.write_text(KILLED)
    done = subprocess.run(
        [sys.executable, script, corpus.clips[0].path.parent, folder],
        capture_output=True,
        env={**CLI_ENV, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    left = [path.name for path in folder.iterdir()]
    assert left
    assert all(name.startswith(".copies.npy.") for name in left)
    whole = make_feature_copies(corpus, FrontEndConfig(), [Original()], folder)
    assert len(made) == 4
    expected = extract(read_clip(corpus.clips[3].path, RATE_HZ)).astype(np.float16)
    np.testing.assert_array_equal(whole.features(0, corpus.clips[3]), expected)


def test_interrupted_half_way_leaves_nothing(
    corpus: Corpus, tmp_path: Path, made: list[str]
) -> None:
    def track(order: Iterator[int]) -> Iterator[int]:
        for index in order:
            if index == 5:
                raise KeyboardInterrupt
            yield index

    copies_of(corpus, tmp_path / "copies", seed=1)
    variants = augmented_copies(NOISY, 2, 0)
    with pytest.raises(KeyboardInterrupt):
        make_feature_copies(corpus, FRONT_END, variants, tmp_path / "copies", track=track)  # type: ignore[arg-type]
    # The whole copies of before lie there still, described by nothing.
    assert [path.name for path in (tmp_path / "copies").iterdir()] == ["copies.npy"]
    made.clear()
    copies_of(corpus, tmp_path / "copies", seed=1)
    assert len(made) == 12


@pytest.mark.parametrize("name", ["copies.json", "copies.npy"])
@pytest.mark.parametrize("damage", ["cut", "foreign", "gone"])
def test_damaged_copies_are_made_again(
    name: str, damage: str, corpus: Corpus, tmp_path: Path, made: list[str]
) -> None:
    before = copies_of(corpus, tmp_path / "copies").features(2, corpus.clips[0])
    path = tmp_path / "copies" / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-40] if damage == "cut" else b"[1]")
    made.clear()
    after = copies_of(corpus, tmp_path / "copies").features(2, corpus.clips[0])
    assert len(made) == 12
    np.testing.assert_array_equal(before, after)


def test_a_clip_too_short_for_a_frame(corpus: Corpus, tmp_path: Path, made: list[str]) -> None:
    short = corpus.clips[0]
    soundfile.write(short.path, np.full(100, 0.1), RATE_HZ)
    copies = copies_of(corpus, tmp_path / "copies")
    assert [len(copies.features(number, short)) for number in range(3)] == [0, 0, 0]
    expected = extract(read_clip(corpus.clips[1].path, RATE_HZ), FRONT_END).astype(np.float16)
    np.testing.assert_array_equal(copies.features(0, corpus.clips[1]), expected)


@dataclass(frozen=True)
class Cut:
    """A variant at fault: it loses a frame's worth of samples."""

    def apply(self, samples: Samples, sample_rate_hz: int, clip: Clip) -> Samples:
        return samples[256:]


def test_a_variant_that_changes_the_length_is_refused(
    corpus: Corpus, tmp_path: Path, made: list[str]
) -> None:
    with pytest.raises(ValueError, match="Cut"):
        make_feature_copies(corpus, FRONT_END, [Original(), Cut()], tmp_path / "copies")
    assert not list((tmp_path / "copies").iterdir())


@settings(max_examples=30)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_plain_copies(lengths: list[int]) -> None:
    rng = np.random.default_rng(0)
    features = {
        Clip(Path(f"{k}.wav"), "a", "1"): rng.standard_normal((length, 3)).astype(np.float32)
        for k, length in enumerate(lengths)
    }
    copies = plain_copies(features)
    assert copies.n_copies == 1
    for clip, frames in features.items():
        np.testing.assert_array_equal(copies.features(0, clip), frames)
        assert copies.of(clip) == []


def test_the_description_is_readable(corpus: Corpus, tmp_path: Path, made: list[str]) -> None:
    copies_of(corpus, tmp_path / "copies")
    described = json.loads((tmp_path / "copies" / "copies.json").read_text())
    assert json.loads(described["wanted"])["corpus"] == corpus.content_hash()
