"""What all baselines of the experiments offer: fit on clips, score clips, count parameters.

They are the methods that the paper compares with (Zeng, Zhao and Wang, arXiv 2411.03668, Table V),
with the settings that it states, on well-kept libraries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from model.features import FloatArray

IntArray = npt.NDArray[np.int64]

MFCC_DIMS = 39  #: static, delta and delta-delta values of a frame: the first of the 73 features


@dataclass(frozen=True, eq=False)
class BaselineClip:
    """A clip as the baselines take it.

    Attributes:
        features: float32 ``(frames, 73)``, of the paper's front end.
        samples: float32 ``(n,)``, mono, full scale 1.
        sample_rate_hz: of the samples.
    """

    features: FloatArray
    samples: FloatArray
    sample_rate_hz: int

    @property
    def mfcc(self) -> FloatArray:
        """float32 ``(frames, 39)``."""
        return self.features[:, :MFCC_DIMS]


class Baseline(Protocol):
    """A method that names the device of a clip. Deterministic under its seed."""

    name: str

    def fit(self, clips: Sequence[BaselineClip], labels: IntArray) -> None:
        """Learn.

        Args:
            clips: at least one of every device, each of at least one frame.
            labels: int64 ``(clips,)``, device indices from 0 on, all of them among them.
        """
        ...

    def scores(self, clips: Sequence[BaselineClip]) -> FloatArray:
        """Scores, float32 ``(clips, devices)``; the device with the highest one is the answer."""
        ...

    @property
    def n_parameters(self) -> int:
        """Numbers that fitting has set and that scoring needs."""
        ...
