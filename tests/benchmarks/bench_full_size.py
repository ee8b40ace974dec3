"""What the experiments need for a corpus of the size of CCNU_Mobile: 45 phones x 642 clips of 10 s.

    python -m tests.benchmarks.bench_full_size [--devices 45] [--clips 642] [--device cpu]

The corpus is simulated: a few recordings of each simulated phone, and links to them under 642
names. What it sounds like decides nothing here. Measured: reading and hashing it, making the
features on disk that all methods and folds share, and training steps of the paper's network and of
the statistics profile on the paper's split (64 %), their windows cut from the features on disk.
Memory is what the process holds for itself (RssAnon), not pages of files that it has mapped.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import soundfile
import torch
from rich.console import Console
from rich.table import Table

from model.corpus import Corpus, read_corpus
from model.experiments.fold_task import features_folder, labels_of, make_features, stored_clips
from model.experiments.methods import LDA, PAPER_NETWORK, Method
from model.experiments.protocols import index_split
from model.features import FrontEndConfig
from model.network import DeviceNetwork
from model.network_config import NetworkConfig
from model.segment_windows import SegmentWindows
from model.split import Split
from model.training import DeviceModule, WindowData
from model.training_config import preset
from model.training_data import ClipData, spread_windows
from tests.simulated import RATE_HZ, record, speech_like

UNIQUE = 2  #: different recordings of each simulated phone
GB = 1e9


class Memory:
    """Peak of the memory that is this process's own, while it is watched."""

    def __init__(self) -> None:
        self.peak = 0

    @contextmanager
    def watched(self) -> Iterator[Memory]:
        """Look every 50 ms."""
        self.peak, over = 0, threading.Event()

        def watch() -> None:
            while not over.wait(0.05):
                self.peak = max(self.peak, own_bytes())

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield self
        finally:
            over.set()
            thread.join()
            self.peak = max(self.peak, own_bytes())


def own_bytes() -> int:
    """RssAnon of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no RssAnon in /proc/self/status")


def make_corpus(folder: Path, n_devices: int, n_clips: int, seconds: float) -> Corpus:
    """Simulated phones; every clip is a link to one of a few recordings of its phone."""
    recordings, corpus = folder / "recordings", folder / "corpus"
    recordings.mkdir()
    corpus.mkdir()
    for number in range(UNIQUE):
        spoken = speech_like(seconds, seed=number)
        for device in range(n_devices):
            file = recordings / f"sim{device:02d}_{number}.wav"
            soundfile.write(file, record(spoken, device, seed=number), RATE_HZ, subtype="PCM_16")
            for clip in range(number, n_clips, UNIQUE):
                (corpus / f"sim{device:02d}_{clip + 1:03d}.wav").symlink_to(file)
    return read_corpus(corpus)


def run(
    folder: Path, n_devices: int, n_clips: int, seconds: float, steps: int, device: str
) -> dict[str, float | int | str]:
    """Measure everything once.

    Returns:
        figures by name; bytes, seconds, counts.
    """
    found: dict[str, float | int | str] = {
        "phones": n_devices,
        "clips a phone": n_clips,
        "seconds a clip": seconds,
        "cores": os.cpu_count() or 1,
        "device": device if device == "cpu" else torch.cuda.get_device_name(),
    }
    memory = Memory()
    started = time.perf_counter()
    corpus = make_corpus(folder, n_devices, n_clips, seconds)
    found["audio, bytes"] = sum(clip.path.stat().st_size for clip in corpus.clips)
    found["making the corpus, s"] = time.perf_counter() - started
    with memory.watched():
        started = time.perf_counter()
        corpus.content_hash()
        found["hash, s"] = time.perf_counter() - started
        for name, method in (("paper", PAPER_NETWORK), ("level-free", LDA)):
            started = time.perf_counter()
            make_features(corpus, [method], folder)
            found[f"features ({name}), s"] = time.perf_counter() - started
            data = features_folder(folder, corpus, method.front_end) / "copies.npy"
            found[f"features ({name}), bytes"] = data.stat().st_size
    found["features, peak memory of the main process, bytes"] = memory.peak
    split = index_split(corpus)
    found["clips to train on"] = len(split.train)
    with memory.watched():
        started = time.perf_counter()
        clips = clip_data(corpus, split, LDA, folder)
        SegmentWindows(clips, 3 * FrontEndConfig().n_static)
        found["statistics profile, s to its first step"] = time.perf_counter() - started
    found["statistics profile, peak memory, bytes"] = memory.peak
    with memory.watched():
        found |= training_steps(corpus, split, folder, steps, device)
    found["paper network, peak memory, bytes"] = memory.peak
    return found


def clip_data(corpus: Corpus, split: Split, method: Method, folder: Path) -> list[ClipData]:
    """Clips to train on, as they lie on disk."""
    stored = stored_clips(corpus, split.train, method.front_end, folder)
    labels = labels_of(split.train, corpus.devices)
    return [ClipData(label, clip.frames) for label, clip in zip(labels, stored, strict=True)]


def training_steps(
    corpus: Corpus, split: Split, folder: Path, steps: int, device: str
) -> dict[str, float | int]:
    """Some steps of the paper's network with the paper's settings, and what an epoch comes to."""
    config = preset("paper")
    clips = clip_data(corpus, split, PAPER_NETWORK, folder)
    started = time.perf_counter()
    network = DeviceNetwork(
        NetworkConfig.for_profile("paper", len(corpus.devices), PAPER_NETWORK.front_end)
    )
    network.fit_statistics(*spread_windows(clips))
    measured = time.perf_counter() - started
    module = DeviceModule(network, config).to(device)
    data = WindowData(clips, (), config)
    optimizer = torch.optim.Adam(module.parameters(), lr=config.learning_rate)
    batches = itertools.cycle(data.train_dataloader())
    times = []
    for _ in range(steps + 2):
        started = time.perf_counter()
        windows, labels = (part.to(device) for part in next(batches))
        loss = module.loss(module.network(windows)[0], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    a_step = sum(times[2:]) / steps
    per_epoch = data.n_windows // config.batch
    return {
        "paper network, s to its first step": measured,
        "paper network, steps an epoch": per_epoch,
        "paper network, s a step": a_step,
        "paper network, s an epoch": a_step * per_epoch,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=45)
    parser.add_argument("--clips", type=int, default=642)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, help="for corpus and features, 11 GB; kept")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        sizes = (options.devices, options.clips, options.seconds)
        found = run(folder, *sizes, options.steps, options.device)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    table = Table(title="A corpus of the full size (simulated)", title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    for name, value in found.items():
        shown = str(value)
        if name.endswith(", bytes"):
            name, shown = name.removesuffix(", bytes"), f"{float(value) / GB:.2f} GB"
        elif isinstance(value, float):
            shown = f"{value:.2f}" if value < 10 else f"{value:,.0f}"
        table.add_row(name, shown)
    Console().print(table)


if __name__ == "__main__":
    main()
