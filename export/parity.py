"""Do two engines compute the same? Differences, bounds, and windows to compare on."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from export.engine import Scores
from model.errors import ModelError, ParityError
from model.features import FloatArray

#: Key of the record in a model file's metadata.
RECORD_KEY = "devrec.parity"
RANDOM_WINDOWS = 32


@dataclass(frozen=True)
class Bounds:
    """How far an engine may be from the PyTorch network.

    Attributes:
        logits: largest difference, as a share of the largest logit.
        embedding: likewise of the embedding.
        top1: smallest share of windows with the same best device.
    """

    logits: float
    embedding: float
    top1: float


#: By precision. float32 engines differ by the order of their sums; half has 11 bits of mantissa and
#: int8 operands 8, so one operand is off by up to 2**-12 and 2**-8 of its range, and the bounds
#: leave room for that to add up over the layers. Best devices may swap where two are all but tied,
#: as happens on random windows. ``docs/performance.md`` has what was measured.
BOUNDS: Mapping[str, Bounds] = {
    "fp32": Bounds(logits=1e-3, embedding=1e-3, top1=1.0),
    "fp16": Bounds(logits=1e-2, embedding=2e-2, top1=0.95),
    "int8": Bounds(logits=1e-1, embedding=1.5e-1, top1=0.90),
}


@dataclass(frozen=True)
class Difference:
    """What lies between two sets of scores.

    Attributes:
        windows: how many were compared.
        logits: largest difference of a logit, as a share of the largest logit.
        embedding: likewise of the embedding.
        top1: share of windows with the same best device.
    """

    windows: int
    logits: float
    embedding: float
    top1: float

    def within(self, bounds: Bounds) -> bool:
        """Whether all three hold; NaN never does."""
        return (
            self.logits <= bounds.logits
            and self.embedding <= bounds.embedding
            and self.top1 >= bounds.top1
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)


def difference(reference: Scores, scores: Scores) -> Difference:
    """Compare scores of the same windows.

    Raises:
        ModelError: other shapes: the engines do not answer the same question.
    """
    if (
        reference.logits.shape != scores.logits.shape
        or reference.embedding.shape != scores.embedding.shape
    ):
        raise ModelError(
            f"the engines give {scores.logits.shape[1:]} logits and {scores.embedding.shape[1:]} "
            f"embedding values, not {reference.logits.shape[1:]} and "
            f"{reference.embedding.shape[1:]}"
        )
    agree = reference.logits.argmax(axis=1) == scores.logits.argmax(axis=1)
    return Difference(
        windows=len(agree),
        logits=_relative(reference.logits, scores.logits),
        embedding=_relative(reference.embedding, scores.embedding),
        top1=float(agree.mean()),
    )


def _relative(reference: FloatArray, values: FloatArray) -> float:
    return float(np.abs(values - reference).max() / max(1e-6, float(np.abs(reference).max())))


def check_parity(found: Difference, precision: str, where: str) -> None:
    """Raise when a difference exceeds the bounds of a precision.

    Raises:
        ParityError: it does; the message has measure and bound.
    """
    bounds = BOUNDS[precision]
    if not found.within(bounds):
        raise ParityError(
            f"{where} the engine differs by {found.logits:.2g} of the largest logit (bound "
            f"{bounds.logits:g}), {found.embedding:.2g} of the embedding ({bounds.embedding:g}), "
            f"same best device on {100 * found.top1:.0f} % ({100 * bounds.top1:.0f} %)"
        )


@dataclass(frozen=True)
class ParityRecord:
    """PyTorch's answers on random windows, carried by the model file.

    So every engine made from the file can be compared with PyTorch itself, on any machine, also one
    without torch. The windows are drawn again from the seed: no recording travels with a model.

    Attributes:
        seed: of the windows.
        mean: float32 ``(73,)``, mean of each feature over the training windows.
        deviation: float32 ``(73,)``, its standard deviation.
        frames: of each window.
        scores: PyTorch's answers, in order.
    """

    seed: int
    mean: FloatArray
    deviation: FloatArray
    frames: int
    scores: Scores

    @classmethod
    def make(
        cls,
        mean: FloatArray,
        deviation: FloatArray,
        network: Callable[[FloatArray], Scores],
        frames: int,
        seed: int = 0,
        count: int = RANDOM_WINDOWS,
    ) -> ParityRecord:
        """Draw ``count`` windows of ``frames`` frames and record the network's answers."""
        windows = random_windows(mean, deviation, frames, count, seed)
        return cls(seed, mean, deviation, frames, network(windows))

    def windows(self) -> FloatArray:
        """The windows that the answers belong to, float32 ``(n, frames, 73)``."""
        count = len(self.scores.logits)
        return random_windows(self.mean, self.deviation, self.frames, count, self.seed)

    def to_property(self) -> str:
        """For the model file's metadata."""
        parts = {
            "mean": self.mean,
            "deviation": self.deviation,
            "logits": self.scores.logits,
            "embedding": self.scores.embedding,
        }
        encoded: dict[str, Any] = {name: _encode(values) for name, values in parts.items()}
        return json.dumps({"seed": self.seed, "count": len(self.scores.logits), **encoded})

    @classmethod
    def from_properties(
        cls, properties: Mapping[str, str], source: str, window_shape: tuple[int, int]
    ) -> ParityRecord:
        """Read what :meth:`to_property` wrote, for windows of a shape (frames, features).

        Raises:
            ModelError: there is none, or it is damaged.
        """
        if RECORD_KEY not in properties:
            raise ModelError(
                f"{source}: carries no answers of PyTorch to compare engines with; "
                "train it again with this version"
            )
        try:
            values = json.loads(properties[RECORD_KEY])
            frames, n_features = window_shape
            seed, count = (int(values[name]) for name in ("seed", "count"))
            logits, embedding, mean, deviation = (
                _decode(values[name]) for name in ("logits", "embedding", "mean", "deviation")
            )
            if not 0 <= seed < 2**32 or len(mean) != n_features or len(deviation) != n_features:
                raise ValueError("seed or features out of range")
            scores = Scores(logits.reshape(count, -1), embedding.reshape(count, -1))
            return cls(seed, mean, deviation, frames, scores)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ModelError(f"{source}: damaged answers of PyTorch: {error}") from error


def _encode(values: FloatArray) -> str:
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()


def _decode(text: str) -> FloatArray:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)


def random_windows(
    mean: FloatArray, deviation: FloatArray, frames: int, count: int, seed: int
) -> FloatArray:
    """Windows of noise with the mean and spread of real features, slowly changing like speech.

    Args:
        mean: ``(73,)``.
        deviation: ``(73,)``.
        frames: frames a window.
        count: windows.
        seed: the same windows for the same seed, in every version of numpy (the frozen generator).

    Returns:
        float32 ``(count, frames, 73)``.
    """
    source = np.random.RandomState(seed)
    offset = source.standard_normal((count, 1, len(mean)))  # a window's own colour
    steps: npt.NDArray[np.float64] = source.standard_normal((count, frames, len(mean)))
    for t in range(1, frames):
        steps[:, t] = 0.9 * steps[:, t - 1] + (1 - 0.9**2) ** 0.5 * steps[:, t]
    return (mean + deviation * (0.7 * offset + 0.7 * steps)).astype(np.float32)
