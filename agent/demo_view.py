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

from agent.demo import ENROLMENT, NEW, NOISE_DB, SECONDS, Demo, DemoAnswer
from agent.report.number_words import log10_lr, percent
from agent.signal_checks import WARNINGS
from agent.terminal_chart import ResponseChart, SpectrogramPicture
from export.engine import Engine
from model.audio import read_clip
from model.features import FrontEndConfig, extract
from model.virtual_microphone import VirtualMicrophone

CHART_RANGE_DB = (-30.0, 15.0)  #: the same for all devices, so that they compare
CHART_CELLS, CHART_LINES = 30, 5
LOWEST_CHARTED_HZ = 50.0
PICTURE_CELLS, PICTURE_LINES = 56, 8
PICTURED = 2  #: devices whose recording of one sound is shown


def show_devices(terminal: Console, demo: Demo) -> None:
    """The five devices by their frequency responses."""
    _heading(terminal, "1  Five simulated devices")
    _say(
        terminal,
        "Virtual microphones, drawn by chance and drawn to differ: each has a frequency response, "
        "noise, converter and perhaps a codec of its own. Nothing here is a real device.",
    )
    terminal.print(Columns([_device(demo, m) for m in demo.corpus.microphones], padding=(0, 2)))


def show_enrolment(terminal: Console, demo: Demo, front_end: FrontEndConfig) -> None:
    """What was enrolled, and how one sound looks through two devices."""
    _heading(terminal, "2  Four of them are enrolled")
    _say(
        terminal,
        f"One recording of {SECONDS:g} s each, of speech-like synthetic sound: no training, as "
        "`devrec-agent enroll` does it. The same sound, recorded by two of them (low frequencies "
        "at the bottom):",
    )
    for name in demo.names[:PICTURED]:
        samples = read_clip(demo.recording(name, ENROLMENT), front_end.sample_rate_hz)
        mels = extract(samples, front_end)[:, -front_end.n_mels :]
        picture = SpectrogramPicture(mels, width=PICTURE_CELLS, height=PICTURE_LINES)
        terminal.print(Text.assemble("  ", (name, "bold cyan"), "  simulated"))
        terminal.print(Padding(picture, (0, 0, 1, 2)))


def show_answers(
    terminal: Console, demo: Demo, answers: Sequence[DemoAnswer], engine: Engine, seconds: float
) -> None:
    """What was answered for every new recording, right or not."""
    _heading(terminal, "3  Who recorded these?")
    open_set = engine.metadata.open_set
    words = (
        f"New recordings of other sound, one with noise {NOISE_DB:g} dB below the speech, and one "
        "by the device that is not enrolled. Each number is the log10 likelihood ratio of an "
        "enrolled device against another one"
    )
    if open_set is not None:
        words += (
            f"; where none is above {log10_lr(open_set.threshold)}, the device is unknown. Of "
            f"recordings by unknown real devices, {percent(open_set.false_acceptance)} passed "
            "that when the model was made"
        )
    _say(terminal, f"{words}.")
    table = Table(pad_edge=False, header_style="bold")
    table.add_column("recorded by", no_wrap=True)
    for name in demo.names:
        table.add_column(name.removeprefix("virtual-"), justify="right", no_wrap=True)
    table.add_column("answer", no_wrap=True)
    table.add_column("", no_wrap=True)
    for answer in answers:
        table.add_row(*_row(demo, answer))
    terminal.print(table)
    wrong = [answer for answer in answers if not answer.right]
    if wrong:
        count = f"{len(wrong)} of {len(answers)} answers"
        _say(
            terminal,
            f"{count} were wrong with these simulated devices: the program does not get everything "
            "right, and this is what it said.",
            "bold red",
        )
    else:
        _say(
            terminal,
            f"All {len(answers)} answers are right: {len(answers) - 1} recordings by enrolled "
            "devices named, the stranger's refused.",
            "bold green",
        )
    _say(
        terminal,
        f"{seconds:.1f} s in all. Simulated devices say how this is used, not how well it works "
        "with real ones.",
        "dim",
    )


def show_kept(terminal: Console, demo: Demo) -> None:
    """How to go on."""
    recording = demo.recording(demo.stranger, NEW)
    command = ["devrec-agent", "classify", "--devices", "gallery"]
    command += ["--gallery", str(demo.gallery), str(recording)]
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
    if answer.noisy:
        who += ", with noise"
    elif not answer.enrolled:
        who += ", not enrolled"
    cells = [Text(who)]
    for name in demo.names:
        cells.append(Text(log10_lr(ratios[name]), "bold cyan" if name == found.device else ""))
    if found.abstained:
        told = "; ".join(WARNINGS[code] for code in found.abstained)
    else:
        told = found.device or "unknown"
    cells.append(Text(told, "bold"))
    cells.append(Text("right", "green") if answer.right else Text("wrong", "bold red"))
    return cells
