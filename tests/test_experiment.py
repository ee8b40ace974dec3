"""Experiments: folds keep contents apart, killed runs go on, and tables say what folds hold."""

from __future__ import annotations

import json
import multiprocessing.dummy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: train)")
pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: train)")

from typer.testing import CliRunner, Result

from agent.cli import app
from model.baselines.baseline import BaselineClip
from model.corpus import Clip, Corpus, read_corpus
from model.errors import CorpusError
from model.experiments import fold_run
from model.experiments.clip_store import ClipStore
from model.experiments.lda_method import LogMelLdaMethod
from model.experiments.methods import METHODS
from model.experiments.protocols import folds, index_split
from model.features import FrontEndConfig, extract
from tests.simulated import RATE_HZ, record, speech_like, write_corpus

QUICK = ("--method", "mfcc-svm", "--method", "lda")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five simulated devices, four contents each."""
    folder = tmp_path_factory.mktemp("experiment") / "five"
    return write_corpus(folder, n_devices=5, n_clips=4, seconds=2.5)


@pytest.fixture(autouse=True)
def ran(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int]]]:
    """Folds that were run, not read; everything in threads of this process."""
    in_threads = SimpleNamespace(get_context=lambda kind: multiprocessing.dummy)
    monkeypatch.setattr(fold_run, "multiprocessing", in_threads)
    monkeypatch.setattr("model.feature_copies.multiprocessing", in_threads)
    monkeypatch.setattr(fold_run, "_one_thread", lambda: None)
    done: list[tuple[str, int]] = []
    run_one = fold_run._fold

    def spied(job: Any) -> dict[str, Any]:
        done.append((job.key, job.number))
        return run_one(job)

    monkeypatch.setattr(fold_run, "_fold", spied)
    return done


def run(*arguments: str | Path, code: int = 0) -> Result:
    done = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "100"})
    assert done.exit_code == code, done.stderr
    return done


def test_table_5(corpus: Path, tmp_path: Path, ran: list[tuple[str, int]]) -> None:
    done = run("experiment", "table5", corpus, "-o", tmp_path, *QUICK)
    assert sorted(ran) == [(key, fold) for key in ("lda", "mfcc-svm") for fold in range(4)]
    report = json.loads((tmp_path / "table5.json").read_text())
    assert (report["devices"], report["clips"], report["protocol"]) == (5, 20, "leave-one-clip-out")
    assert report["corpus_sha256"] == read_corpus(corpus).content_hash()
    assert report["settings"]["seed"] == 0
    assert "numpy" in report["settings"]["versions"]
    table = (tmp_path / "table5.md").read_text()
    assert [row["key"] for row in report["methods"]] == ["mfcc-svm", "lda"]  # the table's order
    for row in report["methods"]:
        truth = np.concatenate([fold["truth"] for fold in row["folds"]])
        decided = np.concatenate([fold["decided"] for fold in row["folds"]])
        assert sorted(truth) == sorted([*range(5)] * 4)
        assert row["correct"] == (truth == decided).sum()
        assert row["accuracy"] == pytest.approx((truth == decided).mean())
        assert row["accuracy"] > 0.7  # five simulated devices are no riddle
        assert row["n_parameters"] > 0
        assert row["title"] in done.stdout
        assert f"| {row['title']} | {row['correct']}/20 |" in table
        assert (tmp_path / f"confusion-{row['key']}.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "table5.png").read_bytes().startswith(b"\x89PNG")
    # Nothing is run twice; a fold that is damaged or of another seed is.
    ran.clear()
    run("experiment", "table5", corpus, "-o", tmp_path, *QUICK)
    assert not ran
    (tmp_path / "folds" / "lda-2.json").write_text('{"settings": ')
    run("experiment", "table5", corpus, "-o", tmp_path, *QUICK)
    assert ran == [("lda", 1)]
    again = json.loads((tmp_path / "table5.json").read_text())
    for one, two in zip(report["methods"], again["methods"], strict=True):
        assert [f["decided"] for f in one["folds"]] == [f["decided"] for f in two["folds"]]
    ran.clear()
    run("experiment", "table5", corpus, "-o", tmp_path, "--method", "lda", "--seed", "3")
    assert len(ran) == 4


def test_an_interrupted_run_goes_on(
    corpus: Path, tmp_path: Path, ran: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    spied = fold_run._fold

    def dies(job: Any) -> dict[str, Any]:
        if job.number == 2:
            raise CorpusError("the power is gone")
        return spied(job)

    with monkeypatch.context() as patch:
        patch.setattr(fold_run, "_fold", dies)
        run(
            "experiment", "table5", corpus, "-o", tmp_path, "--method", "lda", "--processes", "1",
            code=5,
        )  # fmt: skip
    assert not (tmp_path / "table5.json").exists()
    finished = {("lda", int(p.stem[-1]) - 1) for p in (tmp_path / "folds").glob("*.json")}
    assert {("lda", 0), ("lda", 1)} <= finished
    ran.clear()
    run("experiment", "table5", corpus, "-o", tmp_path, "--method", "lda")
    assert set(ran) == {("lda", n) for n in range(4)} - finished


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "magic"), "unknown method magic; there are: mfcc-frames-svm, "),
        (("--protocol", "none"), "unknown protocol none; there are: leave-one-clip-out, paper"),
    ],
)
def test_bad_options(
    corpus: Path, tmp_path: Path, arguments: tuple[str, str], message: str
) -> None:
    done = run("experiment", "table5", corpus, "-o", tmp_path / "out", *arguments, code=2)
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def made_up(devices: int, clips: int) -> Corpus:
    return Corpus(
        "made-up",
        tuple(
            Clip(Path(f"{d}_{c:03d}.wav"), f"d{d}", str(c))
            for d in range(devices)
            for c in range(clips)
        ),
    )


def test_leave_one_clip_out_never_tests_what_was_heard() -> None:
    corpus = made_up(3, 5)
    splits = folds(corpus, "leave-one-clip-out")
    assert len(splits) == 5
    for split in splits:
        assert not {c.group for c in split.train} & {c.group for c in split.test}
        assert {c.device for c in split.test} == set(corpus.devices)
    tested = [clip for split in splits for clip in split.test]
    assert sorted(c.path for c in tested) == sorted(c.path for c in corpus.clips)


def test_paper_protocol_is_by_index() -> None:
    [split] = folds(made_up(2, 642), "paper")
    sizes = [len(side) // 2 for side in (split.train, split.validation, split.test)]
    assert sizes == [411, 103, 128]  # the authors: 514 to learn from, 128 to test
    assert [int(c.group) for c in split.test if c.device == "d1"] == [*range(514, 642)]
    assert len(index_split(made_up(2, 3)).test) == 2
    with pytest.raises(CorpusError, match="2 clips cannot be split three ways"):
        index_split(made_up(2, 2))


def test_clips_are_read_when_they_are_asked_for(corpus: Path, tmp_path: Path) -> None:
    data = read_corpus(corpus)
    features = fold_run.paper_features(data, tmp_path)
    store = ClipStore(data.clips, features, RATE_HZ)
    assert len(store) == len(store[:]) == 20
    assert len(store[3:5]) == 2
    clip = store[4]
    expected = extract(clip.samples, FrontEndConfig())
    np.testing.assert_allclose(clip.mfcc, expected[:, :39], rtol=2e-3, atol=2e-3)
    with pytest.raises(IndexError):
        store[20]


def test_lda_method_says_nothing_of_a_clip_without_a_window() -> None:
    def clip(device: int, seed: int, seconds: float) -> BaselineClip:
        samples = record(speech_like(seconds, seed), device, seed)
        return BaselineClip(extract(samples, FrontEndConfig()), samples, RATE_HZ)

    method = LogMelLdaMethod()
    clips = [clip(device, seed, 3.0) for device in range(2) for seed in (1, 2)]
    method.fit(clips, np.array([0, 0, 1, 1]))
    scores = method.scores([clip(1, 3, 3.0), clip(0, 3, 0.5)])
    assert scores.shape == (2, 2)
    assert scores[0].argmax() == 1
    assert scores[1].tolist() == [0.0, 0.0]
    assert method.n_parameters == 2 * 69


def test_keys_and_titles_are_unique_and_every_method_can_be_made() -> None:
    pytest.importorskip("torch", reason="torch is not installed (extra: train)")
    assert len({m.key for m in METHODS}) == len({m.title for m in METHODS}) == len(METHODS)
    for method in METHODS:
        made = method.make(0)
        assert made.name
