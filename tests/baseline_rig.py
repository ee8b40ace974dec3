"""Clips of simulated devices for the tests of the baselines, and what every baseline must do."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from model.baselines.baseline import Baseline, BaselineClip, IntArray
from model.features import FloatArray, FrontEndConfig, extract
from tests.simulated import RATE_HZ, record, speech_like

TRAINING_SPEECH = (1, 2, 3, 4)
UNHEARD_SPEECH = (5, 6, 7, 8)


def as_clip(features: FloatArray, samples: FloatArray, rate_hz: int = RATE_HZ) -> BaselineClip:
    """A clip in memory."""
    return BaselineClip(features, lambda: samples, rate_hz)


Clips = tuple[list[BaselineClip], IntArray]


@cache
def clip_of(device: int, speech: int, seconds: float = 2.0) -> BaselineClip:
    """What a simulated device records of a sound."""
    samples = record(speech_like(seconds, seed=speech), device, seed=speech)
    return as_clip(extract(samples, FrontEndConfig()), samples)


def clips_of(n_devices: int, speech: tuple[int, ...]) -> Clips:
    """The same sounds on every simulated device, device after device."""
    pairs = [(device, sound) for device in range(n_devices) for sound in speech]
    return [clip_of(*pair) for pair in pairs], np.array([device for device, _ in pairs], np.int64)


def accuracy(baseline: Baseline, n_devices: int) -> float:
    """Share of clips of unheard speech that a baseline gets right, after fitting on others."""
    baseline.fit(*clips_of(n_devices, TRAINING_SPEECH))
    clips, labels = clips_of(n_devices, UNHEARD_SPEECH)
    scores = baseline.scores(clips)
    assert scores.shape == (len(clips), n_devices)
    assert scores.dtype == np.float32
    return float(np.mean(scores.argmax(axis=1) == labels))


def assert_deterministic(make: Callable[[], Baseline]) -> None:
    """Fitting anew gives the same scores to the last bit."""
    clips, _ = clips_of(3, UNHEARD_SPEECH)
    results = []
    for _ in range(2):
        baseline = make()
        baseline.fit(*clips_of(3, TRAINING_SPEECH[:2]))
        results.append(baseline.scores(clips))
    np.testing.assert_array_equal(*results)
