"""``simulate`` as a user runs it: a corpus that training reads, whole or not at all."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner, Result

from agent.cli import app
from model.audio import read_clip
from model.corpus import read_corpus
from model.synthetic_speech import synthetic_speech
from model.virtual_microphone import VirtualMicrophone
from tests.conftest import run_cli_without

SHORT = ("--clips", "2", "--seconds", "1.1")


def simulate(*arguments: str | Path, code: int = 0) -> Result:
    done = CliRunner().invoke(app, ["simulate", *map(str, arguments)])
    assert done.exit_code == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def complaint(*arguments: str | Path, code: int) -> str:
    """The one line on stderr; nothing on stdout."""
    done = simulate(*arguments, code=code)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("devrec-agent: ")
    return lines[0]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """Two recordings at 48 kHz."""
    folder = tmp_path / "speech"
    folder.mkdir()
    for k in (1, 2):
        soundfile.write(folder / f"talk {k}.flac", synthetic_speech(1.3, 50 + k, 48_000), 48_000)
    return folder


def test_corpus_that_training_reads(tmp_path: Path) -> None:
    done = simulate("-o", tmp_path / "out", *SHORT)
    assert "4 simulated devices x 2 clips" in done.stdout
    corpus = read_corpus(tmp_path / "out")
    assert corpus.devices == ("virtual-01", "virtual-02", "virtual-03", "virtual-04")
    assert corpus.groups == ("1", "2")
    assert len(corpus.clips) == 8
    for clip in corpus.clips:
        with soundfile.SoundFile(clip.path) as file:
            assert (file.samplerate, file.channels, file.subtype) == (32_000, 1, "PCM_16")
            assert "Simulated" in file.comment
            assert len(file) == 1.1 * 32_000
    # The naming alone says the same, for whoever copies the files without the manifest.
    (tmp_path / "out" / "manifest.csv").unlink()
    assert read_corpus(tmp_path / "out").devices == corpus.devices


def test_everything_says_simulated(tmp_path: Path) -> None:
    done = simulate("-o", tmp_path / "out", *SHORT, "--json")
    (line,) = done.stdout.splitlines()
    answer = json.loads(line)
    assert answer == {
        "simulated": True,
        "folder": str(tmp_path / "out"),
        "devices": [f"virtual-0{k}" for k in range(1, 5)],
        "clips": 2,
        "recordings": 8,
        "sample_rate_hz": 32_000,
    }
    assert json.loads((tmp_path / "out" / "devices.json").read_text())["simulated"] is True
    with (tmp_path / "out" / "manifest.csv").open(newline="") as file:
        assert all(row["origin"] == "simulated" for row in csv.DictReader(file))


def test_seed_decides_everything(tmp_path: Path) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        simulate("-o", tmp_path / name, *SHORT, "--devices", "2", "--seed", seed)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b
    assert a.keys() == c.keys()
    assert not any(a[name] == c[name] for name in a if name.endswith(".wav"))


def test_speech_is_played(speech: Path, tmp_path: Path) -> None:
    simulate(speech, "-o", tmp_path / "out", "--devices", "2")
    corpus = read_corpus(tmp_path / "out")
    assert len(corpus.clips) == 4
    with (tmp_path / "out" / "manifest.csv").open(newline="") as file:
        spoken = {row["path"]: row["speech"] for row in csv.DictReader(file)}
    assert spoken["virtual-01_2.wav"] == str(speech / "talk 2.flac")
    # The devices are those that devices.json describes, and the sound is the speech.
    played = read_clip(speech / "talk 2.flac", 32_000)
    described = json.loads((tmp_path / "out" / "devices.json").read_text())["devices"]
    for values in described:
        device = VirtualMicrophone.from_dict(values)
        recorded, _ = soundfile.read(tmp_path / "out" / f"{device.name}_2.wav", dtype="float32")
        again = device.record(
            played * np.float32(10 ** (-26 / 20) / played.std()),
            32_000,
            np.random.default_rng(0),
        )
        assert len(recorded) == len(played)
        assert np.corrcoef(recorded, again)[0, 1] > 0.95


def test_same_devices_again(speech: Path, tmp_path: Path) -> None:
    simulate("-o", tmp_path / "first", *SHORT, "--devices", "2", "--seed", "7")
    simulate(speech, "-o", tmp_path / "second", "--devices-from", tmp_path / "first")
    first, second = (
        json.loads((tmp_path / name / "devices.json").read_text()) for name in ("first", "second")
    )
    assert first["devices"] == second["devices"]


def test_noise_is_never_the_same_twice(tmp_path: Path) -> None:
    """Not even with one seed: a clip's noise would give away its device."""
    talk = synthetic_speech(1.2, 9)
    soundfile.write(tmp_path / "one.wav", np.pad(talk, (0, 16_000)), 32_000)
    soundfile.write(tmp_path / "two.wav", np.pad(0.9 * talk[::-1], (0, 16_000)), 32_000)
    for name in ("one", "two"):
        simulate(tmp_path / f"{name}.wav", "-o", tmp_path / name, "--devices", "3", "--seed", "1")
    tails = [
        soundfile.read(tmp_path / name / f"virtual-0{k}_1.wav")[0][-8000:]
        for name in ("one", "two")
        for k in (1, 2, 3)
    ]
    likeness = np.corrcoef(tails) - np.eye(6)
    assert np.abs(likeness).max() < 0.3  # coloured noise has few independent samples


def test_measured_responses(tmp_path: Path) -> None:
    for name, taps in (("Old Ribbon", [1.0, 0.7]), ("B&O_2", [1.0, -0.7])):
        soundfile.write(tmp_path / f"{name}.wav", np.array(taps), 48_000, subtype="FLOAT")
    options = ["--impulse-response", tmp_path / "Old Ribbon.wav"]
    options += ["--impulse-response", tmp_path / "B&O_2.wav"]
    simulate("-o", tmp_path / "out", *SHORT, *options)
    assert read_corpus(tmp_path / "out").devices == ("virtual-B&O_2", "virtual-Old Ribbon")
    simulate("-o", tmp_path / "both", *SHORT, *options, "--devices", "1")
    assert len(read_corpus(tmp_path / "both").devices) == 3
    said = complaint("-o", tmp_path / "twice", *options[:2], *options[:2], code=2)
    assert "two devices would be called virtual-Old Ribbon" in said


def test_folder_is_replaced_only_with_force_and_only_ours(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    simulate("-o", out, *SHORT, "--devices", "1")  # an empty folder is as good as none
    before = contents(out)
    assert "not empty" in complaint("-o", out, *SHORT, code=2)
    assert contents(out) == before
    simulate("-o", out, *SHORT, "--devices", "2", "--clips", "1", "--force")
    assert {name for name in contents(out) if name.endswith(".wav")} == {
        "virtual-01_1.wav",
        "virtual-02_1.wav",
    }
    (out / "thesis.txt").write_text("years of work")
    assert "thesis.txt" in complaint("-o", out, *SHORT, "--force", code=2)
    assert (out / "thesis.txt").exists()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "manifest.csv").write_text("path,device\n")
    assert "manifest.csv" in complaint("-o", foreign, *SHORT, "--force", code=2)
    assert "no folder" in complaint("-o", foreign / "manifest.csv", code=2)
    assert {path.name for path in tmp_path.iterdir()} == {"out", "foreign"}


def test_nothing_is_left_of_a_failure(speech: Path, tmp_path: Path) -> None:
    """The last clip is silent: the others have been recorded by then."""
    soundfile.write(tmp_path / "silent.wav", np.zeros(40_000), 32_000)
    out = tmp_path / "out"
    said = complaint(speech, tmp_path / "silent.wav", "-o", out, "--devices", "1", code=3)
    assert "silent.wav: silent" in said
    simulate("-o", out, *SHORT, "--devices", "1")
    before = contents(out)
    complaint(speech, tmp_path / "silent.wav", "-o", out, "--force", code=3)
    assert contents(out) == before
    assert {path.name for path in tmp_path.iterdir()} == {"speech", "silent.wav", "out"}


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no audio")
    empty = tmp_path / "empty"
    empty.mkdir()
    out = tmp_path / "out"
    assert "notes.txt" in complaint(text, "-o", out, code=3)
    assert "no such file" in complaint(tmp_path / "gone.wav", "-o", out, code=3)
    assert "no audio files" in complaint(empty, "-o", out, code=3)
    assert "notes.txt" in complaint("--impulse-response", text, "-o", out, code=3)
    assert "not JSON" in complaint("--devices-from", text, "-o", out, code=2)
    assert "cannot be read" in complaint("--devices-from", empty, "-o", out, code=2)
    assert "cannot be written" in complaint(*SHORT, "-o", tmp_path / "no" / "such", code=1)
    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": "x"}, "no simulated devices"),
        ({"format_version": 99}, "this version reads"),
        ({"devices": []}, "no devices"),
        ({"devices": [{}]}, "VirtualMicrophone"),
        ({"name": "../../escape"}, "file name"),
        ({"gain_db": 1e9}, "gain_db"),
    ],
)
def test_bad_device_files_are_one_line(
    change: dict[str, object], says: str, tmp_path: Path
) -> None:
    simulate("-o", tmp_path / "first", *SHORT, "--devices", "1", "--clips", "1")
    path = tmp_path / "first" / "devices.json"
    values = json.loads(path.read_text())
    inner = values if change.keys() <= values.keys() else values["devices"][0]
    inner.update(change)
    path.write_text(json.dumps(values))
    said = complaint("-o", tmp_path / "out", *SHORT, "--devices-from", path, code=2)
    assert says in said
    assert "devices.json" in said


def test_terminal_shows_the_responses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    lines = simulate("-o", tmp_path / "out", *SHORT, "--devices", "3").stdout.splitlines()
    braille = [line for line in lines if any("\u2801" <= c <= "\u28ff" for c in line)]
    assert len(braille) > 6
    assert sum("simulated" in line for line in lines) == 4  # every device, and the last line
    assert sum("10k Hz" in line for line in lines) == 3


def test_narrow_speech_is_told(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "phone.wav", synthetic_speech(1.2, 1, 8_000), 8_000)
    done = simulate(tmp_path / "phone.wav", "-o", tmp_path / "out", "--devices", "1")
    assert "nothing above 4000 Hz" in done.stderr


def test_as_a_program_without_extras(tmp_path: Path) -> None:
    """Codecs are among these devices: libsndfile has them."""
    extras = ("lightning", "sklearn", "onnx", "matplotlib", "paho", "prometheus_client")
    arguments = ("simulate", "-o", tmp_path / "out", *SHORT, "--devices", "12")
    done = run_cli_without(extras, *arguments)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    text = done.stdout.decode()
    assert "simulated devices" in text
    assert "AGC" in text
    assert {codec for codec in ("mp3", "vorbis", "opus") if codec in text}
