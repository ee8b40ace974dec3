"""The file of an enrolled device: an ``.npz`` that numpy alone reads, without pickle.

Members: ``device`` (uint8: JSON in ASCII with everything but arrays), ``embeddings`` (float64
``(clips, dims)``) and for every clip ``features-<sha256 of its recording>`` (float16
``(frames, 73)``). All are stored uncompressed, so that a file cannot ask for more memory than it is
long, and every one that is read is checked against its CRC-32. Features are most of the file; they
are read when somebody asks for them.
"""

from __future__ import annotations

import functools
import io
import json
import os
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.embedding_scoring import ClipEmbedding
from model.enrolled_device import EnrolledClip, EnrolledDevice, HalfArray, ModelIdentity
from model.errors import DevrecError, GalleryError
from model.files import replacing

FORMAT = "devrec-agent device"
FORMAT_VERSION = 1
FILE_MODE = 0o640  #: speech can be made from features again: not for everybody
_TIME = "%Y-%m-%dT%H:%M:%SZ"

#: What reading changed or foreign bytes as ZIP, JSON and arrays raises.
DAMAGE = (
    zipfile.BadZipFile,
    struct.error,
    ArithmeticError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,  # encrypted; JSON nested too deep; NotImplementedError
    TypeError,
    ValueError,
)


def write_device(device: EnrolledDevice, path: Path) -> None:
    """Write a device's file, whole or not at all, also when the power goes.

    Args:
        device: what to write.
        path: ends in ``.npz``.

    Raises:
        GalleryError: the features of a clip cannot be read any more.
        DevrecError: the file cannot be written.
    """
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": device.name,
        "created": time_to_json(device.created),
        "updated": time_to_json(device.updated),
        "model": device.model.to_dict(),
        "clips": [
            {
                "source": clip.source,
                "sha256": clip.sha256,
                "duration_s": clip.duration_s,
                "sample_rate_hz": clip.sample_rate_hz,
                "warnings": list(clip.warnings),
                "windows": clip.embedding.windows,
            }
            for clip in device.clips
        ],
    }
    arrays: dict[str, Any] = {
        "device": np.frombuffer(json.dumps(header, allow_nan=False).encode("ascii"), np.uint8),
        "embeddings": np.stack([clip.embedding.mean for clip in device.clips]).astype("<f8"),
    }
    for clip in device.clips:
        arrays[_features_of(clip.sha256)] = np.ascontiguousarray(clip.load_features(), "<f2")
    with replacing(path, FILE_MODE) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())


def read_device(source: Path | bytes, shown: str) -> EnrolledDevice:
    """Read what :func:`write_device` wrote, except features.

    Args:
        source: path, or the content of a file.
        shown: what to call it.

    Raises:
        FileNotFoundError: there is no such file.
        GalleryError: damaged, foreign, of another format version, or it cannot be read.
    """
    with _opened(source, shown) as archive:
        header = _header(archive, shown)
        model = ModelIdentity.from_dict(header["model"])
        facts = header["clips"]
        embeddings = _array(archive, "embeddings", np.dtype("<f8"))
        if embeddings.shape != (len(facts), model.embedding_dims):
            raise ValueError("there is not one embedding a clip")
        clips = []
        for values, mean in zip(facts, embeddings, strict=True):
            name = _features_of(values["sha256"])
            archive.getinfo(f"{name}.npy")
            read = functools.partial(_features, source, shown, name, model)
            clips.append(_clip(values, mean.astype(np.float64), read))
        return EnrolledDevice(
            name=header["name"],
            created=_time_from_json(header["created"]),
            updated=_time_from_json(header["updated"]),
            model=model,
            clips=tuple(clips),
        )


def time_to_json(moment: datetime) -> str:
    """ISO 8601, UTC, whole seconds."""
    return moment.astimezone(timezone.utc).strftime(_TIME)


def _time_from_json(text: str) -> datetime:
    return datetime.strptime(text, _TIME).replace(tzinfo=timezone.utc)


def _features_of(sha256: str) -> str:
    return f"features-{sha256}"


def _clip(
    values: Mapping[str, Any],
    mean: npt.NDArray[np.float64],
    load_features: Callable[[], HalfArray],
) -> EnrolledClip:
    values = dict(values)
    embedding = ClipEmbedding(mean, values.pop("windows"))
    warnings = tuple(values.pop("warnings"))
    return EnrolledClip(
        **values, warnings=warnings, embedding=embedding, load_features=load_features
    )


@contextmanager
def _opened(source: Path | bytes, shown: str) -> Iterator[zipfile.ZipFile]:
    """The archive; what goes wrong inside the block becomes an error of ours.

    Raises:
        FileNotFoundError: there is no such file.
        GalleryError: anything else.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source) as opened:
            yield opened
    except FileNotFoundError:
        raise
    except OSError as error:
        raise GalleryError(f"{shown}: cannot be read: {error.strerror or error}") from error
    except GalleryError:
        raise
    except (*DAMAGE, DevrecError) as error:
        what = str(error) or type(error).__name__
        raise GalleryError(f"{shown}: damaged, or no file of a gallery: {what}") from error


def _header(archive: zipfile.ZipFile, shown: str) -> dict[str, Any]:
    header = json.loads(_array(archive, "device", np.dtype("u1")).tobytes())
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise GalleryError(f"{shown}: not a device of devrec-agent")
    if header.get("format_version") != FORMAT_VERSION:
        raise GalleryError(
            f"{shown}: device format {header.get('format_version')}, "
            f"this version reads {FORMAT_VERSION}"
        )
    return header


def _features(source: Path | bytes, shown: str, name: str, model: ModelIdentity) -> HalfArray:
    """Features of one clip.

    Raises:
        GalleryError: damaged, or the file is not there any more.
    """
    try:
        with _opened(source, shown) as archive:
            features: HalfArray = _array(archive, name, np.dtype("<f2")).astype(np.float16)
            if features.ndim != 2 or features.shape[1] != model.front_end.n_features:
                raise ValueError("features of another shape than the model's")
            if not len(features) or not np.isfinite(features).all():
                raise ValueError("features that are not numbers")
            return features
    except FileNotFoundError as error:
        raise GalleryError(f"{shown}: was changed or removed meanwhile") from error


def stored_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Bytes of a member, checked; no more than the archive is long.

    Raises:
        ValueError: compressed, and so not of our making.
        zipfile.BadZipFile: damaged. Others of :data:`DAMAGE` likewise.
    """
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise ValueError(f"{name} is compressed")
    if info.header_offset + info.file_size > archive.start_dir:
        raise ValueError(f"{name} is longer than the file")
    return archive.read(info)


def _array(archive: zipfile.ZipFile, name: str, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """An array of a known type.

    Raises:
        ValueError: of another type or size. Others of :data:`DAMAGE` likewise.
    """
    stream = io.BytesIO(stored_member(archive, f"{name}.npy"))
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError(f"{name} has another npy version")
    shape, fortran, found = np.lib.format.read_array_header_1_0(stream)
    if found != dtype or fortran:
        raise ValueError(f"{name} is {found}")
    return np.frombuffer(stream.read(), dtype).reshape(shape)
