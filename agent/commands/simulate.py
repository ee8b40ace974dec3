"""``devrec-agent simulate``: what would simulated devices make of this sound?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.commands.common import complain, console, print_json, progress_console, reports_errors

if TYPE_CHECKING:
    from agent.simulated_corpus import Clip, SimulatedCorpus
    from agent.terminal_chart import ResponseChart
    from model.virtual_microphone import VirtualMicrophone

DEFAULT_DEVICES = 4  #: where neither a number nor measured responses are given
SEEDS_APART = 10_000  #: of one `--seed` from the next: no two share a device or a clip
CHARTS = 8  #: more devices than this are a table
CHART_RANGE_DB = (-30.0, 15.0)  #: the same for all devices, so that they compare
LOWEST_CHARTED_HZ = 50.0


@reports_errors
def simulate(
    speech: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="SPEECH",
            help="Recordings to play, or folders of them; synthetic speech-like clips without any.",
            show_default=False,
        ),
    ] = None,
    *,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder to write.", show_default=False)
    ],
    devices: Annotated[
        int | None,
        typer.Option(
            "--devices",
            min=1,
            max=SEEDS_APART - 1,
            help="Virtual microphones to draw; 4 without --impulse-response and --devices-from.",
            show_default=False,
        ),
    ] = None,
    impulse_responses: Annotated[
        list[Path] | None,
        typer.Option(
            "--impulse-response",
            metavar="FILE",
            help="Measured impulse response of a microphone (audio file) to make a device of; may "
            "be given several times.",
            show_default=False,
        ),
    ] = None,
    devices_from: Annotated[
        Path | None,
        typer.Option(
            "--devices-from",
            metavar="FOLDER",
            help="The same devices again as in an earlier corpus (or its devices.json).",
            show_default=False,
        ),
    ] = None,
    clips: Annotated[int, typer.Option("--clips", min=1, help="Synthetic clips.")] = 4,
    seconds: Annotated[
        float, typer.Option("--seconds", min=1.1, max=600, help="Length of a synthetic clip.")
    ] = 8.0,
    rate: Annotated[
        int, typer.Option("--rate", min=8_000, max=192_000, help="Sample rate written, in Hz.")
    ] = 32_000,
    seed: Annotated[
        int,
        typer.Option("--seed", min=0, help="Decides devices, synthetic clips and noise."),
    ] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a corpus that `simulate` has written.")
    ] = False,
    json_object: Annotated[
        bool, typer.Option("--json", help="One JSON object instead of the table.")
    ] = False,
) -> None:
    """Record speech with simulated devices: a corpus for `train` and `classify`, without hardware.

    Writes `<device>_<clip>.wav`, `manifest.csv`, and `devices.json` with all that decides each
    device. The devices are simulated: what is measured with them says nothing about real ones.
    """
    from rich.progress import Progress

    from agent.simulated_corpus import SimulatedCorpus

    corpus = SimulatedCorpus(
        microphones=_microphones(devices, impulse_responses or [], devices_from, seed),
        clips=_clips(speech, clips, seconds, seed),
        sample_rate_hz=rate,
        seed=seed,
    )
    for clip in corpus.clips:
        if clip.band_hz < rate / 2:
            complain(f"{clip.name}: holds nothing above {clip.band_hz:g} Hz, and so no recording")
    total = len(corpus.microphones) * len(corpus.clips)
    screen = progress_console()
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("simulating", total=total)
        corpus.write(output, force=force, progress=lambda: bar.advance(task))
    if json_object:
        print_json(
            {
                "simulated": True,
                "folder": str(output),
                "devices": [microphone.name for microphone in corpus.microphones],
                "clips": len(corpus.clips),
                "recordings": total,
                "sample_rate_hz": rate,
            }
        )
    else:
        _show(corpus, output)


def _microphones(
    drawn: int | None, impulse_responses: list[Path], devices_from: Path | None, seed: int
) -> list[VirtualMicrophone]:
    from agent.simulated_corpus import read_devices
    from model.errors import UsageError
    from model.virtual_microphone import VirtualMicrophone

    found = read_devices(devices_from) if devices_from is not None else []
    if drawn is None and not impulse_responses and not found:
        drawn = DEFAULT_DEVICES
    first = seed * SEEDS_APART
    found += [
        VirtualMicrophone.draw(first + number, name=f"virtual-{number:02d}")
        for number in range(1, (drawn or 0) + 1)
    ]
    found += [
        VirtualMicrophone.from_impulse_response(path, seed=first + SEEDS_APART - number)
        for number, path in enumerate(impulse_responses, start=1)
    ]
    names = [microphone.name for microphone in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"two devices would be called {twice[0]}")
    return found


def _clips(speech: list[Path] | None, number: int, seconds: float, seed: int) -> list[Clip]:
    from agent.simulated_corpus import Clip
    from model.audio import audio_files_in
    from model.errors import AudioError

    if not speech:
        first = seed * SEEDS_APART
        return [Clip.synthetic(seconds, first + k) for k in range(1, number + 1)]
    clips: list[Clip] = []
    for path in speech:
        files = audio_files_in(path) if path.is_dir() else [path]
        if not files:
            raise AudioError(f"{path}: no audio files in this folder")
        clips += [Clip.from_file(file) for file in files]
    return clips


def _show(corpus: SimulatedCorpus, output: Path) -> None:
    from rich.columns import Columns
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    terminal = console()
    count = f"{len(corpus.microphones)} simulated devices x {len(corpus.clips)} clips"
    if terminal.is_terminal and len(corpus.microphones) <= CHARTS:
        charts = [
            Group(
                Text.assemble((microphone.name, "bold cyan"), "  simulated"),
                _chart(microphone, corpus.sample_rate_hz),
                Text(f"       {', '.join(_electronics(microphone))}\n", style="dim"),
            )
            for microphone in corpus.microphones
        ]
        terminal.print(Columns(charts, padding=(0, 3)))
    else:
        table = Table(title="simulated devices", title_justify="left", pad_edge=False)
        table.add_column("device", style="bold cyan")
        table.add_column("response")
        table.add_column("electronics", overflow="fold")
        for microphone in corpus.microphones:
            electronics = ", ".join(_electronics(microphone))
            table.add_row(Text(microphone.name), microphone.response.kind, electronics)
        terminal.print(table)
    terminal.print(Text(f"{output}: {count}, {corpus.sample_rate_hz} Hz"), soft_wrap=True)


def _chart(microphone: VirtualMicrophone, sample_rate_hz: int) -> ResponseChart:
    import numpy as np

    from agent.terminal_chart import ResponseChart

    frequencies = np.geomspace(LOWEST_CHARTED_HZ, sample_rate_hz / 2, 400)
    return ResponseChart(
        frequencies, microphone.response_db(frequencies), width=60, range_db=CHART_RANGE_DB
    )


def _electronics(microphone: VirtualMicrophone) -> list[str]:
    """What the curve does not show, in a few words each."""
    told = [f"gain {microphone.gain_db:+.1f} dB"]
    if microphone.noise is not None:
        told.append(f"noise {microphone.noise.level_dbfs:.0f} dBFS")
    if microphone.gain_control is not None:
        told.append(f"AGC to {microphone.gain_control.target_dbfs:.0f} dBFS")
    if microphone.converter is not None:
        told.append(f"{microphone.converter.bits} bits")
    if microphone.codec is not None:
        told.append(microphone.codec.name)
    return told
