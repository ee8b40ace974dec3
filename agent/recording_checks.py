"""What every recording is checked for, whether it is classified or enrolled."""

from __future__ import annotations

from agent.signal_checks import SignalChecks
from model.audio import AudioInfo
from model.errors import AudioError
from model.metadata import ModelMetadata

FEW_WINDOWS = 3  #: fewer than these are said to be few


def check_usable(
    name: str, info: AudioInfo, windows: int, checks: SignalChecks, metadata: ModelMetadata
) -> None:
    """Refuse what nothing can be said about.

    Args:
        name: of the recording, for the message.
        info: of the whole file.
        windows: that it gave.
        checks: of its samples.
        metadata: of the model.

    Raises:
        AudioError: no samples, shorter than one window, or digital silence.
    """
    if info.duration_s == 0:
        raise AudioError(f"{name}: holds no samples")
    if not windows:
        config = metadata.front_end
        shortest = config.samples_for(metadata.window_frames) / config.sample_rate_hz
        raise AudioError(
            f"{name}: {info.duration_s:.2f} s is shorter than one window ({shortest:.2f} s)"
        )
    if checks.digital_silence:
        raise AudioError(f"{name}: digital silence, every sample is zero")


def recording_warnings(
    info: AudioInfo,
    windows: int,
    checks: SignalChecks,
    *,
    narrowband: bool,
    another_kind: bool,
) -> list[str]:
    """Codes out of ``agent.signal_checks.WARNINGS``, those of :mod:`agent.signal_quality` apart.

    Args:
        info: of the whole file.
        windows: that it gave.
        checks: of its samples.
        narrowband: whether its rate is below the model's.
        another_kind: whether it is unlike the recordings of the model's corpus.
    """
    warnings = checks.warnings()
    if narrowband:
        warnings.append("narrowband")
    if info.channels > 1:
        warnings.append("multichannel")
    if windows < FEW_WINDOWS:
        warnings.append("few-windows")
    if another_kind:
        warnings.append("another-kind")
    return warnings
