"""Table 6: what is timed, on one thread, and what the ratios are of."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: train)")
torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from model.baselines.baseline import Baseline, BaselineClip, IntArray  # noqa: E402
from model.corpus import read_corpus  # noqa: E402
from model.experiments import cost, methods  # noqa: E402
from model.experiments.cost import ROUNDS, cost_markdown, measure_costs  # noqa: E402
from model.experiments.fold_task import make_features  # noqa: E402
from model.experiments.methods import (  # noqa: E402
    LDA,
    METHODS,
    OUR_FRONT_END,
    PAPER_FRONT_END,
    PAPER_NETWORK,
    Fitting,
    Method,
)
from model.features import FloatArray, FrontEndConfig, extract  # noqa: E402
from model.split import Split  # noqa: E402
from tests.conftest import CLI_ENV, ROOT  # noqa: E402
from tests.experiment_rig import in_this_process, run  # noqa: E402
from tests.simulated import write_corpus  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two simulated devices, three contents each."""
    return write_corpus(tmp_path_factory.mktemp("cost") / "two", n_devices=2, n_clips=3, seconds=2)


@pytest.fixture(autouse=True)
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    in_this_process(monkeypatch)


@dataclass
class Clock:
    """Seconds, which pass when something says that they do."""

    now: float = 0.0
    extracted: list[FrontEndConfig] = field(default_factory=list)

    def perf_counter(self) -> float:
        return self.now


@dataclass
class Timed:
    """A method that takes the seconds it is told to for its clips, in turn."""

    clock: Clock
    seconds: Sequence[float]
    fittings: list[Fitting]
    n_parameters: int = 7
    calls: int = 0
    learnt: int = 0

    def fit(self, clips: Sequence[BaselineClip], labels: IntArray) -> None:
        self.clock.now += 1000  # no matter
        assert [len(clip.frames) > 0 for clip in clips] == [True] * len(labels)
        self.learnt = len(labels)

    def scores(self, clips: Sequence[BaselineClip]) -> FloatArray:
        [clip] = clips
        assert clip.samples.dtype == np.float32
        self.clock.now += self.seconds[self.calls % len(self.seconds)]
        self.calls += 1
        return np.zeros((1, 2), np.float32)


FRONT_END_SECONDS = {PAPER_FRONT_END: 0.5, OUR_FRONT_END: 0.25}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that only front ends and methods move."""
    clock = Clock()

    def slowly(samples: FloatArray, config: FrontEndConfig) -> FloatArray:
        clock.extracted.append(config)
        clock.now += FRONT_END_SECONDS[config]
        return extract(samples, config)

    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=clock.perf_counter))
    monkeypatch.setattr(cost, "extract", slowly)
    return clock


def rows_of(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in report["methods"]}


def test_arithmetic(folder: Path, tmp_path: Path, clock: Clock) -> None:
    """Two clips in the fold: all that is timed, by a clock of our own."""
    made: dict[str, Timed] = {}

    def method(key: str, *seconds: float, **attributes: Any) -> Method:
        def make(fitting: Fitting) -> Baseline:
            assert key not in made
            made[key] = Timed(clock, seconds, [fitting])
            return made[key]

        return Method(key, key.title(), make, **attributes)

    every = [
        method("fast", 0.1),
        method("slow", 4.0, takes_samples=True),
        method("ours", 1.0, front_end=OUR_FRONT_END),
        # The reference takes 1 s for the first clip and 3 s for the second; one round is off.
        method(PAPER_NETWORK.key, 1.0, 3.0, 90.0, 3.0, *[1.0, 3.0] * 3),
    ]
    corpus = read_corpus(folder)
    make_features(corpus, every, tmp_path)
    fitting = Fitting(seed=5, accelerator="gpu", preset="paper")
    seen: list[int] = []

    def track(numbers: Sequence[int]) -> Sequence[int]:
        seen.append(len(numbers))
        return numbers

    report = measure_costs(corpus, "leave-one-clip-out", every, tmp_path, fitting, track)
    assert seen == [len(every), ROUNDS]
    assert report["clips_timed"] == ["simA_1.wav", "simB_1.wav"]
    assert (report["devices"], report["rounds"]) == (2, ROUNDS)
    assert report["settings"]["seed"] == 5
    assert report["settings"]["corpus"] == corpus.content_hash()
    for one in made.values():
        assert one.calls == 2 * ROUNDS
        assert one.learnt == 4  # clips of the other contents
        assert one.fittings == [
            Fitting(5, "paper", store=tmp_path / "background", accelerator="cpu", hurried=True)
        ]
    # Once for each clip and round, however many methods take what the front end gives.
    assert clock.extracted == [PAPER_FRONT_END, OUR_FRONT_END] * 2 * ROUNDS

    rows = rows_of(report)
    assert [row["title"] for row in report["methods"]] == [m.title for m in every]
    assert {row["n_parameters"] for row in rows.values()} == {7}
    assert [row["front_end_ms"] for row in rows.values()] == [500, 0, 250, 500]
    assert [row["scoring_ms"] for row in rows.values()] == [100, 4000, 1000, 2000]
    whole = rows[PAPER_NETWORK.key]
    assert (whole["excluded"], whole["included"]) == (1.0, 1.0)
    # Medians over the two clips of the ratios, not ratios of medians.
    for key, scoring, front in (("fast", 0.1, 0.5), ("slow", 4, 0), ("ours", 1, 0.25)):
        assert rows[key]["excluded"] == pytest.approx(np.mean([scoring / 1, scoring / 3]))
        both = scoring + front
        assert rows[key]["included"] == pytest.approx(np.mean([both / 1.5, both / 3.5]))
    table = cost_markdown(report)
    assert "| Slow | 7 | 0.0 | 4000.00 | 2.67 | 1.9 |" in table
    assert "| 7 | 500.0 | 2000.00 | 1 | 1 |" in table


def test_a_large_fold_is_timed_in_part(
    folder: Path, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = read_corpus(folder)
    all_in_one = Split("all", data.clips, (), data.clips)
    monkeypatch.setattr(cost, "folds", lambda corpus, protocol: [all_in_one])
    every = [replace(PAPER_NETWORK, make=lambda fitting: Timed(clock, [1.0], [fitting]))]
    make_features(data, every, tmp_path)
    for most, names in ((6, 6), (5, 3), (3, 3), (2, 2), (1, 1)):
        monkeypatch.setattr(cost, "MAX_CLIPS", most)
        report = measure_costs(data, "leave-one-clip-out", every, tmp_path, Fitting())
        assert len(report["clips_timed"]) == names <= most


def test_table_6(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper's network for real, in a hurry, beside methods that take no time."""
    keys = ("mfcc-svm", "bed-svm", LDA.key, PAPER_NETWORK.key)
    some = tuple(method for method in METHODS if method.key in keys)
    monkeypatch.setattr(methods, "METHODS", some)
    done = run("table6", folder, "-o", tmp_path, "--seed", "2")
    report = json.loads((tmp_path / "table6.json").read_text())
    assert report["settings"]["seed"] == 2
    rows, table = rows_of(report), (tmp_path / "table6.md").read_text()
    assert list(rows) == [method.key for method in some]
    for row in rows.values():
        assert row["n_parameters"] > 0
        assert row["scoring_ms"] > 0
        assert f"| {row['title']} | {row['n_parameters']:,} |" in table
        assert row["title"] in done.stdout
    whole = rows.pop(PAPER_NETWORK.key)
    assert (whole["excluded"], whole["included"]) == (1.0, 1.0)
    assert whole["n_parameters"] > 500_000  # of its full size
    assert all(row["excluded"] < 1 for row in rows.values())
    assert rows["bed-svm"]["front_end_ms"] == 0
    assert rows["mfcc-svm"]["front_end_ms"] == whole["front_end_ms"] > 0
    assert rows[LDA.key]["front_end_ms"] > 0


THREADS = """
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from model.corpus import read_corpus
from model.experiments.cost import measure_costs
from model.experiments.fold_task import make_features
from model.experiments.methods import PAPER_NETWORK, Fitting


class Counting:
    n_parameters = 0

    def fit(self, clips, labels):
        import torch  # a method that needs it, and no one before

    def scores(self, clips):
        import torch
        print(torch.get_num_threads())
        return np.zeros((1, 2), np.float32)


if __name__ == "__main__":
    corpus = read_corpus(Path(sys.argv[1]))
    method = replace(PAPER_NETWORK, make=lambda fitting: Counting())
    make_features(corpus, [method], Path(sys.argv[2]))
    assert "torch" not in sys.modules
    measure_costs(corpus, "leave-one-clip-out", [method], Path(sys.argv[2]), Fitting())
"""


def test_one_thread_also_where_torch_is_loaded_late(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "threads.py"
    script.write_text(THREADS)
    make_features(read_corpus(folder), [PAPER_NETWORK], tmp_path)  # no process for it
    done = subprocess.run(
        [sys.executable, script, folder, tmp_path],
        capture_output=True,
        env={**CLI_ENV, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.split() == [b"1"] * 2 * ROUNDS
