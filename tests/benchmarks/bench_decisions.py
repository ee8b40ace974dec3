"""Decisions on real recordings: is one change of phone one event, how late, and do they flicker?

``python -m tests.benchmarks.bench_decisions [CCNU_MOBILE]``

First, random pairs of phones: a clip of one, then a clip of the other (another sentence), through
the whole path as ``listen`` runs it. The built-in model was trained on these very clips, so what is
measured is the decision rule, not the model; the conditions (white noise) make the windows err.
Second, one phone after the other, its four clips in a row: no event but the first is right.
"""

from __future__ import annotations

import glob
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

from agent.config.settings import DecisionSection
from agent.events import Event
from agent.file_source import FileSource
from agent.input_stream import InputStream
from agent.known_devices import built_in_devices
from agent.listening import Listening
from agent.live_report import LiveReport
from agent.sources import Samples
from export.engine import Engine
from export.engine_loading import load_engine
from model.builtin import BUILTIN_MODEL
from tests.conftest import CCNU_MOBILE

PAIRS = 40
HOP_S = 0.5


@dataclass(frozen=True)
class Outcome:
    """What one pair gave."""

    first: str | None
    changes: int
    right: bool
    delay_s: float
    others: int


def noisy(samples: Samples, snr_db: float) -> Samples:
    """White noise at an SNR, reproducible."""
    power = float(np.mean(samples.astype(np.float64) ** 2))
    noise = np.random.default_rng(0).standard_normal(len(samples))
    return (samples + noise * np.sqrt(power * 10 ** (-snr_db / 10))).astype(np.float32)


CONDITIONS: dict[str, Callable[[Samples], Samples]] = {
    "clean": lambda samples: samples,
    "12 dB quieter": lambda samples: samples * np.float32(0.25),
    "noise, 40 dB SNR": lambda samples: noisy(samples, 40.0),
    "noise, 30 dB SNR": lambda samples: noisy(samples, 30.0),
    "noise, 20 dB SNR": lambda samples: noisy(samples, 20.0),
}


def run(
    engine: Engine, path: Path, rules: DecisionSection, reports: list[LiveReport] | None = None
) -> list[Event]:
    """Events of a file; reports are added to ``reports``."""
    events: list[Event] = []
    source = FileSource(path, paced=False)
    known = built_in_devices(engine)
    stream = InputStream("line", source, engine.metadata, HOP_S, rules, events.append, known=known)
    listening = Listening(engine, [stream], known)
    while not listening.ended:
        found = listening.step()
        if reports is not None:
            reports += found
    stream.close()
    return events


def outcome(events: list[Event], first: str, second: str, switch_s: float) -> Outcome:
    """Count what was decided."""
    named = [e for e in events if e.kind in ("device_identified", "device_changed")]
    changes = [e for e in named if e.kind == "device_changed"]
    last = changes[-1] if changes else None
    return Outcome(
        first=named[0].device if named else None,
        changes=len(changes),
        right=bool(named) and named[0].device == first and last is not None
        and last.device == second,
        delay_s=last.end.sample / last.sample_rate_hz - switch_s if last else np.nan,
        others=sum(e.kind in ("unknown", "silence") for e in events),
    )  # fmt: skip


def measure(engine: Engine, folder: Path, rules: DecisionSection, work: Path) -> Table:
    """Run all conditions."""
    rng = np.random.default_rng(1)
    devices = sorted({path.name.rsplit("_", 1)[0] for path in folder.glob("*.wav")})
    table = Table(title=f"{PAIRS} changes of phone; memory {rules.memory_s:g} s")
    for title in ("condition", "one, right", "none", "several", "unknown", "delay s: 50 %, 95 %"):
        table.add_column(title, no_wrap=True)
    for name, degrade in CONDITIONS.items():
        found = []
        for number in range(PAIRS):
            first, second = rng.choice(devices, 2, replace=False)
            clips = [
                folder / f"{first}_{1 + number % 4}.wav",
                folder / f"{second}_{4 - number % 4}.wav",
            ]
            parts = [soundfile.read(clip, dtype="float32") for clip in clips]
            rate = parts[0][1]
            path = work / "pair.wav"
            samples = np.concatenate([degrade(part) for part, _ in parts])
            soundfile.write(path, samples, rate, subtype="FLOAT")
            events = run(engine, path, rules)
            found.append(outcome(events, first, second, len(parts[0][0]) / rate))
        one = [o for o in found if o.changes == 1 and o.right]
        delays = [o.delay_s for o in one] or [np.nan]
        table.add_row(
            name,
            f"{len(one)} of {PAIRS}",
            str(sum(o.changes == 0 for o in found)),
            str(sum(o.changes > 1 for o in found)),
            str(sum(o.others for o in found)),
            f"{np.median(delays):.1f}, {np.percentile(delays, 95):.1f}",
        )
    return table


def flicker(engine: Engine, folder: Path, rules: DecisionSection, work: Path) -> Table:
    """Hear each phone's clips in a row: names and changes per hour, and what single windows say."""
    devices = sorted({path.name.rsplit("_", 1)[0] for path in folder.glob("*.wav")})
    table = Table(title=f"{len(devices)} phones, one at a time")
    for title in ("condition", "windows right", "first name right", "changes", "per hour"):
        table.add_column(title, no_wrap=True)
    for name, degrade in CONDITIONS.items():
        windows = right = first = changes = 0
        seconds = 0.0
        for device in devices:
            clips = sorted(folder.glob(f"{glob.escape(device)}_[1-4].wav"))
            parts = [soundfile.read(clip, dtype="float32") for clip in clips]
            path = work / "phone.wav"
            samples = np.concatenate([degrade(part) for part, _ in parts])
            soundfile.write(path, samples, parts[0][1], subtype="FLOAT")
            reports: list[LiveReport] = []
            events = run(engine, path, rules, reports)
            named = [e for e in events if e.kind in ("device_identified", "device_changed")]
            windows += len(reports)
            right += sum(report.window_best.device == device for report in reports)
            first += bool(named) and named[0].device == device
            changes += sum(e.kind == "device_changed" for e in named)
            seconds += len(samples) / parts[0][1]
        table.add_row(
            name,
            f"{100 * right / windows:.1f} %",
            f"{first} of {len(devices)}",
            str(changes),
            f"{3600 * changes / seconds:.0f}",
        )
    return table


def main() -> None:
    """Print the tables."""
    import tempfile

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else CCNU_MOBILE
    if not (folder / "manifest.csv").is_file():
        sys.exit(f"no real recordings at {folder}")
    engine = load_engine(BUILTIN_MODEL)
    with tempfile.TemporaryDirectory() as work:
        for table in (measure, flicker):
            Console(width=100).print(table(engine, folder, DecisionSection(), Path(work)))


if __name__ == "__main__":
    main()
