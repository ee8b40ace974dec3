"""``classify`` as a user runs it: answers, JSON, exit codes, one line per error, no torch."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import ROOT, run_cli, run_cli_without
from tests.simulated import RATE_HZ, record, speech_like


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new sound through simulated device C (index 2)."""
    path = tmp_path_factory.mktemp("clip") / "unheard [new].wav"
    soundfile.write(path, record(speech_like(4.0, seed=99), 2, seed=9), RATE_HZ)
    return path


def one_json(
    *arguments: str | Path, code: int = 0, stdin: bytes | None = None
) -> dict[str, object]:
    done = run_cli("classify", "--json", *arguments, stdin=stdin)
    assert done.returncode == code, done.stderr.decode()
    lines = done.stdout.decode().splitlines()
    assert len(lines) == 1
    answer: dict[str, object] = json.loads(lines[0])
    return answer


def test_json(clip: Path, simulated_model: Path) -> None:
    answer = one_json(clip, "--model", simulated_model, "--top", "3")
    assert answer["file"] == str(clip)
    assert answer["device"] == "simC"
    candidates = answer["candidates"]
    assert isinstance(candidates, list)
    assert len(candidates) == 3
    assert candidates[0] == {
        "device": "simC",
        "probability": answer["probability"],
        "log10_lr": None,
        "source": "built-in",
    }
    # This model was trained without strangers: it cannot tell.
    assert answer["unknown"] is None
    assert answer["score"] is None
    assert answer["nearest"] == "simC"
    probabilities = [c["probability"] for c in candidates]
    assert probabilities == sorted(probabilities, reverse=True)
    assert answer["windows"] == 6  # (4 s = 499 frames - 128) / 64, both ends
    assert answer["duration_s"] == 4.0
    assert answer["sample_rate_hz"] == RATE_HZ
    assert answer["warnings"] == []
    assert answer["narrowband"] is False


def test_table(clip: Path, simulated_model: Path) -> None:
    done = run_cli("classify", clip, "--model", simulated_model, COLUMNS="400")
    assert done.returncode == 0
    text = done.stdout.decode()
    assert "simC" in text
    assert "unheard [new].wav" in text  # square brackets are no markup
    assert done.stderr == b""


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".mp3"])
def test_formats(suffix: str, clip: Path, simulated_model: Path, tmp_path: Path) -> None:
    samples, _ = soundfile.read(clip)
    soundfile.write(tmp_path / f"clip{suffix}", samples, RATE_HZ)
    answer = one_json(tmp_path / f"clip{suffix}", "--model", simulated_model)
    assert answer["sample_rate_hz"] == RATE_HZ
    if suffix == ".flac":
        assert answer["device"] == "simC"


def test_standard_input(clip: Path, simulated_model: Path) -> None:
    piped = one_json("-", "--model", simulated_model, stdin=clip.read_bytes())
    direct = one_json(clip, "--model", simulated_model)
    assert piped == {**direct, "file": "-"}
    assert one_json("-", "--model", simulated_model, code=3, stdin=b"")["error"] == "no data"


def test_narrowband_stereo_and_clipping_are_said(
    clip: Path, simulated_model: Path, tmp_path: Path
) -> None:
    samples, _ = soundfile.read(clip, dtype="float32")
    loud = np.clip(samples[::2] * 30, -1, 1)
    soundfile.write(tmp_path / "loud.wav", np.stack([loud, loud], axis=1), RATE_HZ // 2)
    answer = one_json(tmp_path / "loud.wav", "--model", simulated_model)
    assert answer["narrowband"] is True
    assert set(answer["warnings"]) == {"narrowband", "multichannel", "clipping"}  # type: ignore[call-overload]


def bad_files(folder: Path) -> dict[str, str]:
    """Files that cannot be classified, with a part of the message for each."""
    good = speech_like(2.0, seed=5)
    with_nan = good.copy()
    with_nan[1000] = np.nan
    soundfile.write(folder / "nan.wav", with_nan, RATE_HZ, subtype="FLOAT")
    soundfile.write(folder / "short.wav", good[: RATE_HZ // 2], RATE_HZ)
    soundfile.write(folder / "nothing.wav", good[:0], RATE_HZ)
    soundfile.write(folder / "zeros.wav", 0 * good, RATE_HZ)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("this is no audio")
    soundfile.write(folder / "whole.flac", good, RATE_HZ)
    (folder / "cut.flac").write_bytes((folder / "whole.flac").read_bytes()[:20])
    (folder / "whole.flac").unlink()
    return {
        "nan.wav": "not numbers",
        "short.wav": "shorter than one window",
        "nothing.wav": "holds no samples",
        "zeros.wav": "digital silence",
        "empty.wav": "empty file",
        "text.wav": "not an audio file",
        "cut.flac": "not an audio file",
        "missing.wav": "no such file",
    }


def test_bad_files_get_a_line_each_and_the_others_still_run(
    clip: Path, simulated_model: Path, tmp_path: Path
) -> None:
    expected = bad_files(tmp_path)
    paths = [tmp_path / name for name in expected]
    done = run_cli("classify", "--json", *paths, clip, "--model", simulated_model)
    assert done.returncode == 3
    answers = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert answers[-1]["device"] == "simC"
    complaints = done.stderr.decode().splitlines()
    assert len(complaints) == len(expected)
    for (name, message), answer, complaint in zip(
        expected.items(), answers[:-1], complaints, strict=True
    ):
        assert answer["file"] == str(tmp_path / name)
        assert message in answer["error"]
        assert complaint.startswith("devrec-agent: ")
        assert message in complaint


def test_folder(simulated_corpus: Path, simulated_model: Path, tmp_path: Path) -> None:
    done = run_cli("classify", "--json", simulated_corpus, "--model", simulated_model)
    assert done.returncode == 0
    answers = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert len(answers) == 20
    right = sum(Path(a["file"]).name.startswith(a["device"] + "_") for a in answers)
    assert right == 20
    done = run_cli("classify", tmp_path, "--model", simulated_model)
    assert done.returncode == 3
    assert b"no audio files in this folder" in done.stderr


def test_bad_model(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_text("no model")
    done = run_cli("classify", clip, "--model", tmp_path / "x.onnx")
    assert done.returncode == 4
    assert len(done.stderr.decode().splitlines()) == 1
    assert b"Traceback" not in done.stderr


def test_runs_without_torch_and_onnx(clip: Path, simulated_model: Path) -> None:
    """The edge install has no torch: forbid the import and classify."""
    absent = ("torch", "onnx", "lightning", "sklearn", "matplotlib")
    done = run_cli_without(absent, "classify", clip, "--model", simulated_model)
    assert done.returncode == 0, done.stderr.decode()
    assert b"simC" in done.stdout


def test_train_without_torch_names_the_extra(tmp_path: Path) -> None:
    done = run_cli_without(["torch"], "train", tmp_path)
    assert done.returncode == 7
    assert b"devrec-agent[train]" in done.stderr


def test_help_is_fast_and_light() -> None:
    script = (
        "import sys\n"
        "from agent.cli import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'scipy.signal', 'numpy', 'onnxruntime', 'sounddevice', 'soundfile'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))\n"
    )
    times = []
    for _ in range(5):
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, cwd=ROOT, check=True
        )
        times.append(time.perf_counter() - started)
        assert b"HEAVY []" in done.stdout
        assert b"classify" in done.stdout
    # The requirement is 0.4 s; the best of five leaves out what else the machine was doing.
    assert min(times) < 0.4
