"""A simulated capture worker for tests: its samples count up, so that each says where it belongs.

Takes the options of ``agent.capture.worker``; a thread stands in for PortAudio's callback.
"""

from __future__ import annotations

import sys
import threading
import time

import numpy as np

from agent.capture.ring import RingBuffer
from agent.capture.wire import AudioMessage, audio_message, phase_message, write_all
from agent.capture.worker import WorkerOptions, end_with_parent

RATE_HZ = 192_000  # fills the pipe in a second and a half
BLOCK = RATE_HZ // 50


def main() -> None:
    """Count for ever."""
    import json

    options = WorkerOptions(**json.loads(sys.argv[1]))
    end_with_parent(options.parent)
    ring = RingBuffer(round(options.buffer_s * RATE_HZ))
    arrived = [(0, time.monotonic())]

    def produce() -> None:
        started = time.monotonic()
        position = 0
        while True:
            ring.write((np.arange(position, position + BLOCK) % 65536).astype(np.float32))
            position += BLOCK
            time.sleep(max(0.0, started + position / RATE_HZ - time.monotonic()))
            arrived[0] = (position, time.monotonic())

    write_all(1, phase_message("opening") + phase_message("open", name="counter", rate_hz=RATE_HZ))
    threading.Thread(target=produce, daemon=True).start()
    while True:
        position, samples = ring.read(RATE_HZ)
        if len(samples):
            write_all(1, audio_message(AudioMessage(position, samples, *arrived[0])))
        else:
            time.sleep(0.005)


if __name__ == "__main__":
    main()
