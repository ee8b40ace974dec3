"""The runner of the experiments: nothing is run twice, and whatever ends it, it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: train)")
pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: train)")
pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from model.errors import CorpusError, DevrecError
from model.experiments.methods import METHODS, Fitting, training_of
from model.experiments.tasks import common_settings, run_tasks
from tests.conftest import CLI_ENV, ROOT
from tests.experiment_rig import cheap_training, in_this_process, run
from tests.simulated import write_corpus
from tests.worker_rig import Ending, Meeting


@dataclass(frozen=True)
class Doubling:
    """A task that counts how often it is run."""

    number: int
    factor: float = 2.0
    runs: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"doubling-{self.number}"

    @property
    def settings(self) -> dict[str, Any]:
        return {**common_settings(), "factor": self.factor, "of": (self.number,)}

    def run(self, checkpoints: Path) -> dict[str, Any]:
        self.runs.append(self.number)
        return {"product": self.factor * self.number}


def test_results_come_in_order_and_nothing_is_run_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = in_this_process(monkeypatch)
    tasks = [Doubling(number) for number in (3, 1, 2)]
    seen: list[int] = []

    def track(indices: Any) -> Any:
        for index in indices:
            yield index
            seen.append(index)

    found = run_tasks(tasks, tmp_path / "parts", processes=2, track=track)
    assert [part["product"] for part in found] == [6, 2, 4]
    assert [part["processes"] for part in found] == [2, 2, 2]
    assert ran == ["doubling-3", "doubling-1", "doubling-2"]
    assert "numpy" in found[0]["settings"]["versions"]
    files = {path.name: json.loads(path.read_text()) for path in (tmp_path / "parts").iterdir()}
    assert files == {f"{task.name}.json": part for task, part in zip(tasks, found, strict=True)}

    ran.clear()
    seen.clear()
    assert run_tasks(tasks, tmp_path / "parts", processes=1, track=track) == found
    assert run_tasks(tasks[1:], tmp_path / "parts", processes=None) == found[1:]
    assert ran == seen == []
    # A further one, and one under other settings: these alone, which progress is shown over.
    changed = [tasks[0], Doubling(1, factor=3.0), tasks[2], Doubling(4)]
    found = run_tasks(changed, tmp_path / "parts", processes=8, track=track)
    assert [part["product"] for part in found] == [6, 3, 4, 8]
    assert ran == ["doubling-1", "doubling-4"]
    assert seen == [1, 3]
    assert [part["processes"] for part in found] == [2, 2, 2, 2]


@pytest.mark.parametrize(
    "damage", ["", '{"settings": ', "[1, 2]", '"text"', "null", '{"product": 4}', "\udcff", "{}"]
)
def test_a_damaged_part_is_run_again(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = in_this_process(monkeypatch)
    tasks = [Doubling(1), Doubling(2)]
    found = run_tasks(tasks, tmp_path, processes=1)
    (tmp_path / "doubling-2.json").write_bytes(damage.encode(errors="surrogateescape"))
    ran.clear()
    assert run_tasks(tasks, tmp_path, processes=1) == found
    assert ran == ["doubling-2"]
    assert json.loads((tmp_path / "doubling-2.json").read_text()) == found[1]


@pytest.mark.parametrize("error", [CorpusError("the power is gone"), KeyboardInterrupt()])
def test_what_is_finished_stays(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = in_this_process(monkeypatch)
    tasks = [Doubling(number) for number in range(4)]

    def gone(task: Doubling, checkpoints: Path) -> dict[str, Any]:
        if task.number == 2:
            raise error
        return {"product": 2.0 * task.number}

    with monkeypatch.context() as patch:
        patch.setattr(Doubling, "run", gone)
        with pytest.raises(type(error)):
            run_tasks(tasks, tmp_path, processes=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "doubling-0.json",
        "doubling-1.json",
    ]
    ran.clear()
    assert [part["product"] for part in run_tasks(tasks, tmp_path, processes=1)] == [0, 2, 4, 6]
    assert ran == ["doubling-2", "doubling-3"]


def test_nothing_to_do_starts_nothing(tmp_path: Path) -> None:
    assert run_tasks([], tmp_path / "parts", processes=None) == []


def test_settings_name_what_decides_a_method_and_nothing_else() -> None:
    slow = Fitting(seed=3, preset="paper", epochs=7, store=Path("/anywhere"), accelerator="gpu")
    trained = {
        "network-paper": training_of(slow).to_dict(),
        "network-statistics": training_of(Fitting(seed=3)).to_dict(),
        **{
            name.replace("_", "-"): asdict(import_module(f"model.baselines.{name}").TRAINING)
            for name in ("gsv_cnn", "feature_fusion", "multi_attention", "ecapa")
        },
    }
    assert trained["network-paper"]["epochs"] == 7
    for method in METHODS:
        assert method.settings(slow) == {
            "seed": 3,
            "front_end": method.front_end.to_dict(),
            "training": trained.get(method.key, {}),
        }


def test_a_training_that_was_cut_off_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_this_process(monkeypatch)
    begun: list[Path] = []

    def run(task: Doubling, checkpoints: Path) -> dict[str, Any]:
        begun.append(checkpoints)
        checkpoints.mkdir(parents=True, exist_ok=True)
        (checkpoints / "epoch").write_text("1")
        if len(begun) in (1, 3):
            raise CorpusError("the power is gone")
        return {"product": 1.0}

    monkeypatch.setattr(Doubling, "run", run)
    with pytest.raises(CorpusError):
        run_tasks([Doubling(1)], tmp_path, processes=1)
    assert (begun[0] / "epoch").exists()
    run_tasks([Doubling(1)], tmp_path, processes=1)
    assert begun[1] == begun[0]
    assert [path.name for path in tmp_path.iterdir()] == ["doubling-1.json"]
    # Other settings do not go on from there, and leave nothing behind either.
    with pytest.raises(CorpusError):
        run_tasks([Doubling(1, factor=3.0)], tmp_path, processes=1)
    run_tasks([Doubling(1, factor=4.0)], tmp_path, processes=1)
    assert len(set(begun)) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["doubling-1.json"]


def test_tasks_are_at_work_at_once_in_processes_that_share_the_cores(tmp_path: Path) -> None:
    meeting = [Meeting(tmp_path, name, size=2) for name in "ab"]
    found = run_tasks(meeting, tmp_path / "parts", processes=2)
    assert len({part["pid"] for part in found} - {os.getpid()}) == 2
    share = str(max(1, (os.cpu_count() or 1) // 2))
    assert [part["threads"] for part in found] == [share, share]
    assert not any(part["knows_ctrl_c"] for part in found)  # which ends the program, and so them
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_lost_process_is_not_waited_for_and_an_error_comes_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(DevrecError, match=r"a process was lost \(exit code -9\)"):
        run_tasks([Ending("killed", signal.SIGKILL)], tmp_path, processes=1)
    with pytest.raises(CorpusError, match="nothing to learn from"):
        run_tasks([Ending("failed", None)], tmp_path, processes=1)
    assert list(tmp_path.iterdir()) == []


def started(corpus: Path, output: Path) -> subprocess.Popen[bytes]:
    """Table 5 with a quick method and a slow one, in a group of processes of its own."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "agent.cli", "experiment", "table5", str(corpus)),
            *("-o", str(output), "--method", "mfcc-svm", "--method", "network-paper"),
            *("--epochs", "2000", "--processes", "1"),
        ],
        cwd=ROOT,
        env=CLI_ENV,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # A shell starts what it puts in the background with SIGINT ignored; children inherit it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def ended(process: subprocess.Popen[bytes], by: signal.Signals, finished: Path) -> bytes:
    """What a program says whose whole group gets a signal once a part is finished."""
    try:
        end = time.monotonic() + 120
        while not finished.exists():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        os.killpg(process.pid, by)
        return process.communicate(timeout=60)[1]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_killed_or_interrupted_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = write_corpus(tmp_path / "corpus", n_devices=2, n_clips=2, seconds=1.5)
    output, parts = tmp_path / "out", tmp_path / "out" / "folds"
    process = started(corpus, output)
    ended(process, signal.SIGKILL, parts / "mfcc-svm-1.json")
    assert process.returncode == -signal.SIGKILL
    before = (parts / "mfcc-svm-1.json").read_bytes()
    for late in parts.glob("mfcc-svm-2.json"):
        late.unlink()  # whether it was in time is chance

    process = started(corpus, output)
    said = ended(process, signal.SIGINT, parts / "mfcc-svm-2.json")
    assert process.returncode == 130
    assert said.decode() == "devrec-agent: interrupted\n"
    shown = [path.name for path in parts.glob("[!.]*.json")]
    assert sorted(shown) == ["mfcc-svm-1.json", "mfcc-svm-2.json"]
    assert (parts / "mfcc-svm-1.json").read_bytes() == before  # not run again
    assert not list(output.glob("table5*"))

    ran = in_this_process(monkeypatch)
    cheap_training(monkeypatch)
    run(
        *("table5", corpus, "-o", output, "--method", "mfcc-svm", "--method", "network-paper"),
        *("--epochs", "2000"),
    )
    assert ran == ["network-paper-1", "network-paper-2"]
    report = json.loads((output / "table5.json").read_text())
    assert [row["count"] for row in report["methods"]] == [4, 4]
