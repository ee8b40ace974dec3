"""A gallery: devices that were enrolled from a few clips, without training (numpy)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

from model.embedding_scoring import ClipEmbedding
from model.enrolled_device import (
    EnrolledClip,
    EnrolledDevice,
    HalfArray,
    ModelIdentity,
    checked_name,
    name_key,
    natural_key,
    utc_now,
)
from model.errors import GalleryError
from model.gallery_folder import read_devices, remove_devices, write_devices

_OTHER_FRONT_END = "and with another front end: the recordings must be enrolled again"

#: What happens to a device of that name: refuse, add clips to its own, or put them in their place.
Existing = Literal["refuse", "add", "replace"]


class Gallery:
    """The devices of a folder, as they were when it was opened or last written through this object.

    Reading needs no lock: it sees the state before or after any write. Writers must come one at a
    time, each from :meth:`open` on; ``agent.gallery_access.writing`` sees to that.

    Attributes:
        folder: may not be there: an empty gallery.
        model: what makes the embeddings.
    """

    def __init__(
        self, folder: Path, model: ModelIdentity, devices: Iterable[EnrolledDevice]
    ) -> None:
        self.folder, self.model = folder, model
        self._devices = {name_key(device.name): device for device in devices}

    @classmethod
    def open(cls, folder: Path, model: ModelIdentity) -> Gallery:
        """Read a gallery, except features; a folder that is missing or empty holds no devices.

        Raises:
            GalleryError: made with another model, damaged, foreign, or it cannot be read.
        """
        devices = read_devices(folder)
        for device in devices:
            if device.model != model:
                made = f"{folder}: made with another model than this one"
                made += f" (sha256 {device.model.sha256[:12]}, not {model.sha256[:12]})"
                if device.model.front_end != model.front_end:
                    raise GalleryError(f"{made} {_OTHER_FRONT_END}")
                raise GalleryError(
                    f"{made}: `devrec-agent gallery re-enroll` computes it anew from its features"
                )
        return cls(folder, model, devices)

    @property
    def devices(self) -> tuple[EnrolledDevice, ...]:
        """All devices, sorted by name, numbers in names by their value."""
        return by_name(self._devices.values())

    def device(self, name: str) -> EnrolledDevice | None:
        """The device of a name, upper and lower case alike."""
        return self._devices.get(name_key(name))

    def owner_of(self, sha256: str) -> EnrolledDevice | None:
        """The device that holds a recording, by the hex digest of its file."""
        for device in self._devices.values():
            if any(clip.sha256 == sha256 for clip in device.clips):
                return device
        return None

    def add(
        self, name: str, clips: Sequence[EnrolledClip], existing: Existing = "refuse"
    ) -> EnrolledDevice:
        """Enrol a device.

        Args:
            name: what to call it; one that is there keeps its spelling.
            clips: its recordings, at least one; one that is there already is passed over.
            existing: what to do if it is there.

        Returns:
            The device as it is now.

        Raises:
            GalleryError: an impossible name, one that is taken, or a recording of another device.
            DevrecError: the files cannot be written; the gallery is as it was.
            ValueError: no clip, or embeddings of another size than the model's.
        """
        name = checked_name(name)
        self.check_free(name, existing)
        old = self.device(name)
        kept = old.clips if old is not None and existing == "add" else ()
        merged = {clip.sha256: clip for clip in kept}
        for clip in clips:
            owner = self.owner_of(clip.sha256)
            if owner is not None and owner is not old:
                raise GalleryError(f"{clip.source}: is enrolled already, as {owner.name}")
            merged.setdefault(clip.sha256, clip)
        now = utc_now()
        device = EnrolledDevice(
            name=name if old is None else old.name,
            created=now if old is None else old.created,
            updated=now,
            model=self.model,
            clips=tuple(merged.values()),
        )
        stored = write_devices(self.folder, [device])[device.name]
        self._devices[name_key(name)] = stored
        return stored

    def check_free(self, name: str, existing: Existing) -> None:
        """See that a device may be enrolled under a name.

        Raises:
            GalleryError: it is there, and is to be neither added to nor replaced.
        """
        old = self.device(name)
        if old is not None and existing == "refuse":
            raise GalleryError(
                f"{old.name} is enrolled already: --add adds the recordings to its own, "
                "--replace puts them in their place"
            )

    def remove(self, name: str) -> None:
        """Remove a device.

        Raises:
            GalleryError: there is none of that name.
            DevrecError: the index cannot be written; the gallery is as it was.
        """
        remove_devices(self.folder, [name])
        self._devices.pop(name_key(name), None)


def by_name(devices: Iterable[EnrolledDevice]) -> tuple[EnrolledDevice, ...]:
    """Devices sorted by name, numbers in names by their value."""
    return tuple(sorted(devices, key=lambda device: natural_key(device.name)))


def re_enroll(
    folder: Path,
    model: ModelIdentity,
    embed: Callable[[HalfArray], ClipEmbedding],
) -> list[str]:
    """Make a gallery one of another model: embeddings anew from stored features, all or none.

    Args:
        folder: of the gallery; no other writer may be at work.
        model: the other model.
        embed: gives a clip's embedding by that model for float16 features ``(frames, 73)``.

    Returns:
        Names of the devices that were another model's.

    Raises:
        GalleryError: a device's front end is not the model's; or as :func:`read_devices`.
        DevrecError: the files cannot be written; the gallery is as it was.
    """
    stale = [device for device in by_name(read_devices(folder)) if device.model != model]
    for device in stale:
        if device.model.front_end != model.front_end:
            raise GalleryError(
                f"{folder}: {device.name} was made with another model {_OTHER_FRONT_END}"
            )
    if stale:
        write_devices(folder, (_made_anew(device, model, embed) for device in stale))
    return [device.name for device in stale]


def _made_anew(
    device: EnrolledDevice, model: ModelIdentity, embed: Callable[[HalfArray], ClipEmbedding]
) -> EnrolledDevice:
    clips = []
    for clip in device.clips:
        features = clip.load_features()
        if len(features) < model.window_frames:
            raise GalleryError(
                f"{device.name}: {clip.source} is shorter than one window of this model"
            )
        clips.append(dataclasses.replace(clip, embedding=embed(features)))
    return dataclasses.replace(device, updated=utc_now(), model=model, clips=tuple(clips))
