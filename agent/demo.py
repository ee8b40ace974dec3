"""What the program does, shown with simulated devices: enrol four, name them, try a fifth.

Everything runs as for real devices: recordings are files, enrolment is that of ``enroll``, and
answers are those of ``classify``. Only what makes the recordings is simulated.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from agent.classification import Classification, classify_audio
from agent.enrolment import embed, enrol_clip, sha256_of_file
from agent.gallery_access import writing
from agent.known_devices import known_devices
from agent.simulated_corpus import Clip, Samples, SimulatedCorpus
from export.engine import Engine
from model.enrolled_device import ModelIdentity
from model.errors import DevrecError, ModelError, UsageError
from model.features import extract
from model.gallery import Gallery
from model.open_set import OpenSet
from model.open_set_adaptation import adapted_open_set
from model.synthetic_speech import synthetic_speech
from model.virtual_microphone import VirtualMicrophone

DEVICES, ENROLLED = 5, 4
SECONDS = 8.0  #: of a clip
VOICES, PEAK = 8, 0.1  #: synthetic voices in it, and how loud they are at most
OTHERS, SOUNDS = 24, 6  #: further devices to calibrate on, and sounds for either recording of them
RATE_HZ = 32_000
OTHERS_FROM = 2**31  #: seeds of the further devices and their sounds, the same for all seeds
SEEDS_APART = 10_000  #: of one demonstration from the next: no two share a device or a clip
ENROLMENT, NEW = 1, 2  #: clips of every device, as they are numbered

CLIPS, GALLERY = "clips", "gallery"  #: folders that are written


@dataclass(frozen=True, eq=False)
class DemoAnswer:
    """What the program said of a recording.

    Attributes:
        path: the recording.
        device: simulated device that made it.
        enrolled: whether that is in the gallery.
        answer: as ``classify`` gives it.
    """

    path: Path
    device: str
    enrolled: bool
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
            VirtualMicrophone.draw(device, name=f"virtual-{number:02d}")
            for number, device in enumerate(range(first, first + DEVICES), start=1)
        ]
        clips = [_clip(first, number) for number in (ENROLMENT, NEW)]
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

    def calibrate(self, engine: Engine) -> OpenSet:
        """What likelihood ratios are worth among simulated devices, from further ones.

        The model was made with real phones in one room. All simulated recordings have more in
        common with one another than with those, and would seem to be of one device.

        Args:
            engine: the model.

        Raises:
            ModelError: the model cannot tell that a device is unknown.
        """
        open_set = engine.metadata.open_set
        if open_set is None or open_set.other_domains is None:
            raise ModelError(
                "this model has no scores for simulated recordings (train --openset with --speech)"
            )
        front_end = engine.metadata.front_end
        embeddings = np.empty((2, OTHERS, open_set.prototypes.shape[1]))
        for number in range(OTHERS):
            microphone = VirtualMicrophone.draw(OTHERS_FROM + number)
            for take in (0, 1):
                sound = _voices(OTHERS_FROM + take * SOUNDS + number % SOUNDS, RATE_HZ)
                rng = np.random.default_rng((OTHERS_FROM + number, take))
                samples = microphone.record(sound, RATE_HZ, rng)
                embeddings[take, number] = embed(engine, extract(samples, front_end)).mean
        return adapted_open_set(open_set, *embeddings)

    def identify(
        self, engine: Engine, identity: ModelIdentity, open_set: OpenSet
    ) -> list[DemoAnswer]:
        """Ask who made new recordings, of other voices: by each enrolled device, and the stranger.

        Args:
            engine: the model.
            identity: of the model.
            open_set: of :meth:`calibrate`.

        Raises:
            ModelError: the model cannot tell that a device is unknown.
        """
        gallery = Gallery.open(self.gallery, identity)
        known = replace(known_devices(engine, gallery, "gallery"), open_set=open_set)
        answers = []
        for device in (*self.names, self.stranger):
            path = self.recording(device, NEW)
            answer = classify_audio(engine, path, path.name, known=known)
            answers.append(DemoAnswer(path, device, device in self.names, answer))
        return answers


@functools.lru_cache(maxsize=16)
def _voices(seed: int, rate_hz: int) -> Samples:
    """Several synthetic voices, one after the other: no clip is coloured by a single one."""
    seeds = range(VOICES * seed, VOICES * (seed + 1))
    parts = [PEAK * synthetic_speech(SECONDS / VOICES, voice, rate_hz) for voice in seeds]
    return np.concatenate(parts)


def _clip(seed: int, number: int) -> Clip:
    """One of the sounds."""
    sounds = seed + number
    name = f"synthetic speech-like sound of {VOICES} voices, seed {sounds}"
    return Clip(name, lambda rate_hz: _voices(sounds, rate_hz))
