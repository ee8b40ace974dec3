"""What all baselines of the experiments offer: fit on clips, score clips, count parameters.

They are the methods that the paper compares with (Zeng, Zhao and Wang, arXiv 2411.03668, Table V),
with the settings that it states, on well-kept libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from model.features import FloatArray

IntArray = npt.NDArray[np.int64]

T = TypeVar("T")

MFCC_DIMS = 39  #: static, delta and delta-delta values of a frame: the first of the 73 features


@dataclass(frozen=True, eq=False)
class BaselineClip:
    """A clip as the baselines take it; what lies on disk is read when it is asked for.

    Attributes:
        frames: ``(frames, 73)`` of any float type, in memory or mapped from a file; of the front
            end that the method is given (see :class:`model.experiments.methods.Method`).
        read: gives the samples, float32 ``(n,)``, mono, full scale 1.
        sample_rate_hz: of the samples.
    """

    frames: npt.NDArray[np.floating]
    read: Callable[[], FloatArray]
    sample_rate_hz: int

    @property
    def features(self) -> FloatArray:
        """float32 ``(frames, 73)``."""
        return np.asarray(self.frames, np.float32)

    @property
    def mfcc(self) -> FloatArray:
        """float32 ``(frames, 39)``."""
        return np.asarray(self.frames[:, :MFCC_DIMS], np.float32)

    @property
    def samples(self) -> FloatArray:
        """float32 ``(n,)``; read anew each time."""
        return self.read()


class Baseline(Protocol):
    """A method that names the device of a clip. Deterministic under its seed."""

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


def fitted(learnt: T | None) -> T:
    """What fitting has set.

    Raises:
        RuntimeError: nothing so far.
    """
    if learnt is None:
        raise RuntimeError("fit comes first")
    return learnt
