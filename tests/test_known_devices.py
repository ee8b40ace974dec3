"""Known or unknown: the model's own devices, a gallery's, or both; files and live."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from agent.cli import app
from agent.config.settings import DecisionSection
from agent.decisions import Decider
from agent.known_devices import KnownDevices, built_in_devices, known_devices
from agent.signal_checks import SignalChecks
from agent.windows import Window
from export.engine import Scores
from export.engine_loading import load_engine
from model.builtin import BUILTIN_MODEL
from model.errors import UsageError
from model.gallery import Gallery
from model.likelihood_ratio import Calibration, LrBounds
from model.open_set import OpenSet
from model.synthetic_speech import synthetic_speech
from model.virtual_microphone import VirtualMicrophone

RATE_HZ = 32_000
DIMS = 6
AXES = np.eye(DIMS)[:3]  # three devices, each along an axis of its own

OPEN_SET = OpenSet(
    prototypes=AXES,
    spectra=np.zeros((3, 34)),
    calibration=Calibration((8.0, 0.0), -4.0),
    bounds=LrBounds(-3.0, 3.0),
    threshold=1.0,
    false_acceptance=0.01,
    known_devices=3,
    temperature=1.0,
    same=np.array([1.0]),
    different=np.array([-1.0]),
    evidence={},
)
KNOWN = KnownDevices(("a", "b", "c"), ("built-in",) * 3, OPEN_SET, AXES, True)
STRANGE = np.eye(DIMS)[4]


def test_posterior_and_ratio_are_two_things() -> None:
    scores = Scores(np.array([[9.0, 0, 0]], np.float32), STRANGE[None].astype(np.float32))
    posterior = KNOWN.clip_posterior(KNOWN.window_log_posteriors(scores), STRANGE)
    ratios = KNOWN.log10_lr(STRANGE)
    assert ratios is not None
    assert posterior.argmax() == 0
    assert posterior[0] > 0.99  # of the three, surely the first
    thresholds = KNOWN.thresholds(STRANGE)
    assert thresholds is not None
    assert ratios[0] <= thresholds[0]  # but none of the three


def test_devices_by_ratio() -> None:
    gallery = dataclasses.replace(KNOWN, by_posterior=False)
    scores = Scores(np.zeros((4, 3), np.float32), np.tile(AXES[1], (4, 1)).astype(np.float32))
    windows = gallery.window_log_posteriors(scores)
    assert (windows.argmax(axis=1) == 1).all()
    posterior = gallery.clip_posterior(windows, AXES[1])
    assert posterior.argmax() == 1
    assert posterior.sum() == pytest.approx(1)
    # The length of an embedding is no evidence.
    np.testing.assert_allclose(gallery.log10_lr(5 * AXES[1]), gallery.log10_lr(AXES[1]))


def test_temperature_makes_posteriors_less_sure_and_changes_no_answer() -> None:
    warm = dataclasses.replace(KNOWN, open_set=dataclasses.replace(OPEN_SET, temperature=3.0))
    windows = np.log(np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]]))
    cool, mild = KNOWN.clip_posterior(windows, STRANGE), warm.clip_posterior(windows, STRANGE)
    assert cool.argmax() == mild.argmax() == 0
    assert mild[0] < cool[0]


def test_choices_that_cannot_be() -> None:
    engine = load_engine(BUILTIN_MODEL)
    with pytest.raises(UsageError, match="unknown devices all; there are: built-in, gallery, both"):
        known_devices(engine, None, "all")
    assert known_devices(engine, None, "built-in").names == engine.metadata.labels
    assert built_in_devices(engine).open_set is not None


class Line:
    """A decider and a stream of windows, half a second apart."""

    def __init__(self) -> None:
        self.decider = Decider(KNOWN.names, DecisionSection(), RATE_HZ, KNOWN)
        self.number = 0
        self.checks = SignalChecks()
        self.checks.accept(np.full(100, 0.1, np.float32) * np.sin(np.arange(100)).astype("f4"))

    def hear(self, seconds: float, embedding: np.ndarray) -> list[tuple[str, str | None]]:
        """Events; the posterior is sure of device ``a`` whatever the embedding is."""
        posterior = np.log(np.array([0.98, 0.01, 0.01]))
        found = []
        for _ in range(round(2 * seconds)):
            start = self.number * RATE_HZ // 2
            window = Window(0, start, start + RATE_HZ, np.zeros((128, 73), np.float32))
            found += self.decider.accept(window, posterior, self.checks, embedding)
            self.number += 1
        return [(decision.kind, decision.device) for decision in found]


def test_a_stranger_on_the_line_is_not_named() -> None:
    assert Line().hear(20, STRANGE) == [("unknown", None)]


def test_a_swap_for_a_stranger_and_back() -> None:
    line = Line()
    assert line.hear(10, AXES[0]) == [("device_identified", "a")]
    assert line.hear(20, STRANGE) == [("unknown", None)]
    assert line.decider.unknown
    assert line.hear(10, AXES[0]) == [("device_identified", "a")]


def test_without_an_open_set_nothing_is_strange() -> None:
    line = Line()
    plain = dataclasses.replace(KNOWN, open_set=None, prototypes=None)
    line.decider = Decider(KNOWN.names, DecisionSection(), RATE_HZ, plain)
    assert line.hear(10, STRANGE) == [("device_identified", "a")]
    assert line.decider.log10_lr is None


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two simulated microphones, two recordings of other sound each."""
    folder = tmp_path_factory.mktemp("recordings")
    for number, seed in enumerate((3, 11)):
        device = VirtualMicrophone.draw(seed)
        for clip in (1, 2):
            sound = 0.1 * synthetic_speech(6.0, seed=50 + clip)
            heard = device.record(sound, RATE_HZ, np.random.default_rng(clip))
            soundfile.write(folder / f"mic{number}_{clip}.wav", heard, RATE_HZ, subtype="PCM_16")
    return folder


@pytest.fixture(scope="module")
def gallery(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery") / "g"
    for name in ("mic0", "mic1"):
        clip = str(recordings / f"{name}_1.wav")
        done = CliRunner().invoke(app, ["enroll", name, clip, "--gallery", str(folder)])
        assert done.exit_code == 0, done.output
    return folder


def answer_of(*arguments: str) -> dict[str, object]:
    done = CliRunner().invoke(app, ["classify", "--json", *arguments])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ["mic0", "mic1"])
def test_enrolled_devices_are_told_apart(name: str, recordings: Path, gallery: Path) -> None:
    clip = str(recordings / f"{name}_2.wav")
    answer = answer_of("--gallery", str(gallery), clip)
    assert answer["nearest"] == name
    assert {c["source"] for c in answer["candidates"]} == {"gallery"}  # type: ignore[attr-defined]
    assert isinstance(answer["score"], float)
    both = answer_of("--gallery", str(gallery), "--devices", "both", "--top", "42", clip)
    assert len(both["candidates"]) == 42  # type: ignore[arg-type]
    assert both["nearest"] == name


def test_noise_is_abstained_from(recordings: Path, tmp_path: Path) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(6 * RATE_HZ)
    soundfile.write(tmp_path / "noise.wav", noise, RATE_HZ)
    answer = answer_of(str(tmp_path / "noise.wav"))
    assert answer["device"] is None
    assert answer["unknown"] is True
    assert answer["abstained"] == ["too-noisy"]
    assert "too-noisy" in answer["warnings"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--devices", "all"], 2, "unknown devices all"),
        (["--gallery", "/nowhere/at/all"], 11, "no device is enrolled"),
    ],
)
def test_bad_galleries(arguments: list[str], code: int, said: str, recordings: Path) -> None:
    done = CliRunner().invoke(app, ["classify", str(recordings / "mic0_1.wav"), *arguments])
    assert done.exit_code == code
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_report_of_a_classification(recordings: Path, gallery: Path, tmp_path: Path) -> None:
    pytest.importorskip("jinja2", reason="jinja2 is not installed (extra: report)")
    page = tmp_path / "page.html"
    clip = str(recordings / "mic0_2.wav")
    options = ["--gallery", str(gallery), "--report", str(page)]
    done = CliRunner().invoke(app, ["classify", clip, *options])
    assert done.exit_code == 0, done.output
    text = page.read_text()
    assert "mic0" in text
    assert "CCNU" in text or "ccnu_mobile" in text
    engine = load_engine(BUILTIN_MODEL)
    from agent.gallery_access import identity_of

    opened = Gallery.open(gallery, identity_of(engine, BUILTIN_MODEL))
    assert known_devices(engine, opened, "both").sources.count("gallery") == 2
