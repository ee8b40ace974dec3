"""Splits of a corpus: whole clips, never windows, go to one side or the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from model.corpus import Clip, Corpus
from model.errors import CorpusError

SplitBy = Literal["clip", "group"]

#: The paper's shares of training, validation and test (section IV-A: 64 %, 16 %, 20 %).
PAPER_SHARES = (0.64, 0.16, 0.20)


@dataclass(frozen=True)
class Split:
    """Three disjoint sets of clips.

    Attributes:
        name: how it was made, for provenance.
        train: clips to learn from.
        validation: clips to stop early by; may be empty.
        test: clips to report on; may be empty.
    """

    name: str
    train: tuple[Clip, ...]
    validation: tuple[Clip, ...]
    test: tuple[Clip, ...]

    def __post_init__(self) -> None:
        if not self.train:
            raise CorpusError(f"split {self.name}: no clip left to train on")
        missing = {c.device for c in (*self.validation, *self.test)} - {
            c.device for c in self.train
        }
        if missing:
            raise CorpusError(
                f"split {self.name}: no training clip of {', '.join(sorted(missing))}"
            )


def declared_split(corpus: Corpus) -> Split | None:
    """The split that the manifest's ``split`` column declares, or ``None`` without one."""
    if all(clip.split is None for clip in corpus.clips):
        return None
    undeclared = sum(clip.split is None for clip in corpus.clips)
    if undeclared:
        raise CorpusError(f"{undeclared} clips have no value in the manifest's split column")
    groups: dict[str, str] = {}
    for clip in corpus.clips:
        side = groups.setdefault(clip.group, clip.split or "")
        if side != clip.split:
            raise CorpusError(f"group {clip.group} lies in both {side} and {clip.split}")
    sides = {name: tuple(c for c in corpus.clips if c.split == name) for name in _SIDES}
    return Split("manifest", sides["train"], sides["validation"], sides["test"])


_SIDES = ("train", "validation", "test")


def share_split(
    corpus: Corpus,
    by: SplitBy = "clip",
    shares: tuple[float, float, float] = PAPER_SHARES,
    seed: int = 0,
) -> Split:
    """Split at random by shares.

    Args:
        corpus: what to split.
        by: ``"clip"`` splits each device's clips on their own, as the paper does; ``"group"``
            keeps each group (content, session) on one side.
        shares: of train, validation and test; they sum to 1.
        seed: of the shuffle.

    Raises:
        CorpusError: too few clips or groups for three sides.
    """
    if min(shares) < 0 or abs(sum(shares) - 1.0) > 1e-6:
        raise CorpusError(f"shares must be positive and sum to 1, got {shares}")
    rng = np.random.default_rng(seed)
    sides: dict[str, list[Clip]] = {name: [] for name in _SIDES}
    if by == "group":
        groups = corpus.groups
        wanted = sum(share > 0 for share in shares)
        if len(groups) < wanted:
            raise CorpusError(
                f"{len(groups)} groups cannot be split {wanted} ways; split by clip, "
                "or leave validation or test out"
            )
        side_of = dict(zip(groups, _sides_for(len(groups), shares, rng), strict=True))
        for clip in corpus.clips:
            sides[side_of[clip.group]].append(clip)
    else:
        for device in corpus.devices:
            clips = [clip for clip in corpus.clips if clip.device == device]
            for clip, side in zip(clips, _sides_for(len(clips), shares, rng), strict=True):
                sides[side].append(clip)
    label = "/".join(f"{100 * share:.0f}" for share in shares)
    name = f"{label} by {by}, seed {seed}"
    return Split(name, tuple(sides["train"]), tuple(sides["validation"]), tuple(sides["test"]))


def _sides_for(n: int, shares: tuple[float, float, float], rng: np.random.Generator) -> list[str]:
    """A side for each of ``n`` items, in random order; training gets the first, then test."""
    counts = [round(share * n) for share in shares]
    for index in (2, 1):  # a small set still gets a test and a validation item if it can
        if shares[index] > 0 and counts[index] == 0 and n > 1 + (counts[1] if index == 2 else 1):
            counts[index] = 1
    counts[0] = n - counts[1] - counts[2]
    while counts[0] < 1:
        counts[1 if counts[1] else 2] -= 1
        counts[0] += 1
    sides = [name for name, count in zip(_SIDES, counts, strict=True) for _ in range(count)]
    return [sides[i] for i in rng.permutation(n)]


def leave_one_group_out(corpus: Corpus) -> Iterator[tuple[str, Split]]:
    """One split per group: that group is tested, all others are trained on.

    With the clip number as group (CCNU_Mobile) this is leave-one-clip-out: the words of the test
    clip are never heard in training.
    """
    if len(corpus.groups) < 2:
        raise CorpusError("leaving one group out needs two groups or more")
    for group in corpus.groups:
        train = tuple(clip for clip in corpus.clips if clip.group != group)
        test = tuple(clip for clip in corpus.clips if clip.group == group)
        yield group, Split(f"leave group {group} out", train, (), test)


def all_for_training(corpus: Corpus) -> Split:
    """Every clip is trained on; nothing is held out (for a model to ship after evaluation)."""
    return Split("all clips", corpus.clips, (), ())
