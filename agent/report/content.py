"""Everything that a report shows, filled by the commands; nothing here computes anything.

Likelihood ratios are log10 throughout; where a model has no calibrated ones, they are ``None`` and
the page says so. Names of files and devices are shown as they are: the page escapes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from agent.classification import Candidate, WindowScore
from agent.report.file_facts import MeasuredFile
from model.likelihood_ratio import LrBounds
from model.likelihood_ratio_validation import LrFigures
from model.mel import DoubleArray

CANDIDATES_SHOWN = 8  #: rows of a table of candidates


@dataclass(frozen=True, eq=False)
class ReferenceSpectrum:
    """How a candidate's training or enrolment recordings sound on average.

    Attributes:
        device: name of the candidate.
        mean_log_mel: float64 ``(n_mels,)``, natural logarithm of the mel energies of the model's
            front end, mean over frames, less the mean over bands, as
            :class:`agent.report.spectra.MelSpectrum` has it.
    """

    device: str
    mean_log_mel: DoubleArray


@dataclass(frozen=True)
class Verdict:
    """The answer for one file.

    Attributes:
        device: the device named; ``None``: unknown.
        nearest: the best candidate, whether it is named or not.
        known_devices: number of devices that the answer was chosen from.
        windows: windows behind the answer.
        windows_agreeing: windows whose own best device is ``nearest``.
        threshold_log10_lr: log10 LR from which a device is named; ``None``: one always is.
        false_acceptance: share of recordings by unknown devices that reach the threshold, as
            measured when the threshold was chosen, 0 to 1.
        bounds: log10 LRs that the validation's trials support.
        outside: sentences on what puts the recording out of the range that was calibrated; then
            nothing is said about its device.
    """

    device: str | None
    nearest: Candidate
    known_devices: int
    windows: int
    windows_agreeing: int
    threshold_log10_lr: float | None = None
    false_acceptance: float | None = None
    bounds: LrBounds | None = None
    outside: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelFigure:
    """A figure out of the model card.

    Attributes:
        name: what was measured ("clips right, leaving one clip out").
        value: with its unit, ready to be shown ("160 of 160").
        data: what it was measured on.
    """

    name: str
    value: str
    data: str


@dataclass(frozen=True)
class GalleryFacts:
    """The gallery that took part.

    Attributes:
        name: its file or folder.
        sha256: of its content, hex; ``None`` if not known.
        devices: number of enrolled devices.
        clips: number of recordings that they were enrolled with.
    """

    name: str
    sha256: str | None
    devices: int
    clips: int


@dataclass(frozen=True)
class ModelFacts:
    """The model card in short.

    Attributes:
        name: of the model or its file.
        sha256: of the model file, hex.
        devices: the classes, as the model names them.
        corpus: what it was trained on, one sentence; simulated devices are called simulated.
        training: further rows of setting and value.
        figures: what was measured, among them the false acceptance rate of the threshold.
        limits: sentences on what this model cannot do.
        gallery: enrolled devices; ``None``: no gallery took part.
    """

    name: str
    sha256: str
    devices: tuple[str, ...]
    corpus: str
    training: tuple[tuple[str, str], ...] = ()
    figures: tuple[ModelFigure, ...] = ()
    limits: tuple[str, ...] = ()
    gallery: GalleryFacts | None = None


@dataclass(frozen=True)
class HowMade:
    """How the report came about.

    Attributes:
        program_version: of devrec-agent.
        command_line: as given, quoted for a shell.
        made_utc: date and time, with a time zone.
        engine: runtime and precision in words.
        host: name of the machine; ``None``: left out.
    """

    program_version: str
    command_line: str
    made_utc: datetime
    engine: str
    host: str | None = None


@dataclass(frozen=True, eq=False)
class ClassifiedFile:
    """One file and its answer.

    Attributes:
        measured: facts and spectra.
        verdict: the answer.
        candidates: best first, ``verdict.nearest`` in front; the page shows
            :data:`CANDIDATES_SHOWN` of them and counts the rest.
        windows: in order of time.
        references: long-term spectra of candidates, in any order; none where the model has none.
        warnings: sentences, as ``agent.signal_checks.WARNINGS`` has them.
    """

    measured: MeasuredFile
    verdict: Verdict
    candidates: tuple[Candidate, ...]
    windows: tuple[WindowScore, ...]
    references: tuple[ReferenceSpectrum, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class FailedFile:
    """A file that could not be classified: its name as given, and why."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class ClassificationReport:
    """Report of ``classify``.

    Attributes:
        files: one section each.
        model: the model card in short.
        made: how the report came about.
        failures: files without an answer.
        notes: sentences for the top of the page, such as that the devices are simulated.
    """

    files: tuple[ClassifiedFile, ...]
    model: ModelFacts
    made: HowMade
    failures: tuple[FailedFile, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ComparedFile:
    """A questioned or a reference recording.

    Attributes:
        measured: facts and spectra.
        warnings: sentences about this file.
        log10_lr: of the questioned recording against this reference alone; ``None`` for the
            questioned recording itself, or where it was not computed.
    """

    measured: MeasuredFile
    warnings: tuple[str, ...] = ()
    log10_lr: float | None = None


@dataclass(frozen=True)
class ComparisonResult:
    """The answer of a comparison.

    Attributes:
        score: before calibration, in the model's unit.
        log10_lr: for "the device behind the references made the questioned recording, too" against
            "another device did", within the bounds; ``None``: the model has no calibration.
        unlimited_log10_lr: before it was moved to a bound.
        bounds: log10 LRs that the validation's trials support.
    """

    score: float
    log10_lr: float | None = None
    unlimited_log10_lr: float | None = None
    bounds: LrBounds | None = None


@dataclass(frozen=True, eq=False)
class Validation:
    """The trials behind the likelihood ratios.

    Attributes:
        same_log10_lr: float64 ``(n,)``, of the same-device trials, not limited by the bounds.
        different_log10_lr: float64 ``(m,)``, of the different-device trials.
        figures: of these trials, from :func:`model.likelihood_ratio_validation.lr_figures`.
        data: devices, recordings and conditions of the trials, a sentence or two.
    """

    same_log10_lr: DoubleArray
    different_log10_lr: DoubleArray
    figures: LrFigures
    data: str


@dataclass(frozen=True, eq=False)
class ComparisonReport:
    """Report of ``compare``.

    Attributes:
        questioned: the recording in question.
        references: recordings of one known device, at least one.
        result: the answer.
        model: the model card in short.
        made: how the report came about.
        validation: ``None``: the model carries none.
        warnings: sentences about the comparison as a whole.
        notes: sentences for the top of the page.
    """

    questioned: ComparedFile
    references: tuple[ComparedFile, ...]
    result: ComparisonResult
    model: ModelFacts
    made: HowMade
    validation: Validation | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


Report = ClassificationReport | ComparisonReport
