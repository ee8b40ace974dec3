"""The features written straight from their definition: slow, whole-file, independent of the code.

Follows Voicebox melcepst (mode E0dD) as the front end's docstring states it; frame by frame, with
loops, a dense DFT matrix and no shared helper.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def features(
    samples: npt.NDArray[np.float32],
    rate_hz: int = 32_000,
    length: int = 512,
    hop: int = 256,
    n_mels: int = 34,
    n_mfcc: int = 12,
    *,
    remove_dc: bool = False,
    power: bool = False,
    log_prefbank: bool = False,
    mel_floor: float = 1e-5,
    energy_floor: float = 1e-8,
) -> Array:
    """Frames ``(n, 3 (n_mfcc + 1) + n_mels)``."""
    x = samples.astype(np.float64)
    x = np.array([x[n] - 0.97 * (x[n - 1] if n else 0.0) for n in range(len(x))])
    hamming = np.array(
        [0.54 - 0.46 * math.cos(2 * math.pi * n / (length - 1)) for n in range(length)]
    )
    n_bins = length // 2 + 1
    dft = np.exp(-2j * np.pi * np.outer(np.arange(n_bins), np.arange(length)) / length)

    def mel(hz: float) -> float:
        return 1127.01048 * math.log(1 + hz / 700)

    width = mel(rate_hz / 2) / (n_mels + 1)
    static, prefbank = [], []
    for start in range(0, len(x) - length + 1, hop):
        frame = x[start : start + length]
        if remove_dc:
            frame = frame - frame.mean()
        spectrum = np.abs(dft @ (frame * hamming)) ** 2
        weighed = spectrum if power else np.sqrt(spectrum)
        energies = []
        for band in range(1, n_mels + 1):
            total = 0.0
            for k in range(n_bins):
                distance = abs(mel(k * rate_hz / length) - band * width)
                total += max(0.0, 1 - distance / width) * weighed[k]
            energies.append(max(total, mel_floor))
        logs = np.log(energies)
        cepstrum = [
            math.sqrt(2 / n_mels)
            * sum(logs[m] * math.cos(math.pi * c * (m + 0.5) / n_mels) for m in range(n_mels))
            for c in range(1, n_mfcc + 1)
        ]
        static.append([*cepstrum, math.log(max(spectrum.sum(), energy_floor))])
        prefbank.append(logs if log_prefbank else energies)
    c = np.array(static)
    n = len(c)
    padded = np.concatenate([np.repeat(c[:1], 5, 0), c, np.repeat(c[-1:], 5, 0)])
    # Nine-point slopes of frames -1..n, then three-point slopes of those.
    slopes = np.array([sum(k * padded[t + 4 + k] for k in range(-4, 5)) / 60 for t in range(n + 2)])
    slopes2 = np.array([(slopes[t + 2] - slopes[t]) / 2 for t in range(n)])
    return np.concatenate([c, slopes[1 : n + 1], slopes2, np.array(prefbank)], axis=1)
