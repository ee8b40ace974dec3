"""Random response curves that turn one real device into many virtual ones (numpy).

A frequency response that is smooth within a mel band adds a constant to the band's logarithmic
energy. So a curve added to the features of a real recording is a recording by a virtual device with
the real one's noise floor, room and converter, at no cost.
"""

from __future__ import annotations

import numpy as np

from model.features import FloatArray

BELLS = 5  #: resonances, each of which a device may have
SCALE_DB = (0.4, 6.0)  #: from units of one model to models far apart


def response_curves(n: int, n_bands: int, rng: np.random.Generator) -> FloatArray:
    """Curves of ``n`` virtual devices relative to the real one.

    Bells of random place and width, a tilt and small ripples, all scaled by a factor drawn per
    device on a logarithmic scale.

    Returns:
        float32 ``(n, n_bands)``, natural logarithm of magnitude.
    """
    place = np.linspace(0.0, 1.0, n_bands)
    curves = np.zeros((n, n_bands))
    narrow, wide = np.log(0.02), np.log(0.4)
    for _ in range(BELLS):
        height = rng.normal(0.0, 1.0, (n, 1)) * (rng.random((n, 1)) < 0.7)
        width = np.exp(rng.uniform(narrow, wide, (n, 1)))
        curves += height * np.exp(-0.5 * ((place - rng.random((n, 1))) / width) ** 2)
    curves += rng.normal(0.0, 1.4, (n, 1)) * (place - 0.5) + rng.normal(0.0, 0.15, (n, n_bands))
    low, high = np.log(SCALE_DB)
    curves *= np.exp(rng.uniform(low, high, (n, 1))) * np.log(10.0) / 20
    return curves.astype(np.float32)
