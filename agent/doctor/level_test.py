"""Listening to an input for a second: does it deliver, and is what it delivers sound?"""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.capture.inputs import InputDevice, find_input, portaudio
from agent.signal_checks import SignalChecks
from model.audio import AudioFile
from model.errors import CaptureError

LENGTH_S = 1.0  #: of what is judged
SETTLE_S = 0.2  #: thrown away first: many inputs begin with a click or with zeros
FIRST_S = 3.0  #: an input that is woken up may be this late with its first sample
BLOCK_S = 0.02

Samples = npt.NDArray[np.float32]


def level(request: dict[str, Any]) -> dict[str, Any]:
    """Open an input and measure its level; for :mod:`agent.doctor.child`.

    Args:
        request: ``device`` as :func:`agent.capture.inputs.find_input` takes it; ``rate_hz``, or
            ``None`` for the input's own; ``is_file`` where ``device`` is an audio file instead.

    Returns:
        ``name``, ``sample_rate_hz``, ``level_dbfs`` (``None`` for no signal at all), ``silent``
        (all samples are zero) and ``warnings``, codes of :mod:`agent.signal_checks`.

    Raises:
        CaptureError: unknown or ambiguous, cannot be opened, delivers nothing, or stops.
        AudioError: not a readable audio file.
    """
    checks = SignalChecks()
    if request["is_file"]:
        with AudioFile(Path(request["device"])) as audio:
            name, rate = audio.name, audio.sample_rate_hz
            checks.accept(audio.read(round(LENGTH_S * rate)))
    else:
        device = find_input(request["device"])
        name, rate = device.name, request["rate_hz"] or device.native_rate_hz
        checks.accept(_listen(device, rate))
    finite = math.isfinite(checks.level_dbfs)
    return {
        "name": name,
        "sample_rate_hz": rate,
        "level_dbfs": checks.level_dbfs if finite else None,
        "silent": checks.digital_silence,
        "warnings": checks.warnings(),
    }


def _listen(device: InputDevice, rate: int) -> Samples:
    """``LENGTH_S`` of samples."""
    sounddevice = portaudio()
    blocks: list[Samples] = []
    wanted = math.ceil((SETTLE_S + LENGTH_S) / BLOCK_S)
    enough = threading.Event()
    first = threading.Event()

    def heard(block: Samples, frames: int, when: object, status: object) -> None:
        if len(blocks) < wanted:
            blocks.append(block[:, 0].copy())
            first.set()
        else:
            enough.set()

    def finished() -> None:
        first.set()
        enough.set()

    try:
        stream = sounddevice.InputStream(
            device=device.index,
            samplerate=rate,
            blocksize=max(1, round(BLOCK_S * rate)),
            channels=1,
            dtype="float32",
            callback=heard,
            finished_callback=finished,
        )
        stream.start()
    except (sounddevice.PortAudioError, ValueError) as error:
        raise CaptureError(f"input {device.name!r} cannot be opened: {error}") from error
    began = time.monotonic()
    first.wait(FIRST_S)
    if not blocks:
        raise CaptureError(
            f"input {device.name!r} delivers nothing: no sample in {time.monotonic() - began:.1f} s"
        )
    enough.wait(2 * (SETTLE_S + LENGTH_S))
    if len(blocks) < wanted:
        heard_s = len(blocks) * BLOCK_S
        raise CaptureError(f"input {device.name!r} stops after {heard_s:.1f} s")
    # The stream is left open: closing one whose device is going may block; the process ends here.
    return np.concatenate(blocks[math.ceil(SETTLE_S / BLOCK_S) :])
