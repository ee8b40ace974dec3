"""Corpora recorded with virtual microphones: simulated, and marked so wherever they can be.

A folder holds ``<device>_<clip>.wav`` (16 bits, mono; a comment in each says that it is simulated),
``manifest.csv`` and ``devices.json`` with all that decides the devices.
"""

from __future__ import annotations

import csv
import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from model.audio import AudioFile, read_clip
from model.errors import AudioError, DevrecError, UsageError
from model.synthetic_speech import synthetic_speech
from model.virtual_microphone import VirtualMicrophone

Samples = npt.NDArray[np.float32]

FORMAT = "devrec-agent simulated devices"
FORMAT_VERSION = 1
PLAYED_AT_DBFS = -26.0  #: RMS level at which every clip meets the microphones
COMMENT = "Simulated by devrec-agent: no real device recorded this."
MANIFEST, DEVICES = "manifest.csv", "devices.json"


@dataclass(frozen=True)
class Clip:
    """A sound to play.

    Attributes:
        name: what it is, for the manifest.
        load: gives its samples at the rate asked for.
        band_hz: highest frequency that it can hold.
    """

    name: str
    load: Callable[[int], Samples]
    band_hz: float = float("inf")

    @classmethod
    def from_file(cls, path: Path) -> Clip:
        """A recording.

        Raises:
            AudioError: not a file that can be read.
        """
        with AudioFile(path) as audio:
            return cls(
                str(path), lambda rate_hz: read_clip(path, rate_hz), audio.sample_rate_hz / 2
            )

    @classmethod
    def synthetic(cls, seconds: float, seed: int) -> Clip:
        """Speech-like sound that is no speech."""
        return cls(
            f"synthetic speech-like sound, seed {seed}",
            lambda rate_hz: synthetic_speech(seconds, seed, rate_hz),
        )


@dataclass(frozen=True)
class SimulatedCorpus:
    """What to record.

    Attributes:
        microphones: the devices; no two of one name.
        clips: what each of them hears, numbered from 1.
        sample_rate_hz: of the recordings.
        seed: of the noise, which also depends on device and sound.
    """

    microphones: Sequence[VirtualMicrophone]
    clips: Sequence[Clip]
    sample_rate_hz: int
    seed: int

    def write(self, folder: Path, *, force: bool = False, progress: Callable[[], None]) -> None:
        """Record every clip with every device; the folder is there whole or not at all.

        Args:
            folder: must not exist or be empty.
            force: replace a folder that this wrote before, if nothing else is in it.
            progress: called after every recording.

        Raises:
            AudioError: a clip cannot be read, or is silent.
            UsageError: the folder is not empty.
            DevrecError: it cannot be written.
        """
        with _whole_folder(folder, force=force) as temporary:
            rows = [["path", "device", "clip", "speech", "origin"]]
            for number, clip in enumerate(self.clips, start=1):
                played = _at_level(clip.load(self.sample_rate_hz), clip.name)
                for microphone in self.microphones:
                    rng = self._rng(microphone, played)
                    recorded = microphone.record(played, self.sample_rate_hz, rng)
                    name = f"{microphone.name}_{number}.wav"
                    _write_wav(temporary / name, recorded, self.sample_rate_hz)
                    rows.append([name, microphone.name, str(number), clip.name, "simulated"])
                    progress()
            with (temporary / MANIFEST).open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows(rows)
            text = json.dumps(self._description(), ensure_ascii=False, indent=1)
            (temporary / DEVICES).write_text(text + "\n", encoding="utf-8")

    def _rng(self, microphone: VirtualMicrophone, played: Samples) -> np.random.Generator:
        """No two recordings share their noise, not even of one clip in two runs with one seed."""
        what = hashlib.sha256(microphone.name.encode() + played.tobytes()).digest()
        return np.random.default_rng([self.seed, int.from_bytes(what[:8], "little")])

    def _description(self) -> dict[str, object]:
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "simulated": True,
            "note": COMMENT,
            "sample_rate_hz": self.sample_rate_hz,
            "seed": self.seed,
            "played_at_dbfs": PLAYED_AT_DBFS,
            "devices": [microphone.to_dict() for microphone in self.microphones],
        }


def read_devices(path: Path) -> list[VirtualMicrophone]:
    """The devices that an earlier run has written down.

    Args:
        path: its ``devices.json``, or the folder that holds it.

    Raises:
        UsageError: no such file, or not one of these.
        AudioError: a measured response's file is gone or has changed.
    """
    file = path / DEVICES if path.is_dir() else path
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{file}: not JSON: {error}") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise UsageError(f"{file}: holds no simulated devices")
    if values.get("format_version") != FORMAT_VERSION:
        raise UsageError(
            f"{file}: format {values.get('format_version')}, this version reads {FORMAT_VERSION}"
        )
    devices = values.get("devices")
    try:
        if not isinstance(devices, list) or not devices:
            raise UsageError("no devices")
        found = [VirtualMicrophone.from_dict(device) for device in devices]
        for microphone in found:
            if Path(microphone.name).name != microphone.name or "\0" in microphone.name:
                raise UsageError(f"{microphone.name!r} cannot be part of a file name")
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from error
    return found


def _at_level(samples: Samples, name: str) -> Samples:
    level = float(np.std(samples, dtype=np.float64)) if len(samples) else 0.0
    if level < 1e-6:
        raise AudioError(f"{name}: silent: there is nothing to play")
    played: Samples = samples * np.float32(10 ** (PLAYED_AT_DBFS / 20) / level)
    return played


def _write_wav(path: Path, samples: Samples, sample_rate_hz: int) -> None:
    try:
        with soundfile.SoundFile(path, "w", sample_rate_hz, 1, "PCM_16", format="WAV") as file:
            file.comment = COMMENT
            # As integers: libsndfile scales floats by 32767, and the converter's steps would blur.
            file.write(np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16))
    except soundfile.SoundFileError as error:
        raise DevrecError(f"{path.name}: cannot be written: {error}") from error


@contextmanager
def _whole_folder(folder: Path, *, force: bool) -> Iterator[Path]:
    """A temporary folder that takes the place of ``folder`` on success, and vanishes on failure."""
    target = folder.resolve()
    _check_free(target, folder, force=force)
    temporary, old = (
        target.with_name(f".{target.name}.{secrets.token_hex(4)}.{end}") for end in ("new", "old")
    )
    try:
        temporary.mkdir()
    except OSError as error:
        raise DevrecError(f"{folder}: cannot be written: {error.strerror}") from error
    try:
        yield temporary
        if target.exists() and any(target.iterdir()):
            target.replace(old)
        temporary.replace(target)
    except OSError as error:
        raise DevrecError(f"{folder}: cannot be written: {error.strerror or error}") from error
    finally:
        if old.exists() and not target.exists():
            old.replace(target)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _check_free(target: Path, folder: Path, *, force: bool) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise UsageError(f"{folder}: is there, and no folder")
    present = {path.name for path in target.iterdir()}
    if not present:
        return
    if not force:
        raise UsageError(f"{folder}: the folder is not empty (--force replaces a simulated corpus)")
    foreign = sorted(present - _written_by_simulate(target))
    if foreign:
        raise UsageError(f"{folder}: holds {foreign[0]}, which `simulate` has not written")


def _written_by_simulate(folder: Path) -> set[str]:
    """Names in a folder that belong to a simulated corpus; none if it is not one."""
    try:
        description = json.loads((folder / DEVICES).read_text(encoding="utf-8"))
        with (folder / MANIFEST).open(encoding="utf-8", newline="") as file:
            recordings = {row["path"] for row in csv.DictReader(file)}
    except (OSError, ValueError, KeyError):
        return set()
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        return set()
    return recordings | {MANIFEST, DEVICES}
