"""Training by the command: learns, resumes exactly after a kill, and splits as it says."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")
pytest.importorskip("lightning", reason="lightning is not installed (extra: train)")

from typer.testing import CliRunner, Result  # noqa: E402

from agent.cli import app  # noqa: E402
from export.engine_loading import load_engine  # noqa: E402
from model.features import WINDOW_FRAMES, FrontEndConfig  # noqa: E402
from model.training_data import ClipData, RandomWindows, spread_windows  # noqa: E402
from tests.conftest import CLI_ENV, ROOT, run_cli  # noqa: E402
from tests.simulated import write_corpus  # noqa: E402


@pytest.fixture(scope="module")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three simulated devices, three short clips each."""
    folder = tmp_path_factory.mktemp("tiny") / "tiny"
    return write_corpus(folder, n_devices=3, n_clips=3, seconds=2.5)


def train_arguments(corpus: Path, output: Path, *more: str) -> list[str]:
    return [
        "train", str(corpus), "-o", str(output), "--profile", "hybrid", "--preset", "fast",
        "--split-by", "group", "--batch", "8", "--steps", "5", "--epochs", "3", *more,
    ]  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the processes have it, since the last bits depend on it; and no trace of Lightning."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def run_here(*arguments: str) -> Result:
    """The program in this process, which has torch loaded: importing it takes seconds."""
    return CliRunner().invoke(app, arguments)


def logits_of(path: Path) -> np.ndarray:
    windows = np.random.default_rng(0).standard_normal((4, WINDOW_FRAMES, 73)).astype(np.float32)
    return load_engine(path).run(windows).logits


def test_resume_after_a_kill_gives_the_same_model(tiny_corpus: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole.onnx", tmp_path / "killed.onnx"
    done = run_here(*train_arguments(tiny_corpus, whole))
    assert done.exit_code == 0, done.stderr
    process = subprocess.Popen(
        [sys.executable, "-m", "agent.cli", *train_arguments(tiny_corpus, killed)],
        cwd=ROOT,
        env=CLI_ENV,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 2/3"):  # said before the epoch's checkpoint is written
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not killed.exists()
    assert (tmp_path / "killed.onnx.run" / "last.ckpt").is_file()
    done = run_here(*train_arguments(tiny_corpus, killed, "--resume"))
    assert done.exit_code == 0, done.stderr
    assert "epoch 1/3" not in done.stderr
    assert "epoch 3/3" in done.stderr
    np.testing.assert_allclose(logits_of(killed), logits_of(whole), rtol=1e-4, atol=1e-4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["killed.onnx", "whole.onnx"]


def test_resume_with_other_settings_is_refused(tiny_corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.onnx"
    arguments = train_arguments(tiny_corpus, output, "--keep-run")
    assert run_here(*arguments, "--epochs", "1").exit_code == 0
    done = run_here(*arguments, "--epochs", "1", "--resume", "--seed", "5")
    assert done.exit_code == 2
    assert "cannot resume, these have changed: split, training" in done.stderr


def test_provenance(tiny_corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.onnx"
    arguments = train_arguments(tiny_corpus, output, "--epochs", "1", "--profile", "paper")
    done = run_here(*arguments)
    assert done.exit_code == 0, done.stderr
    metadata = load_engine(output).metadata
    assert metadata.labels == ("simA", "simB", "simC")
    assert metadata.front_end == FrontEndConfig()
    provenance = metadata.provenance
    assert provenance["split"] == "64/16/20 by group, seed 0"
    assert len(provenance["corpus sha256"]) == 64
    assert provenance["metrics"]["test clips"] == 3
    assert provenance["training"]["epochs"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--preset", "x"], 2, "unknown preset"),
        (["--profile", "x"], 2, "unknown profile"),
        (["--augment", "x"], 2, "unknown augmentation"),
        (["--split-by", "x"], 2, "unknown split"),
        (["-o", "model.pt"], 2, "ends in .onnx"),
        (["-o", "/nowhere/model.onnx"], 1, "folder does not exist"),
    ],
)
def test_bad_options(arguments: list[str], code: int, message: str, tiny_corpus: Path) -> None:
    done = run_here("train", str(tiny_corpus), *arguments)
    assert done.exit_code == code
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(tiny_corpus: Path, tmp_path: Path) -> None:
    arguments = train_arguments(tiny_corpus, tmp_path / "model.onnx", "--accelerator", "gpu")
    done = run_here(*arguments)
    assert done.exit_code == 2
    assert "accelerator gpu: " in done.stderr.splitlines()[-1]
    assert not (tmp_path / "model.onnx").exists()


def test_evaluate(simulated_corpus: Path, simulated_model: Path, tmp_path: Path) -> None:
    plot, report = tmp_path / "confusion.png", tmp_path / "report.json"
    done = run_cli(
        "evaluate", simulated_model, simulated_corpus, "--json", "--plot", plot, "-o", report
    )
    assert done.returncode == 0, done.stderr.decode()
    answer = json.loads(done.stdout)
    assert answer == json.loads(report.read_text())
    assert answer["clips"]["count"] == 20
    assert answer["clips"]["accuracy"] == 1.0
    assert np.array(answer["window_confusion"]).sum() == answer["windows"]["count"]
    assert plot.read_bytes().startswith(b"\x89PNG")
    table = run_cli("evaluate", simulated_model, simulated_corpus)
    assert b"windows" in table.stdout


def test_evaluate_says_what_it_left_out(
    simulated_corpus: Path, simulated_model: Path, tmp_path: Path
) -> None:
    for name in ("simA_1.wav", "simB_1.wav"):
        (tmp_path / name).symlink_to(simulated_corpus / name)
    (tmp_path / "simA_2.wav").write_text("no audio")
    done = run_cli("evaluate", simulated_model, tmp_path)
    assert done.returncode == 3
    assert b"left out: simA_2.wav" in done.stdout
    (tmp_path / "stranger_1.wav").write_bytes((simulated_corpus / "simA_1.wav").read_bytes())
    done = run_cli("evaluate", simulated_model, tmp_path)
    assert done.returncode == 5
    assert b"does not know device stranger" in done.stderr


def counted_clip(label: int, n_frames: int, n_copies: int, number: int) -> ClipData:
    """A clip whose frames say which clip, which copy and which frame they are."""

    def frames(copy: int) -> np.ndarray:
        place = np.arange(n_frames, dtype=np.float32)
        said = np.stack([np.full(n_frames, number), np.full(n_frames, copy), place], axis=1)
        return said.astype(np.float32)

    return ClipData(label, frames(0), [frames(k) for k in range(1, n_copies)])


def test_windows_depend_on_seed_epoch_and_index_only() -> None:
    clips = [counted_clip(label, 200, 1, number) for number, label in enumerate((0, 1, 1))]
    first = RandomWindows(clips, 10, seed=1, epoch=2, splice=0.5)
    again = RandomWindows(clips, 10, seed=1, epoch=2, splice=0.5)
    other = RandomWindows(clips, 10, seed=1, epoch=3, splice=0.5)
    for index in (7, 0, 3):
        torch.testing.assert_close(first[index], again[index], rtol=0, atol=0)
    assert any(not torch.equal(first[i][0], other[i][0]) for i in range(10))
    labels = [int(first[i][1]) for i in range(10)]
    assert labels.count(0) == labels.count(1) == 5
    with pytest.raises(IndexError):
        first[10]


@pytest.mark.parametrize("splice", [0.0, 1.0])
def test_windows_are_of_one_copy_and_run_on_within_a_clip(splice: float) -> None:
    owner = [0, 1, 1]
    clips = [counted_clip(owner[number], 128 + 7 * number, 3, number) for number in range(3)]
    windows = RandomWindows(clips, 60, seed=0, epoch=0, splice=splice)
    copies = set()
    for index in range(len(windows)):
        window, label = windows[index]
        clip, copy, place = window.numpy().T.astype(int)
        assert window.shape == (WINDOW_FRAMES, 3)
        assert {owner[c] for c in clip} == {int(label)}
        assert len(set(copy)) == 1
        copies |= set(copy)
        breaks = np.count_nonzero((np.diff(place) != 1) | (np.diff(clip) != 0))
        assert breaks <= (1 if splice else 0)
    assert copies == {0, 1, 2}


def test_spread_windows_go_through_the_copies() -> None:
    clips = [counted_clip(0, 160, 4, 0), counted_clip(1, 128, 4, 1)]
    windows, labels = spread_windows(clips)
    clip, copy = windows[:, 0, 0].int(), windows[:, 0, 1].int()
    assert clip.tolist() == labels.tolist()
    assert set(copy[labels == 0].tolist()) == {0, 1, 2, 3}
    assert (labels == 1).sum() == 1  # a clip of exactly one window gives one
    for window in windows:
        assert len(window[:, 1].unique()) == 1
        torch.testing.assert_close(window[:, 2].diff(), torch.ones(WINDOW_FRAMES - 1))


def test_spread_windows_are_never_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where every clip gives one and no hop could make them fewer."""
    monkeypatch.setattr("model.training_data.SPREAD_WINDOWS", 40)
    clips = [counted_clip(k % 2, 128, 2, k) for k in range(300)]
    windows, labels = spread_windows(clips)
    assert windows.shape == (40, WINDOW_FRAMES, 3)
    assert labels.bincount().tolist() == [20, 20]
    clip, copy = windows[:, 0, 0].int().tolist(), windows[:, 0, 1].int().tolist()
    assert clip == sorted(set(clip))
    assert [k % 2 for k in clip] == labels.tolist()
    assert copy == [0, 1] * 20
    few = spread_windows(clips[:7])[0][:, 0, 0].int().tolist()
    assert few == list(range(7))


def test_the_default_is_the_statistics_profile(
    tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "m.onnx"
    monkeypatch.setattr("model.statistics_training.REAL_WINDOWS", 600)
    done = run_here(
        "train", str(tiny_corpus), "-o", str(output), "--steps", "20", "--augment", "none",
        "--split-by", "none",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    metadata = load_engine(output).metadata
    assert metadata.network["profile"] == "statistics"
    assert metadata.provenance["epochs"] == 0
    assert metadata.provenance["metrics"] == {"held out": "nothing"}
    assert metadata.open_set is None
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize(
    "option",
    [("--epochs", "3"), ("--batch", "8"), ("--patience", "2"), ("--precision", "16-mixed")],
)
def test_options_that_the_statistics_profile_has_no_use_for(
    tiny_corpus: Path, tmp_path: Path, option: tuple[str, str]
) -> None:
    done = run_here("train", str(tiny_corpus), "-o", str(tmp_path / "m.onnx"), *option)
    assert done.exit_code == 2
    assert f"{option[0]}: the statistics profile is trained in --steps" in done.stderr
    assert not list(tmp_path.iterdir())


def test_early_stopping(tiny_corpus: Path, tmp_path: Path) -> None:
    """Without progress (no learning rate to speak of) training ends long before its last epoch."""
    done = run_here(
        *train_arguments(
            tiny_corpus, tmp_path / "m.onnx", "--epochs", "60", "--patience", "2",
            "--learning-rate", "1e-12",
        )
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "stopped early after" in done.stderr
