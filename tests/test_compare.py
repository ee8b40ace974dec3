"""``compare``: its answer, and what it refuses, warns of and says of its own limits."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner, Result

from agent.cli import app
from agent.compared_recording import ComparedRecording
from agent.comparison import Comparison, calibrated, compare_recordings
from agent.comparison_report import comparison_report
from agent.comparison_validation import validation_figures, validation_words
from agent.comparison_view import show_comparison
from agent.comparison_words import bounds_words, meaning, propositions
from agent.enrolment import enrol_clip
from agent.report.number_words import MINUS
from export.engine_loading import load_engine
from model.builtin import BUILTIN_MODEL
from model.embedding_scoring import ClipEmbedding
from model.enrolled_device import EnrolledClip
from model.errors import ModelError
from model.likelihood_ratio import Calibration, LrBounds
from model.likelihood_ratio_validation import lr_figures
from model.open_set import OpenSet
from model.synthetic_speech import synthetic_speech
from model.virtual_microphone import VirtualMicrophone
from tests.conftest import run_cli_without, save_changed
from tests.gallery_rig import made_up_clip

RATE_HZ = 32_000
SHA256 = "c" * 64
SLOPE, OFFSET = 8.0, -4.0
RNG = np.random.default_rng(1)
SAME, DIFFERENT = np.sort(RNG.normal(2.0, 1.0, 40)), np.sort(RNG.normal(-2.0, 1.0, 300))


def open_set(**evidence: Any) -> OpenSet:
    """Of a model that is not there."""
    return OpenSet(
        prototypes=np.eye(8),
        spectra=np.zeros((8, 34)),
        calibration=Calibration((SLOPE, 0.0), OFFSET),
        bounds=LrBounds(-2.5, 3.0),
        threshold=2.0,
        false_acceptance=0.01,
        known_devices=28,
        temperature=1.0,
        same=SAME,
        different=DIFFERENT,
        evidence=evidence,
    )


def clip(embedding: Sequence[float], source: str = "clip.wav", **changes: Any) -> EnrolledClip:
    """A made-up clip with an embedding of choice."""
    found = ClipEmbedding(np.array(embedding, np.float64), 1.5)
    return dataclasses.replace(made_up_clip(source), embedding=found, **changes)


def recording(
    embedding: Sequence[float], name: str = "clip.wav", **changes: Any
) -> ComparedRecording:
    return ComparedRecording(name, clip(embedding, name, **changes))


def made_up(cosine: float, references: int = 1) -> Comparison:
    """A comparison with a cosine of choice."""
    asked = [cosine, np.sqrt(1 - cosine**2), *[0.0] * 6]
    known = [recording([1.0, *[0.0] * 7], f"reference {k}.wav") for k in range(references)]
    return compare_recordings(open_set(), recording(asked), known, SHA256)


def shown(comparison: Comparison, width: int = 80) -> str:
    """As the terminal has it, with lines joined."""
    terminal = Console(width=width, file=io.StringIO())
    show_comparison(terminal, comparison, ["The model has limits."])
    assert isinstance(terminal.file, io.StringIO)
    text = terminal.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    return " ".join(text.replace("│", " ").split())


@given(st.floats(-1, 1))
def test_the_likelihood_ratio_is_the_calibrated_cosine_within_the_bounds(cosine: float) -> None:
    found = made_up(cosine)
    assert found.score == pytest.approx(cosine, abs=1e-9)
    assert found.unlimited_log10_lr == pytest.approx(SLOPE * cosine + OFFSET, abs=1e-8)
    assert found.log10_lr == min(max(found.unlimited_log10_lr, -2.5), 3.0)
    assert found.limited == (found.log10_lr != found.unlimited_log10_lr)
    assert found.alone == pytest.approx((found.log10_lr,))


def test_several_references_are_taken_together() -> None:
    asked = recording([1.0, 1.0, 0, 0, 0, 0, 0, 0])
    known = [recording([3.0, *[0.0] * 7], "a"), recording([0, 3.0, *[0.0] * 6], "b")]
    found = compare_recordings(open_set(), asked, known, SHA256)
    assert found.score == pytest.approx(1.0)
    alone = SLOPE * np.sqrt(0.5) + OFFSET
    assert found.alone == pytest.approx((alone, alone))
    with pytest.raises(ValueError, match="at least one"):
        compare_recordings(open_set(), asked, [], SHA256)


def test_words() -> None:
    strong = made_up(0.8125, references=2)  # log10 LR 2.5
    same, other = propositions(strong)
    assert same == "the device that made the 2 reference recordings made the questioned recording"
    assert other == "another device made it"
    assert "320 times as probable under the first as under the second" in meaning(strong)
    assert bounds_words(strong) == f"{MINUS}2.50 to 3.00"
    limited = made_up(1.0)
    assert "the score alone gives 4.00" in bounds_words(limited)
    other_device = made_up(0.375)  # -1
    assert "10 times as probable under the second as under the first" in meaning(other_device)
    nothing = made_up(0.5)
    assert "about as probable under the first" in meaning(nothing)
    enrolled = dataclasses.replace(strong, enrolled="my phone")
    assert propositions(enrolled)[0] == "my phone made the questioned recording"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_terminal_says_what_it_rests_on(width: int) -> None:
    text = shown(made_up(1.0, references=2), width)
    for expected in (
        "Strong support for the same device over different devices",
        "log10 LR 3.00",
        "the score alone gives 4.00",
        "Cllr 0.",
        "minCllr 0.",
        "40 trials with the same device, 300 with different ones",
        "not fitted on",
        "A likelihood ratio is not the probability",
        "The model has limits.",
        "The validation compared one recording with one other; here 2",
    ):
        assert expected in text
    assert "No support for either" in shown(made_up(0.5), width)


def test_names_cannot_forge_the_terminal() -> None:
    name = "[red]x[/red]\x1b[2J\u202egnp.wav"
    asked, known = ComparedRecording(name, clip([1.0, *[0.0] * 7])), [recording([1.0] * 8)]
    text = shown(compare_recordings(open_set(), asked, known, SHA256), 160)
    assert "[red]x[/red]\\x1b[2J\\u202egnp.wav" in text


def test_bands_that_differ_are_told() -> None:
    wide, narrow = (
        recording([1.0, *[0.0] * 7], "w"),
        recording([1.0, *[0.0] * 7], "n", sample_rate_hz=8000),
    )
    for asked, known in ((wide, narrow), (narrow, wide)):
        found = compare_recordings(open_set(), asked, [known], SHA256)
        assert found.to_dict()["warnings"] == ["bands-differ"]
        assert "4.0 kHz" in found.cautions[0].words
        assert "16.0 kHz" in found.cautions[0].words
    mixed = compare_recordings(open_set(), wide, [wide, narrow], SHA256)
    assert "the references up to 4.0 to 16.0 kHz" in mixed.cautions[0].words
    assert compare_recordings(open_set(), narrow, [narrow], SHA256).cautions == ()


def test_references_of_two_devices_are_told() -> None:
    one, other = [1.0, *[0.0] * 7], [0.0, 1.0, *[0.0] * 6]
    known = [recording(one, "a"), recording(one, "b"), recording(other, "odd one")]
    found = compare_recordings(open_set(), recording(one), known, SHA256)
    assert found.to_dict()["warnings"] == ["references-disagree"]
    assert "odd one seems to be of another device" in found.cautions[0].words
    assert "odd one seems" in shown(found)


def test_figures_are_those_that_were_measured() -> None:
    kept = lr_figures(SAME, DIFFERENT)
    bare = open_set()
    assert validation_figures(bare) == dataclasses.replace(kept, bounds=bare.bounds)
    assert "a corpus that the model does not name" in validation_words(bare)
    measured = {**kept.to_dict(), "n_same": 13_824, "n_different": 78_912, "cllr": 0.125}
    clean = {**kept.to_dict(), "n_same": 576, "cllr": None}
    told = open_set(
        corpus="forty phones",
        devices=40,
        draws=4,
        comparison={"clean": clean, "clean and seen": measured},
    )
    figures = validation_figures(told)
    assert (figures.n_same, figures.n_different, figures.cllr) == (13_824, 78_912, 0.125)
    assert figures.bounds == told.bounds
    words = validation_words(told)
    for expected in ("forty phones, of 40 devices", "4 draws", "576 and 300 trials", "Cllr inf"):
        assert expected in words
    damaged = open_set(comparison={"clean and seen": {"cllr": "much"}})
    assert validation_figures(damaged).n_same == 40


def test_a_model_without_calibration() -> None:
    engine = load_engine(BUILTIN_MODEL)
    engine.metadata = dataclasses.replace(engine.metadata, open_set=None)
    with pytest.raises(ModelError, match="train --openset"):
        calibrated(engine)


# The command, with the built-in model and simulated devices.


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips, of 3 s and 4 s, of each of two simulated devices."""
    folder = tmp_path_factory.mktemp("clips")
    for seed in (1, 2):
        microphone = VirtualMicrophone.draw(seed, name=f"virtual-{seed}")
        for seconds in (3, 4):
            rng = np.random.default_rng(seconds)
            recorded = microphone.record(synthetic_speech(seconds, seed=seconds), RATE_HZ, rng)
            soundfile.write(folder / f"v{seed}_{seconds}s.wav", recorded, RATE_HZ)
    return folder


def run(*arguments: str | Path, code: int = 0, columns: int = 160) -> Result:
    environment = {"COLUMNS": str(columns)}
    done = CliRunner().invoke(app, [*map(str, arguments)], env=environment)
    assert done.exit_code == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def complaint(*arguments: str | Path, code: int) -> str:
    """The one line on stderr; nothing on stdout."""
    done = run("compare", *arguments, code=code)
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("devrec-agent: ")
    return line


def answer(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    """The one JSON object on stdout."""
    [line] = run("compare", *arguments, "--json", code=code).stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_json(clips: Path) -> None:
    asked, known = clips / "v1_3s.wav", clips / "v1_4s.wav"
    told = answer(asked, known)
    engine = load_engine(BUILTIN_MODEL)
    found = engine.metadata.open_set
    assert found is not None
    one, other = (enrol_clip(engine, path, SHA256).embedding.mean for path in (asked, known))
    share = float(found.other_share(other[None], one)[0])
    assert told["other_share"] == pytest.approx(share, abs=1e-3)
    score = found.cosines(other[None], one, another_kind=share >= 0.5)[0]
    assert told["score"] == pytest.approx(score, abs=1e-4)
    unlimited = found.unlimited_log10_lr(other[None], one)[0]
    assert told["unlimited_log10_lr"] == pytest.approx(unlimited, abs=0.01)
    assert told["bounds"] == pytest.approx(found.bounds_at(share).to_dict(), abs=1e-3)
    clipped = np.clip(told["unlimited_log10_lr"], *told["bounds"].values())
    assert told["log10_lr"] == pytest.approx(clipped, abs=0.001)
    assert "over" in told["lr_verbal"] or "no support" in told["lr_verbal"]
    assert told["model_sha256"] == hashlib.sha256(BUILTIN_MODEL.read_bytes()).hexdigest()
    assert told["questioned"]["file"] == str(asked)
    assert told["questioned"]["sha256"] == hashlib.sha256(asked.read_bytes()).hexdigest()
    [reference] = told["references"]
    assert (reference["file"], reference["duration_s"]) == (str(known), 4.0)
    assert reference["log10_lr"] == told["log10_lr"]
    assert (told["enrolled"], told["failed"]) == (None, [])
    assert told["warnings"] == (["another-kind"] if share else [])  # simulated microphones
    assert 0 < told["validation"]["min_cllr"] <= told["validation"]["cllr"] < 1
    assert told["validation"]["n_same"] > 100
    other = answer(asked, clips / "v2_4s.wav")
    assert other["unlimited_log10_lr"] < told["unlimited_log10_lr"]
    assert len(answer(asked, known, clips / "v2_4s.wav")["references"]) == 2


def test_a_table_for_people(clips: Path) -> None:
    for columns in (80, 120):
        done = run("compare", clips / "v1_3s.wav", clips / "v1_4s.wav", columns=columns)
        assert done.stderr == ""
        assert "log10 LR" in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= columns
        assert "one session" in " ".join(done.stdout.split())


def test_enrolled_devices(clips: Path, tmp_path: Path) -> None:
    gallery = ("--gallery", tmp_path / "gallery")
    known = (clips / "v1_4s.wav", clips / "v2_4s.wav")
    run("enroll", "My Phone", *known, *gallery)
    from_gallery = answer(clips / "v1_3s.wav", "--enrolled", "my phone", *gallery)
    from_files = answer(clips / "v1_3s.wav", *known)
    assert from_gallery["enrolled"] == "My Phone"
    assert from_gallery["log10_lr"] == from_files["log10_lr"]
    assert [r["file"] for r in from_gallery["references"]] == ["v1_4s.wav", "v2_4s.wav"]
    assert [r["log10_lr"] for r in from_gallery["references"]] == [
        r["log10_lr"] for r in from_files["references"]
    ]
    asked = clips / "v1_4s.wav"
    assert "no evidence for itself" in complaint(asked, "--enrolled", "my phone", *gallery, code=2)
    assert "no device x is enrolled" in complaint(asked, "--enrolled", "x", *gallery, code=11)
    both = complaint(asked, asked, "--enrolled", "my phone", *gallery, code=2)
    assert "takes the place of" in both
    page = complaint(
        asked, "--enrolled", "my phone", *gallery, "--report", tmp_path / "r.html", code=2
    )
    assert "give the files" in page


def test_a_recording_is_no_evidence_for_itself(clips: Path, tmp_path: Path) -> None:
    asked = clips / "v1_3s.wav"
    shutil.copy(asked, tmp_path / "copy.wav")
    samples, rate_hz = soundfile.read(asked, dtype="int16")
    soundfile.write(tmp_path / "copy.flac", samples, rate_hz)
    for copy in (asked, tmp_path / "copy.wav", tmp_path / "copy.flac"):
        assert "no evidence for itself" in complaint(asked, clips / "v2_3s.wav", copy, code=2)
    done = run("compare", clips / "v1_4s.wav", asked, tmp_path, "--json")
    assert len(json.loads(done.stdout)["references"]) == 1
    assert done.stderr.count("the same recording as") == 2
    assert "nothing to compare with" in complaint(asked, code=2)


def test_bad_files_get_a_line_each_and_the_others_are_compared(clips: Path, tmp_path: Path) -> None:
    good = synthetic_speech(2.0, seed=5)
    soundfile.write(tmp_path / "short.wav", good[: RATE_HZ // 2], RATE_HZ)
    soundfile.write(tmp_path / "zeros.wav", 0 * good, RATE_HZ)
    soundfile.write(tmp_path / "noise.wav", 0.1 * RNG.standard_normal(3 * RATE_HZ), RATE_HZ)
    (tmp_path / "text.wav").write_text("this is no audio")
    bad = {
        "short.wav": "shorter than one window",
        "zeros.wav": "digital silence",
        "noise.wav": "too noisy to say anything",
        "text.wav": "not an audio file",
        "missing.wav": "no such file",
    }
    asked, known = clips / "v1_3s.wav", clips / "v1_4s.wav"
    paths = [tmp_path / name for name in bad]
    told = answer(asked, *paths, known, code=3)
    assert told["log10_lr"] == answer(asked, known)["log10_lr"]
    for failed, (name, message) in zip(told["failed"], bad.items(), strict=True):
        assert failed["file"] == str(tmp_path / name)
        assert message in failed["error"]
    for path, message in zip(paths, bad.values(), strict=True):
        assert message in complaint(path, known, code=3)
    told = answer(asked, paths[0], code=3)
    assert (told["log10_lr"], len(told["failed"])) == (None, 1)
    (tmp_path / "none").mkdir()
    assert "no audio files" in complaint(asked, tmp_path / "none", code=3)
    assert "s a folder" in complaint(clips, known, code=3).replace("Is a directory", "Is a folder")


def test_warnings_in_words(clips: Path, tmp_path: Path) -> None:
    loud = np.clip(synthetic_speech(1.2, seed=5, sample_rate_hz=12_000) * 6, -1, 1)
    soundfile.write(tmp_path / "loud.wav", np.stack([loud, loud], axis=1), 12_000)
    done = run("compare", clips / "v1_3s.wav", tmp_path / "loud.wav")
    text = " ".join(done.stdout.replace("│", " ").split())
    for expected in (
        "clipped: the waveform",
        "only the first was used",
        "fewer than three windows",
        "sound up to",
        "If that comes from what was done to the files",
    ):
        assert expected in text
    told = answer(clips / "v1_3s.wav", tmp_path / "loud.wav")
    assert [code for code in told["warnings"] if code != "another-kind"] == ["bands-differ"]
    warnings = {"clipping", "narrowband", "multichannel", "few-windows"}
    assert set(told["references"][0]["warnings"]) - {"another-kind"} == warnings


def test_a_model_that_cannot_compare(clips: Path, tmp_path: Path) -> None:
    import onnx

    bare = save_changed(
        onnx.load(str(BUILTIN_MODEL)), tmp_path / "bare.onnx", {"devrec.open_set": "-"}
    )
    said = complaint(clips / "v1_3s.wav", clips / "v1_4s.wav", "--model", bare, code=4)
    assert "train --openset" in said


def test_report(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "out.html"
    asked, known = clips / "v1_3s.wav", clips / "v1_4s.wav"
    monkeypatch.setattr(sys, "argv", ["devrec-agent", "compare", "a b.wav"])
    run("compare", asked, known, "--report", page)
    source = page.read_text()
    told = answer(asked, known)
    for expected in (
        told["lr_verbal"][1:],  # its first letter is a capital
        told["model_sha256"],
        told["questioned"]["sha256"],
        told["references"][0]["sha256"],
        "devrec-agent compare &#39;a b.wav&#39;",
        "one session in one quiet studio",
        "Tippett plot",
    ):
        assert expected in source
    nowhere = tmp_path / "no" / "out.html"
    assert "no such folder" in complaint(asked, "missing.wav", "--report", nowhere, code=1)
    (tmp_path / "kept.html").write_text("kept")
    run("compare", asked, "missing.wav", "--report", tmp_path / "kept.html", code=3)
    assert (tmp_path / "kept.html").read_text() == "kept"


def test_a_report_needs_recordings() -> None:
    engine = load_engine(BUILTIN_MODEL)
    with pytest.raises(Exception, match="needs the recording itself"):
        comparison_report(made_up(0.9), None, engine)  # type: ignore[arg-type]


def test_without_extras(clips: Path, tmp_path: Path) -> None:
    absent = ("torch", "onnx", "lightning", "sklearn", "matplotlib", "jinja2", "paho")
    files = clips / "v1_3s.wav", clips / "v1_4s.wav"
    done = run_cli_without(absent, "compare", *files)
    assert done.returncode == 0, done.stderr.decode()
    done = run_cli_without(absent, "compare", *files, "--report", tmp_path / "r.html")
    assert done.returncode == 7
    assert b"devrec-agent[report]" in done.stderr
