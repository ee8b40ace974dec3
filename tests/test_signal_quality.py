"""What is too noisy, too narrow, too quiet or too clipped to say anything about the device."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from agent.signal_checks import WARNINGS, SignalChecks
from agent.signal_quality import SignalQuality
from model.augmentation.bandwidth import Resampling
from model.augmentation.noise import ColouredNoise
from model.features import extract, windows_of
from model.network_config import front_end_for
from model.synthetic_speech import synthetic_speech

FRONT_END = front_end_for("statistics")
RATE_HZ = FRONT_END.sample_rate_hz
SPEECH = 0.1 * synthetic_speech(8.0, seed=5) / np.abs(synthetic_speech(8.0, seed=5)).max()
FLOOR = 1e-4 * np.random.default_rng(0).standard_normal(len(SPEECH))
HEARD = (SPEECH + FLOOR).astype(np.float32)


def outside(samples: np.ndarray) -> list[str]:
    checks, quality = SignalChecks(), SignalQuality(FRONT_END)
    checks.accept(samples.astype(np.float32))
    for window in windows_of(extract(samples.astype(np.float32), FRONT_END), 64):
        quality.accept(window)
    return quality.outside(checks)


def test_speech_is_inside_and_so_are_the_conditions_of_training() -> None:
    rng = np.random.default_rng(0)
    assert outside(HEARD) == []
    assert outside(ColouredNoise(15, 15, 1, 1)(HEARD, RATE_HZ, rng)) == []
    assert outside(Resampling((8_000,))(HEARD, RATE_HZ, rng)) == []


@pytest.mark.parametrize("snr_db", [0.0, -10.0])
def test_noise(snr_db: float) -> None:
    noise = ColouredNoise(snr_db, snr_db, 0, 0)
    assert outside(noise(HEARD, RATE_HZ, np.random.default_rng(0))) == ["too-noisy"]


def test_noise_alone_and_a_narrow_band() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(4 * RATE_HZ)
    assert "too-noisy" in outside(noise)
    sos = scipy.signal.butter(10, 1_000, fs=RATE_HZ, output="sos")
    assert "too-narrow" in outside(scipy.signal.sosfilt(sos, SPEECH))


def test_level_and_clipping() -> None:
    assert "too-quiet" in outside(1e-4 * HEARD)
    assert "too-clipped" in outside(np.clip(100 * HEARD, -1, 1))


def test_no_window_is_no_evidence_and_all_codes_have_words() -> None:
    checks = SignalChecks()
    checks.accept(HEARD)
    assert SignalQuality(FRONT_END).outside(checks) == []
    assert {"too-noisy", "too-narrow", "too-quiet", "too-clipped"} <= set(WARNINGS)


def test_overlap_of_windows_hardly_matters() -> None:
    features = extract(HEARD, FRONT_END)
    shares = []
    for hop in (32, 128):
        quality = SignalQuality(FRONT_END)
        for window in windows_of(features, hop):
            quality.accept(window)
        shares.append((quality.clear_bands, quality.sounding_bands))
    assert np.abs(np.subtract(*shares)).max() <= 2 / 34
