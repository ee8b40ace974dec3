"""Table 9: new phones are new to every network, and so are the words that they are tested with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: train)")
pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: train)")
torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from model import fine_tuning  # noqa: E402
from model.baselines.baseline import BaselineClip, IntArray  # noqa: E402
from model.corpus import Clip, Corpus, read_corpus  # noqa: E402
from model.errors import CorpusError, UsageError  # noqa: E402
from model.experiments.fold_task import features_folder, make_features, stored_clips  # noqa: E402
from model.experiments.methods import OUR_FRONT_END, PAPER_FRONT_END, PAPER_NETWORK, Fitting  # noqa: E402
from model.experiments.network_method import NetworkMethod  # noqa: E402
from model.experiments.transfer import GROUPS, new_phones, run_transfer  # noqa: E402
from model.experiments.transfer_table import transfer_markdown, transfer_report  # noqa: E402
from model.training_config import FREEZES, PRESETS, TRANSFER  # noqa: E402
from model.training_data import ClipData  # noqa: E402
from tests.experiment_rig import cheap_training, in_this_process, refused, run  # noqa: E402
from tests.simulated import write_corpus  # noqa: E402

GROUP_NUMBERS = [8, 9, 10, 11, None]


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six simulated phones, three contents each."""
    return write_corpus(tmp_path_factory.mktemp("transfer") / "six", 6, 3, seconds=1.7)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two simulated phones, other lengths, in a folder each."""
    folder = tmp_path_factory.mktemp("transfer") / "others"
    return write_corpus(folder, 2, 3, seconds=1.9, naming="folders")


@pytest.fixture(autouse=True)
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Parts that were run, not read. Fine-tuning ends early: it would take 300 epochs."""
    monkeypatch.setitem(PRESETS, TRANSFER, PRESETS[TRANSFER].with_changes(epochs=2))
    return in_this_process(monkeypatch)


@dataclass
class Heard:
    """What networks and fine-tuning were given, in the order of time."""

    before: list[list[Clip]]
    after: list[list[Clip]]


@pytest.fixture
def heard(six: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Heard:
    """Told by the frames themselves; training is cheap."""
    cheap_training(monkeypatch)
    corpus = read_corpus(six)
    make_features(corpus, [PAPER_NETWORK], tmp_path / "known")
    stored = stored_clips(corpus, corpus.clips, PAPER_NETWORK.front_end, tmp_path / "known")
    owner = {np.asarray(s.frames).tobytes(): c for s, c in zip(stored, corpus.clips, strict=True)}
    assert len(owner) == 18
    found = Heard([], [])
    fit, windows = NetworkMethod.fit, fine_tuning.fine_tuning_windows

    def spied_fit(self: NetworkMethod, clips: Sequence[BaselineClip], labels: IntArray) -> None:
        mine = [owner[np.asarray(clip.frames).tobytes()] for clip in clips]
        found.before.append(mine)
        names = sorted({clip.device for clip in mine})
        assert [names[label] for label in labels] == [clip.device for clip in mine]
        fit(self, clips, labels)

    def spied_windows(clips: Sequence[ClipData], seed: int) -> Any:
        found.after.append([owner[np.asarray(clip.features).tobytes()] for clip in clips])
        return windows(clips, seed)

    monkeypatch.setattr(NetworkMethod, "fit", spied_fit)
    monkeypatch.setattr(fine_tuning, "fine_tuning_windows", spied_windows)
    return found


def test_new_phones_and_their_words_are_unheard(
    six: Path, tmp_path: Path, heard: Heard, ran: list[str]
) -> None:
    command = ("table9", six, "-o", tmp_path, "--epochs", "1", "--pretrained", "3", "--draws", "2")
    done = run(*command)
    keys = ("network-paper", "group-transformer", "lda")
    parts = [f"{key}-draw{d}-{fold}" for d in (1, 2) for fold in (1, 2, 3) for key in keys]
    assert ran == parts
    report = json.loads((tmp_path / "table9.json").read_text())
    assert [f"{p['key']}-draw{p['draw'] + 1}-{p['fold'][12]}" for p in report["parts"]] == parts

    networks = [part for part in report["parts"] if part["key"] != "lda"]
    assert len(networks) == len(heard.before) == len(heard.after) == 12
    for part, before, after in zip(networks, heard.before, heard.after, strict=True):
        tested = {name.split(".")[0].split("_")[1] for name in part["clips"]}
        assert len(tested) == 1
        assert len(part["devices"]) == 3
        assert {clip.device for clip in before}.isdisjoint(part["devices"])
        assert {clip.device for clip in after} == set(part["devices"])
        assert len(before) == len(after) == 6  # three phones, the two other contents
        assert not tested & {clip.group for clip in (*before, *after)}
        names = [part["devices"][index] for index in part["truth"]]
        assert [name.split("_")[0] for name in part["clips"]] == names
        assert set(part["decided"]) == set(part["n_learning"]) == {"trunk", "mlp"}
        assert part["n_parameters"] > part["n_learning"]["trunk"] > part["n_learning"]["mlp"] > 0
    draws = {part["draw"]: tuple(part["devices"]) for part in report["parts"]}
    assert draws[0] != draws[1]

    assert (report["source"], report["target"]) == ("six", None)
    assert (report["n_pretrained"], report["n_new"], report["n_draws"]) == (3, 3, 2)
    assert "devices" not in report["settings"]  # of one draw alone
    assert (report["settings"]["training"]["epochs"], report["settings"]["seed"]) == (1, 0)
    assert report["settings"]["fine_tuning"]["learning_rate"] == 1e-5
    table = (tmp_path / "table9.md").read_text()
    assert [row["group"] for row in report["groups"]] == GROUP_NUMBERS
    for row, group in zip(report["groups"], GROUPS, strict=True):
        mine = [part for part in report["parts"] if part["key"] == group.method.key]
        decided = [p["decided"][group.freeze] if group.freeze else p["decided"] for p in mine]
        truth = [part["truth"] for part in mine]
        assert row["count"] == 18  # three phones, three contents, two draws
        assert row["correct"] == int(np.sum(np.array(decided) == truth))
        assert row["accuracy"] == row["correct"] / 18
        assert np.mean(row["accuracy_of_draws"]) == pytest.approx(row["accuracy"])
        assert len(row["accuracy_of_draws"]) == 2
        assert f"{row['title']} | {row['correct']}/18 |" in table
    assert "3 phones to train on, fine-tuned on the other 3, 2 draws" in table
    assert (tmp_path / "table9.png").read_bytes().startswith(b"\x89PNG")
    assert "six: 3 phones, then the other 3" in done.stdout

    # Nothing is run twice; another draw adds to those before, other epochs leave the LDA alone.
    ran.clear()
    run(*command)
    assert ran == []
    run(*command[:-1], "3", "--processes", "1")
    assert ran == [f"{key}-draw3-{fold}" for fold in (1, 2, 3) for key in keys]
    ran.clear()
    run(*command, "--epochs", "2")
    assert ran == [part for part in parts if not part.startswith("lda")]


def test_onto_another_corpus(six: Path, others: Path, tmp_path: Path, ran: list[str]) -> None:
    """For real: one epoch of both networks."""
    command = ("table9", six, "-o", tmp_path, "--onto", others, "--epochs", "1")
    protocol = ("--protocol", "paper", "--preset", "fast")
    done = run(*command, *protocol)
    assert ran == ["network-paper-draw1-1", "group-transformer-draw1-1", "lda-draw1-1"]
    report = json.loads((tmp_path / "table9.json").read_text())
    assert (report["source"], report["target"]) == ("six", "others")
    assert (report["n_pretrained"], report["n_new"], report["n_draws"]) == (6, 2, 1)
    assert report["settings"]["corpus"] == read_corpus(six).content_hash()
    assert report["settings"]["target"] == read_corpus(others).content_hash()
    assert [row["count"] for row in report["groups"]] == [2] * 5
    by_group = {row["group"]: row for row in report["groups"]}
    assert by_group[8]["n_learning"] == (256 + 1) * 128 + (128 + 1) * 2
    assert by_group[9]["n_learning"] == by_group[11]["n_learning"] == (128 + 1) * 2
    for part in report["parts"]:
        assert part["devices"] == ["simA", "simB"]
        assert part["clips"] == ["utterance3.wav"] * 2
        assert part["truth"] == [0, 1]
    assert "6 phones to train on, fine-tuned on 2 of others" in (tmp_path / "table9.md").read_text()
    assert "six: 6 phones, then 2 of others" in done.stdout
    # The features of either corpus have a place of their own, and none is made for nothing.
    made = {path.parent for path in tmp_path.rglob("copies.npy")}
    kinds = [(read_corpus(six), PAPER_FRONT_END)]
    kinds += [(read_corpus(others), kind) for kind in (PAPER_FRONT_END, OUR_FRONT_END)]
    assert made == {features_folder(tmp_path, *kind) for kind in kinds}
    ran.clear()
    run(*command, *protocol)
    assert ran == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--pretrained", "5"), "5 of 6 phones to train on: at least two must be there and left"),
        (("--pretrained", "6"), "6 of 6 phones to train on"),
        (("--preset", "transfer"), "unknown preset transfer; there are: fast, paper"),
        (("--onto", "{others}", "--draws", "2"), "--pretrained and --draws are of phones of one"),
        (
            ("--onto", "{others}", "--pretrained", "3"),
            "--pretrained and --draws are of phones of one",
        ),
    ],
)
def test_bad_options(
    six: Path, others: Path, tmp_path: Path, arguments: Sequence[str], message: str
) -> None:
    given = [argument.format(others=others) for argument in arguments]
    refused(run("table9", six, "-o", tmp_path / "out", *given, code=2), message)
    assert not (tmp_path / "out").exists()  # before any feature is made


@pytest.mark.parametrize("option", ["--pretrained", "--draws", "--epochs", "--processes"])
def test_numbers_out_of_range(six: Path, option: str, tmp_path: Path) -> None:
    done = run("table9", six, "-o", tmp_path / "out", option, "0", code=2)
    assert option in done.stderr
    assert not (tmp_path / "out").exists()


def test_bad_corpora(six: Path, tmp_path: Path) -> None:
    same = shutil.copytree(six, tmp_path / "same")
    command = ("table9", six, "-o", tmp_path / "out", "--onto")
    refused(run(*command, same, code=5), "18 recordings of same are in six, too")
    for path in same.glob("sim[B-F]_*.wav"):
        path.write_bytes(path.read_bytes()[:-2])  # another recording, but for simA
    refused(run(*command, same, code=5), "3 recordings of same are in six, too")
    refused(run(*command, tmp_path / "gone", code=5), "no such corpus")
    assert not (tmp_path / "out").exists()


def of(n_devices: int) -> Corpus:
    clips = [
        Clip(Path(f"{d:02d}_{c}.wav"), f"{d:02d}", str(c)) for d in range(n_devices) for c in "12"
    ]
    return Corpus(f"of {n_devices}", tuple(clips))


def test_draws() -> None:
    corpus = of(40)
    draws = new_phones(corpus, None, None, 4, seed=0)
    assert [len(new) for new in draws] == [15] * 4  # the paper: 25 of 40 before
    assert len(set(draws)) == 4
    assert all(set(new) < set(corpus.devices) and sorted(new) == list(new) for new in draws)
    assert new_phones(corpus, None, 25, 2, seed=0) == draws[:2]
    assert new_phones(corpus, None, None, 4, seed=1) != draws
    assert [len(new) for new in new_phones(of(4), None, None, 1, seed=0)] == [2]
    for n_devices, n_pretrained in ((3, None), (4, 1), (4, 3), (40, 39)):
        with pytest.raises(UsageError, match="at least two must be there and left over"):
            new_phones(of(n_devices), None, n_pretrained, 1, seed=0)


def test_all_phones_of_another_corpus_are_new(six: Path, others: Path) -> None:
    source, target = read_corpus(six), read_corpus(others)
    assert new_phones(source, target, None, 3, seed=0) == [("simA", "simB")]
    with pytest.raises(CorpusError, match="18 recordings of six are in six, too"):
        new_phones(source, read_corpus(six), None, 3, seed=0)


def test_contents_of_some_phones_alone(
    six: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[str]
) -> None:
    """Folds in which no new phone has a clip to test are left out."""
    cheap_training(monkeypatch)
    data = read_corpus(six)
    clips = tuple(Clip(c.path, c.device, f"{c.device}, {c.group}") for c in data.clips[:12])
    corpus = Corpus("apart", clips)  # four phones, every clip a content of its own
    make_features(corpus, [group.method for group in GROUPS], tmp_path)
    draws = [("simA", "simD")]
    parts = run_transfer(corpus, None, "leave-one-clip-out", tmp_path, Fitting(epochs=1), draws)
    tested = [part["clips"] for part in parts if part["key"] == PAPER_NETWORK.key]
    assert tested == [[f"sim{device}_{clip}.wav"] for device in "AD" for clip in (1, 2, 3)]
    assert len(ran) == 3 * 6
    report = transfer_report(corpus, None, "leave-one-clip-out", parts)
    assert [row["count"] for row in report["groups"]] == [6] * 5
    assert "2 phones to train on, fine-tuned on the other 2, 1 draws" in transfer_markdown(report)


def test_both_ways_to_freeze_have_their_groups() -> None:
    assert [(group.number, group.freeze) for group in GROUPS] == [
        *((8, "trunk"), (9, "mlp"), (10, "trunk"), (11, "mlp"), (None, None))
    ]
    assert {group.freeze for group in GROUPS if group.freeze} == set(FREEZES)


def test_report_by_hand() -> None:
    """Every group counts its own answers, over all draws and by draw."""
    truth = [0, 0, 1, 1]
    answers = {  # of two draws: by trunk, by mlp
        "network-paper": (([0, 0, 1, 1], [0, 1, 0, 0]), ([0, 0, 1, 0], [1, 1, 1, 1])),
        "group-transformer": (([1, 1, 0, 0], [0, 0, 0, 0]), ([0, 1, 0, 0], [0, 0, 1, 0])),
    }
    parts: list[dict[str, Any]] = []
    for draw, devices in enumerate((["00", "01"], ["02", "03"])):
        settings = {"seed": 0, "devices": devices}
        shared = {"draw": draw, "settings": settings, "truth": truth, "n_parameters": 9}
        for key, of_draws in answers.items():
            decided = dict(zip(("trunk", "mlp"), of_draws[draw], strict=True))
            learning = {"trunk": 5, "mlp": 2}
            parts.append({**shared, "key": key, "decided": decided, "n_learning": learning})
        parts.append({**shared, "key": "lda", "decided": [0, 0, 0, 1]})
    report = transfer_report(of(6), None, "leave-one-clip-out", parts)
    assert [(row["group"], row["correct"], row["count"]) for row in report["groups"]] == [
        *((8, 7, 8), (9, 3, 8), (10, 1, 8), (11, 5, 8), (None, 6, 8))
    ]
    by_draw = [row["accuracy_of_draws"] for row in report["groups"]]
    assert by_draw == [[1, 0.75], [0.25, 0.5], [0, 0.25], [0.5, 0.75], [0.75, 0.75]]
    assert [row["n_learning"] for row in report["groups"]] == [5, 2, 5, 2, 9]
    assert (report["n_pretrained"], report["n_new"], report["n_draws"]) == (4, 2, 2)
    assert [part["devices"] for part in report["parts"]] == [["00", "01"]] * 3 + [["02", "03"]] * 3
    assert "| 9: whole network, softmax fine-tuned | 3/8 | 37.5 % | 25, 50 % | 2 |" in (
        transfer_markdown(report)
    )
