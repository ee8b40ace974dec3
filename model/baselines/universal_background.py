"""The universal background model: one mixture of Gaussians for the frames of all devices.

Reynolds, Quatieri and Dunn, "Speaker Verification Using Adapted Gaussian Mixture Models", Digital
Signal Processing 10 (2000), pages 19-41. The paper that the baselines follow (arXiv 2411.03668,
Table V) uses 64 Gaussians with diagonal covariance matrices on 39 MFCC values of a frame.

The frames stay as the front end gives them: a Gaussian has a variance per dimension, so the
scales of the dimensions do not matter to EM.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from model.errors import CorpusError
from model.features import FloatArray

WideArray = npt.NDArray[np.float64]

N_GAUSSIANS = 64
#: Frames that the model is fitted on at most, which is some thousands for every Gaussian. EM holds
#: several numbers for every frame and Gaussian: all frames of 45 devices with 642 clips each would
#: not fit in memory.
MAX_FRAMES = 200_000
EM_ITERATIONS = 200  #: of the fit at most
_BLOCK_FRAMES = 4096  #: frames at once in the statistics: bounds the memory for long clips


class BaumWelchStatistics(NamedTuple):
    """Sufficient statistics of frames under a mixture; those of several clips add up.

    Not centred: sums of the frames as they are. Reynolds et al., equations 8 to 10, without the
    division by ``n``.

    Attributes:
        n: zeroth order, float64 ``(gaussians,)``: sum of the posteriors.
        f: first order, float64 ``(gaussians, dims)``: sum of posterior times frame.
        s: second order, float64 ``(gaussians, dims)``: sum of posterior times squared frame.
    """

    n: WideArray
    f: WideArray
    s: WideArray


@dataclass(frozen=True, eq=False)
class DiagonalMixture:
    """A mixture of Gaussians with diagonal covariance matrices.

    Attributes:
        weights: float64 ``(gaussians,)``, their sum is 1.
        means: float64 ``(gaussians, dims)``.
        variances: float64 ``(gaussians, dims)``, positive.
    """

    weights: WideArray
    means: WideArray
    variances: WideArray

    @property
    def n_parameters(self) -> int:
        """Numbers in it: 64 + 2 x 64 x 39 = 5056 in the paper's size."""
        return self.weights.size + self.means.size + self.variances.size

    def log_densities(self, frames: npt.NDArray[np.floating]) -> WideArray:
        """Logarithm of weight times density of every Gaussian.

        Args:
            frames: ``(n, dims)``.

        Returns:
            float64 ``(n, gaussians)``; its logsumexp over the Gaussians is the log-likelihood.
        """
        wide = frames.astype(np.float64)
        with np.errstate(divide="ignore"):  # an adapted weight may be nil
            log_weights = np.log(self.weights)
        constants = -0.5 * (
            np.log(2 * np.pi * self.variances) + np.square(self.means) / self.variances
        ).sum(axis=1)
        quadratic = np.square(wide) @ (-0.5 / self.variances).T
        linear = wide @ (self.means / self.variances).T
        densities: WideArray = log_weights + constants + quadratic + linear
        return densities

    def statistics(self, mfcc: npt.NDArray[np.floating]) -> BaumWelchStatistics:
        """Baum-Welch statistics of a clip; all zero where it has no frames.

        The posteriors (Reynolds et al., equation 7) exist for a block of frames at a time.

        Args:
            mfcc: ``(frames, dims)``.
        """
        n = np.zeros(len(self.weights))
        f = np.zeros_like(self.means)
        s = np.zeros_like(self.means)
        for start in range(0, len(mfcc), _BLOCK_FRAMES):
            block = mfcc[start : start + _BLOCK_FRAMES].astype(np.float64)
            posteriors: WideArray = softmax(self.log_densities(block), axis=1)
            n += posteriors.sum(axis=0)
            f += posteriors.T @ block
            s += posteriors.T @ np.square(block)
        return BaumWelchStatistics(n, f, s)


def fit_background_model(
    clips: Iterable[npt.NDArray[np.floating]],
    n_gaussians: int = N_GAUSSIANS,
    seed: int = 0,
    max_frames: int = MAX_FRAMES,
) -> DiagonalMixture:
    """Fit the mixture by EM, from k-means, on the frames of all clips or a random draw of them.

    Every clip is asked for once, and of a clip that has been read only the drawn frames stay in
    memory, so ``clips`` may compute them as it goes. Deterministic under ``seed`` and for one order
    of the clips.

    Args:
        clips: MFCC of each clip, ``(frames, dims)``.
        n_gaussians: size of the mixture.
        seed: of the draw and of k-means.
        max_frames: where there are more frames in all, this many are drawn, each equally likely.

    Raises:
        CorpusError: fewer frames than Gaussians.
    """
    return fit_mixture(background_frames(clips, seed, max_frames), n_gaussians, seed)


def background_frames(
    clips: Iterable[npt.NDArray[np.floating]], seed: int, max_frames: int = MAX_FRAMES
) -> FloatArray:
    """The frames that :func:`fit_background_model` fits its mixture on.

    Returns:
        float32 ``(at most max_frames, dims)``.
    """
    return draw_frames(clips, max_frames, np.random.default_rng(seed))


def fit_mixture(frames: FloatArray, n_gaussians: int, seed: int) -> DiagonalMixture:
    """EM, from k-means, on all the frames given. Deterministic under ``seed``.

    Args:
        frames: float32 ``(n, dims)``.
        n_gaussians: size of the mixture.
        seed: of k-means.

    Raises:
        CorpusError: fewer frames than Gaussians.
    """
    if len(frames) < n_gaussians:
        raise CorpusError(
            f"a background model of {n_gaussians} Gaussians needs at least as many frames, "
            f"and the clips have {len(frames)}"
        )
    mixture = GaussianMixture(
        n_gaussians, covariance_type="diag", max_iter=EM_ITERATIONS, random_state=seed
    )
    with warnings.catch_warnings(), threadpool_limits(limits=1):
        # k-means on several threads adds up in the order in which they finish, and so rounds; and
        # the products are too thin to gain from more.
        # A likelihood that still grows by little is no matter, nor are fewer distinct frames than
        # Gaussians (clips of digital silence).
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(frames.astype(np.float64))
    return DiagonalMixture(mixture.weights_, mixture.means_, mixture.covariances_)


def draw_frames(
    clips: Iterable[npt.NDArray[np.floating]], max_frames: int, rng: np.random.Generator
) -> FloatArray:
    """Frames drawn at random without replacement, in one pass and with bounded memory.

    Every frame gets a random key, and those with the lowest keys stay (bottom-k sampling).

    Args:
        clips: ``(frames, dims)`` each.
        max_frames: how many to draw; all of them where there are no more.
        rng: source of the keys.

    Returns:
        float32 ``(at most max_frames, dims)``, in the order in which they came.
    """
    held = np.zeros((0, 0), np.float32)
    held_keys = np.zeros(0)
    new: list[FloatArray] = []
    new_keys: list[WideArray] = []
    limit, n_new = np.inf, 0

    def settle() -> None:
        nonlocal held, held_keys, limit, n_new
        frames = np.concatenate([held, *new] if held.size else new)
        keys = np.concatenate([held_keys, *new_keys])
        if len(keys) > max_frames:
            lowest = np.sort(np.argpartition(keys, max_frames - 1)[:max_frames])
            frames, keys = frames[lowest], keys[lowest]
            limit = keys.max()
        held, held_keys, n_new = frames, keys, 0
        new.clear()
        new_keys.clear()

    for mfcc in clips:
        keys = rng.random(len(mfcc))
        low = keys < limit
        new.append(mfcc[low].astype(np.float32))
        new_keys.append(keys[low])
        n_new += len(new[-1])
        if n_new > max_frames:
            settle()
    if new:
        settle()
    return held
