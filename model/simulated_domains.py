"""Simulated recordings of many domains: other voices, rooms and microphones (numpy, all cores).

A corpus is recordings of one kind: one room, one set of voices. What they have in common hides how
devices differ elsewhere. Here speech is played in made-up rooms to virtual microphones: in each
*domain* one room and its noise are common to all devices, and every device makes two recordings
(*takes*) of other speech, of other voices where the recordings are sorted by voice. All of it is
simulated.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.audio import read_clip
from model.augmentation.augmentation import Samples
from model.augmentation.noise import ColouredNoise
from model.augmentation.reverberation import Reverberation
from model.corpus import Corpus
from model.errors import CorpusError, UsageError
from model.features import FrontEndConfig, extract
from model.files import file_sha256, replacing
from model.virtual_microphone import VirtualMicrophone
from model.worker_processes import results_of

FORMAT = 2
TAKES = 2
SECONDS = 8.0  #: of a recording
PEAK = 0.1  #: of the sound that the microphones hear
MIXED_SHARE = 0.4  #: of the domains: several voices in every recording; one in the others
MIXED_PIECE_S = 2.0
ROOM_SHARE, RT60_S, DIRECT_DB = 0.6, (0.15, 0.8), (0.0, 8.0)
NOISE_SHARE, SNR_DB, EXPONENT = 0.6, (20.0, 50.0), (0.0, 2.0)
#: Seeds of drawn microphones, and of what measured ones have beside their response: far from each
#: other and from those that anyone types.
DRAWN_FROM, MEASURED_FROM = 2**40, 2**30

Track = Callable[[Sequence[int]], Iterable[int]]  #: wraps an iteration, for progress


@dataclass(frozen=True)
class SimulatedDomains:
    """What to simulate; equal ones sound alike.

    Attributes:
        speech: recordings to play, in the order of their names: neighbours are taken to be of one
            voice; two or more.
        n_domains: rooms and sets of voices.
        n_devices: in each domain.
        microphones: measured impulse responses, of which each domain has some; without any, every
            domain has microphones of its own, drawn from the parametric family.
        seed: of everything.

    Raises:
        UsageError: fewer than two recordings, or microphones than devices.
    """

    speech: tuple[Path, ...]
    n_domains: int
    n_devices: int
    microphones: tuple[Path, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.speech) < TAKES:
            raise UsageError(f"{len(self.speech)} recordings of speech, {TAKES} are needed")
        if self.microphones and len(self.microphones) < self.n_devices:
            raise UsageError(
                f"{self.n_devices} microphones are needed, and {len(self.microphones)} are there"
            )

    def devices(self, domain: int) -> list[VirtualMicrophone]:
        """The microphones of a domain."""
        if not self.microphones:
            first = DRAWN_FROM + (self.seed * 10_000 + domain) * self.n_devices
            return [VirtualMicrophone.draw(first + i) for i in range(self.n_devices)]
        rng = np.random.default_rng((self.seed, 1, domain))
        chosen = np.sort(rng.permutation(len(self.microphones))[: self.n_devices])
        return [
            VirtualMicrophone.from_impulse_response(
                self.microphones[i], seed=MEASURED_FROM + int(i)
            )
            for i in chosen
        ]

    def sound(self, domain: int, take: int, sample_rate_hz: int) -> Samples:
        """What all devices of a domain hear in a take, float32 of 8 s.

        Raises:
            CorpusError: nothing but silence was drawn.
        """
        common = np.random.default_rng((self.seed, 2, domain))
        mixed, room, noisy = common.random(3) < (MIXED_SHARE, ROOM_SHARE, NOISE_SHARE)
        rt60_s, direct_db = common.uniform(*RT60_S), common.uniform(*DIRECT_DB)
        snr_db, exponent = common.uniform(*SNR_DB), common.uniform(*EXPONENT)
        own = np.random.default_rng((self.seed, 3, domain, take))
        heard = self._voices(self._files(domain, take), bool(mixed), sample_rate_hz, own)
        if room:
            here = np.random.default_rng((self.seed, 4, domain))  # the same room in all takes
            heard = Reverberation(rt60_s, rt60_s, direct_db, direct_db)(heard, sample_rate_hz, here)
        if noisy:
            heard = ColouredNoise(snr_db, snr_db, exponent, exponent)(heard, sample_rate_hz, own)
        peak = float(np.abs(heard).max())
        if peak <= 0:
            raise CorpusError(f"{self.speech[0].parent}: a silent recording is no speech to play")
        played: Samples = (heard * (PEAK / peak)).astype(np.float32)
        return played

    def _files(self, domain: int, take: int) -> tuple[Path, ...]:
        """The speech that a take is made of: one half, the other half being the other take's."""
        start = int(np.random.default_rng((self.seed, 6, domain)).integers(len(self.speech)))
        turned = (*self.speech[start:], *self.speech[:start])
        half = len(turned) // TAKES
        return turned[take * half : (take + 1) * half]

    def _voices(
        self, files: Sequence[Path], mixed: bool, sample_rate_hz: int, rng: np.random.Generator
    ) -> Samples:
        """Neighbouring recordings in a row, or the middles of some from anywhere."""
        wanted = round(SECONDS * sample_rate_hz)
        piece = round(MIXED_PIECE_S * sample_rate_hz)
        number = int(rng.integers(len(files)))
        parts: list[Samples] = []
        for _ in range(1000):  # of a millisecond each, the worst that there can be
            samples = read_clip(files[number % len(files)], sample_rate_hz)
            if mixed:
                first = max(0, len(samples) - piece) // 2
                samples = samples[first : first + piece]
            parts.append(samples)
            if sum(map(len, parts)) >= wanted:
                break
            number = int(rng.integers(len(files))) if mixed else number + 1
        return np.resize(np.concatenate(parts), wanted)


def speech_parts(speech: Corpus, n_parts: int) -> list[tuple[Path, ...]]:
    """The recordings of a speech corpus, sorted, in parts of about one size: other voices in each.

    Raises:
        CorpusError: fewer than two recordings a part.
    """
    files = sorted(clip.path for clip in speech.clips)
    fewest = TAKES * n_parts
    if len(files) < fewest:
        raise CorpusError(f"{speech.name}: {len(files)} recordings of speech, {fewest} are needed")
    cuts = [round(k * len(files) / n_parts) for k in range(n_parts + 1)]
    return [tuple(files[a:b]) for a, b in itertools.pairwise(cuts)]


def domain_recordings(
    domains: SimulatedDomains,
    front_end: FrontEndConfig,
    folder: Path,
    *,
    processes: int | None = None,
    track: Track | None = None,
) -> npt.NDArray[np.float16]:
    """Pre-Fbank of all recordings; made once and kept in ``folder``.

    Args:
        domains: what to simulate.
        front_end: config of the features.
        folder: for the two files; created. About 70 kB a recording.
        processes: to work with; as many as there are cores by default.
        track: shows progress over (domain, take).

    Returns:
        float16 ``(domains, devices, 2, frames, bands)``, mapped from the disk.

    Raises:
        AudioError: a recording or response that cannot be read.
        CorpusError: speech that is silent.
    """
    wanted = json.dumps(
        {
            "format": FORMAT,
            "speech": [file_sha256(path) for path in domains.speech],
            "microphones": [file_sha256(path) for path in domains.microphones],
            "domains": [domains.n_domains, domains.n_devices, domains.seed],
            "front_end": front_end.to_dict(),
        }
    )
    described, data = folder / "domains.json", folder / "domains.npy"
    held = _held(described, data, wanted)
    if held is not None:
        return held
    folder.mkdir(parents=True, exist_ok=True)
    described.unlink(missing_ok=True)
    n_frames = front_end.frames_in(round(SECONDS * front_end.sample_rate_hz))
    shape = (domains.n_domains, domains.n_devices, TAKES, n_frames, front_end.n_mels)
    jobs = [(domains, front_end, d, t) for d in range(domains.n_domains) for t in range(TAKES)]
    with replacing(data) as temporary:
        mels = np.lib.format.open_memmap(temporary, "w+", np.float16, shape)
        order = track(range(len(jobs))) if track else range(len(jobs))
        with results_of(_record, jobs, processes) as results:
            for index, recorded in zip(order, results, strict=True):
                domain, take = divmod(index, TAKES)
                mels[domain, :, take] = recorded
        mels.flush()
        del mels
    with replacing(described) as temporary:
        temporary.write_text(wanted)
    made: npt.NDArray[np.float16] = np.load(data, mmap_mode="r", allow_pickle=False)
    return made


def _held(described: Path, data: Path, wanted: str) -> npt.NDArray[np.float16] | None:
    """The recordings in the folder, if they are the wanted ones and whole."""
    try:
        if described.read_text() != wanted:
            return None
        held: npt.NDArray[np.float16] = np.load(data, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):  # not there, or damaged: made again
        return None
    return held


def _record(job: tuple[SimulatedDomains, FrontEndConfig, int, int]) -> npt.NDArray[np.float16]:
    """Pre-Fbank of one take by all devices of a domain, in a worker."""
    domains, front_end, domain, take = job
    rate_hz = front_end.sample_rate_hz
    played = domains.sound(domain, take, rate_hz)
    recorded = []
    for number, microphone in enumerate(domains.devices(domain)):
        rng = np.random.default_rng((domains.seed, 5, domain, take, number))
        features = extract(microphone.record(played, rate_hz, rng), front_end)
        recorded.append(features[:, 3 * front_end.n_static :])
    return np.stack(recorded).astype(np.float16)
