"""The index of a gallery: which devices there are, and in which files.

A gallery is a folder with ``gallery.json``, the index, and one file a device. Files are never
changed: another state of a device is another file, and the index that names it takes the place of
the old one at once. So whoever reads sees all of a change or nothing, however many devices it
concerns, and a writer that is killed leaves files that no index names; the next one removes them.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from model.enrolled_device import checked_name, name_key
from model.errors import DevrecError, GalleryError
from model.files import replacing
from model.gallery_file import FILE_MODE

INDEX = "gallery.json"
FORMAT = "devrec-agent gallery"
FORMAT_VERSION = 1
FOLDER_MODE = 0o750

_FILE = re.compile(r"[a-z0-9_-]+-[0-9a-f]{16}\.npz")
_TEMPORARY = re.compile(r"\.([a-z0-9_-]+-[0-9a-f]{16}\.npz|gallery\.json)\.[0-9a-f]{8}\.\w+")


def new_file_name(device: str) -> str:
    """A name that no file has yet; a person sees whose it is."""
    slug = re.sub(r"[^a-z0-9_]+", "-", name_key(device)).strip("-")[:40] or "device"
    return f"{slug}-{secrets.token_hex(8)}.npz"


def index_to_json(files: Mapping[str, str]) -> str:
    """The text of an index.

    Args:
        files: name of each device to that of its file.
    """
    devices = [{"name": name, "file": file} for name, file in files.items()]
    values = {"format": FORMAT, "format_version": FORMAT_VERSION, "devices": devices}
    return json.dumps(values, indent=1) + "\n"


def index_from_json(data: bytes, shown: str) -> dict[str, str]:
    """Read what :func:`index_to_json` wrote.

    Args:
        data: the text, UTF-8.
        shown: what to call it.

    Returns:
        Name of each device to that of its file.

    Raises:
        GalleryError: damaged, foreign, or of another format version.
    """
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise GalleryError(f"{shown}: damaged: {error}") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise GalleryError(f"{shown}: not the index of a gallery of devrec-agent")
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise GalleryError(
            f"{shown}: gallery format {version}, this version reads {FORMAT_VERSION}"
        )
    try:
        files = {entry["name"]: entry["file"] for entry in values["devices"]}
        if any(not isinstance(file, str) or not _FILE.fullmatch(file) for file in files.values()):
            raise ValueError("a file name that is none of ours")
        if any(name != checked_name(name) for name in files):
            raise ValueError("a device name that is not normalised")
        keys = {name_key(name) for name in files}
        if not len(values["devices"]) == len(keys) == len({*files.values()}):
            raise ValueError("a device twice")
    except (ValueError, TypeError, LookupError, GalleryError) as error:
        raise GalleryError(f"{shown}: damaged: {error}") from error
    return files


def read_index(folder: Path) -> dict[str, str]:
    """The index of a gallery; empty for a folder that is missing or empty.

    Raises:
        GalleryError: damaged, of another version, cannot be read, or a folder of something else.
    """
    path = folder / INDEX
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        _check_free(folder)
        return {}
    except OSError as error:
        raise GalleryError(f"{path}: cannot be read: {error.strerror}") from error
    return index_from_json(data, str(path))


def _check_free(folder: Path) -> None:
    """A folder without an index must be missing, or hold nothing but hidden files.

    Raises:
        GalleryError: it does not.
    """
    try:
        found = [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")]
    except FileNotFoundError:
        return
    except OSError as error:
        raise GalleryError(f"{folder}: cannot be read: {error.strerror}") from error
    if found and not (folder / INDEX).exists():  # it may have come meanwhile
        raise GalleryError(f"{folder}: not a gallery: it holds other files, and no {INDEX}")


def make_folder(folder: Path) -> None:
    """Make the folder of a gallery where there is none.

    Raises:
        GalleryError: it holds something else.
        DevrecError: it cannot be made.
    """
    read_index(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
    except OSError as error:
        raise DevrecError(f"{folder}: cannot be made: {error.strerror}") from error


def write_index(folder: Path, files: Mapping[str, str]) -> None:
    """Put an index in place, and remove device files that it does not name. No other writer may be
    at work.

    Args:
        folder: of the gallery.
        files: name of each device to that of its file.

    Raises:
        DevrecError: it cannot be written; the old one stays.
    """
    with replacing(folder / INDEX, FILE_MODE) as temporary, temporary.open("wb") as file:
        file.write(index_to_json(files).encode("ascii"))
        file.flush()
        os.fsync(file.fileno())
    remove_leftovers(folder, {*files.values()})


def remove_leftovers(folder: Path, kept: set[str]) -> None:
    """Remove device files of earlier states and of writers that were killed.

    Args:
        folder: of the gallery.
        kept: names of files that stay; those of no device stay anyway.
    """
    with suppress(OSError):  # the next writer tries again
        for path in folder.iterdir():
            ours = _FILE.fullmatch(path.name) and path.name not in kept
            if ours or _TEMPORARY.fullmatch(path.name):
                path.unlink()
