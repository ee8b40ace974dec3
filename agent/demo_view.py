"""The demonstration on the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import numpy as np
from rich.columns import Columns
from rich.console import Console, Group
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from agent.demo import ENROLMENT, NEW, OTHERS, SECONDS, Demo, DemoAnswer
from agent.report.number_words import log10_lr, percent
from agent.terminal_chart import ResponseChart, SpectrogramPicture
from model.audio import read_clip
from model.features import FrontEndConfig, extract
from model.open_set import OpenSet
from model.virtual_microphone import VirtualMicrophone

CHART_RANGE_DB = (-30.0, 15.0)  #: the same for all devices, so that they compare
CHART_CELLS, CHART_LINES = 30, 5
LOWEST_CHARTED_HZ = 50.0
PICTURE_CELLS, PICTURE_LINES = 37, 8
PICTURED = 2  #: devices whose recording of one sound is shown


def show_devices(terminal: Console, demo: Demo) -> None:
    """The five devices by their frequency responses."""
    _heading(terminal, "1  Five simulated devices")
    _say(
        terminal,
        "Virtual microphones, drawn by chance: each has a frequency response, noise, a converter "
        "and perhaps a codec of its own. Nothing here is a real device.",
    )
    terminal.print(Columns([_device(demo, m) for m in demo.corpus.microphones], padding=(0, 2)))


def show_enrolment(terminal: Console, demo: Demo, front_end: FrontEndConfig) -> None:
    """What was enrolled, and how one sound looks through two devices."""
    _heading(terminal, "2  Four of them are enrolled")
    _say(
        terminal,
        f"One recording of {SECONDS:g} s each, of synthetic voices that say nothing: no "
        "training, as `devrec-agent enroll` does it. The same sound, as two of them recorded it "
        "(low frequencies at the bottom):",
    )
    pictured = [
        extract(read_clip(demo.recording(name, ENROLMENT), front_end.sample_rate_hz), front_end)[
            :, -front_end.n_mels :
        ]
        for name in demo.names[:PICTURED]
    ]
    low, high = np.quantile(np.concatenate(pictured), (0.01, 0.99))  # alike, so that they compare
    pictures = [
        Group(
            Text.assemble((name, "bold cyan"), "  simulated"),
            SpectrogramPicture(mels, PICTURE_CELLS, PICTURE_LINES, (float(low), float(high))),
        )
        for name, mels in zip(demo.names, pictured, strict=False)
    ]
    terminal.print(Columns(pictures, padding=(0, 2)))


def show_answers(
    terminal: Console, demo: Demo, answers: Sequence[DemoAnswer], open_set: OpenSet, seconds: float
) -> None:
    """What was answered for every new recording, right or not."""
    _heading(terminal, "3  Who recorded these?")
    _say(
        terminal,
        "New recordings of other voices, one of them by the device that is not enrolled. Each "
        "number is the log10 likelihood ratio of an enrolled device against another one; where "
        f"none is above {log10_lr(open_set.threshold)}, the device is unknown. The built-in model "
        "knows real phones in one room; so the ratios were calibrated anew here, on "
        f"{OTHERS} further simulated devices, of whose comparisons with one another "
        f"{percent(open_set.false_acceptance)} pass the threshold.",
    )
    table = Table(pad_edge=False, header_style="bold")
    table.add_column("recorded by", overflow="fold")
    for name in demo.names:
        table.add_column(name.removeprefix("virtual-"), justify="right", min_width=5)
    table.add_column("answer", min_width=len(demo.stranger), overflow="fold")
    for answer in answers:
        table.add_row(*_row(demo, answer))
    terminal.print(table)
    _say_how_many(terminal, answers)
    _say(
        terminal,
        f"{seconds:.1f} s in all. Simulated devices say how this is used, not how well it works "
        "with real ones.",
        "dim",
    )


def _say_how_many(terminal: Console, answers: Sequence[DemoAnswer]) -> None:
    wrong = [answer for answer in answers if not answer.right]
    if not wrong:
        _say(
            terminal,
            f"All {len(answers)} answers are right: the enrolled devices are named, the other one "
            "is unknown.",
            "bold green",
        )
        return
    _say(
        terminal,
        f"{len(answers) - len(wrong)} of {len(answers)} answers are right, {len(wrong)} wrong. "
        "This is what the program said of these simulated devices.",
        "bold red",
    )
    if any(not answer.enrolled for answer in wrong):
        _say(
            terminal,
            "The device that is not enrolled was taken for one that is: try strangers where you "
            "use it.",
        )


def show_kept(terminal: Console, demo: Demo) -> None:
    """How to go on."""
    recording = demo.recording(demo.stranger, NEW)
    command = ["devrec-agent", "classify", "--gallery", str(demo.gallery), str(recording)]
    terminal.print(Text(f"\nKept in {demo.folder} (simulated). To go on:"), soft_wrap=True)
    terminal.print(Text(f"  {shlex.join(command)}", "bold"), soft_wrap=True)


def _heading(terminal: Console, words: str) -> None:
    terminal.print()
    terminal.print(Rule(Text(words, "bold"), align="left", style="dim"))


def _say(terminal: Console, words: str, style: str = "") -> None:
    terminal.print(Padding(Text(words, style), (0, 0, 1, 0)))


def _device(demo: Demo, microphone: VirtualMicrophone) -> Group:
    frequencies = np.geomspace(LOWEST_CHARTED_HZ, demo.corpus.sample_rate_hz / 2, 400)
    stranger = microphone.name == demo.stranger
    return Group(
        Text.assemble(
            (microphone.name, "bold cyan"), "  not enrolled" if stranger else "  enrolled"
        ),
        ResponseChart(
            frequencies,
            microphone.response_db(frequencies),
            width=CHART_CELLS,
            height=CHART_LINES,
            range_db=CHART_RANGE_DB,
            style="yellow" if stranger else "cyan",
        ),
        "",
    )


def _row(demo: Demo, answer: DemoAnswer) -> list[Text]:
    found = answer.answer
    ratios = {candidate.device: candidate.log10_lr for candidate in found.candidates}
    who = answer.device
    if not answer.enrolled:
        who += ", not enrolled"
    cells = [Text(who)]
    for name in demo.names:
        cells.append(Text(log10_lr(ratios[name]), "bold cyan" if name == found.device else ""))
    told = "nothing said" if found.abstained else found.device or "unknown"
    verdict = ("right", "green") if answer.right else ("wrong", "bold red")
    cells.append(Text.assemble((told, "bold"), "  ", verdict))
    return cells
