"""What ``train --augment`` names, and the recipe that the built-in model was trained with."""

from __future__ import annotations

from collections.abc import Sequence

from model.augmentation.augmentation import Augmentation, Chain, OneOf
from model.augmentation.bandwidth import BandLimit, Resampling
from model.augmentation.codec import Codec, has_codec
from model.augmentation.gaps import Gaps
from model.augmentation.level import Clipping, Gain
from model.augmentation.noise import Babble, ColouredNoise
from model.augmentation.reverberation import Reverberation
from model.errors import MissingDependencyError, UsageError

#: In the order in which a recording meets them: room, microphone, file, network. Each with how
#: often a copy goes through it.
AUGMENTATIONS: dict[str, tuple[float, Augmentation]] = {
    "reverberation": (0.35, Reverberation()),
    "clipping": (0.10, Clipping()),
    "noise": (0.60, OneOf([(0.7, ColouredNoise()), (0.3, Babble())])),
    "bandwidth": (0.20, BandLimit()),
    "gain": (0.25, Gain()),
    "resampling": (0.30, Resampling()),
    "codec": (0.35, Codec()),
    "telephone": (0.10, Codec(("gsm", "mu-law", "a-law"))),
    "gaps": (0.10, Gaps()),
}
ALL = "all"

#: Only where they are named, beside ``all`` or others, behind those: they need ffmpeg. Reports call
#: their conditions seen where they were named, unseen otherwise (``conditions.SEEN_WITH``).
FFMPEG_CODECS: dict[str, tuple[float, Codec]] = {
    "aac": (0.15, Codec(("aac",))),
    "calls": (0.15, Codec(("amr-nb", "amr-wb", "g722", "speex"))),
}


def check_names(names: Sequence[str]) -> None:
    """Whether all names are known, and can be used here.

    Raises:
        UsageError: one is not known.
        MissingDependencyError: one needs an encoder that is not there.
    """
    known = [*AUGMENTATIONS, *FFMPEG_CODECS, ALL]
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise UsageError(
            f"unknown augmentation {', '.join(unknown)}; there are: {', '.join(known)}"
        )
    wanted = {codec for name in names if name in FFMPEG_CODECS for codec in _codecs(name)}
    absent = sorted(codec for codec in wanted if not has_codec(codec))
    if absent:
        raise MissingDependencyError(
            f"augmentation with {', '.join(absent)} needs an ffmpeg that encodes it "
            "(Debian: apt install ffmpeg libavcodec-extra)"
        )


def _codecs(name: str) -> tuple[str, ...]:
    return FFMPEG_CODECS[name][1].names


def recipe(names: Sequence[str]) -> Chain:
    """The augmentations of these names in a row, each as often as stated with its name.

    Raises:
        UsageError: an unknown name.
        MissingDependencyError: one needs an encoder that is not there.
    """
    check_names(names)
    steps = [step for name, step in AUGMENTATIONS.items() if name in names or ALL in names]
    return Chain([*steps, *(step for name, step in FFMPEG_CODECS.items() if name in names)])
