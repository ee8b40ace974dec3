"""``experiment table5``, ``table7`` and ``table8``: what they run, write and refuse."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: train)")
pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: train)")
torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from agent.commands.experiment_options import SMALL_CORPUS_EPOCHS  # noqa: E402
from model.baselines.baseline import BaselineClip  # noqa: E402
from model.corpus import read_corpus  # noqa: E402
from model.errors import CorpusError  # noqa: E402
from model.experiments import ablations, methods  # noqa: E402
from model.experiments.lda_method import LogMelLdaMethod  # noqa: E402
from model.experiments.methods import (  # noqa: E402
    LDA,
    METHODS,
    PAPER_NETWORK,
    Fitting,
    chosen,
    training_of,
)
from model.experiments.network_method import NetworkMethod  # noqa: E402
from model.features import extract  # noqa: E402
from model.training_config import PRESETS  # noqa: E402
from tests.baseline_rig import as_clip  # noqa: E402
from tests.experiment_rig import (  # noqa: E402
    NearestMean,
    cheap_training,
    in_this_process,
    refused,
    run,
)
from tests.simulated import RATE_HZ, record, speech_like, write_corpus  # noqa: E402

QUICK = ("--method", "mfcc-svm", "--method", "lda")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five simulated devices, four contents each."""
    folder = tmp_path_factory.mktemp("experiment") / "five"
    return write_corpus(folder, n_devices=5, n_clips=4, seconds=2.5)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three simulated devices, two contents each."""
    folder = tmp_path_factory.mktemp("experiment") / "three"
    return write_corpus(folder, n_devices=3, n_clips=2, seconds=1.5)


@pytest.fixture(autouse=True)
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Folds that were run, not read."""
    return in_this_process(monkeypatch)


def test_table_5(corpus: Path, tmp_path: Path, ran: list[str]) -> None:
    done = run("table5", corpus, "-o", tmp_path, *QUICK)
    assert sorted(ran) == [f"{key}-{fold}" for key in ("lda", "mfcc-svm") for fold in (1, 2, 3, 4)]
    report = json.loads((tmp_path / "table5.json").read_text())
    assert (report["experiment"], report["corpus"], report["seed"]) == ("table5", "five", 0)
    assert report["devices"] == ["simA", "simB", "simC", "simD", "simE"]
    assert (report["clips"], report["protocol"]) == (20, "leave-one-clip-out")
    assert report["corpus_sha256"] == read_corpus(corpus).content_hash()
    table = (tmp_path / "table5.md").read_text()
    assert [row["key"] for row in report["methods"]] == ["mfcc-svm", "lda"]  # the table's order
    for row in report["methods"]:
        assert row["settings"]["seed"] == 0
        assert "numpy" in row["settings"]["versions"]
        assert [fold["fold"] for fold in row["folds"]] == [
            f"leave group {n} out" for n in (1, 2, 3, 4)
        ]
        truth = np.concatenate([fold["truth"] for fold in row["folds"]])
        decided = np.concatenate([fold["decided"] for fold in row["folds"]])
        assert sorted(truth) == sorted([*range(5)] * 4)
        assert row["correct"] == (truth == decided).sum()
        assert row["accuracy"] == pytest.approx((truth == decided).mean())
        assert row["accuracy"] > 0.7  # five simulated devices are no riddle
        assert row["n_parameters"] > 0
        assert row["title"] in done.stdout
        assert f"| {row['title']} | {row['correct']}/20 |" in table
        assert (tmp_path / f"table5-{row['key']}.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "table5.png").read_bytes().startswith(b"\x89PNG")
    # Nothing is run twice; a fold that is damaged or of another seed is.
    ran.clear()
    run("table5", corpus, "-o", tmp_path, *QUICK)
    assert not ran
    (tmp_path / "folds" / "lda-2.json").write_text('{"settings": ')
    run("table5", corpus, "-o", tmp_path, *QUICK)
    assert ran == ["lda-2"]
    again = json.loads((tmp_path / "table5.json").read_text())
    for one, two in zip(report["methods"], again["methods"], strict=True):
        assert [f["decided"] for f in one["folds"]] == [f["decided"] for f in two["folds"]]
    ran.clear()
    run("table5", corpus, "-o", tmp_path, "--method", "lda", "--seed", "3")
    assert len(ran) == 4


def test_paper_protocol(corpus: Path, tmp_path: Path, ran: list[str]) -> None:
    run("table5", corpus, "-o", tmp_path, "--method", "lda", "--protocol", "paper")
    assert ran == ["lda-1"]
    [row] = json.loads((tmp_path / "table5.json").read_text())["methods"]
    [fold] = row["folds"]
    assert fold["clips"] == [f"sim{device}_4.wav" for device in "ABCDE"]
    assert row["count"] == 5
    # The same name, but not the same fold.
    ran.clear()
    run("table5", corpus, "-o", tmp_path, "--method", "lda")
    assert ran == [f"lda-{fold}" for fold in (1, 2, 3, 4)]


def test_all_methods_but_the_slow_one_without_a_choice(
    small: Path, tmp_path: Path, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cheap = tuple(replace(method, make=lambda fitting: NearestMean()) for method in METHODS)
    monkeypatch.setattr(methods, "METHODS", cheap)
    run("table5", small, "-o", tmp_path, "--protocol", "leave-one-clip-out")
    expected = [method.key for method in METHODS if method.key != "network-paper"]
    assert sorted(ran) == sorted(f"{key}-{fold}" for key in expected for fold in (1, 2))
    report = json.loads((tmp_path / "table5.json").read_text())
    assert [row["key"] for row in report["methods"]] == expected
    assert {row["paper_accuracy"] for row in report["methods"]} == {None}


def test_settings_of_trained_methods_alone_run_them_again(
    small: Path, tmp_path: Path, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = cheap_training(monkeypatch)
    command = ("table5", small, "-o", tmp_path, "--method", "mfcc-svm", "--method", "network-paper")
    networks = ["network-paper-1", "network-paper-2"]

    def settings() -> list[tuple[object, object]]:
        rows = json.loads((tmp_path / "table5.json").read_text())["methods"]
        found = [row["settings"] for row in rows]
        assert found[0]["training"] == {}
        training = found[1]["training"]
        return [(training["preset"], training["epochs"]), asked[-1][1].epochs]

    run(*command)
    assert sorted(ran) == ["mfcc-svm-1", "mfcc-svm-2", *networks]
    assert settings() == [("fast", SMALL_CORPUS_EPOCHS), SMALL_CORPUS_EPOCHS]
    ran.clear()
    same = ("--epochs", str(SMALL_CORPUS_EPOCHS), "--preset", "fast")
    run(*command, *same, "--accelerator", "auto")
    assert ran == []
    run(*command, "--epochs", "3")
    assert ran == networks
    assert settings() == [("fast", 3), 3]
    run(*command, "--preset", "paper")
    assert ran == 2 * networks
    assert settings() == [("paper", 100), 100]
    assert asked[-1][1].learning_rate == PRESETS["paper"].learning_rate
    run(*command, "--protocol", "leave-one-clip-out", "--preset", "paper", "--epochs", "5")
    assert ran == 3 * networks
    assert settings() == [("paper", 5), 5]


def test_training_of_an_experiment() -> None:
    """Nothing to stop early by, no augmented copies; and in a hurry one step of either kind."""
    config = training_of(Fitting(seed=4, preset="robust", epochs=9))
    assert (config.seed, config.epochs, config.augment, config.patience) == (4, 9, (), 0)
    assert config.warm_up_steps == PRESETS["robust"].warm_up_steps
    assert training_of(Fitting(preset="paper")).epochs == 100
    hurried = training_of(Fitting(preset="paper", hurried=True))
    assert (hurried.epochs, hurried.warm_up_steps) == (1, 1)


def test_tables_share_folds_and_every_block_has_its_turn(
    small: Path, tmp_path: Path, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = cheap_training(monkeypatch)
    shared = ("-o", tmp_path, "--epochs", "1")
    run("table5", small, *shared, "--method", "network-paper")
    assert ran == ["network-paper-1", "network-paper-2"]
    assert [network.blocks for network, _ in asked] == [("convlstm", "bilstm", "transformer")] * 2
    tables = {
        "table7": [("convlstm",), ("bilstm",), ("transformer",)],
        "table8": [("convlstm", "bilstm"), ("convlstm", "transformer"), ("bilstm", "transformer")],
    }
    for name, groups in tables.items():
        ran.clear()
        asked.clear()
        done = run(name, small, *shared)
        keys = [f"group-{'-'.join(blocks)}" for blocks in groups]
        assert ran == [f"{key}-{fold}" for key in keys for fold in (1, 2)]  # the whole is there
        assert [network.blocks for network, _ in asked] == [b for b in groups for _ in (1, 2)]
        report = json.loads((tmp_path / f"{name}.json").read_text())
        assert report["experiment"] == name
        assert [row["key"] for row in report["methods"]] == [*keys, "network-paper"]
        assert {row["settings"]["training"]["epochs"] for row in report["methods"]} == {1}
        table = (tmp_path / f"{name}.md").read_text()
        for row in report["methods"]:
            assert row["count"] == 6
            assert row["title"] in done.stdout
            assert f"| {row['title']} | {row['correct']}/6 |" in table
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        ran.clear()
        run(name, small, *shared)
        assert ran == []
    assert (tmp_path / "table5.json").exists()


def test_a_network_is_trained_for_real(small: Path, tmp_path: Path) -> None:
    """One block of it here; what its blocks are worth is no matter."""
    [method] = [m for m in ablations.SINGLE_BLOCKS if m.key == "group-transformer"]
    made = method.make(Fitting(epochs=1))
    assert isinstance(made, NetworkMethod)
    with pytest.raises(ValueError, match="not fitted"):
        made.scores([])
    files = [clip.path for clip in read_corpus(small).clips]
    samples = [soundfile.read(path, dtype="float32")[0] for path in files]
    clips = [as_clip(extract(part, method.front_end), part) for part in samples]
    labels = np.repeat(np.arange(3), 2)
    made.fit(clips, labels)
    scores = made.scores(clips)
    assert scores.shape == (6, 3)
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1, rtol=0.05)  # one window a clip
    learnt = sum(p.numel() for p in made.network.parameters())
    assert made.n_parameters == learnt + 2 * 73  # and the inputs' mean and scale
    again = method.make(Fitting(epochs=1))
    again.fit(clips, labels)
    np.testing.assert_array_equal(again.scores(clips), scores)


@pytest.mark.parametrize(
    ("table", "arguments", "message"),
    [
        ("table5", ("--method", "magic"), "unknown method magic; there are: mfcc-frames-svm, "),
        ("table5", ("--protocol", "none"), "unknown protocol none; there are: leave-one-clip-out"),
        ("table7", ("--protocol", "none"), "unknown protocol none; there are: leave-one-clip-out"),
        ("table6", ("--protocol", "none"), "unknown protocol none; there are: leave-one-clip-out"),
        ("table7", ("--preset", "slow"), "unknown preset slow; there are: fast, paper"),
        ("table8", ("--preset", "transfer"), "unknown preset transfer; there are: fast, paper"),
        ("table8", ("--accelerator", "abacus"), "unknown accelerator abacus; there are: auto, cpu"),
    ],
)
def test_bad_options(
    small: Path, tmp_path: Path, table: str, arguments: tuple[str, str], message: str
) -> None:
    refused(run(table, small, "-o", tmp_path / "out", *arguments, code=2), message)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("table", ["table5", "table6", "table7"])
def test_bad_corpora(table: str, small: Path, tmp_path: Path) -> None:
    output = ("-o", tmp_path / "out")
    refused(run(table, tmp_path / "gone", *output, code=5), "no such corpus")
    single = tmp_path / "single"
    single.mkdir()
    for path in small.glob("*_1.wav"):
        shutil.copy(path, single)
    refused(run(table, single, *output, code=5), "needs two groups or more")
    refused(run(table, small, *output, "--protocol", "paper", code=5), "2 clips cannot be split")
    assert not (tmp_path / "out").exists()


def test_a_clip_shorter_than_a_window_is_tested_too(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheap_training(monkeypatch)
    folder = shutil.copytree(small, tmp_path / "short")
    samples, rate_hz = soundfile.read(folder / "simC_2.wav")
    soundfile.write(folder / "simC_2.wav", samples[: rate_hz // 4], rate_hz)
    keys = ("mfcc-frames-svm", "mfcc-svm", "bed-svm", "network-paper")
    wanted = [word for key in keys for word in ("--method", key)]
    # Where it is all that there is of a device to learn from, windows cannot be had.
    done = run("table5", folder, "-o", tmp_path / "out", *wanted, code=5)
    refused(done, "simC: no clip of at least 128 frames to learn from (leave group 1 out)")
    third = write_corpus(tmp_path / "more", n_devices=3, n_clips=3, seconds=1.5)
    shutil.copy(folder / "simC_2.wav", third)
    run("table5", third, "-o", tmp_path / "out", *wanted)
    report = json.loads((tmp_path / "out" / "table5.json").read_text())
    assert [row["count"] for row in report["methods"]] == [9, 9, 9, 9]
    for row in report["methods"]:  # windows say nothing of it, which is no right answer
        decided = [name for fold in row["folds"] for name in fold["decided"]]
        assert decided.count(-1) == (row["key"] == "network-paper")
        truth = [name for fold in row["folds"] for name in fold["truth"]]
        assert row["correct"] == sum(a == b for a, b in zip(decided, truth, strict=True))
        assert row["accuracy"] == row["correct"] / 9


def test_a_clip_without_a_frame_or_sound_is_named(small: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small, tmp_path / "short")
    soundfile.write(folder / "simB_1.wav", np.full(100, 0.1), RATE_HZ)
    command = ("table5", folder, "-o", tmp_path / "out", "--method", "mfcc-svm")
    refused(run(*command, code=3), f"{folder / 'simB_1.wav'}: shorter than a frame")
    (folder / "simB_1.wav").write_bytes(b"no sound")
    refused(run(*command, code=3), "simB_1.wav")
    assert not (tmp_path / "out" / "table5.json").exists()


def simulated_clip(device: int, seed: int, seconds: float) -> BaselineClip:
    samples = record(speech_like(seconds, seed), device, seed)
    return as_clip(extract(samples, LDA.front_end), samples)


def test_lda_method_says_nothing_of_a_clip_without_a_window() -> None:
    method = LogMelLdaMethod(LDA.front_end)
    clips = [simulated_clip(device, seed, 3.0) for device in range(2) for seed in (1, 2)]
    clips.append(simulated_clip(1, 4, 0.5))
    method.fit(clips, np.array([0, 0, 1, 1, 1]))
    scores = method.scores([simulated_clip(1, 3, 3.0), simulated_clip(0, 3, 0.5)])
    assert scores.shape == (2, 2)
    assert scores[0].argmax() == 1
    assert scores[1].tolist() == [0.0, 0.0]
    assert method.n_parameters == 2 * 69


def test_lda_method_needs_windows_of_every_device() -> None:
    long, short = simulated_clip(0, 1, 3.0), simulated_clip(1, 1, 0.5)
    method = LogMelLdaMethod(LDA.front_end)
    for labels in ([0, 1], [1, 0]):
        with pytest.raises(CorpusError, match="no training clip of at least 128 frames"):
            method.fit([long, short], np.array(labels))
    single = simulated_clip(0, 1, 1.3)
    with pytest.raises(CorpusError, match="single window"):
        method.fit([single, simulated_clip(1, 1, 1.3)], np.array([0, 1]))


def test_keys_and_titles_are_unique_and_every_method_can_be_made() -> None:
    every = list(dict.fromkeys((*METHODS, *ablations.SINGLE_BLOCKS, *ablations.PAIRS_OF_BLOCKS)))
    assert len({method.title for method in every}) == len(every) == len(METHODS) + 7
    assert len({method.key for method in every}) == len(METHODS) + 6  # the whole has two titles
    for method in every:
        assert hasattr(method.make(Fitting()), "fit")
    assert chosen(["network-paper", "lda"]) == (LDA, PAPER_NETWORK)


def test_help_names_every_method() -> None:
    shown = " ".join(run("table5", "--help").stdout.replace("│", " ").split())
    assert ", ".join(method.key for method in METHODS) in shown
