"""How an experiment splits a corpus into clips to learn from and clips to test."""

from __future__ import annotations

from typing import Literal, get_args

from model.checked_values import one_of
from model.corpus import Clip, Corpus
from model.errors import CorpusError
from model.split import PAPER_SHARES, Split, leave_one_group_out

#: ``leave-one-clip-out``: every clip number (content, session) is tested once, on all devices, by
#: methods that learnt from the others. ``paper``: 64/16/20 % of each device's clips by index, as
#: Zeng, Zhao and Wang (arXiv 2411.03668, section IV-A) have it; nothing keeps contents apart.
Protocol = Literal["leave-one-clip-out", "paper"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)


def check_protocol(name: str) -> Protocol:
    """The protocol by name; raises UsageError."""
    return one_of("protocol", name, PROTOCOLS)


def folds(corpus: Corpus, protocol: Protocol) -> list[Split]:
    """The splits of a protocol, each with clips to test.

    Raises:
        CorpusError: too few clips or contents for it.
    """
    if protocol == "paper":
        return [index_split(corpus)]
    return [split for _, split in leave_one_group_out(corpus)]


def index_split(corpus: Corpus) -> Split:
    """64/16/20 % of each device's clips, by the order of their groups, which are their indices.

    Not by the order of a folder's names or a manifest's lines: 10 comes after 9.

    Raises:
        CorpusError: a device has fewer than three clips.
    """
    sides: tuple[list[Clip], list[Clip], list[Clip]] = ([], [], [])
    place = {group: number for number, group in enumerate(corpus.groups)}
    ordered = sorted(corpus.clips, key=lambda clip: place[clip.group])
    for device in corpus.devices:
        clips = [clip for clip in ordered if clip.device == device]
        if len(clips) < 3:
            raise CorpusError(f"{device}: {len(clips)} clips cannot be split three ways")
        last = max(1, round(PAPER_SHARES[2] * len(clips)))
        middle = max(1, round(PAPER_SHARES[1] * len(clips)))
        first = len(clips) - middle - last
        sides[0].extend(clips[:first])
        sides[1].extend(clips[first : first + middle])
        sides[2].extend(clips[first + middle :])
    return Split("64/16/20 by index", *map(tuple, sides))
