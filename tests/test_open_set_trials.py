"""Open-set trials: strangers stay strangers, figures are there, and a model takes them along."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")
pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: train)")

from typer.testing import CliRunner, Result  # noqa: E402

from agent.cli import app  # noqa: E402
from export.engine_loading import load_engine  # noqa: E402
from model import domain_training, open_set_trials, simulated_domains  # noqa: E402
from model.audio import read_clip  # noqa: E402
from model.augmentation import conditions as known_conditions  # noqa: E402
from model.augmentation.conditions import CLEAN, Condition  # noqa: E402
from model.augmentation.level import Gain  # noqa: E402
from model.augmentation.noise import ColouredNoise  # noqa: E402
from model.condition_tests import ConditionTests  # noqa: E402
from model.corpus import Clip, Corpus, read_corpus  # noqa: E402
from model.corpus_scoring import corpus_scores  # noqa: E402
from model.embedding_scoring import cosine_scores  # noqa: E402
from model.errors import CorpusError  # noqa: E402
from model.evaluation import EVALUATION_HOP_FRAMES  # noqa: E402
from model.feature_copies import plain_copies  # noqa: E402
from model.features import WINDOW_FRAMES, extract, windows_of  # noqa: E402
from model.network_config import NetworkConfig, front_end_for  # noqa: E402
from model.open_set_report import FALSE_ACCEPTANCE  # noqa: E402
from model.other_domains import OtherDomains  # noqa: E402
from model.simulated_domains import SimulatedDomains  # noqa: E402
from model.training_config import PRESETS  # noqa: E402
from model.trial_pairs import Trials  # noqa: E402
from tests.in_process import results_here  # noqa: E402
from tests.simulated import RATE_HZ, speech_like, write_corpus  # noqa: E402

CONDITIONS = (
    CLEAN,
    Condition("gain", "level", True, Gain(-10, -10)),
    Condition("noise", "noise", False, ColouredNoise(30, 30, 0, 0)),
)
FRONT_END = front_end_for("statistics")
CONFIG = PRESETS["fast"].with_changes(virtual_devices=20)
DIMS = NetworkConfig.for_profile("statistics", 10, FRONT_END).embedding_dim


@pytest.fixture(scope="module", autouse=True)
def small_and_in_this_process() -> Iterator[None]:
    """Few windows and conditions; copies are made in this process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.statistics_training.REAL_WINDOWS", 1000)
        patch.setattr("model.statistics_training.VIRTUAL_WINDOWS", 4)
        patch.setattr("model.statistics_training.BATCH", 64)
        patch.setattr(known_conditions, "_ALL", CONDITIONS)
        patch.setattr("model.feature_copies.results_of", results_here)
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
class Tried:
    """What one fold and condition was made of.

    Attributes:
        fitted: clips of the embedding.
        enrolled: clips to enrol, and their embeddings.
        tested: clips to test, and their embeddings.
        copy: number of the condition.
        known: devices.
        halves: strangers.
        domains: for recordings of another kind.
    """

    fitted: list[Clip]
    enrolled: tuple[list[Clip], Any]
    tested: tuple[list[Clip], Any]
    copy: int
    known: list[str]
    halves: tuple[list[str], list[str]]
    domains: OtherDomains | None

    @property
    def own(self) -> Any:
        """Prototypes of the known devices."""
        return np.array(
            [
                np.mean(
                    [e for c, e in zip(*self.enrolled, strict=True) if c.device == name], axis=0
                )
                for name in self.known
            ]
        )


@dataclass(frozen=True)
class Measured:
    """A run of ``openset``.

    Attributes:
        report: the file.
        tried: all folds and conditions.
        recorded: embeddings of the test domains, by fold.
        shown: on the terminal.
    """

    report: Path
    tried: list[Tried]
    recorded: list[Any]
    shown: str


def measure(*arguments: str | Path, report: Path) -> Measured:
    """What the command makes of a corpus, spied on."""
    fitted: list[list[Clip]] = []
    embedded: list[tuple[list[Clip], Any, int]] = []
    tried: list[Tried] = []
    recorded: list[Any] = []
    record = open_set_trials.recording_embeddings
    fit, embed, score = (
        open_set_trials.embedding_network, open_set_trials.clip_embeddings, Trials.of
    )  # fmt: skip

    def fit_spied(clips: list[Clip], *rest: Any) -> Any:
        fitted.append(list(clips))
        embedded.clear()
        return fit(clips, *rest)

    def embed_spied(network: Any, clips: list[Clip], copies: Any, copy: int) -> Any:
        found = embed(network, clips, copies, copy)
        embedded.append((list(clips), found, copy))
        return found

    def score_spied(known: Any, halves: Any, enrolments: Any, questioned: Any, domains: Any) -> Any:
        (others, enrolled, plain), (tested, asked, copy) = embedded[0], embedded[-1]
        # The trials are of the embeddings of the clips that they are said to be of.
        assert enrolments[0] is enrolled
        assert enrolments[1:] == ([c.device for c in others], [c.group for c in others])
        assert questioned[0] is asked
        assert questioned[1] == [clip.device for clip in tested]
        assert plain == 0  # enrolled as they are
        of_clips = (others, enrolled), (tested, asked)
        tried.append(Tried(fitted[-1], *of_clips, copy, known, halves, domains))
        return score(known, halves, enrolments, questioned, domains)

    def record_spied(network: Any, mels: Any) -> Any:
        recorded.append(record(network, mels))
        return recorded[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_set_trials, "embedding_network", fit_spied)
        patch.setattr(open_set_trials, "clip_embeddings", embed_spied)
        patch.setattr(open_set_trials, "recording_embeddings", record_spied)
        patch.setattr(Trials, "of", staticmethod(score_spied))
        done = run("openset", *arguments, "-o", report)
    return Measured(report, tried, recorded, done.stdout)


@pytest.fixture(scope="module")
def measured(corpus: Path) -> Measured:
    """Two draws, without further speech."""
    augment = ("--augment", "gain", "--augment", "bandwidth", "--copies", "2")
    report = corpus.parent / "openset.json"
    return measure(corpus, "--draws", "2", *augment, report=report)


def test_strangers_and_tested_words_are_in_no_embedding(measured: Measured) -> None:
    assert len(measured.tried) == 6 * len(CONDITIONS)
    assert [tried.copy for tried in measured.tried] == 6 * [0, 1, 2]
    always = [set[str](), set[str]()]
    for tried in measured.tried:
        halves, known, tested = tried.halves, tried.known, tried.tested[0]
        strangers = [*halves[0], *halves[1]]
        assert len(strangers) == len(set(strangers)) == 4
        assert min(map(len, halves)) >= 2
        assert not set(strangers) & set(known)
        assert {clip.device for clip in tried.fitted} == set(known)
        words = {clip.group for clip in tested}
        assert len(words) == 1
        assert not words & {clip.group for clip in (*tried.fitted, *tried.enrolled[0])}
        assert {clip.device for clip in tested} == {*known, *strangers}
        always[0] |= set(halves[0])
        always[1] |= set(halves[1])
    assert not always[0] & always[1]  # a half is the same in all draws
    assert {clip.group for tried in measured.tried for clip in tried.tested[0]} == {"1", "2", "3"}


Ratio = Callable[[Any, Any, Tried], float]


def recomputed(tried: list[Tried], ratio: Ratio) -> dict[str, Any]:
    """Figures of some folds, one pair after another.

    Args:
        tried: the folds.
        ratio: log10 LR of an enrolled embedding or prototype with a tested one.
    """
    known: list[float] = []
    strange: list[float] = []
    named: list[bool] = []
    enrolled: list[bool] = []
    pairs: dict[str, list[float]] = {"same": [], "different": []}
    for fold in tried:
        others = list(zip(*fold.enrolled, strict=True))
        for clip, asked in zip(*fold.tested, strict=True):
            ratios = [ratio(prototype, asked, fold) for prototype in fold.own]
            if clip.device in fold.known:
                known.append(max(ratios))
                named.append(fold.known[int(np.argmax(ratios))] == clip.device)
                continue
            strange.append(max(ratios))
            half = next(half for half in fold.halves if clip.device in half)
            strangers = [*fold.halves[0], *fold.halves[1]]
            for group in sorted({other.group for other, _ in others}):
                best = max(
                    (ratio(e, asked, fold), c.device)
                    for c, e in others
                    if c.group == group and c.device in strangers
                )
                enrolled.append(best[1] == clip.device)
            for other, embedding in others:
                if other.device in half:
                    kind = "same" if other.device == clip.device else "different"
                    pairs[kind].append(ratio(embedding, asked, fold))
    greater = np.subtract.outer(known, strange)
    return {
        "auroc": float(((greater > 0) + 0.5 * (greater == 0)).mean()),
        "known": known,
        "strange": strange,
        "known_named_right": float(np.mean(named)),
        "enrolled_named_right": float(np.mean(enrolled)),
        "enrolment_trials": len(enrolled),
        **pairs,
    }


def ratio_of(report: dict[str, Any], *, other: bool = True) -> Ratio:
    """Log10 LR of a single pair by the calibration of a report, and that of the fold's domains.

    Args:
        report: what ``openset`` wrote.
        other: whether recordings of another kind have scores of their own.
    """
    calibration = report["shipped"]["calibration"]

    def ratio(known: Any, asked: Any, fold: Tried) -> float:
        domains, own = fold.domains, fold.own
        first = DIMS if domains is None else domains.cohort.first
        scores = corpus_scores(known[None, :first], asked[:first], own[:, :first])[0]
        value = float(scores @ calibration["slopes"] + calibration["offset"])
        if domains is None or not other:
            return value
        share = float(domains.share(known[None], asked, own)[0])
        return (1 - share) * value + share * float(domains.log10_lr(known[None], asked)[0])

    return ratio


def check_figures(measured: Measured) -> None:
    """Whether the report says what comes out one pair after another."""
    report = json.loads(measured.report.read_text())
    ratio = ratio_of(report)
    by_condition = [
        recomputed([tried for tried in measured.tried if tried.copy == k], ratio) for k in range(3)
    ]
    for row, again in zip(report["conditions"], by_condition, strict=True):
        counts = len(again["known"]), len(again["strange"])
        assert (row["n_targets"], row["n_nontargets"]) == counts
        for name in ("auroc", "known_named_right", "enrolled_named_right"):
            assert row[name] == pytest.approx(again[name], abs=1e-6), name
        assert row["enrolment_trials"] == again["enrolment_trials"]
    # Clean and seen conditions are what is chosen on.
    shipped = report["shipped"]
    known, strange = (
        np.array(by_condition[0][kind] + by_condition[1][kind]) for kind in ("known", "strange")
    )
    above = shipped["threshold"] + 1e-9
    assert shipped["false_acceptance"] == pytest.approx((strange > above).mean())
    assert shipped["true_acceptance"] == pytest.approx((known > above).mean())
    for kind in ("same", "different"):
        numbers = [len(again[kind]) for again in by_condition[:2]]
        assert report["comparison"]["clean"][f"n_{kind}"] == numbers[0]
        assert report["comparison"]["clean and seen"][f"n_{kind}"] == sum(numbers)


def test_figures_are_those_of_the_trials(measured: Measured) -> None:
    check_figures(measured)


def test_report(measured: Measured) -> None:
    report = json.loads(measured.report.read_text())
    corpus = read_corpus(measured.report.parent / "ten")
    assert report["corpus"] == corpus.content_hash()
    assert (report["devices"], report["known_devices"], report["draws"]) == (10, 6, 2)
    assert report["speech"] is False
    assert report["other_domains"] is None
    assert "recordings of another kind" not in measured.shown
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
    assert shipped["false_acceptance"] <= FALSE_ACCEPTANCE
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
    assert open_set.prototypes.shape == (10, DIMS)
    assert open_set.spectra.shape == (10, 34)
    assert open_set.temperature == report["calibration"]["temperature"]
    assert open_set.threshold == json.loads(measured.report.read_text())["shipped"]["threshold"]
    assert open_set.evidence["corpus"] == "ten"
    assert open_set.other_domains is None
    assert open_set.evidence["other_domains"] is None
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


# With further speech


@dataclass(frozen=True)
class Material:
    """Folders of simulated speech and of impulse responses."""

    speech: Path
    microphones: Path


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Material]:
    """Nine recordings and five responses; few and short domains of four devices."""
    folder = tmp_path_factory.mktemp("material")
    found = Material(folder / "speech", folder / "microphones")
    found.speech.mkdir()
    found.microphones.mkdir()
    for k in range(9):
        soundfile.write(found.speech / f"voice{k}.wav", speech_like(1.5, seed=50 + k), RATE_HZ)
    for k in range(5):
        taps = 0.8 ** np.arange(40) * np.random.default_rng(k).standard_normal(40)
        soundfile.write(found.microphones / f"m{k}.wav", taps, RATE_HZ, subtype="FLOAT")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.domain_training.DOMAINS", 4)
        patch.setattr("model.domain_training.DEVICES", 4)
        patch.setattr("model.domain_training.TEST_DOMAINS", 2)
        patch.setattr("model.simulated_domains.SECONDS", 2.0)
        patch.setattr("model.simulated_domains.results_of", results_here)
        yield found


@dataclass(frozen=True)
class Elsewhere:
    """A run of ``openset`` with speech, what it was given and what it simulated."""

    measured: Measured
    speech: open_set_trials.FurtherSpeech
    simulated: list[SimulatedDomains]


@pytest.fixture(scope="module")
def elsewhere(corpus: Path, material: Material) -> Elsewhere:
    given_ones: list[Any] = []
    simulated: list[SimulatedDomains] = []
    run_trials, simulate = open_set_trials.run_trials, domain_training.domain_recordings

    def trials_spied(*arguments: Any, **named: Any) -> Any:
        given_ones.append(arguments[5])
        return run_trials(*arguments, **named)

    def simulate_spied(domains: SimulatedDomains, *rest: Any, **named: Any) -> Any:
        simulated.append(domains)
        return simulate(domains, *rest, **named)

    report = corpus.parent / "elsewhere.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_set_trials, "run_trials", trials_spied)
        patch.setattr(domain_training, "domain_recordings", simulate_spied)
        patch.setattr(simulated_domains, "domain_recordings", simulate_spied)
        found = measure(
            corpus, "--draws", "1", "--augment", "none", "--speech", material.speech,
            "--microphones", material.microphones, report=report,
        )  # fmt: skip
    [speech] = given_ones
    return Elsewhere(found, speech, simulated)


def test_voices_of_the_test_are_in_nothing_that_is_fitted(
    elsewhere: Elsewhere, material: Material
) -> None:
    first, second, test = elsewhere.simulated
    parts = [set(domains.speech) for domains in elsewhere.simulated]
    assert [len(part) for part in parts] == [3, 3, 3]
    assert set.union(*parts) == set(material.speech.iterdir())
    assert set(test.microphones) == set(material.microphones.iterdir())
    assert not first.microphones
    assert not second.microphones
    speech = elsewhere.speech
    assert speech.measured
    assert (speech.first.shape[:3], speech.test.shape[:3]) == ((4, 4, 2), (2, 4, 2))
    assert len(speech.clips) == 6  # virtual devices stand on the same voices as the domains
    features = [extract(read_clip(path, RATE_HZ), FRONT_END) for path in (*parts[0], *parts[1])]
    for clip in speech.clips:
        assert any(np.allclose(clip.features, each, rtol=1e-2, atol=1e-2) for each in features)


def test_figures_of_another_kind(elsewhere: Elsewhere) -> None:
    check_figures(elsewhere.measured)
    report = json.loads(elsewhere.measured.report.read_text())
    assert report["speech"] is True
    found = report["other_domains"]
    assert (found["domains"], found["devices"], found["folds"]) == (2, 4, 3)
    assert found["measured_responses"] is True
    folds = [tried for tried in elsewhere.measured.tried if tried.copy == 0]
    recorded = elsewhere.measured.recorded
    assert [embeddings.shape for embeddings in recorded] == 3 * [(2, 4, 2, DIMS)]
    threshold = report["shipped"]["threshold"]
    for key, other in (("scores", True), ("scores_of_the_corpus_alone", False)):
        ratio = ratio_of(report, other=other)
        same, different, right = [], [], []
        accepted: tuple[list[bool], list[bool]] = ([], [])
        for fold, embeddings in zip(folds, recorded, strict=True):
            for domain in embeddings:
                for number, asked in enumerate(domain[:, 1]):
                    ratios = [ratio(known, asked, fold) for known in domain[:, 0]]
                    for k, value in enumerate(ratios):
                        share = (
                            fold.domains.share(domain[k, :1], asked, fold.own)[0] if other else 0.0
                        )
                        limit = (1 - share) * threshold + share * fold.domains.threshold
                        accepted[k != number].append(value > limit)
                    right.append(int(np.argmax(ratios)) == number)
                    same.append(ratios.pop(number))
                    different += ratios
        assert found[key]["named_right"] == pytest.approx(np.mean(right), abs=1e-6)
        greater = np.subtract.outer(same, different) > 0
        assert found[key]["auroc"] == pytest.approx(greater.mean(), abs=1e-6)
        assert found[key]["same_accepted"] == pytest.approx(np.mean(accepted[0]), abs=1e-6)
        assert found[key]["different_accepted"] == pytest.approx(np.mean(accepted[1]), abs=1e-6)
        misleading = np.mean(np.array(different) > 0)
        assert found[key]["different_misleading"] == pytest.approx(misleading, abs=1e-6)
    for words in ("another kind (2 simulated rooms, 4", "measured responses", "corpus alone"):
        assert words in elsewhere.measured.shown


def test_a_model_takes_other_domains_along(
    corpus: Path, elsewhere: Elsewhere, material: Material, tmp_path: Path
) -> None:
    output = tmp_path / "model.onnx"
    run(
        "train", corpus, "-o", output, "--steps", "40", "--augment", "none", "--split-by", "none",
        "--openset", elsewhere.measured.report, "--speech", material.speech,
    )  # fmt: skip
    engine = load_engine(output)
    open_set = engine.metadata.open_set
    assert open_set is not None
    assert open_set.prototypes.shape == (10, DIMS)
    other = open_set.other_domains
    assert other is not None
    assert other.cohort.embeddings.shape == (4 * domain_training.COHORT_DEVICES, DIMS)
    assert 0 < other.cohort.first < DIMS
    assert (len(other.same), len(other.different)) == (4 * 4, 4 * 4 * 3)
    report = json.loads(elsewhere.measured.report.read_text())
    assert open_set.evidence["other_domains"] == report["other_domains"]
    # What the file computes of a recording, in all dimensions.
    for clip in read_corpus(corpus).clips[::7]:
        features = extract(read_clip(clip.path, RATE_HZ), FRONT_END)
        windows = np.array(windows_of(features, EVALUATION_HOP_FRAMES))
        embedding = engine.run(windows).embedding.mean(axis=0, dtype=np.float64)
        assert embedding.shape == (DIMS,)
        assert embedding[: other.cohort.first].any()
        assert embedding[other.cohort.first :].any()
        best = open_set.cosines(open_set.prototypes, embedding).argmax()
        assert engine.metadata.labels[best] == clip.device
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--microphones", "FOLDER"], 2, "--microphones goes with --speech"),
        (["--speech", "FOLDER", "--microphones", "FEW"], 2, "4 microphones are needed, and 1"),
        (["--speech", "FOLDER", "--microphones", "NOWHERE"], 5, "no folder with impulse responses"),
        (["--speech", "FEW"], 5, "1 recordings of speech, 6 are needed"),
        (["--speech", "NOWHERE"], 5, "no folder with audio files"),
    ],
)
def test_too_little_to_simulate_with(
    arguments: list[str],
    code: int,
    message: str,
    corpus: Path,
    material: Material,
    tmp_path: Path,
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    soundfile.write(few / "one.wav", 0.9 ** np.arange(60), RATE_HZ)
    folders = {"FOLDER": material.speech, "FEW": few, "NOWHERE": tmp_path / "nowhere"}
    filled = [str(folders.get(word, word)) for word in arguments]
    output = tmp_path / "report.json"
    done = CliRunner().invoke(
        app, ["openset", str(corpus), "-o", str(output), "--augment", "none", *filled]
    )
    assert done.exit_code == code, done.stderr
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    # Said before anything is made.
    assert [path.name for path in tmp_path.iterdir()] == ["few"]


@pytest.mark.parametrize(
    ("n", "message"),
    [(3, "silence: 3 recordings of speech, 4 are needed"), (4, "a silent recording")],
)
def test_other_rooms_are_simulated_before_training(
    n: int,
    message: str,
    corpus: Path,
    elsewhere: Elsewhere,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def train(*_: object, **__: object) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr("model.training.train", train)
    speech = tmp_path / "silence"
    speech.mkdir()
    for k in range(n):
        soundfile.write(speech / f"{k}.wav", np.zeros(RATE_HZ), RATE_HZ)
    report, output = elsewhere.measured.report, tmp_path / "m.onnx"
    done = run("train", corpus, "-o", output, "--openset", report, "--speech", speech, code=5)
    assert message in done.stderr
    assert not output.exists()


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
    return open_set_trials.run_trials(corpus, features, FRONT_END, CONFIG, None, None, tests, draws)


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
