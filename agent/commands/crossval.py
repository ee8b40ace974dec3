"""``devrec-agent crossval``: leave one group out, network and baselines side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.commands import train_options as options
from agent.commands.common import console, progress_console, reports_errors

if TYPE_CHECKING:
    from rich.table import Table


@reports_errors
def crossval(
    corpus: options.CorpusArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Report to write (.json).")] = Path(
        "crossval.json"
    ),
    profile: options.ProfileOption = "statistics",
    preset: options.PresetOption = "robust",
    steps: options.StepsOption = None,
    epochs: options.EpochsOption = None,
    batch: options.BatchOption = None,
    learning_rate: options.RateOption = None,
    augment: options.AugmentOption = None,
    copies: options.CopiesOption = None,
    seed: options.SeedOption = 0,
    conditions: Annotated[
        bool,
        typer.Option(
            "--conditions/--no-conditions",
            help="Also test under noise, rooms, codecs and so on, a row each.",
        ),
    ] = True,
) -> None:
    """Train once per group with that group held out, and report network and baselines.

    A killed run goes on where it was: finished folds are kept in <output>.run.
    """
    from model.crossval import leave_groups_out
    from model.errors import DevrecError
    from model.files import replacing
    from model.network_config import NetworkConfig, front_end_for

    if not output.parent.is_dir():
        raise DevrecError(f"{output}: the folder does not exist")
    kind = options.check_profile(profile)
    config = options.training_config(
        preset,
        profile=kind,
        steps=steps,
        epochs=epochs,
        batch=batch,
        learning_rate=learning_rate,
        patience=None,
        seed=seed,
        augment=augment,
        copies=copies,
        precision="32",
    )
    front_end = front_end_for(kind)
    progress = progress_console()
    data = options.load(corpus, front_end, progress)
    run_dir = output.with_name(output.name + ".run")
    report = leave_groups_out(
        data,
        front_end,
        lambda n_devices: NetworkConfig.for_profile(kind, n_devices, front_end),
        config,
        run_dir,
        progress,
        copies=options.make_copies(data.corpus, front_end, config, run_dir / "copies", progress),
        tests=options.make_tests(data.corpus, front_end, config, run_dir / "tests", progress)
        if conditions
        else None,
    )
    with replacing(output) as temporary:
        temporary.write_text(json.dumps(report, ensure_ascii=False, indent=1))
    _show(report)


def _show(report: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(
        title=f"leave one group out, {report['devices']} devices, {len(report['folds'])} folds",
        title_justify="left",
        pad_edge=False,
    )
    table.add_column("method")
    for title in ("windows", "clips", "F1 (windows)"):
        table.add_column(title, justify="right")
    for name, result in report["pooled"].items():
        windows, clips = result["windows"], result["clips"]
        table.add_row(
            name,
            f"{100 * windows['accuracy']:.2f} %",
            f"{clips['correct']}/{clips['count']}",
            f"{windows['f1']:.4f}",
        )
    leak = 100 * report["level_and_dc_clip_accuracy"]
    table.add_row("level and DC offset alone, nearest mean", "", f"{leak:.1f} %", "")
    console().print(table)
    if "conditions" in report:
        console().print(_condition_table(report))
        honest = report["calibration"]
        console().print(
            f"temperature {honest['temperature']:.3f}; expected calibration error: "
            + ", ".join(
                f"{kind} {100 * honest[kind]['ece']:.1f} %"
                for kind in ("clean", "seen", "unseen")
                if kind in honest
            )
        )


def _condition_table(report: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table(title="under test conditions", title_justify="left", pad_edge=False)
    table.add_column("condition")
    table.add_column("family, in training or not")
    methods = list(report["conditions"][0]["methods"])
    for name in methods:
        table.add_column(f"{name}: windows", justify="right")
        table.add_column("clips", justify="right")
    for row in report["conditions"]:
        cells = []
        for name in methods:
            counts = row["methods"][name]
            cells.append(f"{100 * counts['windows_right'] / counts['windows']:.1f} %")
            cells.append(f"{100 * counts['clips_right'] / counts['clips']:.1f} %")
        kind = row["family"] if row["seen"] else f"{row['family']}, unseen"
        table.add_row(row["name"], kind, *cells)
    for kind, means in report["condition_means"].items():
        cells = []
        for name in methods:
            cells += [f"{100 * means[name][unit]:.1f} %" for unit in ("windows", "clips")]
        table.add_row(f"mean: {kind}", "", *cells, style="bold")
    return table
