"""Fitting the part of an embedding that is for recordings of other kinds than the corpus's (torch).

On simulated domains (:mod:`model.simulated_domains`): those of the first half show which directions
tell devices apart whatever the room and the voice, and are the cohort; those of the second half, of
other rooms, microphones and voices, calibrate the scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from model.features import FrontEndConfig, windows_of
from model.mel import DoubleArray
from model.network import DeviceNetwork
from model.other_domains import Cohort, OtherDomains
from model.simulated_domains import SimulatedDomains, domain_recordings
from model.window_statistics import shrunk_covariance

DOMAINS, DEVICES = 60, 10  #: of either half
TEST_DOMAINS, TEST_SEED = 40, 1_000_000
HOP_FRAMES = 64
COHORT_DEVICES = 3  #: of each domain of the first half, in the cohort
#: What the differences between the devices of a domain are scaled by where scores are calibrated,
#: from the first domain to the last: real devices are more alike than those that are drawn.
CLOSENESS = (0.3, 1.0)
WINDOW_WEIGHT = 0.2  #: of the variance of windows beside that of takes

Mels = npt.NDArray[np.float16]


def training_domains(
    speech: Sequence[tuple[Path, ...]],
    front_end: FrontEndConfig,
    folder: Path,
    seed: int,
    track: Callable[[Sequence[int]], Any] | None = None,
) -> tuple[Mels, Mels]:
    """Recordings of both halves, kept in ``folder``.

    Args:
        speech: recordings to play in the domains of either half.
        front_end: config of the features.
        folder: for the cache.
        seed: of everything.
        track: shows progress.

    Returns:
        float16 ``(domains, devices, 2, frames, bands)`` each.

    Raises:
        AudioError: a recording that cannot be read.
        CorpusError: silent speech.
    """
    first, second = (
        domain_recordings(
            SimulatedDomains(files, DOMAINS, DEVICES, seed=2 * seed + half),
            front_end,
            folder / f"half-{half + 1}",
            track=track,
        )
        for half, files in enumerate(speech[:2])
    )
    return first, second


def held_out_domains(
    speech: tuple[Path, ...], microphones: tuple[Path, ...], seed: int
) -> SimulatedDomains:
    """Domains that nothing is fitted on.

    Args:
        speech: recordings to play that are played in no others.
        microphones: measured impulse responses; drawn ones without any.
        seed: of everything.

    Raises:
        UsageError: too few microphones.
    """
    return SimulatedDomains(speech, TEST_DOMAINS, DEVICES, microphones, seed=TEST_SEED + seed)


def fit_other_domains(network: DeviceNetwork, first: Mels, second: Mels) -> OtherDomains:
    """Measure the robust discriminants of a network, and calibrate what they say.

    Args:
        network: of the ``statistics`` profile, with fitted statistics and discriminants; changed.
        first: float16 ``(domains, devices, 2, frames, bands)``, to fit on.
        second: likewise, to calibrate on.
    """
    windows = window_statistics(network, first).astype(np.float64)
    takes = windows.mean(axis=3)  # (domains, devices, takes, statistics)
    devices = takes.mean(axis=2)
    size = windows.shape[-1]
    spoken = shrunk_covariance((windows - devices[:, :, None, None]).reshape(-1, size))
    # Two takes: their deviations from the mean have half of the variance.
    voices = 2 * shrunk_covariance((takes - devices[:, :, None]).reshape(-1, size))
    between: DoubleArray = np.mean([np.cov(domain.T) for domain in devices], axis=0)
    network.discriminants.fit_robust(between, WINDOW_WEIGHT * spoken + voices)
    embedded = _embedded(network, takes[:, :COHORT_DEVICES, 0])
    dims = embedded.shape[-1]
    cohort = Cohort(network.config.n_discriminants, embedded.reshape(-1, dims))
    further = brought_closer(recording_embeddings(network, second))
    return OtherDomains.calibrated(cohort, *domain_trials(further, cohort.scores))


def brought_closer(embeddings: DoubleArray) -> DoubleArray:
    """Recordings of devices that are more alike, by other factors in every domain.

    Args:
        embeddings: float64 ``(domains, devices, takes, dims)``; what a device's recordings have in
            common is moved towards the mean of its domain, what they differ in stays.
    """
    devices = embeddings.mean(axis=2, keepdims=True)
    apart = devices - devices.mean(axis=1, keepdims=True)
    closeness = np.linspace(*CLOSENESS, len(embeddings))[:, None, None, None]
    closer: DoubleArray = embeddings - (1 - closeness) * apart
    return closer


@torch.no_grad()
def window_statistics(network: DeviceNetwork, mels: Mels) -> npt.NDArray[np.float32]:
    """Statistics of all windows, not whitened.

    Args:
        network: with fitted input normalisation.
        mels: float16 ``(..., frames, bands)``.

    Returns:
        float32 ``(..., windows, n_statistics)``.
    """
    assert network.statistics is not None  # a profile that has them
    recordings = mels.reshape(-1, *mels.shape[-2:])
    found = []
    for recording in recordings:
        windows = windows_of(recording.astype(np.float32), HOP_FRAMES)
        normalised = network.input_norm.mels(torch.from_numpy(np.ascontiguousarray(windows)))
        found.append(network.statistics.statistics(normalised).numpy())
    stacked = np.stack(found)
    return stacked.reshape(*mels.shape[:-2], *stacked.shape[1:])


def recording_embeddings(network: DeviceNetwork, mels: Mels) -> DoubleArray:
    """Mean embedding of each recording, float64 ``(domains, devices, takes, dims)``."""
    return _embedded(network, window_statistics(network, mels).mean(axis=-2, dtype=np.float64))


@torch.no_grad()
def _embedded(network: DeviceNetwork, means: DoubleArray) -> DoubleArray:
    """Embeddings of mean statistics, float64 ``(..., n_statistics)`` to ``(..., dims)``."""
    # The discriminants are linear: of the mean they are the mean.
    embedded = network.discriminants(torch.from_numpy(means).float())
    embeddings: DoubleArray = embedded.numpy().astype(np.float64)
    return embeddings


def domain_trials(
    embeddings: DoubleArray, scores: Callable[[DoubleArray, DoubleArray], DoubleArray]
) -> tuple[DoubleArray, DoubleArray]:
    """Scores of both takes of one device, and of the takes of two devices of a domain.

    Args:
        embeddings: float64 ``(domains, devices, 2, dims)``.
        scores: of ``(devices, dims)`` with ``(n, dims)``, ``(n, devices)``.

    Returns:
        float64 ``(n,)`` and ``(m,)``.
    """
    own = np.eye(embeddings.shape[1], dtype=bool)
    tables = [scores(domain[:, 0], domain[:, 1]) for domain in embeddings]
    return (
        np.concatenate([table[own] for table in tables]),
        np.concatenate([table[~own] for table in tables]),
    )
