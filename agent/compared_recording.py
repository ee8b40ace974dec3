"""A recording that takes part in a comparison: from a file, or out of a gallery."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.enrolment import LONGEST_CLIP_S, enrol_clip, sha256_of_file
from agent.gallery_view import clip_to_json
from agent.report.file_facts import MeasuredFile, measure_file
from agent.signal_checks import WARNINGS
from agent.signal_quality import OUTSIDE
from export.engine import Engine
from model.enrolled_device import EnrolledClip
from model.errors import AudioError


@dataclass(frozen=True, eq=False)
class ComparedRecording:
    """One recording.

    Attributes:
        name: as given; of an enrolled one the file's, without folders.
        clip: its embedding and features.
        measured: facts and spectra of the file; ``None``: enrolled, its audio is not kept.
    """

    name: str
    clip: EnrolledClip
    measured: MeasuredFile | None = None

    @property
    def band_hz(self) -> float:
        """Highest frequency that it has sound at; of an enrolled one, that it can have."""
        if self.measured is not None and self.measured.facts.bandwidth_hz is not None:
            return self.measured.facts.bandwidth_hz
        return self.clip.sample_rate_hz / 2

    @property
    def sound(self) -> str:
        """The same for files that hold the same sound, such as a wav and the flac made of it."""
        return hashlib.sha256(self.clip.load_features().tobytes()).hexdigest()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is wrong with it, in sentences."""
        found = [WARNINGS.get(code, code) for code in self.clip.warnings]
        if self.clip.duration_s >= LONGEST_CLIP_S:
            found.append(f"long: only its first {LONGEST_CLIP_S:g} s are used")
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {**clip_to_json(self.clip), "file": self.name}


def read_recording(engine: Engine, path: Path) -> ComparedRecording:
    """Read and measure a file.

    Args:
        engine: the model.
        path: audio file.

    Raises:
        AudioError: not readable, empty, NaN, digital silence, shorter than one window, out of the
            range that the model was calibrated for, or changed meanwhile.
        ModelError: the model gives values that are not numbers.
    """
    sha256 = sha256_of_file(path)
    clip = enrol_clip(engine, path, sha256)
    # `classify` says nothing about such recordings, so there is nothing to compare, either.
    outside = [code for code in clip.warnings if code in OUTSIDE]
    if outside:
        raise AudioError(f"{path}: {'; '.join(WARNINGS[code] for code in outside)}")
    measured = measure_file(path, str(path), engine.metadata.front_end)
    if measured.facts.sha256 != sha256:
        raise AudioError(f"{path}: changed while it was read")
    return ComparedRecording(str(path), clip, measured)
