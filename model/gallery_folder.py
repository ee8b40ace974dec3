"""Reading and changing the devices of a gallery's folder, whatever model made their embeddings."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from model.enrolled_device import EnrolledDevice, name_key
from model.errors import GalleryError
from model.gallery_file import read_device, write_device
from model.gallery_index import (
    make_folder,
    new_file_name,
    read_index,
    remove_leftovers,
    write_index,
)

_ATTEMPTS = 20  #: at reading a gallery that is being written


def read_devices(folder: Path, names: Iterable[str] | None = None) -> list[EnrolledDevice]:
    """Devices, except their features; none for a folder that is missing or empty.

    Args:
        folder: of the gallery.
        names: of the devices, upper and lower case alike; all without it.

    Raises:
        GalleryError: damaged, foreign, of another version, it cannot be read, or there is no
            device of a name.
    """
    wanted = None if names is None else list(names)
    files = read_index(folder)
    for _ in range(_ATTEMPTS):
        chosen = files if wanted is None else spelling(folder, files, wanted)
        try:
            return [_read_listed(folder, name, files[name]) for name in chosen]
        except FileNotFoundError as error:
            missing = error.filename
        # A writer removes what its new index does not name.
        before, files = files, read_index(folder)
        if files == before:
            raise GalleryError(f"{missing}: missing, though {folder} lists it")
    raise GalleryError(f"{folder}: does not stop changing")


def _read_listed(folder: Path, name: str, file: str) -> EnrolledDevice:
    """One device of the index.

    Raises:
        FileNotFoundError: its file is gone.
        GalleryError: it cannot be read, or is another's.
    """
    try:
        device = read_device(folder / file, str(folder / file))
        if device.name != name:
            raise GalleryError(f"{folder / file}: holds {device.name}")
    except GalleryError as error:
        hint = f"`devrec-agent gallery remove {shlex.quote(name)}` gives it up"
        raise GalleryError(f"{error} (device {name}; {hint})") from error
    return device


def write_devices(folder: Path, devices: Iterable[EnrolledDevice]) -> dict[str, EnrolledDevice]:
    """Write devices in place of those of the same names, all of them or none.

    Args:
        folder: made if it is missing.
        devices: one after the other, so that not all need to be in memory.

    Returns:
        By name, the devices as they now stand in their files.

    Raises:
        GalleryError: the folder holds something else, or features cannot be read.
        DevrecError: a file cannot be written; the gallery is as it was.
    """
    make_folder(folder)
    files = read_index(folder)
    if not files:  # a killed first writer must not leave device files without any index
        write_index(folder, files)
    before = {*files.values()}
    spelled = {name_key(name): name for name in files}
    written: dict[str, str] = {}
    try:
        for device in devices:
            file = new_file_name(device.name)
            write_device(device, folder / file)
            files.pop(spelled.get(name_key(device.name), ""), None)
            written[device.name] = file
        stored = {name: read_device(folder / f, str(folder / f)) for name, f in written.items()}
        write_index(folder, {**files, **written})
    except BaseException:
        remove_leftovers(folder, before)
        raise
    return stored


def remove_devices(folder: Path, names: Iterable[str]) -> list[str]:
    """Remove devices, all of them or none, without looking into their files.

    Args:
        folder: of the gallery.
        names: upper and lower case alike.

    Returns:
        The names as they were spelled there.

    Raises:
        GalleryError: there is none of a name.
        DevrecError: the index cannot be written; the gallery is as it was.
    """
    files = read_index(folder)
    spelled = spelling(folder, files, names)
    write_index(folder, {name: file for name, file in files.items() if name not in spelled})
    return spelled


def spelling(folder: Path, files: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """Names as the index spells them, each once.

    Raises:
        GalleryError: there is none of a name.
    """
    known = {name_key(name): name for name in files}
    found: dict[str, None] = {}
    for name in names:
        if name_key(name) not in known:
            raise GalleryError(f"no device {name} is enrolled in {folder}")
        found[known[name_key(name)]] = None
    return list(found)
