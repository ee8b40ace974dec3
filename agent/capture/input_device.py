"""What the ``device`` of an input means: an audio file, or something that PortAudio lists."""

from __future__ import annotations

from pathlib import Path

from agent.capture.device_identity import PREFIXES

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")

#: Before a name, or a part of one, that would otherwise mean a file, an index or an identity.
NAME_PREFIX = "portaudio:"


def is_index(device: str) -> bool:
    """Whether ``device`` is an index of PortAudio's: up to nine digits."""
    return device.isascii() and device.isdecimal() and len(device) <= 9


def is_marked_live(device: str) -> bool:
    """Whether ``device`` begins as only a live input does."""
    return device.startswith((NAME_PREFIX, *PREFIXES))


def names_audio_file(device: str) -> bool:
    """Whether ``device`` reads like an audio file: it has a folder or the suffix of audio, and does
    not begin as a live input does. Looks at no file."""
    if is_marked_live(device):
        return False
    return "/" in device or Path(device).suffix.lower() in AUDIO_SUFFIXES


def resolved_device(device: str, folder: Path) -> str:
    """``device`` as a user wrote it, made to mean the same wherever it is looked at later.

    An audio file becomes an absolute path, for which :func:`names_audio_file` holds: one that reads
    like a file, whether it is there or not, and a file in ``folder`` whatever its name. Anything
    else is a live input and stays as it is.

    Args:
        device: of an input.
        folder: what a relative path is relative to.
    """
    live = is_index(device) or is_marked_live(device)
    is_file = names_audio_file(device) or (not live and _is_file(folder / device))
    return str(folder.absolute() / device) if is_file else device


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that cannot be entered
        return False
