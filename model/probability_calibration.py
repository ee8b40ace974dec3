"""Probabilities that mean what they say: temperature scaling, and how far they are off (numpy).

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import log_softmax

from model.mel import DoubleArray
from model.metrics import IntArray

#: Within which a temperature is sought.
TEMPERATURES = (1e-3, 1e3)


@dataclass(frozen=True)
class ReliabilityBin:
    """Decisions whose probability lies in ``(lower, upper]``.

    Attributes:
        lower: probability.
        upper: probability.
        count: decisions.
        confidence: mean probability of the decided device; ``None`` in an empty bin.
        accuracy: share of right decisions; ``None`` in an empty bin.
    """

    lower: float
    upper: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class ReliabilityFigures:
    """Result of :func:`reliability`.

    Attributes:
        count: decisions.
        accuracy: share of right ones.
        confidence: mean probability of the decided device.
        ece: expected calibration error: mean of the bins' distances between confidence and
            accuracy, weighted by their counts (Guo et al. 2017, equation (3)).
        max_error: the largest of these distances (equation (5)), however few decisions it is of.
        brier: mean over decisions of the squared distance between the posterior and the truth,
            summed over devices, 0 to 2.
        nll: mean negative log probability of the true device, nats.
        bins: the reliability diagram, of equal widths.
    """

    count: int
    accuracy: float
    confidence: float
    ece: float
    max_error: float
    brier: float
    nll: float
    bins: tuple[ReliabilityBin, ...]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {**asdict(self), "bins": [asdict(row) for row in self.bins]}


def _checked(log_posteriors: npt.ArrayLike, truth: npt.ArrayLike) -> tuple[DoubleArray, IntArray]:
    logs = np.asarray(log_posteriors, dtype=np.float64)
    devices = np.asarray(truth)
    if logs.ndim != 2 or not logs.size:
        raise ValueError(f"no log posteriors of shape (n, devices): {logs.shape}")
    if not np.isfinite(logs).all():
        raise ValueError("log posteriors that are not finite")
    if devices.shape != (len(logs),) or not np.issubdtype(devices.dtype, np.integer):
        raise ValueError(f"{len(logs)} posteriors need as many indices of true devices")
    if devices.min() < 0 or devices.max() >= logs.shape[1]:
        raise ValueError(f"a true device outside 0 to {logs.shape[1] - 1}")
    return logs, devices.astype(np.int64)


def scale_by_temperature(log_posteriors: npt.ArrayLike, temperature: float) -> DoubleArray:
    """Log posteriors at another temperature: above 1 less sure, below 1 surer; same order.

    Args:
        log_posteriors: ``(..., devices)``, or logits.
        temperature: above 0.

    Returns:
        float64, same shape, normalised.

    Raises:
        ValueError: a temperature that is not above 0 and finite.
    """
    if not 0.0 < temperature < math.inf:
        raise ValueError(f"a temperature of {temperature}")
    logs = np.asarray(log_posteriors, dtype=np.float64)
    scaled: DoubleArray = log_softmax(logs / temperature, axis=-1)
    return scaled


def fit_temperature(
    log_posteriors: npt.ArrayLike, truth: npt.ArrayLike, pseudo_trials: float = 1.0
) -> float:
    """The temperature with the least negative log likelihood of held-out trials.

    With ``pseudo_trials``, that many trials more, spread over all posteriors, whose device was
    drawn blindly: where every trial was decided rightly, the likelihood alone would have the
    temperature fall to 0 and probabilities rise to 1, which no number of trials can show. What is
    left of an error is then of the order of ``pseudo_trials / n``, as in Platt's (1999) targets.

    Args:
        log_posteriors: ``(n, devices)`` of trials that training did not see, or logits.
        truth: integer ``(n,)``, index of each trial's device.
        pseudo_trials: 0 for Guo et al.'s own criterion.

    Returns:
        a temperature within :data:`TEMPERATURES`; 1 if no temperature makes a difference.

    Raises:
        ValueError: no trials, log posteriors that are not finite, indices out of range.
    """
    logs, devices = _checked(log_posteriors, truth)
    if not 0.0 <= pseudo_trials < math.inf:
        raise ValueError(f"{pseudo_trials} pseudo-trials")
    rest = pseudo_trials / (len(logs) + pseudo_trials)
    of_truth = logs[np.arange(len(logs)), devices]
    wanted = ((1.0 - rest) * of_truth + rest * logs.mean(axis=1)).mean()

    def slope(inverse: float) -> float:
        """Of the likelihood's cost over 1 / temperature, in which it is convex."""
        expected = (np.exp(log_softmax(logs * inverse, axis=1)) * logs).sum(axis=1).mean()
        return float(expected - wanted)

    coldest, hottest = TEMPERATURES
    if np.ptp(logs, axis=1).max() == 0.0:
        return 1.0
    if slope(1.0 / hottest) >= 0.0:
        return hottest
    if slope(1.0 / coldest) <= 0.0:
        return coldest
    return float(1.0 / brentq(slope, 1.0 / hottest, 1.0 / coldest, xtol=1e-9))


def reliability(
    log_posteriors: npt.ArrayLike, truth: npt.ArrayLike, n_bins: int = 15
) -> ReliabilityFigures:
    """Compare the probabilities of decisions with how often they are right.

    Args:
        log_posteriors: ``(n, devices)``, or logits; normalised here.
        truth: integer ``(n,)``, index of each trial's device.
        n_bins: bins of equal width from 0 to 1.

    Raises:
        ValueError: no trials, log posteriors that are not finite, indices out of range, no bins.
    """
    logs, devices = _checked(log_posteriors, truth)
    if n_bins < 1:
        raise ValueError(f"{n_bins} bins")
    logs = log_softmax(logs, axis=1)
    posteriors = np.exp(logs)
    right = posteriors.argmax(axis=1) == devices
    confidence = posteriors.max(axis=1)
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, n_bins - 1)
    bins = []
    for number in range(n_bins):
        inside = place == number
        count = int(inside.sum())
        bins.append(
            ReliabilityBin(
                lower=float(edges[number]),
                upper=float(edges[number + 1]),
                count=count,
                confidence=float(confidence[inside].mean()) if count else None,
                accuracy=float(right[inside].mean()) if count else None,
            )
        )
    gaps = [
        (row.count, abs(row.confidence - row.accuracy))
        for row in bins
        if row.confidence is not None and row.accuracy is not None
    ]
    wanted = np.zeros_like(posteriors)
    wanted[np.arange(len(devices)), devices] = 1.0
    return ReliabilityFigures(
        count=len(devices),
        accuracy=float(right.mean()),
        confidence=float(confidence.mean()),
        ece=sum(count * gap for count, gap in gaps) / len(devices),
        max_error=max(gap for _, gap in gaps),
        brier=float(((posteriors - wanted) ** 2).sum(axis=1).mean()),
        nll=float(-logs[np.arange(len(devices)), devices].mean()),
        bins=tuple(bins),
    )
