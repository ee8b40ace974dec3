"""The folder of evidence: pairs of a FLAC file and the JSON object that says what it is.

The FLAC is written first and the JSON last, each beside its place and then renamed: a JSON file
means that its pair is whole. What a killed process leaves behind (a temporary file, a FLAC without
its JSON) is removed at the next start. One agent writes into a folder, and holds its lock.

Names begin with a number that grows from pair to pair. The oldest pairs are found by it, since no
clock can be trusted with that: a machine without a battery begins in 1970, and one pair stamped
2099 would outlive all others.
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

from agent.disk import MEGABYTE, make_closed_folder
from agent.evidence.flac import inspect
from agent.folder_lock import FolderLock
from model.errors import AudioError, DevrecError
from model.files import replacing

FORMAT = "devrec-agent evidence"
FORMAT_VERSION = 1

FOLDER_MODE = 0o750
FILE_MODE = 0o640

#: Names of our files; others in the folder are never touched, nor counted.
_STEM = r"\d{6,}_\d{8}T\d{6}\.\d{3}Z_[A-Za-z0-9._-]+"
_OURS = re.compile(rf"({_STEM})\.(flac|json)")
_TEMPORARY = re.compile(rf"\.{_STEM}\.(flac|json)\.[A-Za-z0-9_]{{8}}\.(flac|json)")
_LOCK = ".lock"
_LONGEST = 80  #: characters of one part of a name: 255 is the limit of file systems


def stem_of(number: int, event: Mapping[str, Any]) -> str:
    """``000042_20261124T101112.345Z_line-1_device_changed_<id>``: safe as a file name.

    Args:
        number: of the pair.
        event: an event's object with ``end``, ``input``, ``event`` and ``id``.
    """
    at = str(event["end"]).replace("-", "").replace(":", "")
    parts = (str(event["input"]), str(event["event"]), str(event["id"]))
    safe = (re.sub(r"[^A-Za-z0-9._-]+", "-", part)[-_LONGEST:] or "-" for part in parts)
    return "_".join((f"{number:06}", at, *safe))


@dataclass(frozen=True)
class _Pair:
    """Files of one event that are there, and their size in bytes."""

    stem: str
    size: int
    suffixes: tuple[str, ...]


class EvidenceStore:
    """Writes pairs into a folder and keeps it below its quota; no other store may use it until
    :meth:`close`.

    What was said near a microphone is not for everybody: the files can be read by this user and
    its group alone, and so can the folder, if it holds nothing else.

    Args:
        folder: made when missing.
        quota_mb: megabytes (10^6 bytes) for all pairs together.

    Raises:
        DevrecError: the folder cannot be made, read or written, or another agent uses it.
    """

    def __init__(self, folder: Path, quota_mb: int) -> None:
        self.folder = folder
        self._quota = quota_mb * MEGABYTE
        try:
            make_closed_folder(folder, FOLDER_MODE, _is_ours)
            self._lock = FolderLock(folder, _LOCK)
        except OSError as error:
            raise DevrecError(f"evidence folder {folder}: {error.strerror or error}") from error
        try:
            self._number = self._tidy()
        except OSError as error:
            self._lock.release()
            raise DevrecError(f"evidence folder {folder}: {error.strerror or error}") from error

    def close(self) -> None:
        """Let others use the folder."""
        self._lock.release()

    def next_stem(self, event: Mapping[str, Any]) -> str:
        """Name for the next pair, see :func:`stem_of`."""
        self._number += 1
        return stem_of(self._number, event)

    def write(self, stem: str, flac: bytes, description: Mapping[str, Any]) -> None:
        """Write a pair, after room has been made for it by removing the oldest.

        Args:
            stem: name without suffix, of :meth:`next_stem`.
            flac: bytes of the FLAC file.
            description: what the JSON file is to say.

        Raises:
            DevrecError: not written (disk full, folder in use, larger than the quota); nothing of
                it is left.
        """
        text = json.dumps(description, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
        about = text.encode()
        size = len(flac) + len(about)
        if size > self._quota:
            raise DevrecError(
                f"the audio of one event is larger than the quota of {self._quota // MEGABYTE} MB"
            )
        try:
            self._hold()
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

    def _hold(self) -> None:
        """Lock the folder anew if it was deleted under us."""
        if not self._lock.in_place:
            make_closed_folder(self.folder, FOLDER_MODE, _is_ours)
            lock = FolderLock(self.folder, _LOCK)
            self._lock.release()
            self._lock = lock

    def _put(self, path: Path, data: bytes) -> None:
        """A file whole or not at all, also when the power goes."""
        try:
            with replacing(path, FILE_MODE) as temporary, temporary.open("wb") as file:
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

    def _tidy(self) -> int:
        """Remove what a killed agent has left; the highest number in use."""
        for entry in self.folder.iterdir():
            if _TEMPORARY.fullmatch(entry.name):
                entry.unlink(missing_ok=True)
        pairs = _pairs(self.folder)
        for pair in pairs:
            if pair.suffixes == ("flac",):
                (self.folder / f"{pair.stem}.flac").unlink(missing_ok=True)
        return _number_of(pairs[-1].stem) if pairs else 0


def verify(folder: Path) -> Iterator[tuple[str, str | None]]:
    """Check every pair of a folder.

    Yields:
        name without suffix, oldest first; and what is wrong with it in one line, or ``None``.

    Raises:
        DevrecError: the folder cannot be read.
        AudioError: there is nothing to check in it.
    """
    try:
        pairs = _pairs(folder)
    except OSError as error:
        raise DevrecError(f"{folder}: {error.strerror or error}") from error
    if not pairs:
        raise AudioError(f"{folder}: there is no evidence in this folder")
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
    except (ValueError, KeyError, TypeError, RecursionError) as error:
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
        _Pair(stem, sum(sizes[stem].values()), tuple(sorted(sizes[stem])))
        for stem in sorted(sizes, key=_number_of)
    ]


def _number_of(stem: str) -> int:
    return int(stem.partition("_")[0])


def _is_ours(name: str) -> bool:
    return name == _LOCK or bool(_OURS.fullmatch(name) or _TEMPORARY.fullmatch(name))
