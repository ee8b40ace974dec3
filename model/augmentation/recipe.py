"""What ``train --augment`` names, and the recipe that the built-in model was trained with."""

from __future__ import annotations

from collections.abc import Sequence

from model.augmentation.augmentation import Augmentation, Chain, OneOf
from model.augmentation.bandwidth import BandLimit, Resampling
from model.augmentation.codec import Codec
from model.augmentation.gaps import Gaps
from model.augmentation.level import Clipping, Gain
from model.augmentation.noise import Babble, ColouredNoise
from model.augmentation.reverberation import Reverberation
from model.errors import UsageError

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
    "gaps": (0.10, Gaps()),
}
ALL = "all"


def check_names(names: Sequence[str]) -> None:
    """Whether all names are known.

    Raises:
        UsageError: one is not.
    """
    unknown = sorted(set(names) - {*AUGMENTATIONS, ALL})
    if unknown:
        known = ", ".join([*AUGMENTATIONS, ALL])
        raise UsageError(f"unknown augmentation {', '.join(unknown)}; there are: {known}")


def recipe(names: Sequence[str]) -> Chain:
    """The augmentations of these names in a row, each as often as :data:`AUGMENTATIONS` says.

    Raises:
        UsageError: an unknown name.
    """
    check_names(names)
    return Chain([step for name, step in AUGMENTATIONS.items() if name in names or ALL in names])
