"""Synthetic speech-like sound: what makes it like speech, and that a seed decides it."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from model.synthetic_speech import PEAK, synthetic_speech

RATE_HZ = 32_000


def frame_levels_db(samples: np.ndarray, rate_hz: int = RATE_HZ) -> np.ndarray:
    """RMS level of every 20 ms."""
    frames = samples[: len(samples) // (rate_hz // 50) * (rate_hz // 50)]
    frames = frames.reshape(-1, rate_hz // 50)
    return 20 * np.log10(frames.std(axis=1) + 1e-9)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 32_000, 44_100, 48_000])
def test_form(rate_hz: int) -> None:
    spoken = synthetic_speech(1.5, 1, rate_hz)
    assert spoken.dtype == np.float32
    assert spoken.shape == (1.5 * rate_hz,)
    assert np.abs(spoken).max() == pytest.approx(PEAK, rel=1e-6)
    assert abs(spoken.mean()) < 1e-3
    assert synthetic_speech(0.0, 1, rate_hz).shape == (0,)
    assert np.isfinite(synthetic_speech(0.01, 1, rate_hz)).all()


def test_seed_decides() -> None:
    assert np.array_equal(synthetic_speech(1.0, 7), synthetic_speech(1.0, 7))
    one, other = synthetic_speech(4.0, 7), synthetic_speech(4.0, 8)
    assert abs(np.corrcoef(frame_levels_db(one), frame_levels_db(other))[0, 1]) < 0.5


def test_utterance_is_the_same_at_every_rate() -> None:
    high, low = synthetic_speech(4.0, 5, 48_000), synthetic_speech(4.0, 5, 16_000)
    levels = frame_levels_db(high, 48_000), frame_levels_db(low, 16_000)
    loud = (levels[0] > -60) & (levels[1] > -60)
    assert loud.sum() > 100
    assert np.corrcoef(levels[0][loud], levels[1][loud])[0, 1] > 0.95


@pytest.mark.parametrize("seed", range(4))
def test_it_is_like_speech(seed: int) -> None:
    spoken = synthetic_speech(8.0, seed)
    levels = frame_levels_db(spoken)
    # Pauses, and syllables: most changes of the envelope come 1 to 10 times a second.
    assert 0.05 < np.mean(levels < -80) < 0.5
    envelope = 10 ** (levels / 20)
    rates, power = scipy.signal.welch(envelope - envelope.mean(), 50, nperseg=100)
    assert power[(rates >= 1) & (rates <= 10)].sum() > 0.5 * power.sum()
    # Voiced: a period of 60 to 300 Hz in the loudest frames, and not in all of the others.
    periodic = []
    for start in np.argsort(-levels)[:20] * (RATE_HZ // 50):
        frame = (
            spoken[start : start + RATE_HZ // 25] * np.hanning(RATE_HZ // 25)[: len(spoken) - start]
        )
        likeness = scipy.signal.correlate(frame, frame)[len(frame) - 1 :]
        periodic.append(likeness[RATE_HZ // 300 : RATE_HZ // 60].max() / likeness[0])
    assert np.median(periodic) > 0.5
    # Energy in all bands that a device is heard by, falling towards high frequencies.
    frequencies, power = scipy.signal.welch(spoken, RATE_HZ, nperseg=1024)
    bands = [
        10 * np.log10(power[(frequencies >= low) & (frequencies < 2 * low)].mean())
        for low in (250, 1000, 4000, 8000)
    ]
    assert bands[0] > bands[1] > bands[2] > bands[3] > bands[0] - 60


def test_some_of_it_is_unvoiced() -> None:
    """Fricatives: frames in which most energy lies above 2 kHz."""
    spoken = synthetic_speech(8.0, 2)
    frames = spoken[: len(spoken) // 640 * 640].reshape(-1, 640)
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(640))))
    loud = frames.std(axis=1) > 1e-3
    high_share = power[:, 40:].sum(axis=1) / (power.sum(axis=1) + 1e-12)
    assert 0.03 < np.mean(high_share[loud] > 0.5) < 0.5
