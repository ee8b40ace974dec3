"""What every augmentation is: a change of a waveform that keeps the device that recorded it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]


class Augmentation(Protocol):
    """Anything that changes a waveform without changing which device recorded it."""

    def __call__(self, samples: Samples, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
        """Return a changed copy of the same length.

        Args:
            samples: float32, 1-D, full scale = 1.
            sample_rate_hz: their rate.
            rng: what chance is drawn from; the same state gives the same result. Conditions are
                drawn before anything whose amount depends on the length.
        """
        ...


@dataclass(frozen=True)
class Chain:
    """Each augmentation in turn, with a probability of its own.

    Every step draws from a generator of its own. So clips of different lengths that begin with the
    same state go through the same conditions; what is drawn sample by sample (noise, gaps) differs.
    """

    steps: Sequence[tuple[float, Augmentation]]

    def __call__(self, samples: Samples, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
        """Apply the steps that chance picks."""
        for probability, step in self.steps:
            own = np.random.default_rng(int(rng.integers(2**63)))
            if rng.random() < probability:
                samples = step(samples, sample_rate_hz, own)
        return samples


@dataclass(frozen=True)
class OneOf:
    """One of several augmentations, each as likely as its weight."""

    choices: Sequence[tuple[float, Augmentation]]

    def __call__(self, samples: Samples, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
        """Apply the one that chance picks."""
        weights = np.array([weight for weight, _ in self.choices])
        chosen = int(rng.choice(len(self.choices), p=weights / weights.sum()))
        return self.choices[chosen][1](samples, sample_rate_hz, rng)


def fitted(samples: Samples, n_samples: int) -> Samples:
    """Cut or zero-padded to a length: a round trip may be a few samples longer or shorter."""
    if len(samples) >= n_samples:
        return np.ascontiguousarray(samples[:n_samples], dtype=np.float32)
    return np.pad(samples, (0, n_samples - len(samples))).astype(np.float32)


def rms(samples: Samples) -> float:
    """Root mean square without DC."""
    return float(np.std(samples, dtype=np.float64))
