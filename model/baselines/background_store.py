"""Background models that are fitted once and kept: several methods need the same one."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import sklearn

from model.baselines.baseline import BaselineClip
from model.baselines.universal_background import (
    EM_ITERATIONS,
    MAX_FRAMES,
    N_GAUSSIANS,
    DiagonalMixture,
    background_frames,
    fit_mixture,
)
from model.features import FloatArray
from model.files import make_folder, replacing

_FORMAT = 1  #: of the files; another number makes all of them unknown
_PARTS = ("weights", "means", "variances")
#: What numpy and zipfile raise on a file that is not there or was damaged.
_UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    EOFError,
    RuntimeError,  # asks for a password, or knows no such compression
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class BackgroundStore:
    """Background models in a folder, each under the hash of all that decides it.

    What is read is the very model that fitting would give: the hash is over the drawn frames and
    the settings. Reading saves EM, not the pass over the clips. Processes may share a folder.

    Attributes:
        folder: where they are kept, made when needed; ``None`` keeps nothing.
    """

    folder: Path | None

    def fitted(
        self,
        clips: Iterable[npt.NDArray[np.floating]],
        n_gaussians: int = N_GAUSSIANS,
        seed: int = 0,
        max_frames: int = MAX_FRAMES,
    ) -> DiagonalMixture:
        """What :func:`model.baselines.universal_background.fit_background_model` gives.

        Args:
            clips: MFCC of each clip, ``(frames, dims)``; each is asked for once.
            n_gaussians: size of the mixture.
            seed: of the draw and of k-means.
            max_frames: frames that it is fitted on at most.

        Raises:
            CorpusError: fewer frames than Gaussians.
            DevrecError: the folder cannot be written to.
        """
        frames = background_frames(clips, seed, max_frames)
        if self.folder is None:
            return fit_mixture(frames, n_gaussians, seed)
        path = self.folder / f"ubm-{_hash(frames, n_gaussians, seed)}.npz"
        kept = _read(path, (n_gaussians, *frames.shape[1:]))
        if kept is not None:
            return kept
        mixture = fit_mixture(frames, n_gaussians, seed)
        _write(path, mixture)
        return mixture


NOT_KEPT = BackgroundStore(None)  #: fits every time


@dataclass(frozen=True)
class BackgroundFit:
    """How a method gets its background model.

    Attributes:
        n_gaussians: its size.
        seed: of the draw and of k-means.
        max_frames: frames that it is fitted on at most.
        store: where it is kept.
    """

    n_gaussians: int
    seed: int
    max_frames: int
    store: BackgroundStore

    def fit(self, clips: Sequence[BaselineClip]) -> DiagonalMixture:
        """That of clips, each of which is asked for once; see :meth:`BackgroundStore.fitted`."""
        mfcc = (clip.mfcc for clip in clips)
        return self.store.fitted(mfcc, self.n_gaussians, self.seed, self.max_frames)


def _hash(frames: FloatArray, n_gaussians: int, seed: int) -> str:
    """sha256, hex, of the frames and of all else that decides the mixture."""
    settings = {
        "format": _FORMAT,
        "shape": frames.shape,
        "gaussians": n_gaussians,
        "seed": seed,
        "iterations": EM_ITERATIONS,
        "scikit-learn": sklearn.__version__,  # another one may round or stop differently
    }
    digest = hashlib.sha256(json.dumps(settings).encode())
    digest.update(frames.astype("<f4").tobytes())
    return digest.hexdigest()


def _read(path: Path, shape: tuple[int, ...]) -> DiagonalMixture | None:
    """The mixture in a file, if it is there and whole."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:  # numpy trusts an array's header before its checksum
                return None
        with np.load(path, allow_pickle=False) as arrays:
            weights, means, variances = (arrays[part] for part in _PARTS)
    except _UNREADABLE:
        return None
    if weights.shape != shape[:1] or means.shape != shape or variances.shape != shape:
        return None
    if any(part.dtype != np.float64 for part in (weights, means, variances)):
        return None
    sound = np.isfinite(means).all() and (weights >= 0).all() and (variances > 0).all()
    sound = sound and np.isfinite(variances).all() and abs(weights.sum() - 1) < 1e-6
    return DiagonalMixture(weights, means, variances) if sound else None


def _write(path: Path, mixture: DiagonalMixture) -> None:
    make_folder(path.parent)
    with replacing(path) as temporary:
        np.savez(temporary, **{part: getattr(mixture, part) for part in _PARTS})
