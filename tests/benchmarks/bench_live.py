"""What one live stream costs: processor time and memory of ``listen`` on a real sound source.

``python -m tests.benchmarks.bench_live [--seconds 30] [--json]``

A PulseAudio of its own plays speech-like noise; ``listen --events`` hears it through PortAudio and
ALSA. Shares are of one core, from the kernel's account of both processes, after start-up; memory is
resident memory, of which the libraries' share counts in both.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import soundfile
from rich.console import Console
from rich.table import Table

from agent.soak import resident_mb
from tests.pulse import INPUT_NAME, RATE_HZ, PulseServer, missing_parts
from tests.running_agent import RunningAgent
from tests.simulated import speech_like

SETTLE_S = 5.0


def processor_s(process: int) -> float:
    """Processor time of a process so far, user and system."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children(process: int) -> list[int]:
    """Its children."""
    return [int(n) for n in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def measure(seconds: float) -> dict[str, dict[str, float]]:
    """Run for a time; share of a core and memory of agent and capture worker."""
    with tempfile.TemporaryDirectory() as folder, PulseServer() as pulse:
        clip = Path(folder) / "sound.wav"
        soundfile.write(clip, speech_like(seconds + SETTLE_S + 5, seed=1), RATE_HZ)
        with RunningAgent("--events", "-i", INPUT_NAME, env=pulse.env) as agent:
            agent.wait_for("started")
            player = pulse.play(clip)
            time.sleep(SETTLE_S)
            main = agent.process.pid
            (worker,) = children(main)
            processes = {"agent": main, "capture worker": worker}
            before = {name: processor_s(pid) for name, pid in processes.items()}
            started = time.monotonic()
            time.sleep(seconds)
            spent = time.monotonic() - started
            found = {
                name: {
                    "core_share": (processor_s(pid) - before[name]) / spent,
                    "rss_mb": resident_mb(pid),
                }
                for name, pid in processes.items()
            }
            agent.stop()
            player.kill()
            player.wait()
            if agent.events("gap", "audio_lost"):
                sys.exit("samples were lost while measuring")
    found["both"] = {
        key: sum(found[name][key] for name in processes) for key in ("core_share", "rss_mb")
    }
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if (why := missing_parts()) is not None:
        sys.exit(why)
    found = measure(arguments.seconds)
    if arguments.json:
        print(json.dumps(found))
        return
    table = Table(title="one live stream, a window every 0.5 s")
    for title in ("process", "share of a core", "resident MB"):
        table.add_column(title, justify="left" if title == "process" else "right")
    for name, figures in found.items():
        table.add_row(name, f"{100 * figures['core_share']:.1f} %", f"{figures['rss_mb']:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
