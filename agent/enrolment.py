"""From recordings of a device to what a gallery keeps of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.classification import CLASSIFY_HOP_FRAMES
from agent.pipeline import WINDOWS_PER_CALL
from agent.recording_checks import check_usable, recording_warnings
from agent.signal_checks import SignalChecks
from agent.signal_quality import SignalQuality
from export.engine import Engine
from model.audio import AudioFile, audio_files_in
from model.embedding_scoring import ClipEmbedding, clip_embedding
from model.enrolled_device import EnrolledClip, to_half
from model.errors import AudioError, GalleryError, ModelError
from model.features import FloatArray, FrontEnd, windows_of
from model.files import file_sha256
from model.gallery import Existing, Gallery
from model.resample import Resampler

LONGEST_CLIP_S = 600.0  #: of a recording, its beginning: more makes files long, not devices clearer
THIN_S = 5.0  #: less audio of a device in all is said to be little


def embed(engine: Engine, features: npt.NDArray[np.floating[Any]]) -> ClipEmbedding:
    """A clip's embedding, from windows that overlap by half.

    Args:
        engine: the model.
        features: float ``(frames, 73)``, at least one window of frames.

    Raises:
        ValueError: fewer frames.
        ModelError: the model gives values that are not numbers.
    """
    length = engine.metadata.window_frames
    windows = windows_of(features.astype(np.float32, copy=False), CLASSIFY_HOP_FRAMES, length)
    parts = [
        engine.run(np.ascontiguousarray(windows[start : start + WINDOWS_PER_CALL])).embedding
        for start in range(0, len(windows), WINDOWS_PER_CALL)
    ]
    if not parts:
        raise ValueError(f"{len(features)} frames are fewer than one window")
    found = clip_embedding(np.concatenate(parts), CLASSIFY_HOP_FRAMES / length)
    if not np.isfinite(found.mean).all():
        raise ModelError("the model's embeddings hold values that are not numbers")
    return found


def enrol_clip(engine: Engine, path: Path, sha256: str) -> EnrolledClip:
    """What a gallery keeps of one recording; of a long one its first :data:`LONGEST_CLIP_S`.

    Args:
        engine: the model.
        path: audio file.
        sha256: hex digest of the file.

    Raises:
        AudioError: not readable, empty, NaN, digital silence, or shorter than one window.
        ModelError: the model gives values that are not numbers.
    """
    config = engine.metadata.front_end
    checks, front_end = SignalChecks(), FrontEnd(config)
    frames: list[FloatArray] = []
    with AudioFile(path) as audio:
        resampler = Resampler(audio.sample_rate_hz, config.sample_rate_hz)
        longest = round(LONGEST_CLIP_S * audio.sample_rate_hz)
        for block in audio.blocks():
            block = block[: longest - (audio.samples_read - len(block))]
            checks.accept(block)
            frames.append(front_end.accept(resampler.accept(block)))
            if audio.samples_read >= longest:
                break
        frames += [front_end.accept(resampler.flush()), front_end.flush()]
        info = audio.info
    features = np.concatenate(frames)
    windows = windows_of(features, CLASSIFY_HOP_FRAMES, engine.metadata.window_frames)
    check_usable(str(path), info, len(windows), checks, engine.metadata)
    embedding = embed(engine, features)
    open_set = engine.metadata.open_set
    warnings = recording_warnings(
        info,
        len(windows),
        checks,
        narrowband=resampler.narrowband,
        another_kind=open_set is not None and open_set.is_another_kind(embedding.mean),
    )
    quality = SignalQuality(config)
    for window in windows:
        quality.accept(window)
    warnings += quality.outside(checks)
    half = to_half(features)
    return EnrolledClip(
        source=_file_name(path),
        sha256=sha256,
        duration_s=min(info.duration_s, LONGEST_CLIP_S),
        sample_rate_hz=info.sample_rate_hz,
        warnings=tuple(warnings),
        embedding=embedding,
        load_features=lambda: half,
    )


def sha256_of_file(path: Path) -> str:
    """Hex digest.

    Raises:
        AudioError: it cannot be read.
    """
    if not path.exists():
        raise AudioError(f"{path}: no such file")
    try:
        return file_sha256(path)
    except OSError as error:
        raise AudioError(f"{path}: {error.strerror or error}") from error


def _file_name(path: Path) -> str:
    """Without folders, which are nobody's business, and without bytes that are no text."""
    return os.fsencode(path.name).decode("utf-8", "replace")


def recordings_in(paths: Iterable[Path]) -> list[Path]:
    """Files, and all audio in folders.

    Raises:
        AudioError: a folder without any.
    """
    found: list[Path] = []
    for path in paths:
        files = audio_files_in(path) if path.is_dir() else [path]
        if not files:
            raise AudioError(f"{path}: no audio files in this folder")
        found += files
    return found


@dataclass
class EnrolmentClips:
    """What became of the recordings of a device.

    Attributes:
        usable: those to enrol, in order.
        left_out: files that were given twice or are there already, and why in words.
        failed: files that cannot be used, and why in words.
    """

    usable: list[EnrolledClip] = field(default_factory=list)
    left_out: list[tuple[Path, str]] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)


def enrol_clips(
    engine: Engine,
    files: Iterable[Path],
    gallery: Gallery,
    name: str,
    existing: Existing,
    progress: Callable[[], None] = lambda: None,
) -> EnrolmentClips:
    """Prepare recordings of a device for its gallery, which is not changed.

    Args:
        engine: the model.
        files: audio files.
        gallery: where they will go.
        name: of the device.
        existing: what will happen to a device of that name.
        progress: called after every file.

    Raises:
        GalleryError: a recording is another device's.
        ModelError: the model gives values that are not numbers.
    """
    result = EnrolmentClips()
    given: dict[str, Path] = {}
    device = gallery.device(name)
    for path in files:
        try:
            sha256 = sha256_of_file(path)
            owner = gallery.owner_of(sha256)
            if owner is not None and owner is not device:
                raise GalleryError(f"{path}: is enrolled already, as {owner.name}")
            if sha256 in given:
                result.left_out.append((path, f"the same recording as {given[sha256]}"))
            elif owner is not None and existing == "add":
                result.left_out.append((path, f"is enrolled already, as {owner.name}"))
            else:
                result.usable.append(enrol_clip(engine, path, sha256))
            given.setdefault(sha256, path)
        except AudioError as error:
            result.failed.append((path, str(error).removeprefix(f"{path}: ")))
        progress()
    return result
