"""Enrolled devices made up for tests: random features and embeddings, no audio and no model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from model.embedding_scoring import ClipEmbedding
from model.enrolled_device import EnrolledClip, EnrolledDevice, ModelIdentity, to_half, utc_now
from model.features import FrontEndConfig

DIMS = 8
MODEL = ModelIdentity("a" * 64, FrontEndConfig(), DIMS)
OTHER_MODEL = ModelIdentity("b" * 64, FrontEndConfig(), DIMS)


def made_up_clip(source: str, frames: int = 130) -> EnrolledClip:
    """A clip of which the name decides everything."""
    rng = np.random.default_rng(list(source.encode()))
    features = to_half(rng.normal(size=(frames, 73)))
    return EnrolledClip(
        source=source,
        sha256=hashlib.sha256(source.encode()).hexdigest(),
        duration_s=frames * 0.008,
        sample_rate_hz=32_000,
        warnings=("quiet",) if "quiet" in source else (),
        embedding=ClipEmbedding(rng.normal(size=DIMS), 1.5),
        load_features=lambda: features,
    )


def made_up_device(
    name: str, *sources: str, model: ModelIdentity = MODEL, frames: int = 130
) -> EnrolledDevice:
    """A device with a clip for each source."""
    now = utc_now()
    return EnrolledDevice(
        name, now, now, model, tuple(made_up_clip(source, frames) for source in sources)
    )


def content(device: EnrolledDevice) -> dict[str, object]:
    """All that a device says, features among it, to compare with ``==``."""
    return {
        "name": device.name,
        "times": (device.created, device.updated),
        "model": device.model,
        "clips": [
            (
                clip.source,
                clip.sha256,
                clip.duration_s,
                clip.sample_rate_hz,
                clip.warnings,
                clip.embedding.windows,
                clip.embedding.mean.tobytes(),
                clip.load_features().tobytes(),
            )
            for clip in device.clips
        ],
    }


def files_in(folder: Path) -> Mapping[str, bytes]:
    """Every file but the lock."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}
