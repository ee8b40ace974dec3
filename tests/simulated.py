"""Simulated recordings for tests: speech-like sound through simulated devices.

Not real devices and not real speech: coloured, syllable-modulated noise with a voiced part, through
a random smooth frequency response and a noise floor per device.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.signal
import soundfile

Samples = npt.NDArray[np.float32]

RATE_HZ = 32_000


def speech_like(seconds: float, seed: int, rate_hz: int = RATE_HZ) -> Samples:
    """Voiced and unvoiced segments of random colour under a syllabic envelope, peak about 0.3."""
    rng = np.random.default_rng(seed)
    n_samples = round(seconds * rate_hz)
    out = np.zeros(n_samples)
    position = 0
    while position < n_samples:
        length = int(rng.uniform(0.06, 0.3) * rate_hz)
        if rng.random() < 0.6:
            pitch = rng.uniform(90, 250)
            source = scipy.signal.sawtooth(2 * np.pi * pitch * np.arange(length) / rate_hz)
        else:
            source = rng.standard_normal(length)
        for _ in range(2):
            centre = rng.uniform(300, 6000) / (rate_hz / 2)
            b, a = scipy.signal.iirpeak(centre, Q=rng.uniform(1.5, 6))
            source = scipy.signal.lfilter(b, a, source) + 0.1 * source
        source *= np.hanning(length) * rng.uniform(0.1, 1.0) / (np.abs(source).max() + 1e-9)
        end = min(position + length, n_samples)
        out[position:end] += source[: end - position]
        position += length + int(rng.uniform(0.0, 0.08) * rate_hz)
    return (0.3 * out / np.abs(out).max()).astype(np.float32)


def record(samples: Samples, device: int, seed: int = 0) -> Samples:
    """What simulated device number ``device`` makes of a sound."""
    rng = np.random.default_rng(1000 + device)
    bands = np.linspace(0, 1, 13)
    gains_db = np.cumsum(rng.normal(0, 4.0, 13))
    gains_db -= gains_db.mean()
    response = scipy.signal.firwin2(257, bands, 10 ** (gains_db / 20))
    heard = scipy.signal.fftconvolve(samples, response, mode="same")
    floor = 10 ** (rng.uniform(-75, -60) / 20)
    noise = np.random.default_rng(seed * 7919 + device).standard_normal(len(samples))
    return np.clip(heard + floor * noise, -1, 1).astype(np.float32)


def write_corpus(
    folder: Path, n_devices: int = 5, n_clips: int = 4, seconds: float = 4.0, naming: str = "ccnu"
) -> Path:
    """A corpus of simulated devices; clip *k* is the same sound on each.

    Args:
        folder: created.
        n_devices: simulated devices.
        n_clips: clips of each.
        seconds: length of a clip.
        naming: ``"ccnu"`` for flat ``<device>_<clip>.wav``, ``"folders"`` for a folder per device.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for clip in range(1, n_clips + 1):
        spoken = speech_like(seconds, seed=clip)
        for device in range(n_devices):
            name = f"sim{chr(ord('A') + device)}"
            heard = record(spoken, device, seed=clip)
            if naming == "ccnu":
                path = folder / f"{name}_{clip}.wav"
            else:
                path = folder / name / f"utterance{clip}.wav"
                path.parent.mkdir(exist_ok=True)
            soundfile.write(path, heard, RATE_HZ, subtype="PCM_16")
    return folder
