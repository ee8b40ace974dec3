"""Whether what is heard live is a known device at all."""

from __future__ import annotations

import math

import numpy as np

from agent.known_devices import KnownDevices
from model.mel import DoubleArray


class Familiarity:
    """Mean embedding over the windows remembered, and its likelihood ratio with each device.

    Args:
        known: the devices.

    Evidence fades, and overlapping windows count for what is new in them, as in
    :class:`agent.decisions.Evidence`.
    """

    def __init__(self, known: KnownDevices) -> None:
        self._known = known
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._sum: DoubleArray | None = None
        self._weight = 0.0

    def add(
        self, embedding: DoubleArray, elapsed_s: float, new_share: float, memory_s: float
    ) -> None:
        """Take in a window.

        Args:
            embedding: float64 ``(dims,)``.
            elapsed_s: since the window before.
            new_share: share of the window that no window before it has heard.
            memory_s: evidence fades to 1/e in this time.
        """
        fade = math.exp(-elapsed_s / memory_s)
        before = np.zeros_like(embedding) if self._sum is None else self._sum
        self._sum = fade * before + new_share * embedding
        self._weight = fade * self._weight + new_share

    def log10_lr(self, device: int) -> float | None:
        """Of one device, on what is remembered; ``None`` where the model cannot tell."""
        if self._sum is None or self._weight <= 0:
            return None
        ratios = self._known.log10_lr(self._sum / self._weight)
        return None if ratios is None else float(ratios[device])

    def is_stranger(self, device: int) -> bool:
        """Whether what is remembered is not of this device."""
        ratio = self.log10_lr(device)
        if ratio is None or self._sum is None:
            return False
        thresholds = self._known.thresholds(self._sum / self._weight)
        return thresholds is not None and bool(ratio <= thresholds[device])
