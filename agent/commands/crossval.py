"""``devrec-agent crossval``: leave one group out, network and baselines side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.commands import train_options as options
from agent.commands.common import console, progress_console, reports_errors


@reports_errors
def crossval(
    corpus: options.CorpusArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Report to write (.json).")] = Path(
        "crossval.json"
    ),
    profile: options.ProfileOption = "default",
    preset: options.PresetOption = "fast",
    epochs: options.EpochsOption = None,
    batch: options.BatchOption = None,
    learning_rate: options.RateOption = None,
    augment: options.AugmentOption = None,
    seed: options.SeedOption = 0,
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
    config = options.training_config(
        preset,
        epochs=epochs,
        batch=batch,
        learning_rate=learning_rate,
        patience=None,
        seed=seed,
        augment=augment,
        precision="32",
    )
    kind = options.check_profile(profile)
    front_end = front_end_for(kind)
    progress = progress_console()
    data = options.load(corpus, front_end, progress, keep_samples=bool(config.augment))
    report = leave_groups_out(
        data,
        front_end,
        lambda n_devices: NetworkConfig.for_profile(kind, n_devices, front_end),
        config,
        output.with_name(output.name + ".run"),
        progress,
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
