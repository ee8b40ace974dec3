"""What the program does, shown with simulated devices: enrol four, name them, refuse a fifth.

Everything runs as for real devices: recordings are files, enrolment is that of ``enroll``, and
answers are those of ``classify``. Only what makes the recordings is simulated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.classification import Classification, classify_audio
from agent.enrolment import enrol_clip, sha256_of_file
from agent.gallery_access import writing
from agent.known_devices import known_devices
from agent.simulated_corpus import Clip, Samples, SimulatedCorpus
from export.engine import Engine
from model.augmentation.noise import ColouredNoise
from model.enrolled_device import ModelIdentity
from model.errors import DevrecError, UsageError
from model.gallery import Gallery
from model.virtual_microphone import VirtualMicrophone

DEVICES, ENROLLED = 5, 4
SECONDS = 8.0  #: of a clip
RATE_HZ = 32_000
SEEDS_APART = 10_000  #: of one demonstration from the next: no two share a device or a clip
NOISE_DB = 20.0  #: speech over noise, in the noisy clip
ENROLMENT, NEW, NOISY = 1, 2, 3  #: clips of every device, as they are numbered

CLIPS, GALLERY = "clips", "gallery"  #: folders that are written


@dataclass(frozen=True, eq=False)
class DemoAnswer:
    """What the program said of a recording.

    Attributes:
        path: the recording.
        device: simulated device that made it.
        enrolled: whether that is in the gallery.
        noisy: whether there was noise in the room.
        answer: as ``classify`` gives it.
    """

    path: Path
    device: str
    enrolled: bool
    noisy: bool
    answer: Classification

    @property
    def right(self) -> bool:
        """Whether an enrolled device was named, or the other one was not."""
        return self.answer.device == (self.device if self.enrolled else None)


@dataclass(frozen=True)
class Demo:
    """A demonstration; the seed decides everything.

    Attributes:
        corpus: the devices, of which the last is not enrolled, and the sounds.
        folder: where recordings and gallery go.
    """

    corpus: SimulatedCorpus
    folder: Path

    @classmethod
    def draw(cls, seed: int, folder: Path) -> Demo:
        """A demonstration.

        Args:
            seed: 0 or more.
            folder: must not exist or be empty.

        Raises:
            UsageError: it is not empty.
        """
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
            raise UsageError(f"{folder}: is there already, and not an empty folder")
        first = seed * SEEDS_APART
        microphones = [
            VirtualMicrophone.draw(first + number, name=f"virtual-{number:02d}")
            for number in range(1, DEVICES + 1)
        ]
        clips = [Clip.synthetic(SECONDS, first + number) for number in (ENROLMENT, NEW, NOISY)]
        clips[NOISY - 1] = _in_noise(clips[NOISY - 1], first)
        return cls(SimulatedCorpus(microphones, clips, RATE_HZ, seed), folder)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the devices that are enrolled."""
        return tuple(microphone.name for microphone in self.corpus.microphones[:ENROLLED])

    @property
    def stranger(self) -> str:
        """Name of the device that is not."""
        return self.corpus.microphones[ENROLLED].name

    @property
    def gallery(self) -> Path:
        """Folder of the gallery."""
        return self.folder / GALLERY

    def recording(self, device: str, clip: int) -> Path:
        """A device's recording of a clip."""
        return self.folder / CLIPS / f"{device}_{clip}.wav"

    def record(self, progress: Callable[[], None] = lambda: None) -> None:
        """Play every clip to every device.

        Args:
            progress: called after every recording.

        Raises:
            DevrecError: the recordings cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DevrecError(f"{self.folder}: cannot be written: {error.strerror}") from error
        self.corpus.write(self.folder / CLIPS, progress=progress)

    def enrol(self, engine: Engine, identity: ModelIdentity) -> None:
        """Enrol all devices but the last, from one recording each.

        Args:
            engine: the model.
            identity: of the model.

        Raises:
            DevrecError: the gallery cannot be written.
        """
        with writing(self.gallery):
            gallery = Gallery.open(self.gallery, identity)
            for name in self.names:
                path = self.recording(name, ENROLMENT)
                gallery.add(name, [enrol_clip(engine, path, sha256_of_file(path))])

    def identify(self, engine: Engine, identity: ModelIdentity) -> list[DemoAnswer]:
        """Ask which enrolled device made recordings of other words, one of them noisy.

        Args:
            engine: the model.
            identity: of the model.

        Raises:
            ModelError: the model cannot tell that a device is unknown.
        """
        known = known_devices(engine, Gallery.open(self.gallery, identity), "gallery")
        asked = [(name, NEW) for name in self.names]
        asked += [(self.names[0], NOISY), (self.stranger, NEW)]
        answers = []
        for device, clip in asked:
            path = self.recording(device, clip)
            answer = classify_audio(engine, path, path.name, known=known)
            answers.append(DemoAnswer(path, device, device in self.names, clip == NOISY, answer))
        return answers


def _in_noise(clip: Clip, seed: int) -> Clip:
    """The clip in a room with pink noise."""
    noise = ColouredNoise(NOISE_DB, NOISE_DB, 1.0, 1.0)

    def load(rate_hz: int) -> Samples:
        return noise(clip.load(rate_hz), rate_hz, np.random.default_rng(seed))

    return dataclasses.replace(
        clip, name=f"{clip.name}, in pink noise of {NOISE_DB:g} dB SNR", load=load
    )
