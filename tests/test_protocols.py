"""What experiments split a corpus into, and how its clips reach the methods."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: train)")

from model.corpus import Clip, Corpus, read_corpus
from model.errors import CorpusError, UsageError
from model.experiments.fold_task import features_folder, labels_of, make_features, stored_clips
from model.experiments.methods import LDA, METHODS, PAPER_NETWORK
from model.experiments.protocols import check_protocol, folds, index_split
from model.features import FrontEndConfig, extract
from tests.experiment_rig import in_this_process
from tests.simulated import RATE_HZ, write_corpus


def made_up(devices: int, clips: int, number: str = "{:03d}") -> Corpus:
    """As a folder is read: in the order of the files' names."""
    found = [
        Clip(Path(f"d{d}_{number.format(c)}.wav"), f"d{d}", number.format(c))
        for d in range(devices)
        for c in range(clips)
    ]
    return Corpus("made-up", tuple(sorted(found, key=lambda clip: clip.path)))


def test_leave_one_clip_out_never_tests_what_was_heard() -> None:
    corpus = made_up(3, 5)
    splits = folds(corpus, "leave-one-clip-out")
    assert len(splits) == 5
    for split in splits:
        assert not {c.group for c in split.train} & {c.group for c in split.test}
        assert {c.device for c in split.test} == set(corpus.devices)
    tested = [clip for split in splits for clip in split.test]
    assert sorted(c.path for c in tested) == sorted(c.path for c in corpus.clips)


@pytest.mark.parametrize("number", ["{:03d}", "{}"])
def test_paper_protocol_is_by_index(number: str) -> None:
    """Also where a folder's order is that of characters: 0, 1, 10, 100, 101."""
    [split] = folds(made_up(2, 642, number), "paper")
    sizes = [len(side) // 2 for side in (split.train, split.validation, split.test)]
    assert sizes == [411, 103, 128]  # the authors: 514 to learn from, 128 to test
    assert [int(c.group) for c in split.train if c.device == "d0"] == [*range(411)]
    assert [int(c.group) for c in split.test if c.device == "d1"] == [*range(514, 642)]


def test_paper_protocol_of_few_clips() -> None:
    assert len(index_split(made_up(2, 3)).test) == 2
    with pytest.raises(CorpusError, match="2 clips cannot be split three ways"):
        index_split(made_up(2, 2))
    with pytest.raises(CorpusError, match="two groups or more"):
        folds(made_up(2, 1), "leave-one-clip-out")


def test_protocols_by_name() -> None:
    assert check_protocol("paper") == "paper"
    with pytest.raises(UsageError, match="there are: leave-one-clip-out, paper"):
        check_protocol("Paper")


def test_clips_are_read_when_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_this_process(monkeypatch)
    data = read_corpus(write_corpus(tmp_path / "two", n_devices=2, n_clips=2, seconds=1.0))
    make_features(data, METHODS, tmp_path)
    assert len(list((tmp_path / "features").iterdir())) == 2  # of all twelve methods
    for front_end in (PAPER_NETWORK.front_end, LDA.front_end):
        store = stored_clips(data, data.clips, front_end, tmp_path)
        assert len(store) == len(store[:]) == 4
        assert len(store[1:3]) == 2
        clip = store[2]
        expected = extract(clip.samples, front_end)
        np.testing.assert_allclose(clip.features, expected, rtol=2e-3, atol=2e-3)
        np.testing.assert_array_equal(clip.mfcc, clip.features[:, :39])
        assert clip.sample_rate_hz == RATE_HZ
        with pytest.raises(IndexError):
            store[4]
    some = stored_clips(data, data.clips[::-1][:1], FrontEndConfig(), tmp_path)
    whole = stored_clips(data, data.clips, FrontEndConfig(), tmp_path)
    np.testing.assert_array_equal(some[0].features, whole[3].features)
    assert labels_of(data.clips[::-1], data.devices) == [1, 1, 0, 0]

    before = (features_folder(tmp_path, data, LDA.front_end) / "copies.npy").stat().st_mtime_ns
    make_features(data, [LDA], tmp_path)
    after = (features_folder(tmp_path, data, LDA.front_end) / "copies.npy").stat().st_mtime_ns
    assert before == after
