"""Gaps: what lost packets and dropped buffers leave of a recording."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.augmentation.augmentation import Samples


@dataclass(frozen=True)
class Gaps:
    """A uniform share of the recording replaced by digital silence, piece by piece.

    Attributes:
        low_share: least share of the samples.
        high_share: largest.
        shortest_s: shortest gap.
        longest_s: longest.
    """

    low_share: float = 0.01
    high_share: float = 0.15
    shortest_s: float = 0.008
    longest_s: float = 0.12

    def __call__(self, samples: Samples, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
        """Copy with gaps."""
        torn: Samples = samples.copy()
        silent, wanted = 0, rng.uniform(self.low_share, self.high_share) * len(samples)
        while silent < wanted:
            length = max(1, round(rng.uniform(self.shortest_s, self.longest_s) * sample_rate_hz))
            length = min(length, len(samples))
            start = int(rng.integers(0, len(samples) - length + 1))
            torn[start : start + length] = 0.0
            silent += length
        return torn
