"""A corpus ready to train on: its features, and which clips are held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.commands import train_options as options

if TYPE_CHECKING:
    from rich.console import Console

    from model.corpus import Clip, Corpus
    from model.features import FloatArray, FrontEndConfig
    from model.split import Split


@dataclass(frozen=True)
class PreparedCorpus:
    """What training and evaluation take.

    Attributes:
        corpus: the clips that could be read.
        features: float32 ``(frames, 73)`` per clip.
        split: who learns, validates and tests.
        fingerprint: of the corpus.
    """

    corpus: Corpus
    features: Mapping[Clip, FloatArray]
    split: Split
    fingerprint: str


def prepare(
    path: Path, front_end: FrontEndConfig, split_by: str, seed: int, console: Console
) -> PreparedCorpus:
    """Read a corpus and split it, and say so.

    Raises:
        CorpusError: it cannot be read, or not be split so.
    """
    loaded = options.load(path, front_end, console)
    corpus = loaded.corpus
    split = _split(corpus, split_by, seed)
    console.print(
        f"{corpus.name}: {len(corpus.devices)} devices, {len(split.train)} clips to train on, "
        f"{len(split.validation)} to validate, {len(split.test)} to test ({split.name})",
        markup=False,
    )
    return PreparedCorpus(corpus, loaded.features, split, corpus.content_hash())


def _split(corpus: Corpus, split_by: str, seed: int) -> Split:
    from model.split import all_for_training, declared_split, share_split

    if split_by == "none":
        return all_for_training(corpus)
    declared = declared_split(corpus)
    if declared is not None:
        return declared
    return share_split(corpus, "group" if split_by == "group" else "clip", seed=seed)
