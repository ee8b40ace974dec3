"""A gallery in one file: a ZIP of its index and its device files, stored as they are."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from model.enrolled_device import EnrolledDevice, name_key
from model.errors import GalleryError
from model.files import replacing
from model.gallery_file import DAMAGE, FILE_MODE, read_device, stored_member
from model.gallery_folder import read_devices, spelling, write_devices
from model.gallery_index import INDEX, index_from_json, index_to_json, read_index


def export_gallery(folder: Path, target: Path, names: Sequence[str] = ()) -> list[str]:
    """Write devices of a gallery into one file, whole or not at all.

    Args:
        folder: of the gallery.
        target: the file; one that is there is replaced.
        names: of the devices; all of them without any.

    Returns:
        Names of the devices written.

    Raises:
        GalleryError: a device that is not there, damaged files, or nothing to export.
        DevrecError: the file cannot be written.
    """
    files = read_index(folder)
    wanted = spelling(folder, files, names or files)
    if not wanted:
        raise GalleryError(f"no device is enrolled in {folder}")
    chosen = {name: files[name] for name in wanted}
    with replacing(target, FILE_MODE) as temporary, temporary.open("wb") as stream:
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr(INDEX, index_to_json(chosen))
            for name, file in chosen.items():
                archive.writestr(file, _good_file(folder / file, name))
        stream.flush()
        os.fsync(stream.fileno())
    return wanted


def _good_file(path: Path, name: str) -> bytes:
    """Bytes of a device's file, which is whole.

    Raises:
        GalleryError: damaged, another device's, gone, or it cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise GalleryError(f"{path}: missing, or removed meanwhile") from error
    except OSError as error:
        raise GalleryError(f"{path}: cannot be read: {error.strerror}") from error
    _check_whole(read_device(data, str(path)), name, str(path))
    return data


def _check_whole(device: EnrolledDevice, name: str, shown: str) -> None:
    """Read what is otherwise read later.

    Raises:
        GalleryError: another device's, or features that are damaged.
    """
    if device.name != name:
        raise GalleryError(f"{shown}: holds {device.name}, not {name}")
    for clip in device.clips:
        clip.load_features()


def import_gallery(folder: Path, source: Path, *, replace: bool = False) -> list[str]:
    """Add the devices of an exported file to a gallery, all of them or none.

    Args:
        folder: of the gallery, made if it is missing; no other writer may be at work.
        source: what :func:`export_gallery` wrote.
        replace: put them in place of devices of the same names.

    Returns:
        Names of the devices added.

    Raises:
        GalleryError: a damaged or foreign file, a name or a recording that is enrolled already, or
            another model than that of the devices which are there.
        DevrecError: the gallery cannot be written; it is as it was.
    """
    there = {name_key(device.name): device for device in read_devices(folder)}
    incoming: list[str] = []
    for device in _devices_in(source):
        old = there.get(name_key(device.name))
        if old is not None and not replace:
            raise GalleryError(
                f"{old.name} is enrolled already: --replace puts the imported one in its place"
            )
        incoming.append(device.name)
    for name in incoming:
        there.pop(name_key(name), None)
    owners = {clip.sha256: device.name for device in there.values() for clip in device.clips}
    models = [device.model for device in there.values()]
    for device in _devices_in(source):
        models.append(device.model)
        if device.model != models[0]:
            raise GalleryError(
                f"{source}: made with another model than {folder}: import it into a gallery of its "
                "own, `devrec-agent gallery re-enroll` that, and export it again"
            )
        for clip in device.clips:
            if clip.sha256 in owners:
                raise GalleryError(
                    f"{device.name}: {clip.source} is enrolled already, as {owners[clip.sha256]}"
                )
            owners[clip.sha256] = device.name
    write_devices(folder, _devices_in(source))
    return incoming


def _devices_in(source: Path) -> Iterator[EnrolledDevice]:
    """The devices of an exported file, one in memory at a time, with all that belongs to them.

    Raises:
        GalleryError: damaged, foreign, of another version, or it cannot be read.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            files = index_from_json(stored_member(archive, INDEX), f"{source}: {INDEX}")
            for name, file in files.items():
                shown = f"{source}: {file}"
                device = read_device(stored_member(archive, file), shown)
                _check_whole(device, name, shown)
                yield device
    except OSError as error:
        raise GalleryError(f"{source}: cannot be read: {error.strerror or error}") from error
    except DAMAGE as error:
        what = str(error) or type(error).__name__
        raise GalleryError(f"{source}: damaged, or no exported gallery: {what}") from error
