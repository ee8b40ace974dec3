"""Tests under conditions: what is counted, and what cannot be tested."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.augmentation.conditions import CLEAN, Condition
from model.augmentation.level import Gain
from model.augmentation.noise import ColouredNoise
from model.condition_tests import ConditionTests, pooled_conditions
from model.corpus import Clip
from model.feature_copies import FeatureCopies, plain_copies
from model.features import WINDOW_FRAMES

GAIN = Condition("gain", "level", True, Gain(-10, -10))
NOISE = Condition("noise", "noise", False, ColouredNoise(30, 30, 0, 0))


def scorer(windows: np.ndarray) -> np.ndarray:
    """Decides by the first feature's mean."""
    mean = windows[:, :, 0].mean(axis=1)
    return np.stack([-mean, mean], axis=1).astype(np.float32)


def test_clips_under_conditions() -> None:
    clips = tuple(Clip(Path(f"{d}{k}.wav"), d, str(k)) for d in "ab" for k in range(2))
    sign = {"a": -1.0, "b": 1.0}
    lengths = (WINDOW_FRAMES, WINDOW_FRAMES + 64, WINDOW_FRAMES - 1, WINDOW_FRAMES)
    plain = [
        np.full((n, 73), sign[c.device], np.float32) for c, n in zip(clips, lengths, strict=True)
    ]
    frames = np.concatenate([*plain, *(0 * part - 1 for part in plain)])  # all an "a", then
    within = np.concatenate([[0], np.cumsum(lengths)])
    copies = FeatureCopies(frames, np.stack([within, within + within[-1]]), clips)
    tests = ConditionTests([CLEAN, NOISE], copies)
    fold = tests.run({"sign": scorer, "guess": lambda w: 0 * scorer(w)}, clips, ("a", "b"))
    assert fold["truth"] == [0, 0, 1]  # the clip shorter than a window is left out
    clean, noisy = (row["methods"]["sign"] for row in fold["conditions"])
    assert clean == {"windows": 4, "windows_right": 4, "clips": 3, "clips_right": 3}
    assert noisy == {"windows": 4, "windows_right": 3, "clips": 3, "clips_right": 2}
    assert np.shape(fold["clip_posteriors"]) == (2, 3, 2)
    pooled = pooled_conditions([fold, fold])
    assert pooled["conditions"][1]["methods"]["sign"]["clips"] == 6
    assert pooled["condition_means"]["unseen"]["sign"]["clips"] == pytest.approx(2 / 3)
    assert set(pooled["condition_means"]) == {"clean", "unseen"}
    assert set(pooled["calibration"]) == {"temperature", "clean", "unseen"}


def test_conditions_must_fit_the_copies() -> None:
    copies = plain_copies({Clip(Path("a.wav"), "a", "1"): np.zeros((130, 73), np.float32)})
    for wrong in ((), (GAIN,), (CLEAN, GAIN)):
        with pytest.raises(ValueError, match="condition"):
            ConditionTests(wrong, copies)
