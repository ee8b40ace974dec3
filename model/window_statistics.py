"""Fixed statistics around the network: input normalisation and whitened long-term statistics.

Nothing here is trained by gradient; all of it is measured once on the training windows and
travels inside the graph (torch).
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
import torch
from sklearn.covariance import ledoit_wolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor, nn

from model.errors import CorpusError
from model.mel import DoubleArray
from model.network_config import SOFTNESS, STATISTICS_CLIP, VARIANCE_FLOOR


class InputNorm(nn.Module):
    """Removes the level (optional) and standardises each feature with fixed statistics.

    No trained parameter: mean and scale are measured once on the training windows.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, n_static: int, n_mels: int, *, level_free: bool) -> None:
        super().__init__()
        self.level_free = level_free
        self.energy = n_static - 1  # index of the log energy
        self.first_mel = 3 * n_static
        self.register_buffer("mean", torch.zeros(3 * n_static + n_mels))
        self.register_buffer("scale", torch.ones(3 * n_static + n_mels))

    def remove_level(self, x: Tensor) -> Tensor:
        """Subtract the window's mean from log energy, and its grand mean from log pre-Fbank."""
        if not self.level_free:
            return x
        energy = x[..., self.energy : self.energy + 1]
        mels = x[..., self.first_mel :]
        return torch.cat(
            [
                x[..., : self.energy],
                energy - energy.mean(dim=1, keepdim=True),
                x[..., self.energy + 1 : self.first_mel],
                mels - mels.mean(dim=(1, 2), keepdim=True),
            ],
            dim=-1,
        )

    def mels(self, x: Tensor) -> Tensor:
        """Raw pre-Fbank ``(B, 128, bands)`` alone to standardised values of the same shape."""
        if self.level_free:
            x = x - x.mean(dim=(1, 2), keepdim=True)
        return (x - self.mean[self.first_mel :]) * self.scale[self.first_mel :]

    @torch.no_grad()
    def fit(self, windows: Tensor) -> None:
        """Measure mean and scale on training windows, shape ``(n, 128, 73)``."""
        levelled = self.remove_level(windows)
        self.mean.copy_(levelled.mean(dim=(0, 1)))
        self.scale.copy_(1.0 / levelled.std(dim=(0, 1)).clamp_min(1e-5))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 128, 73)`` raw features to standardised ones of the same shape."""
        return (self.remove_level(x) - self.mean) * self.scale


class StatisticsPool(nn.Module):
    """Long-term statistics over time of each normalised mel band, whitened.

    Four per band: the mean, the log standard deviation, and soft minimum and maximum (log-mean-
    exp of the negated and of the plain values), which lean towards the quiet frames, where the
    device's noise floor shows, and the loud ones, where its frequency response does.

    The whitening makes the *within-device* covariance of the training windows the identity: what
    varies with the words is scaled down, what stays with the device stands out (the same step as
    in linear discriminant analysis). Fixed once measured.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(self, n_bands: int, noise: float) -> None:
        super().__init__()
        self.n_statistics = 4 * n_bands
        self.noise = noise
        self.register_buffer("mean", torch.zeros(self.n_statistics))
        self.register_buffer("whitening", torch.eye(self.n_statistics))

    def statistics(self, x: Tensor) -> Tensor:
        """``(B, 128, bands)`` to ``(B, 4 bands)``."""
        mean = x.mean(dim=1)
        variance = (x - mean.unsqueeze(1)).square().mean(dim=1)
        scaled = SOFTNESS * x.clamp(-STATISTICS_CLIP, STATISTICS_CLIP)
        quiet = torch.log(torch.exp(-scaled).mean(dim=1)) / -SOFTNESS
        loud = torch.log(torch.exp(scaled).mean(dim=1)) / SOFTNESS
        return torch.cat([mean, 0.5 * torch.log(variance + VARIANCE_FLOOR), quiet, loud], dim=1)

    @torch.no_grad()
    def fit(self, statistics: Tensor, labels: Tensor, shrinkage: float = 0.01) -> None:
        """Measure the whitening on training windows.

        Args:
            statistics: ``(n, 4 bands)``, from :meth:`statistics`.
            labels: ``(n,)`` device indices.
            shrinkage: share of the mean variance added to every direction.

        Raises:
            CorpusError: no device has two windows that differ.
        """
        values = statistics.double()
        within = torch.zeros(self.n_statistics, self.n_statistics, dtype=torch.float64)
        for device in labels.unique():
            group = values[labels == device]
            centred = group - group.mean(dim=0)
            within += centred.T @ centred
        within /= len(values)
        if not within.diagonal().any():
            raise CorpusError("every device has a single window: nothing to tell it from its words")
        within += shrinkage * within.diagonal().mean() * torch.eye(self.n_statistics)
        variances, directions = torch.linalg.eigh(within)
        self.mean.copy_(values.mean(dim=0))
        self.whitening.copy_(directions / variances.sqrt())

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 128, bands)`` to whitened ones ``(B, 4 bands)``; noisy in training mode."""
        return self.whiten(self.statistics(x))

    def whiten(self, statistics: Tensor) -> Tensor:
        """Whitened :meth:`statistics`; noisy in training mode."""
        whitened = (statistics - self.mean) @ self.whitening
        if self.training:
            whitened = whitened + self.noise * torch.randn_like(whitened)
        return whitened


class Discriminants(nn.Module):
    """Linear discriminants of a window's statistics: the embedding of the ``statistics`` profile.

    Fisher's discriminants (linear discriminant analysis), measured once: some on the devices of the
    corpus and virtual ones made of them, and behind these some on many simulated domains, zero
    without any. The variance within devices is 1 in every direction, so that the cosine of two
    embeddings is a fair measure.
    """

    centre: Tensor
    projection: Tensor

    def __init__(self, n_statistics: int, n_discriminants: int, n_robust: int) -> None:
        super().__init__()
        self.n_discriminants = n_discriminants
        self.register_buffer("centre", torch.zeros(n_statistics))
        self.register_buffer("projection", torch.zeros(n_statistics, n_discriminants + n_robust))

    def fit(self, statistics: Tensor, labels: Tensor, n_real: int, real_weight: float) -> None:
        """Measure the discriminants of the corpus.

        Args:
            statistics: ``(n, n_statistics)``, of windows of real and of virtual devices.
            labels: int64 ``(n,)``; real devices first.
            n_real: real devices.
            real_weight: how many virtual devices a real one counts for.
        """
        values, owner = statistics.double().numpy(), labels.numpy()
        means = np.stack([values[owner == device].mean(axis=0) for device in np.unique(owner)])
        _, index = np.unique(owner, return_inverse=True)
        within = shrunk_covariance(values - means[index])
        centre = means[:n_real].mean(axis=0)
        weight = np.where(np.arange(len(means)) < n_real, real_weight, 1.0)[:, None]
        between = (weight * (means - centre)).T @ (means - centre) / weight.sum()
        self.centre.copy_(torch.from_numpy(centre))
        own = self.projection[:, : self.n_discriminants]
        own.copy_(torch.from_numpy(_leading(between, within, own.shape[1])))

    def fit_robust(self, between: DoubleArray, within: DoubleArray) -> None:
        """Measure the discriminants of many domains; the centre stays that of the corpus.

        Args:
            between: float64 ``(n_statistics, n_statistics)``, covariance between devices of a
                domain.
            within: likewise of what varies with the words and voices.
        """
        robust = self.projection[:, self.n_discriminants :]
        robust.copy_(torch.from_numpy(_leading(between, within, robust.shape[1])))

    def forward(self, statistics: Tensor) -> Tensor:
        """``(B, n_statistics)`` to ``(B, n_discriminants + n_robust)``."""
        return (statistics - self.centre) @ self.projection


def shrunk_covariance(deviations: DoubleArray) -> DoubleArray:
    """Covariance of ``(n, k)`` deviations from means, ``(k, k)``.

    Shrunk by the Ledoit-Wolf rule: directions without evidence must not look like a device.
    """
    scale = deviations.std(axis=0) + 1e-9
    shrunk, _ = ledoit_wolf(deviations / scale, assume_centered=True)
    covariance: DoubleArray = shrunk * np.outer(scale, scale)
    return covariance


def _leading(between: DoubleArray, within: DoubleArray, n: int) -> DoubleArray:
    """The ``n`` directions with the most variance between over that within, ``(k, n)``."""
    k = len(within)
    _, directions = scipy.linalg.eigh(between, within, subset_by_index=(k - n, k - 1))
    leading: DoubleArray = directions[:, ::-1].copy()
    return leading


class LinearScores(nn.Module):
    """Linear discriminant analysis of a window's statistics, as scores to add to the logits.

    The MLP bends to noise and codecs but also to the few words it was trained on; the linear
    scores do neither. Their sum is better than either. Measured once; zero before.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, n_statistics: int, n_devices: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(n_statistics, n_devices))
        self.register_buffer("bias", torch.zeros(n_devices))

    def fit(self, statistics: Tensor, labels: Tensor, share: float) -> None:
        """Measure the scores.

        Args:
            statistics: ``(n, n_statistics)``.
            labels: int64 ``(n,)``, all devices among them.
            share: of the linear log posteriors in the logits.
        """
        fitted = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        fitted.fit(statistics.double().numpy(), labels.numpy())
        coefficients, offsets = fitted.coef_, fitted.intercept_
        if len(coefficients) == 1:  # two devices: scikit-learn keeps the difference
            coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
            offsets = np.concatenate([np.zeros_like(offsets), offsets])
        # What is common to all devices makes no difference, and large numbers lose digits.
        self.weight.copy_(torch.from_numpy(share * (coefficients - coefficients.mean(axis=0)).T))
        self.bias.copy_(torch.from_numpy(share * (offsets - offsets.mean())))

    def forward(self, statistics: Tensor) -> Tensor:
        """``(B, n_statistics)`` to ``(B, n_devices)``."""
        return statistics @ self.weight + self.bias
