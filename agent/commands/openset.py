"""``devrec-agent openset``: how well a corpus's devices are told from strangers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.commands import train_options as options
from agent.commands.common import console, progress_console, reports_errors

if TYPE_CHECKING:
    from rich.console import Console

    from model.features import FrontEndConfig
    from model.open_set_trials import FurtherSpeech
    from model.training_config import TrainingConfig


@reports_errors
def openset(
    corpus: options.CorpusArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Report to write (.json).")] = Path(
        "openset.json"
    ),
    draws: Annotated[int, typer.Option("--draws", min=1, help="Draws of strangers.")] = 4,
    preset: options.PresetOption = "robust",
    augment: options.AugmentOption = None,
    copies: options.CopiesOption = None,
    speech: options.SpeechOption = None,
    microphones: Annotated[
        Path | None,
        typer.Option(
            "--microphones",
            help="Folder of measured impulse responses: with --speech, recordings of another kind "
            "are tested with these simulated microphones; with drawn ones without.",
            show_default=False,
        ),
    ] = None,
    seed: options.SeedOption = 0,
) -> None:
    """Hold devices out, enrol them, and report how well they are named, refused and compared.

    The report holds what `train --openset` puts into a model: calibration, threshold, and the
    validation behind likelihood ratios. It is of the statistics profile's embedding.
    """
    from model.errors import DevrecError, UsageError
    from model.files import replacing
    from model.network_config import front_end_for
    from model.open_set_trials import run_trials

    if not output.parent.is_dir():
        raise DevrecError(f"{output}: the folder does not exist")
    if microphones is not None and speech is None:
        raise UsageError("--microphones goes with --speech: something must be played to them")
    config = options.training_config(preset, seed=seed, augment=augment, copies=copies)
    front_end = front_end_for("statistics")
    progress = progress_console()
    data = options.load(corpus, front_end, progress)
    run_dir = output.with_name(output.name + ".run")
    further = _further_speech(speech, microphones, front_end, config, run_dir, progress)
    made = options.make_copies(data.corpus, front_end, config, run_dir / "copies", progress)
    tests = options.make_tests(data.corpus, front_end, config, run_dir / "tests", progress)
    report = run_trials(
        data.corpus,
        data.features,
        front_end,
        config,
        made,
        further,
        tests,
        draws,
        track=options.progress(progress, "holding devices out"),
    )
    with replacing(output) as temporary:
        temporary.write_text(json.dumps(report, ensure_ascii=False, indent=1))
    _show(report)


def _further_speech(
    folder: Path | None,
    microphones: Path | None,
    front_end: FrontEndConfig,
    config: TrainingConfig,
    run_dir: Path,
    progress: Console,
) -> FurtherSpeech | None:
    """Speech in three parts: two to fit and to calibrate on, one to test with."""
    from model.audio import audio_files_in
    from model.corpus import speech_corpus
    from model.domain_training import held_out_domains
    from model.errors import CorpusError
    from model.open_set_trials import FurtherSpeech
    from model.simulated_domains import domain_recordings, speech_parts

    if folder is None:
        return None
    parts = speech_parts(speech_corpus(folder), 3)
    responses = tuple(audio_files_in(microphones)) if microphones is not None else ()
    if microphones is not None and not responses:
        raise CorpusError(f"{microphones}: no folder with impulse responses")
    held_out = held_out_domains(parts[2], responses, config.seed)
    first, second = options.make_domains(
        parts[:2], front_end, config, run_dir / "domains", progress
    )
    track = options.progress(progress, "simulating rooms to test in")
    cache = run_dir / "domains" / "test"
    fitted_on = {*parts[0], *parts[1]}
    return FurtherSpeech(
        options.make_speech(folder, front_end, config, run_dir / "speech", progress, fitted_on),
        first,
        second,
        domain_recordings(held_out, front_end, cache, track=track),
        bool(responses),
    )


def _show(report: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(
        title=f"{report['devices']} devices, {report['draws']} draws with "
        f"{report['known_devices']} known, the others strangers",
        title_justify="left",
        pad_edge=False,
    )
    table.add_column("condition")
    titles = ("enrolled: right", "known: right", "AUROC", "EER", "TPR at 1 %", "OSCR")
    for title in (*titles, "accepted: known", "strangers"):
        table.add_column(title, justify="right")
    rows = [(row["name"], row, "") for row in report["conditions"]]
    rows += [(f"all {kind}", row, "bold") for kind, row in report["kinds"].items()]
    for name, row, style in rows:
        held = row["at_threshold_of_other_strangers"]
        table.add_row(
            name,
            percent(row["enrolled_named_right"]),
            percent(row["known_named_right"]),
            f"{row['auroc']:.4f}",
            percent(row["eer"]),
            percent(row["tpr"]),
            f"{row['oscr_area']:.4f}",
            percent(held["known_accepted"]),
            percent(held["unknown_accepted"]),
            style=style,
        )
    console().print(table)
    for name, row in report["comparison"].items():
        console().print(
            f"comparison of two clips, {name}: Cllr {row['cllr']:.3f}, minCllr "
            f"{row['min_cllr']:.3f}, EER {percent(row['eer'])}"
        )

    _show_elsewhere(report["other_domains"])


def _show_elsewhere(found: dict[str, Any] | None) -> None:
    if found is None:
        return
    kind = "measured" if found["measured_responses"] else "drawn"
    console().print(
        f"recordings of another kind ({found['domains']} simulated rooms, {found['devices']} "
        f"simulated microphones with {kind} responses in each):"
    )
    for title, key in (
        ("with the scores for them", "scores"),
        ("with those of the corpus alone", "scores_of_the_corpus_alone"),
    ):
        row = found[key]
        cllr = "infinite" if row["cllr"] is None else f"{row['cllr']:.2f}"
        console().print(
            f"  {title}: {percent(row['named_right'])} named right, Cllr {cllr}, AUROC "
            f"{row['auroc']:.3f}; above the threshold {percent(row['same_accepted'])} of the same "
            f"and {percent(row['different_accepted'])} of different devices"
        )


def percent(share: float | None) -> str:
    """A share with one decimal; a dash where nothing was tried."""
    return "-" if share is None else f"{100 * share:.1f} %"
