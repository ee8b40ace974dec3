"""What a gallery knows about an enrolled device: its clips, their embeddings and features."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
import numpy.typing as npt

from model.embedding_scoring import ClipEmbedding
from model.errors import DevrecError, GalleryError
from model.features import WINDOW_FRAMES, FrontEndConfig
from model.mel import DoubleArray

HalfArray = npt.NDArray[np.float16]

UNKNOWN = "unknown"  #: the answer that names no device; so no device may be called it
LONGEST_NAME = 100  #: characters
_HALF_MAX = float(np.finfo(np.float16).max)
_SHA256 = re.compile(r"[0-9a-f]{64}")


def checked_name(name: str) -> str:
    """A device's name as it is stored: one Unicode form (NFC) for what looks the same.

    Raises:
        GalleryError: empty, too long, ``unknown``, or with characters that do not print, separate
            paths or cannot be seen at an end.
    """
    name = unicodedata.normalize("NFC", name)
    if not name:
        raise GalleryError("a device's name must not be empty")
    if len(name) > LONGEST_NAME:
        raise GalleryError(
            f"a device's name has at most {LONGEST_NAME} characters, not {len(name)}"
        )
    if not name.isprintable():  # refuses what is invalid in UTF-8, too
        raise GalleryError(f"device name {name!a}: holds characters that do not print")
    if "/" in name or "\\" in name:
        raise GalleryError(f"device name {name}: must not hold / or \\")
    if name != name.strip():
        raise GalleryError(f"device name '{name}': begins or ends with a space")
    if name_key(name) == UNKNOWN:
        raise GalleryError(f"a device cannot be called {name}: that is the answer for no device")
    return name


def name_key(name: str) -> str:
    """Equal for names that differ in upper and lower case alone, which are one device's."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def natural_key(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sorts ``phone 2`` before ``phone 10``, and upper case with lower case."""
    parts = re.split(r"([0-9]+)", name_key(name))
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part)


def to_half(features: npt.NDArray[np.floating[Any]]) -> HalfArray:
    """Features as they are stored: values beyond float16's range become its largest.

    Raises:
        ValueError: one is not a number.
    """
    if not np.isfinite(features).all():
        raise ValueError("features hold values that are not numbers")
    half: HalfArray = np.clip(features, -_HALF_MAX, _HALF_MAX).astype(np.float16)
    return half


@dataclass(frozen=True)
class ModelIdentity:
    """Which model made embeddings: only those of one model can be compared.

    Attributes:
        sha256: hex digest of the model's file.
        front_end: how samples became frames.
        embedding_dims: values of an embedding.
        window_frames: frames of one window.
    """

    sha256: str
    front_end: FrontEndConfig
    embedding_dims: int
    window_frames: int = WINDOW_FRAMES

    def __post_init__(self) -> None:
        if not isinstance(self.sha256, str) or not _SHA256.fullmatch(self.sha256):
            raise ValueError("the model's sha256 is not one")
        for name in ("embedding_dims", "window_frames"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"the model's {name} is out of range")

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; :meth:`from_dict` reads it back."""
        return {
            "sha256": self.sha256,
            "front_end": self.front_end.to_dict(),
            "embedding_dims": self.embedding_dims,
            "window_frames": self.window_frames,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelIdentity:
        """Build an identity from :meth:`to_dict`'s mapping.

        Raises:
            ValueError: keys or values do not fit.
        """
        values = dict(values)
        try:
            values["front_end"] = FrontEndConfig.from_dict(dict(values["front_end"]))
            return cls(**values)
        except (KeyError, TypeError, DevrecError) as error:
            raise ValueError(f"model: {error}") from error


@dataclass(frozen=True, eq=False)
class EnrolledClip:
    """One recording of a device, without its audio.

    Attributes:
        source: name of the file, without folders.
        sha256: hex digest of the file.
        duration_s: length in seconds of what was used.
        sample_rate_hz: rate of the file.
        warnings: codes of what is wrong with the recording.
        embedding: what the network makes of it.
        load_features: gives its front-end features, float16 ``(frames, 73)``, for another model
            with the same front end. From a file they are read when they are asked for.

    Raises:
        ValueError: a value out of range, or not a number.
    """

    source: str
    sha256: str
    duration_s: float
    sample_rate_hz: int
    warnings: tuple[str, ...]
    embedding: ClipEmbedding
    load_features: Callable[[], HalfArray]

    def __post_init__(self) -> None:
        mean, windows = self.embedding.mean, self.embedding.windows
        right = {
            "source": isinstance(self.source, str) and "/" not in self.source,
            "sha256": isinstance(self.sha256, str) and bool(_SHA256.fullmatch(self.sha256)),
            "duration_s": _is_positive(self.duration_s),
            "sample_rate_hz": type(self.sample_rate_hz) is int and self.sample_rate_hz > 0,
            "warnings": all(isinstance(code, str) for code in self.warnings),
            "embedding": mean.ndim == 1 and bool(np.isfinite(mean).all()),
            "windows": _is_positive(windows) and windows >= 1,
        }
        for name, fine in right.items():
            if not fine:
                raise ValueError(f"a clip's {name} is out of range")


def _is_positive(value: object) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf  # type: ignore[operator]


@dataclass(frozen=True, eq=False)
class EnrolledDevice:
    """A device of a gallery.

    Attributes:
        name: as :func:`checked_name` gives it.
        created: when it was enrolled, UTC, whole seconds.
        updated: when its clips or embeddings were last written, likewise.
        model: what made the embeddings.
        clips: its recordings, at least one, no two of one file.

    Raises:
        ValueError: no clip, one twice, or one whose embedding the model cannot have made.
        GalleryError: a name that is none.
    """

    name: str
    created: datetime
    updated: datetime
    model: ModelIdentity
    clips: tuple[EnrolledClip, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or self.name != checked_name(self.name):
            raise ValueError("a device's name is out of range")
        if not self.clips:
            raise ValueError("a device needs at least one clip")
        if len({clip.sha256 for clip in self.clips}) < len(self.clips):
            raise ValueError("a device holds a clip twice")
        for clip in self.clips:
            if clip.embedding.mean.shape != (self.model.embedding_dims,):
                raise ValueError("a clip's embedding has another size than the model's")

    @property
    def embeddings(self) -> tuple[ClipEmbedding, ...]:
        """Those of the clips, in order."""
        return tuple(clip.embedding for clip in self.clips)

    @property
    def duration_s(self) -> float:
        """Seconds of audio in all."""
        return sum(clip.duration_s for clip in self.clips)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Codes of what is wrong with any clip, sorted."""
        return tuple(sorted({code for clip in self.clips for code in clip.warnings}))

    @property
    def mean_log_mel(self) -> DoubleArray:
        """Long-term mean of the log mel energies (natural logarithm) over the frames of all clips.

        Returns:
            float64 ``(n_mels,)``, ``(34,)`` by default.

        Raises:
            GalleryError: the features cannot be read any more.
        """
        front_end = self.model.front_end
        total, count = np.zeros(front_end.n_mels), 0
        for clip in self.clips:
            mels = clip.load_features()[:, 3 * front_end.n_static :].astype(np.float64)
            if front_end.prefbank == "linear":
                mels = np.log(np.maximum(mels, front_end.mel_floor))
            total += mels.sum(axis=0)
            count += len(mels)
        mean: DoubleArray = total / count
        return mean


def utc_now() -> datetime:
    """Now, UTC, whole seconds."""
    return datetime.now(timezone.utc).replace(microsecond=0)
