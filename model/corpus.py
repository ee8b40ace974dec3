"""Corpora of labelled clips: which file was recorded by which device.

Four layouts are understood:

* a manifest CSV with columns ``path, device`` and optionally ``group, clip, session, split``
  (paths relative to the CSV); a folder holding a ``manifest.csv`` is read through it;
* CCNU_Mobile: one flat folder of ``<device>_<clip>.wav``; clip *k* is the same speech on every
  device, so the clip number is the group;
* a folder per device;
* MOBIPHONE: a folder per device, in which the same file names (the speakers) recur in every
  folder; the file name is then the group.

A *group* is content or session that must not straddle a split. Where nothing tells, every clip is
a group of its own.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from model.audio import audio_files_in
from model.errors import CorpusError

SPLIT_NAMES = ("train", "validation", "test")
_CCNU_NAME = re.compile(r"^(?P<device>.+)_(?P<clip>\d+)$")


@dataclass(frozen=True)
class Clip:
    """One recording of a corpus.

    Attributes:
        path: the audio file.
        device: label of the device that recorded it.
        group: content or session; clips of one group stay on one side of every split.
        split: ``train``, ``validation`` or ``test`` where the manifest says so, else ``None``.
    """

    path: Path
    device: str
    group: str
    split: str | None = None


@dataclass(frozen=True)
class Corpus:
    """Clips with their labels.

    Attributes:
        name: folder or manifest name, for reports.
        clips: all clips, in a stable order.
    """

    name: str
    clips: tuple[Clip, ...]

    @property
    def devices(self) -> tuple[str, ...]:
        """Device labels, sorted."""
        return tuple(sorted({clip.device for clip in self.clips}))

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups, sorted; numbers in numeric order."""
        return tuple(sorted({clip.group for clip in self.clips}, key=_natural))

    def content_hash(self) -> str:
        """sha256 over every clip's file name, label, group and audio bytes, as hex.

        Independent of where the corpus lies; two corpora with the same hash hold the same data.
        The audio is read once, at the first call.
        """
        return self._content_hash

    @cached_property
    def _content_hash(self) -> str:
        total = hashlib.sha256()
        for clip in sorted(self.clips, key=lambda c: (c.device, c.path.name, c.group)):
            content = self.audio_hashes[clip]
            total.update(f"{clip.path.name}\0{clip.device}\0{clip.group}\0{content}\n".encode())
        return total.hexdigest()

    @cached_property
    def audio_hashes(self) -> Mapping[Clip, str]:
        """sha256 of every clip's audio bytes, as hex; read once, when first asked for."""
        return {clip: hashlib.sha256(clip.path.read_bytes()).hexdigest() for clip in self.clips}


def _natural(text: str) -> tuple[tuple[int, int | str], ...]:
    parts = re.split(r"(\d+)", text)
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in parts if part)


def read_corpus(path: Path) -> Corpus:
    """Read a corpus in any of the four layouts.

    Args:
        path: a folder or a manifest CSV.

    Raises:
        CorpusError: nothing there, no audio, a manifest line at fault, or fewer than two devices.
    """
    if not path.exists():
        raise CorpusError(f"{path}: no such corpus")
    manifest = path if path.is_file() else path / "manifest.csv"
    clips = _read_manifest(manifest) if manifest.is_file() else _read_folder(path)
    corpus = Corpus(path.stem if path.is_file() else path.resolve().name, tuple(clips))
    if len(corpus.devices) < 2:
        raise CorpusError(f"{path}: a corpus needs two devices or more, found {corpus.devices}")
    return corpus


def _read_manifest(manifest: Path) -> list[Clip]:
    clips: list[Clip] = []
    try:
        # utf-8-sig: spreadsheets like to start a CSV with a byte order mark.
        text = manifest.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{manifest}: cannot be read as UTF-8 text: {error}") from error
    rows = csv.DictReader(text.splitlines())
    columns = set(rows.fieldnames or ())
    if not {"path", "device"} <= columns:
        raise CorpusError(f"{manifest}: needs the columns path and device")
    # The strongest statement of what belongs together wins.
    group_column = next((name for name in ("group", "session", "clip") if name in columns), None)
    for row in rows:
        where = f"{manifest}, line {rows.line_num}"
        relative, device = (row["path"] or "").strip(), (row["device"] or "").strip()
        if not relative or not device:
            raise CorpusError(f"{where}: path and device must not be empty")
        file = manifest.parent / relative
        if not file.is_file():
            raise CorpusError(f"{where}: no such file: {relative}")
        split = (row.get("split") or "").strip().lower() or None
        split = {"val": "validation", "dev": "validation"}.get(split or "", split)
        if split is not None and split not in SPLIT_NAMES:
            raise CorpusError(f"{where}: split must be one of {', '.join(SPLIT_NAMES)}")
        group = (row[group_column] or "").strip() if group_column else ""
        clips.append(Clip(file, device, group or relative, split))
    return clips


def _read_folder(folder: Path) -> list[Clip]:
    files = audio_files_in(folder)
    if not files:
        raise CorpusError(f"{folder}: no audio files")
    flat = [file for file in files if file.parent == folder]
    if flat and len(flat) < len(files):
        raise CorpusError(
            f"{folder}: audio both in the folder itself and in folders below it; "
            "sort it or write a manifest.csv"
        )
    if flat:
        return _read_flat(flat)
    # Below the device's folder the rest of the path names the content.
    parts = [(file.relative_to(folder).parts, file) for file in files]
    named = [(p[0], "/".join((*p[1:-1], Path(p[-1]).stem)), file) for p, file in parts]
    recurring = _recurs_in_every_device((device, content) for device, content, _ in named)
    return [
        Clip(file, device, content if recurring else f"{device}/{content}")
        for device, content, file in named
    ]


def _read_flat(files: list[Path]) -> list[Clip]:
    clips: list[Clip] = []
    for file in files:
        match = _CCNU_NAME.match(file.stem)
        if match is None:
            raise CorpusError(
                f"{file}: a flat folder needs names like <device>_<clip>.wav, or a manifest.csv"
            )
        clips.append(Clip(file, match["device"], match["clip"]))
    return clips


def _recurs_in_every_device(pairs: Iterable[tuple[str, str]]) -> bool:
    """Whether the same content names appear under (nearly) every device, as in MOBIPHONE."""
    seen = set(pairs)
    devices = {device for device, _ in seen}
    if len(devices) < 2:
        return False
    counts = Counter(content for _, content in seen)
    shared = sum(count for count in counts.values() if count > 1)
    return shared >= 0.8 * len(seen)


def speech_corpus(folder: Path) -> Corpus:
    """All audio below a folder as recordings by one device.

    Raises:
        CorpusError: not a folder, or no audio in it.
    """
    files = audio_files_in(folder) if folder.is_dir() else []
    if not files:
        raise CorpusError(f"{folder}: no folder with audio files")
    return Corpus(folder.name, tuple(Clip(path, "speech", path.stem) for path in files))
