"""Corpora in all four layouts, and splits that never tear a clip or a group apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.corpus import Clip, Corpus, read_corpus
from model.errors import CorpusError
from model.split import declared_split, leave_one_group_out, share_split


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def test_ccnu_naming(tmp_path: Path) -> None:
    corpus = read_corpus(touch(tmp_path, "iPhone 6(1)_1.wav", "iPhone 6(1)_2.wav", "a_b_2.wav"))
    assert corpus.devices == ("a_b", "iPhone 6(1)")
    assert corpus.groups == ("1", "2")
    assert {c.group for c in corpus.clips if c.device == "a_b"} == {"2"}


def test_groups_sort_as_numbers(tmp_path: Path) -> None:
    corpus = read_corpus(touch(tmp_path, *(f"{d}_{k}.wav" for d in "ab" for k in (10, 9, 2))))
    assert corpus.groups == ("2", "9", "10")


def test_folder_per_device_without_shared_content(tmp_path: Path) -> None:
    corpus = read_corpus(touch(tmp_path, "a/x.wav", "a/y.flac", "b/z.ogg", "b/notes.txt"))
    assert corpus.devices == ("a", "b")
    assert len(corpus.clips) == len(corpus.groups) == 3


def test_mobiphone_layout_groups_by_speaker(tmp_path: Path) -> None:
    speakers = ("fadg0", "mbns0", "mdab0")
    corpus = read_corpus(touch(tmp_path, *(f"{d}/{s}.wav" for d in "abc" for s in speakers)))
    assert corpus.groups == speakers
    nested = touch(tmp_path / "n", *(f"{d}/{s}/1.wav" for d in "abc" for s in speakers))
    assert read_corpus(nested).groups == tuple(f"{s}/1" for s in speakers)


def test_manifest(tmp_path: Path) -> None:
    touch(tmp_path, "one.wav", "sub/two.wav")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(
        "\ufeffpath,device,session,split\none.wav,A,s1,train\nsub/two.wav,B,s2,val\n", "utf-8"
    )
    for path in (tmp_path, manifest):
        corpus = read_corpus(path)
        assert [(c.device, c.group, c.split) for c in corpus.clips] == [
            ("A", "s1", "train"),
            ("B", "s2", "validation"),
        ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,device\n", "needs the columns"),
        ("path,device\nmissing.wav,A\n", "line 2: no such file"),
        ("path,device\none.wav,\n", "line 2: path and device"),
        ("path,device,split\none.wav,A,maybe\n", "line 2: split must be"),
        ("path,device\none.wav,A\n", "two devices"),
    ],
)
def test_manifest_errors(text: str, message: str, tmp_path: Path) -> None:
    touch(tmp_path, "one.wav")
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(CorpusError, match=message):
        read_corpus(tmp_path)


def test_folder_errors(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no such corpus"):
        read_corpus(tmp_path / "nothing")
    with pytest.raises(CorpusError, match="no audio files"):
        read_corpus(tmp_path)
    with pytest.raises(CorpusError, match="names like"):
        read_corpus(touch(tmp_path / "flat", "noclipnumber.wav"))
    with pytest.raises(CorpusError, match="both in the folder"):
        read_corpus(touch(tmp_path / "mixed", "a_1.wav", "b/1.wav"))


def test_hash_depends_on_content_not_on_place(tmp_path: Path) -> None:
    names = [f"{d}_{k}.wav" for d in "ab" for k in (1, 2)]
    here, there = (read_corpus(touch(tmp_path / p, *names)) for p in ("here", "there"))
    assert here.content_hash() == there.content_hash()
    (tmp_path / "there" / "a_1.wav").write_bytes(b"y")
    changed = read_corpus(tmp_path / "there")
    assert here.content_hash() != changed.content_hash()
    assert here.content_hash() == there.content_hash()  # which was read before


def grid(n_devices: int, n_groups: int) -> Corpus:
    clips = tuple(
        Clip(Path(f"{d}_{g}.wav"), f"d{d}", f"g{g}")
        for d in range(n_devices)
        for g in range(n_groups)
    )
    return Corpus("grid", clips)


@settings(max_examples=60, deadline=None)
@given(
    n_devices=st.integers(2, 5),
    n_groups=st.integers(3, 20),
    by=st.sampled_from(["clip", "group"]),
    seed=st.integers(0, 5),
)
def test_share_split_is_a_partition(n_devices: int, n_groups: int, by: str, seed: int) -> None:
    corpus = grid(n_devices, n_groups)
    split = share_split(corpus, by, seed=seed)  # type: ignore[arg-type]
    sides = [set(split.train), set(split.validation), set(split.test)]
    assert sum(len(side) for side in sides) == len(corpus.clips)
    assert set().union(*sides) == set(corpus.clips)
    assert {c.device for c in split.train} == set(corpus.devices)
    assert split.test
    if by == "group":
        groups = [{c.group for c in side} for side in sides]
        assert not groups[0] & groups[1]
        assert not groups[0] & groups[2]
        assert not groups[1] & groups[2]
    assert share_split(corpus, by, seed=seed) == split  # type: ignore[arg-type]


def test_paper_shares() -> None:
    split = share_split(grid(3, 100))
    counts = tuple(len(side) for side in (split.train, split.validation, split.test))
    assert counts == (3 * 64, 3 * 16, 3 * 20)


def test_too_few_groups() -> None:
    with pytest.raises(CorpusError, match="cannot be split"):
        share_split(grid(3, 2), "group")


def test_leave_one_group_out() -> None:
    folds = list(leave_one_group_out(grid(2, 4)))
    assert [group for group, _ in folds] == ["g0", "g1", "g2", "g3"]
    for group, split in folds:
        assert {c.group for c in split.test} == {group}
        assert group not in {c.group for c in split.train}
    with pytest.raises(CorpusError, match="two groups"):
        list(leave_one_group_out(grid(2, 1)))


def test_declared_split() -> None:
    def clip(name: str, device: str, group: str, split: str | None) -> Clip:
        return Clip(Path(name), device, group, split)

    good = Corpus("c", (clip("1", "a", "x", "train"), clip("2", "b", "y", "train")))
    declared = declared_split(good)
    assert declared is not None
    assert len(declared.train) == 2
    assert declared_split(grid(2, 2)) is None
    torn = Corpus("c", (clip("1", "a", "x", "train"), clip("2", "b", "x", "test")))
    with pytest.raises(CorpusError, match="lies in both"):
        declared_split(torn)
    partly = Corpus("c", (clip("1", "a", "x", "train"), clip("2", "b", "y", None)))
    with pytest.raises(CorpusError, match="no value"):
        declared_split(partly)
    unheard = Corpus("c", (clip("1", "a", "x", "train"), clip("2", "b", "y", "test")))
    with pytest.raises(CorpusError, match="no training clip of b"):
        declared_split(unheard)
