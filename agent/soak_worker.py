"""A simulated capture worker for the soak run: as much audio as wanted, as fast as it is taken.

It stands in for PortAudio alone; everything behind the pipe is the real agent. Run as
``python -m agent.soak_worker SECONDS RATE_HZ JSON``, where the last is ``agent.capture.worker``'s.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import numpy.typing as npt
import scipy.signal

from agent.capture.wire import AudioMessage, audio_message, phase_message, write_all
from agent.capture.worker import WorkerOptions, end_with_parent

Samples = npt.NDArray[np.float32]

BLOCK_S = 0.1
PATTERN_S = 20.0  #: length of the sound of one simulated microphone, repeated
SCENE_S = 120.0  #: after this long the line falls silent, or another microphone is on it
SILENCE_S = 20.0
MICROPHONES = 3


def microphone(number: int, rate_hz: int) -> Samples:
    """Noise through the smooth random response of simulated microphone ``number``, -40 dBFS."""
    rng = np.random.default_rng(number)
    gains_db = np.cumsum(rng.normal(0, 4, 13))
    gains_db -= gains_db.mean()
    response = scipy.signal.firwin2(129, np.linspace(0, 1, 13), 10 ** (gains_db / 20))
    noise = rng.standard_normal(round(PATTERN_S * rate_hz))
    heard = scipy.signal.fftconvolve(noise, response, mode="same")
    samples: Samples = (0.01 * heard / np.sqrt(np.mean(heard**2))).astype(np.float32)
    return samples


def main(seconds: float, rate_hz: int, options_json: str) -> None:
    """Entry point of the process."""
    options = WorkerOptions(**json.loads(options_json))
    end_with_parent(options.parent)
    sounds = [microphone(number, rate_hz) for number in range(MICROPHONES)]
    block = round(BLOCK_S * rate_hz)
    silence = np.zeros(block, np.float32)
    total = round(seconds * rate_hz)
    write_all(1, phase_message("opening"))
    write_all(1, phase_message("open", name="simulated microphones", rate_hz=rate_hz))
    position = 0
    while position < total:
        scene, within_s = divmod(position / rate_hz, SCENE_S)
        if within_s >= SCENE_S - SILENCE_S:
            samples = silence
        else:
            sound = sounds[int(scene) % MICROPHONES]
            start = position % (len(sound) // block * block)
            samples = sound[start : start + block]
        samples = samples[: total - position]
        end = position + len(samples)
        write_all(1, audio_message(AudioMessage(position, samples, end, time.monotonic())))
        position = end
    write_all(1, phase_message("ended"))
    time.sleep(3600)  # until the agent has read all of it


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
