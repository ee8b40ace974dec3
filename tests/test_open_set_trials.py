"""Open-set trials: strangers stay strangers, figures are there, and a model takes them along."""

from __future__ import annotations

import json
import multiprocessing.dummy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")
pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: train)")

from typer.testing import CliRunner, Result  # noqa: E402

from agent.cli import app  # noqa: E402
from export.engine_loading import load_engine  # noqa: E402
from model import open_set_trials  # noqa: E402
from model.audio import read_clip  # noqa: E402
from model.augmentation import conditions as known_conditions  # noqa: E402
from model.augmentation.conditions import CLEAN, Condition  # noqa: E402
from model.augmentation.level import Gain  # noqa: E402
from model.augmentation.noise import ColouredNoise  # noqa: E402
from model.condition_tests import ConditionTests  # noqa: E402
from model.corpus import Clip, Corpus, read_corpus  # noqa: E402
from model.embedding_scoring import cosine_scores  # noqa: E402
from model.errors import CorpusError  # noqa: E402
from model.evaluation import EVALUATION_HOP_FRAMES  # noqa: E402
from model.feature_copies import plain_copies  # noqa: E402
from model.features import WINDOW_FRAMES, extract, windows_of  # noqa: E402
from model.network_config import front_end_for  # noqa: E402
from model.training_config import PRESETS  # noqa: E402
from tests.simulated import RATE_HZ, write_corpus  # noqa: E402

CONDITIONS = (
    CLEAN,
    Condition("gain", "level", True, Gain(-10, -10)),
    Condition("noise", "noise", False, ColouredNoise(30, 30, 0, 0)),
)
FRONT_END = front_end_for("statistics")
CONFIG = PRESETS["fast"].with_changes(virtual_devices=20)


@pytest.fixture(scope="module", autouse=True)
def small_and_in_this_process() -> Iterator[None]:
    """Few windows and conditions; copies are made in threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.statistics_training.REAL_WINDOWS", 1000)
        patch.setattr("model.statistics_training.VIRTUAL_WINDOWS", 4)
        patch.setattr("model.statistics_training.BATCH", 64)
        patch.setattr(known_conditions, "_ALL", CONDITIONS)
        in_threads = SimpleNamespace(get_context=lambda kind: multiprocessing.dummy)
        patch.setattr("model.feature_copies.multiprocessing", in_threads)
        yield
    torch.set_num_threads(threads)


def run(*arguments: str | Path, code: int = 0) -> Result:
    done = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200"})
    assert done.exit_code == code, done.stderr
    return done


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten simulated devices, three contents each."""
    folder = tmp_path_factory.mktemp("strangers") / "ten"
    return write_corpus(folder, n_devices=10, n_clips=3, seconds=2.0)


@dataclass(frozen=True)
class Measured:
    """A run of ``openset``.

    Attributes:
        report: the file.
        tried: for each trial the clips that its embedding was fitted on, and what it was given.
        shown: on the terminal.
    """

    report: Path
    tried: list[tuple[Any, ...]]
    shown: str


@pytest.fixture(scope="module")
def measured(corpus: Path) -> Measured:
    """What the command makes of the corpus, spied on."""
    fitted: list[list[Clip]] = []
    tried: list[tuple[Any, ...]] = []
    embedding_network, trials = open_set_trials.embedding_network, open_set_trials._trials

    def fit(clips: list[Clip], *rest: Any) -> Any:
        fitted.append(list(clips))
        return embedding_network(clips, *rest)

    def score(*arguments: Any) -> Any:
        tried.append((fitted[-1], *arguments))
        return trials(*arguments)

    report = corpus.parent / "openset.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_set_trials, "embedding_network", fit)
        patch.setattr(open_set_trials, "_trials", score)
        done = run(
            "openset", corpus, "-o", report, "--draws", "2", "--augment", "gain",
            "--augment", "bandwidth", "--copies", "2",
        )  # fmt: skip
    assert len(fitted) == 6
    return Measured(report, tried, done.stdout)


def test_strangers_and_tested_words_are_in_no_embedding(
    measured: Measured,
) -> None:
    assert len(measured.tried) == 6 * len(CONDITIONS)
    always = [set[str](), set[str]()]
    for fitted, known, halves, others, _, tested, _ in measured.tried:
        strangers = [*halves[0], *halves[1]]
        assert len(strangers) == len(set(strangers)) == 4
        assert min(map(len, halves)) >= 2
        assert not set(strangers) & set(known)
        assert {clip.device for clip in fitted} == set(known)
        words = {clip.group for clip in tested}
        assert len(words) == 1
        assert not words & {clip.group for clip in (*fitted, *others)}
        assert {clip.device for clip in tested} == {*known, *strangers}
        always[0] |= set(halves[0])
        always[1] |= set(halves[1])
    assert not always[0] & always[1]  # a half is the same in all draws
    assert {clip.group for trial in measured.tried for clip in trial[5]} == {"1", "2", "3"}


def test_report(measured: Measured) -> None:
    report = json.loads(measured.report.read_text())
    corpus = read_corpus(measured.report.parent / "ten")
    assert report["corpus"] == corpus.content_hash()
    assert (report["devices"], report["known_devices"], report["draws"]) == (10, 6, 2)
    assert report["speech"] is False
    assert set(report["kinds"]) == {"clean", "seen", "unseen"}
    assert [row["name"] for row in report["conditions"]] == ["clean", "gain", "noise"]
    clean = report["kinds"]["clean"]
    assert (clean["n_targets"], clean["n_nontargets"]) == (36, 24)
    assert clean["enrolment_trials"] == 2 * 3 * 4 * 2  # draws, tested, strangers, enrolled
    assert clean["auroc"] > 0.9
    assert clean["enrolled_named_right"] > 0.8
    assert clean["known_named_right"] > 0.9
    other = clean["at_threshold_of_other_strangers"]
    assert other["known_accepted"] > other["unknown_accepted"]
    assert report["comparison"]["clean"]["cllr"] < 1
    shipped = report["shipped"]
    assert shipped["false_acceptance"] <= open_set_trials.FALSE_ACCEPTANCE
    assert shipped["bounds"]["lower"] < 0 < shipped["bounds"]["upper"]
    for trials in report["validation"].values():
        assert trials == sorted(trials)
    assert np.mean(report["validation"]["same"]) > np.mean(report["validation"]["different"])
    for words in ("6 known", "all unseen", "comparison of two clips, clean and seen"):
        assert words in measured.shown


def test_a_model_takes_the_reports_along(corpus: Path, measured: Measured, tmp_path: Path) -> None:
    folds, output = tmp_path / "crossval.json", tmp_path / "model.onnx"
    quick = ("--steps", "40", "--augment", "gain", "--copies", "1")
    done = run("crossval", corpus, "-o", folds, *quick)
    assert "temperature" in done.stdout
    report = json.loads(folds.read_text())
    assert [row["name"] for row in report["conditions"]] == ["clean", "gain", "noise"]
    assert set(report["pooled"]) == {
        "network", "log-mel LDA", "log-mel LDA, quietest 20 % of frames"
    }  # fmt: skip
    assert report["condition_means"]["clean"]["network"]["windows"] > 0.8
    assert set(report["calibration"]) == {"temperature", "clean", "seen", "unseen"}

    given = ("--openset", measured.report, "--crossval", folds)
    run("train", corpus, "-o", output, *quick, "--split-by", "none", *given)
    engine = load_engine(output)
    open_set = engine.metadata.open_set
    assert open_set is not None
    assert open_set.prototypes.shape == (10, 40)
    assert open_set.spectra.shape == (10, 34)
    assert open_set.temperature == report["calibration"]["temperature"]
    assert open_set.threshold == json.loads(measured.report.read_text())["shipped"]["threshold"]
    assert open_set.evidence["corpus"] == "ten"
    # The prototypes are of the embeddings that the file itself computes.
    for clip in read_corpus(corpus).clips[::7]:
        features = extract(read_clip(clip.path, RATE_HZ), FRONT_END)
        windows = np.array(windows_of(features, EVALUATION_HOP_FRAMES))
        embedding = engine.run(windows).embedding.mean(axis=0, dtype=np.float64)
        best = cosine_scores(open_set.prototypes, embedding).argmax()
        assert engine.metadata.labels[best] == clip.device
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "crossval.json", "crossval.json.run", "model.onnx"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--crossval", "REPORT"], "--crossval goes with --openset"),
        (["--openset", "REPORT", "--profile", "hybrid"], "statistics profile"),
        (["--openset", "REPORT", "--crossval", "REPORT"], "not a report of `devrec-agent crossval"),
        (["--openset", "nowhere.json"], "No such file"),
    ],
)
def test_reports_that_do_not_fit_are_refused_before_training(
    arguments: list[str],
    message: str,
    corpus: Path,
    measured: Measured,
    tmp_path: Path,
) -> None:
    filled = [str(measured.report) if word == "REPORT" else word for word in arguments]
    done = run("train", corpus, "-o", tmp_path / "m.onnx", *filled, code=2)
    assert message in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_report_of_another_corpus_is_refused(measured: Measured, tmp_path: Path) -> None:
    other = write_corpus(tmp_path / "other", n_devices=2, n_clips=2, seconds=1.5)
    done = run("train", other, "-o", tmp_path / "m.onnx", "--openset", measured.report, code=2)
    assert "the report is of another corpus" in done.stderr


# Corpora that lack something


def made_up(groups: dict[str, str], short: tuple[str, ...] = ()) -> tuple[Corpus, dict[Clip, Any]]:
    """Devices with clips of the groups named by letters; random features with a device's own mean.

    Args:
        groups: a letter a clip, by device.
        short: device and letter of clips shorter than a window.
    """
    rng = np.random.default_rng(0)
    features: dict[Clip, Any] = {}
    for device, letters in groups.items():
        shape = rng.standard_normal(73)
        for letter in letters:
            clip = Clip(Path(f"{device}_{letter}.wav"), device, letter)
            frames = WINDOW_FRAMES - 1 if device + letter in short else WINDOW_FRAMES + 64
            values = rng.standard_normal((frames, 73)) + shape
            features[clip] = values.astype(np.float32)
    return Corpus("made-up", tuple(features)), features


def trials_of(
    corpus: Corpus, features: dict[Clip, Any], monkeypatch: pytest.MonkeyPatch, draws: int = 1
) -> dict[str, Any]:
    monkeypatch.setattr(Corpus, "content_hash", lambda corpus: "c0ffee")  # there are no files
    tests = ConditionTests([CLEAN], plain_copies(features))
    return open_set_trials.run_trials(corpus, features, FRONT_END, CONFIG, None, (), tests, draws)


EIGHT = {f"dev{k}": "ab" for k in range(8)}


def test_eight_devices_and_one_draw_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    report = trials_of(*made_up(EIGHT), monkeypatch)
    assert (report["devices"], report["known_devices"]) == (8, 4)
    assert report["kinds"]["clean"]["n_nontargets"] == 8
    assert report["kinds"]["clean"]["auroc"] > 0.9


def test_devices_that_lack_contents_and_clips_too_short(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = {**EIGHT, "lone": "a", "late": "b", "many": "abab"}
    report = trials_of(*made_up(groups, short=("dev0a", "dev1b")), monkeypatch, draws=3)
    assert report["known_devices"] == 7
    clean = report["kinds"]["clean"]
    assert clean["auroc"] > 0.8
    # Strangers that lack a content cannot all be enrolled from it.
    assert clean["enrolment_trials"] < 3 * 4 * 2
    json.dumps(report, allow_nan=False)


def test_without_a_shared_content_nobody_is_enrolled_among_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    groups = {f"dev{k}": chr(97 + 2 * k) + chr(98 + 2 * k) for k in range(8)}
    report = trials_of(*made_up(groups), monkeypatch)
    assert report["kinds"]["clean"]["enrolment_trials"] == 0
    assert report["kinds"]["clean"]["enrolled_named_right"] is None
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({f"dev{k}": "ab" for k in range(7)}, "strangers need 8 devices .* has 7 and 2"),
        ({f"dev{k}": "a" for k in range(8)}, "strangers need 8 devices .* has 8 and 1"),
        ({f"dev{k}": "ab"[k % 2] for k in range(8)}, "too few devices have clips of two contents"),
    ],
)
def test_too_little_is_a_corpus_error(
    groups: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CorpusError, match=message):
        trials_of(*made_up(groups), monkeypatch)
