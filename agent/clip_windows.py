"""Windows of real recordings, to compare engines on and to measure ranges with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from model.audio import audio_files_in, read_clip
from model.errors import AudioError
from model.features import FloatArray, FrontEndConfig, extract, windows_of

WINDOWS = 128  #: enough to meet loud, quiet, speech and pause; a second or two of an engine's time


def windows_of_clips(
    paths: Iterable[Path], front_end: FrontEndConfig, length: int, limit: int = WINDOWS
) -> FloatArray:
    """Windows spread evenly over recordings.

    Args:
        paths: audio files, and folders of them.
        front_end: config of the features.
        length: frames a window.
        limit: windows in all, at most.

    Returns:
        float32 ``(n, length, 73)``, without overlap within a clip; no window for no paths.

    Raises:
        AudioError: a file that cannot be read, or none that holds a window.
    """
    empty = np.zeros((0, length, front_end.n_features), np.float32)
    given = list(paths)
    if not given:
        return empty
    files = [f for path in given for f in (audio_files_in(path) if path.is_dir() else [path])]
    if not files:
        raise AudioError("no audio files in the folders given")
    chosen = files[:: max(1, len(files) // limit)]
    share = -(-limit // len(chosen))  # windows a clip, rounded up
    parts = [empty]
    for file in chosen:
        frames = extract(read_clip(file, front_end.sample_rate_hz), front_end)
        windows = windows_of(frames, length, length)
        parts.append(windows[:: max(1, len(windows) // share)][:share])
    found = np.concatenate(parts)
    if not len(found):
        raise AudioError(f"no recording is as long as one window of {length} frames")
    even = np.linspace(0, len(found) - 1, min(limit, len(found))).round().astype(int)
    picked: FloatArray = found[even]
    return picked
