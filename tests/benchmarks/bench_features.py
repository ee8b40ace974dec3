"""Front-end speed against kaldi-native-fbank and librosa, on one thread, in one run.

    OPENBLAS_NUM_THREADS=1 python -m tests.benchmarks.bench_features [--wav FILE]

Offline: MFCC with deltas and mel energies of one clip. kaldi-native-fbank computes MFCC and Fbank
(no deltas), each from the waveform, its frames fetched into an array; librosa computes MFCC,
deltas, energy and mel spectrogram, each from the waveform as well, and once more from one shared
mel spectrogram.
Streaming: our cost per hop of 8 ms, fed hop by hop and in 20 ms blocks. The rivals alternate;
medians, and ratios run by run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from model.features import FloatArray as Samples
from model.features import FrontEnd, FrontEndConfig, extract
from model.network_config import front_end_for
from tests.simulated import RATE_HZ, speech_like

CONFIG = FrontEndConfig()  # the paper's; librosa does not remove DC either


def kaldi(samples: list[float]) -> None:
    """MFCC and Fbank with the same frames and bands, fetched into arrays.

    Takes a list: the binding would spend as long on converting an array as on computing.
    """
    import kaldi_native_fbank as knf

    for options, online in (
        (knf.MfccOptions(), knf.OnlineMfcc),
        (knf.FbankOptions(), knf.OnlineFbank),
    ):
        options.frame_opts.samp_freq = RATE_HZ
        options.frame_opts.frame_length_ms = 16
        options.frame_opts.frame_shift_ms = 8
        options.frame_opts.dither = 0
        options.frame_opts.window_type = "hamming"
        options.mel_opts.num_bins = 34
        computer = online(options)
        computer.accept_waveform(RATE_HZ, samples)
        computer.input_finished()
        np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)])


LIBROSA: dict[str, Any] = {
    "sr": RATE_HZ, "n_fft": 512, "hop_length": 256, "window": "hamming", "center": False,
    "n_mels": 34, "htk": True, "norm": None,
}  # fmt: skip


def librosa_features(samples: Samples) -> None:
    """Each feature from the waveform: MFCC, deltas, delta-deltas, energy, mel spectrogram."""
    import librosa

    emphasised = librosa.effects.preemphasis(samples, coef=0.97)
    mfcc = librosa.feature.mfcc(y=emphasised, n_mfcc=13, **LIBROSA)
    librosa.feature.rms(y=emphasised, frame_length=512, hop_length=256)
    librosa.feature.delta(mfcc, width=9)
    librosa.feature.delta(mfcc, width=9, order=2)
    librosa.feature.melspectrogram(y=emphasised, **LIBROSA)


def librosa_shared(samples: Samples) -> None:
    """The same by hand from one mel spectrogram."""
    import librosa

    emphasised = librosa.effects.preemphasis(samples, coef=0.97)
    mels = librosa.feature.melspectrogram(y=emphasised, power=1.0, **LIBROSA)
    mfcc = librosa.feature.mfcc(S=np.log(np.maximum(mels, 1e-5)), n_mfcc=13)
    librosa.feature.delta(mfcc, width=9)
    librosa.feature.delta(mfcc, width=9, order=2)


def stream(samples: Samples, chunk: int) -> float:
    """Seconds per hop of 8 ms when fed in chunks."""
    front_end = FrontEnd(CONFIG)
    started = time.perf_counter()
    for start in range(0, len(samples), chunk):
        front_end.accept(samples[start : start + chunk])
    front_end.flush()
    return (time.perf_counter() - started) / (len(samples) / CONFIG.hop_length)


def run(samples: Samples, repeats: int) -> dict[str, float]:
    """Medians in milliseconds, ratios to ours, and streaming cost as share of one core."""
    as_list = samples.tolist()
    rivals: dict[str, Callable[[Samples], object]] = {
        "ours": lambda x: extract(x, CONFIG),
        "ours, log pre-Fbank": lambda x: extract(x, front_end_for("hybrid")),
        "kaldi-native-fbank": lambda _: kaldi(as_list),
        "librosa": librosa_features,
        "librosa, one spectrogram": librosa_shared,
    }
    times: dict[str, list[float]] = {name: [] for name in rivals}
    hop_s = CONFIG.hop_length / CONFIG.sample_rate_hz
    hops, blocks = [], []
    with threadpool_limits(1):
        for rival in rivals.values():
            rival(samples)
        for _ in range(repeats):
            for name, rival in rivals.items():
                started = time.perf_counter()
                rival(samples)
                times[name].append(time.perf_counter() - started)
            hops.append(stream(samples, CONFIG.hop_length))
            blocks.append(stream(samples, round(0.02 * RATE_HZ)))
    result = {f"{name} ms": 1e3 * statistics.median(values) for name, values in times.items()}
    for name in [name for name in rivals if not name.startswith("ours")]:
        result[f"{name} / ours"] = statistics.median(
            theirs / ours for theirs, ours in zip(times[name], times["ours"], strict=True)
        )
    result["share of a core, hop by hop"] = statistics.median(hops) / hop_s
    result["share of a core, 20 ms blocks"] = statistics.median(blocks) / hop_s
    return result


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wav", type=Path, help="32 kHz clip; speech-like noise without it")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.wav:
        samples, rate_hz = soundfile.read(options.wav, dtype="float32")
        if rate_hz != RATE_HZ:
            parser.error(f"{options.wav}: {rate_hz} Hz, the rivals are compared at {RATE_HZ} Hz")
    else:
        samples = speech_like(options.seconds, seed=0)
    result = run(samples, options.repeats)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    table = Table(
        title=f"front end, {len(samples) / RATE_HZ:.1f} s, one thread", title_justify="left"
    )
    table.add_column("")
    table.add_column("measured", justify="right")
    table.add_column("required", justify="right")
    required = {
        "kaldi-native-fbank / ours": ">= 1",
        "librosa / ours": ">= 5",
        "share of a core, hop by hop": "< 1 %",
        "share of a core, 20 ms blocks": "< 1 %",
    }
    for name, value in result.items():
        shown = f"{100 * value:.2f} %" if name.startswith("share") else f"{value:.2f}"
        table.add_row(name, shown, required.get(name, ""))
    Console().print(table)


if __name__ == "__main__":
    main()
