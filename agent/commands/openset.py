"""``devrec-agent openset``: how well a corpus's devices are told from strangers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.commands import train_options as options
from agent.commands.common import console, progress_console, reports_errors


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
    seed: options.SeedOption = 0,
) -> None:
    """Hold devices out, enrol them, and report how well they are named, refused and compared.

    The report holds what `train --openset` puts into a model: calibration, threshold, and the
    validation behind likelihood ratios. It is of the statistics profile's embedding.
    """
    from model.errors import DevrecError
    from model.files import replacing
    from model.network_config import front_end_for
    from model.open_set_trials import run_trials

    if not output.parent.is_dir():
        raise DevrecError(f"{output}: the folder does not exist")
    config = options.training_config(preset, seed=seed, augment=augment, copies=copies)
    front_end = front_end_for("statistics")
    progress = progress_console()
    data = options.load(corpus, front_end, progress)
    run_dir = output.with_name(output.name + ".run")
    made = options.make_copies(data.corpus, front_end, config, run_dir / "copies", progress)
    tests = options.make_tests(data.corpus, front_end, run_dir / "tests", progress)
    report = run_trials(
        data.corpus,
        data.features,
        front_end,
        config,
        made,
        options.make_speech(speech, front_end, config, run_dir / "speech", progress),
        tests,
        draws,
        track=options.progress(progress, "holding devices out"),
    )
    with replacing(output) as temporary:
        temporary.write_text(json.dumps(report, ensure_ascii=False, indent=1))
    _show(report)


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


def percent(share: float | None) -> str:
    """A share with one decimal; a dash where nothing was tried."""
    return "-" if share is None else f"{100 * share:.1f} %"
