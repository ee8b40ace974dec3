"""``demo``: runs on a fresh install, is decided by its seed, and says what came out."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console
from typer.testing import CliRunner, Result

from agent.cli import app
from agent.demo import CLIPS, ENROLMENT, NEW, Demo, DemoAnswer
from agent.demo_view import show_answers
from agent.gallery_access import identity_of
from export.engine import Engine
from export.engine_loading import load_engine
from model.builtin import BUILTIN_MODEL
from model.errors import UsageError
from tests.conftest import run_cli_without


@pytest.fixture(scope="module")
def engine() -> Engine:
    return load_engine(BUILTIN_MODEL)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Demo:
    """Recorded and enrolled."""
    drawn = Demo.draw(0, tmp_path_factory.mktemp("demo") / "kept")
    drawn.record()
    drawn.enrol(engine, identity_of(engine, BUILTIN_MODEL))
    return drawn


@pytest.fixture(scope="module")
def answers(demo: Demo, engine: Engine) -> list[DemoAnswer]:
    return demo.identify(engine, identity_of(engine, BUILTIN_MODEL), demo.calibrate(engine))


def run(*arguments: str | Path, columns: int = 80) -> Result:
    done = CliRunner().invoke(
        app, ["demo", *map(str, arguments)], env={"COLUMNS": str(columns), "TMPDIR": "/tmp"}
    )
    assert "Traceback" not in done.output
    return done


def text_of(demo: Demo, answers: list[DemoAnswer], engine: Engine) -> str:
    terminal = Console(width=100, file=io.StringIO())
    assert engine.metadata.open_set is not None
    show_answers(terminal, demo, answers, engine.metadata.open_set, 1.0)
    assert isinstance(terminal.file, io.StringIO)
    return " ".join(terminal.file.getvalue().split())


def test_what_is_asked(answers: list[DemoAnswer], demo: Demo) -> None:
    assert [answer.device for answer in answers] == [*demo.names, demo.stranger]
    assert [answer.enrolled for answer in answers] == [True] * 4 + [False]
    assert [answer.path.name for answer in answers][-1] == f"{demo.stranger}_{NEW}.wav"


def test_the_default_shows_what_it_promises(answers: list[DemoAnswer]) -> None:
    assert [answer.answer.device for answer in answers] == [*demo_names(answers), None]
    assert all(answer.right for answer in answers)


def demo_names(answers: list[DemoAnswer]) -> list[str]:
    return [answer.device for answer in answers if answer.enrolled]


def test_right_is_what_classify_says(answers: list[DemoAnswer]) -> None:
    stranger = answers[-1]
    assert stranger.right == (stranger.answer.device is None)
    known, other = answers[0], answers[1]
    taken_for_another = dataclasses.replace(known, answer=other.answer)
    assert not taken_for_another.right
    refused = dataclasses.replace(known.answer, unknown=True)
    assert not dataclasses.replace(known, answer=refused).right
    assert dataclasses.replace(stranger, answer=refused).right


def test_every_device_hears_the_same_other_words_each_time(demo: Demo) -> None:
    sounds = {
        (name, clip): soundfile.read(demo.recording(name, clip), dtype="float32")[0]
        for name in (*demo.names, demo.stranger)
        for clip in (ENROLMENT, NEW)
    }
    assert {len(sound) for sound in sounds.values()} == {8 * 32_000}
    first = demo.names[0]
    alike = np.corrcoef(sounds[first, ENROLMENT], sounds[first, NEW])[0, 1]
    assert abs(alike) < 0.1


@pytest.mark.parametrize("seed", [3, 5, 9])
def test_other_seeds(seed: int, engine: Engine, tmp_path: Path) -> None:
    drawn = Demo.draw(seed, tmp_path / "demo")
    drawn.record()
    drawn.enrol(engine, identity_of(engine, BUILTIN_MODEL))
    identity = identity_of(engine, BUILTIN_MODEL)
    answers = drawn.identify(engine, identity, drawn.calibrate(engine))
    assert answers[-1].right
    assert sum(answer.right for answer in answers) >= 4


def test_the_seed_decides_everything(demo: Demo, tmp_path: Path) -> None:
    again, other = Demo.draw(0, tmp_path / "again"), Demo.draw(1, tmp_path / "other")
    assert again.corpus.microphones == demo.corpus.microphones
    assert not set(other.corpus.microphones) & set(demo.corpus.microphones)
    again.record()
    for path in (demo.folder / CLIPS).iterdir():
        assert (again.folder / CLIPS / path.name).read_bytes() == path.read_bytes()
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_page_says_what_came_out_and_that_it_is_simulated(columns: int) -> None:
    done = run(columns=columns)
    assert max(map(len, done.stdout.splitlines())) <= columns
    text = " ".join(done.stdout.split())
    assert "…" not in text
    assert "Five simulated devices" in text
    assert "Nothing here is a real device" in text
    table = text[text.rindex("━") : text.rindex("─┘")]
    wrong = table.count("wrong")
    assert table.count("right") + wrong == 5
    assert done.exit_code == (1 if wrong else 0)
    expected = f"{5 - wrong} of 5 answers are right, {wrong} wrong" if wrong else "All 5 answers"
    assert expected in text
    assert not list(Path("/tmp").glob("devrec-agent-demo-*"))


def test_wrong_answers_are_told(demo: Demo, answers: list[DemoAnswer], engine: Engine) -> None:
    def told(device: int, **change: bool | tuple[str, ...]) -> list[DemoAnswer]:
        changed = dataclasses.replace(answers[device].answer, **change)  # type: ignore[arg-type]
        return [
            dataclasses.replace(a, answer=changed) if k == device % 5 else a
            for k, a in enumerate(answers)
        ]

    all_right = told(-1, unknown=True)
    assert "All 5 answers are right" in text_of(demo, all_right, engine)
    taken = text_of(demo, told(-1, unknown=False), engine)
    assert "4 of 5 answers are right, 1 wrong" in taken
    assert "was taken for one that is" in taken
    refused = [*told(0, unknown=True)[:-1], all_right[-1]]
    assert "4 of 5 answers are right, 1 wrong" in text_of(demo, refused, engine)
    assert "was taken for one that is" not in text_of(demo, refused, engine)
    abstained = [*told(0, abstained=("too-noisy",))[:-1], all_right[-1]]
    assert "nothing said" in text_of(demo, abstained, engine)


def test_kept_folders_can_be_used(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    done = run("--keep", folder, columns=200)
    assert done.exit_code in (0, 1), done.stderr
    [command] = [line for line in done.stdout.splitlines() if "devrec-agent classify" in line]
    assert f"'{folder}/gallery'" in command
    path = folder / CLIPS / f"virtual-02_{NEW}.wav"
    line = CliRunner().invoke(
        app, ["classify", "--json", "--gallery", str(folder / "gallery"), str(path)]
    )
    assert json.loads(line.stdout)["device"] == "virtual-02"
    with soundfile.SoundFile(path) as file:
        assert "Simulated" in file.comment
    again = run("--keep", folder)
    assert again.exit_code == 2
    assert "not an empty folder" in again.stderr
    assert again.stdout == ""


def test_folders_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UsageError, match="not an empty folder"):
        Demo.draw(0, tmp_path / "file")
    done = run("--keep", tmp_path / "file" / "below")
    assert done.exit_code == 1
    assert "cannot be written" in done.stderr
    assert (tmp_path / "file").read_text() == "kept"


def test_without_extras() -> None:
    absent = ("torch", "onnx", "lightning", "sklearn", "matplotlib", "jinja2", "paho")
    done = run_cli_without(absent, "demo", "--seed", "3")
    assert done.returncode in (0, 1), done.stderr.decode()
    assert b"answers are right" in done.stdout
