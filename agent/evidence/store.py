"""The folder of evidence: pairs of a FLAC file and the JSON object that says what it is.

The FLAC is written first and the JSON last, each beside its place and then renamed: a JSON file
means that its pair is whole. What a killed process leaves behind (a temporary file, a FLAC without
its JSON) is removed at the next start. One agent writes into a folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent.evidence.flac import inspect
from model.errors import AudioError, DevrecError
from model.files import replacing

FORMAT = "devrec-agent evidence"
FORMAT_VERSION = 1
BYTES_PER_MB = 1_000_000

#: Names of our files; others in the folder are never touched, nor counted.
_STEM = r"\d{8}T\d{6}\.\d{3}Z_[A-Za-z0-9._-]+"
_OURS = re.compile(rf"({_STEM})\.(flac|json)")
_TEMPORARY = re.compile(rf"\.{_STEM}\.(flac|json)\.[A-Za-z0-9_]{{8}}\.(flac|json)")
_LONGEST = 80  #: characters of one part of a name: 255 is the limit of file systems


def stem_of(event: Mapping[str, Any]) -> str:
    """``20261124T101112.345Z_line-1_device_changed_<id>``: sorts by time, safe as a file name.

    Args:
        event: an event's object with ``end``, ``input``, ``event`` and ``id``.
    """
    at = str(event["end"]).replace("-", "").replace(":", "")
    parts = (str(event["input"]), str(event["event"]), str(event["id"]))
    safe = (re.sub(r"[^A-Za-z0-9._-]+", "-", part)[-_LONGEST:] or "-" for part in parts)
    return "_".join((at, *safe))


@dataclass(frozen=True)
class _Pair:
    """Files of one event that are there, and their size in bytes."""

    stem: str
    size: int
    suffixes: tuple[str, ...]


class EvidenceStore:
    """Writes pairs into a folder and keeps it below its quota.

    Args:
        folder: made when missing.
        quota_mb: megabytes (10^6 bytes) for all pairs together.

    Raises:
        DevrecError: the folder cannot be made, read or written.
    """

    def __init__(self, folder: Path, quota_mb: int) -> None:
        self.folder = folder
        self._quota = quota_mb * BYTES_PER_MB
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._remove_leftovers()
        except OSError as error:
            raise DevrecError(f"evidence folder {folder}: {error.strerror or error}") from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise DevrecError(f"evidence folder {folder}: not writable")

    def write(self, stem: str, flac: bytes, description: Mapping[str, Any]) -> None:
        """Write a pair, after room has been made for it by removing the oldest.

        Args:
            stem: name without suffix, of :func:`stem_of`.
            flac: bytes of the FLAC file.
            description: what the JSON file is to say.

        Raises:
            DevrecError: not written (disk full, folder gone, larger than the quota); nothing of it
                is left.
        """
        text = json.dumps(description, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
        about = text.encode()
        size = len(flac) + len(about)
        if size > self._quota:
            raise DevrecError(
                f"the audio of one event is larger than the quota of "
                f"{self._quota // BYTES_PER_MB} MB"
            )
        try:
            self._make_room(size)
        except OSError as error:
            raise DevrecError(f"{self.folder}: {error.strerror or error}") from error
        audio = self.folder / f"{stem}.flac"
        self._put(audio, flac)
        try:
            self._put(self.folder / f"{stem}.json", about)
        except DevrecError:
            audio.unlink(missing_ok=True)
            raise

    def _put(self, path: Path, data: bytes) -> None:
        """A file whole or not at all, also when the power goes."""
        try:
            with replacing(path) as temporary, temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except DevrecError as error:
            # The folder rather than the file: trouble that lasts is then said in the same words.
            reason = getattr(error.__cause__, "strerror", None) or error
            raise DevrecError(f"{self.folder} cannot be written: {reason}") from error

    def _make_room(self, size: int) -> None:
        pairs = _pairs(self.folder)
        used = sum(pair.size for pair in pairs)
        for pair in pairs:
            if used + size <= self._quota:
                return
            # The JSON first: a FLAC alone is removed at the next start.
            for suffix in sorted(pair.suffixes, reverse=True):
                (self.folder / f"{pair.stem}.{suffix}").unlink(missing_ok=True)
            used -= pair.size

    def _remove_leftovers(self) -> None:
        for entry in self.folder.iterdir():
            if _TEMPORARY.fullmatch(entry.name):
                entry.unlink(missing_ok=True)
        for pair in _pairs(self.folder):
            if pair.suffixes == ("flac",):
                (self.folder / f"{pair.stem}.flac").unlink(missing_ok=True)


def verify(folder: Path) -> Iterator[tuple[str, str | None]]:
    """Check every pair of a folder.

    Yields:
        name without suffix, oldest first; and what is wrong with it in one line, or ``None``.

    Raises:
        DevrecError: the folder cannot be read.
    """
    try:
        pairs = _pairs(folder)
    except OSError as error:
        raise DevrecError(f"{folder}: {error.strerror or error}") from error
    for pair in pairs:
        try:
            _check(folder, pair)
        except OSError as error:
            yield pair.stem, f"cannot be read: {error.strerror or error}"
        except AudioError as error:
            yield pair.stem, str(error)
        else:
            yield pair.stem, None


def _check(folder: Path, pair: _Pair) -> None:
    """Raises AudioError with the reason when a pair is not what it says."""
    if "json" not in pair.suffixes:
        raise AudioError("a FLAC file without its JSON: the agent was killed while it wrote")
    if "flac" not in pair.suffixes:
        raise AudioError("the FLAC file is missing")
    try:
        description = json.loads((folder / f"{pair.stem}.json").read_bytes())
        version, audio = description["format_version"], description["audio"]
        file, sha256 = audio["file"], audio["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise AudioError("the JSON file is damaged") from error
    if version != FORMAT_VERSION:
        raise AudioError(f"format {version}, this version reads {FORMAT_VERSION}")
    if file != f"{pair.stem}.flac":
        raise AudioError(f"the JSON file is about {file}")
    data = (folder / file).read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise AudioError("the FLAC file was changed: its sha256 differs")
    for key, value in asdict(inspect(data)).items():
        if audio.get(key) != value:
            raise AudioError(f"the FLAC file decodes to another {key} than its JSON says")


def _pairs(folder: Path) -> list[_Pair]:
    """Our pairs, oldest first."""
    sizes: dict[str, dict[str, int]] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            match = _OURS.fullmatch(entry.name)
            if match is None:
                continue
            try:
                if entry.is_file(follow_symlinks=False):
                    sizes.setdefault(match[1], {})[match[2]] = entry.stat().st_size
            except FileNotFoundError:
                continue  # removed by somebody while we looked
    return [
        _Pair(stem, sum(files.values()), tuple(sorted(files)))
        for stem, files in sorted(sizes.items())
    ]
