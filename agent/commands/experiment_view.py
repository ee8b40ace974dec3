"""What an experiment leaves in its folder, and shows on the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.commands.common import console

if TYPE_CHECKING:
    from rich.table import Table

Report = Mapping[str, Any]


def write_table(output: Path, name: str, report: Report, markdown: str) -> None:
    """The report as JSON, and the table as Markdown."""
    from model.files import replacing

    text = json.dumps(report, ensure_ascii=False, indent=1)
    for suffix, content in (("json", text), ("md", markdown)):
        with replacing(output / f"{name}.{suffix}") as temporary:
            temporary.write_text(content)


def plot_accuracies(report: Report, output: Path) -> None:
    """Bar chart of Tables V, VII and VIII, and a confusion matrix per method."""
    from model.confusion_plot import plot_confusion
    from model.experiments.accuracy_table import pooled_confusion
    from model.experiments.bar_chart import plot_bars

    rows, name = report["methods"], report["experiment"]
    plot_bars(
        [row["title"] for row in rows],
        [row["accuracy"] for row in rows],
        _title(report),
        output / f"{name}.png",
    )
    n_devices = len(report["devices"])
    for row in rows:
        plot_confusion(
            pooled_confusion(row["folds"], n_devices)[:n_devices, :n_devices],
            report["devices"],
            f"{row['title']}: {row['correct']} of {row['count']} clips (cells in % of the row)",
            output / f"{name}-{row['key']}.png",
        )


def show_accuracies(report: Report) -> None:
    """Tables V, VII and VIII."""
    table = _table(_title(report), "method", "right", "accuracy", "F1", "parameters")
    for row in report["methods"]:
        table.add_row(
            row["title"],
            f"{row['correct']}/{row['count']}",
            f"{100 * row['accuracy']:.1f} %",
            f"{100 * row['f1']:.1f} %",
            f"{row['n_parameters']:,}",
        )
    console().print(table)


def show_costs(report: Report) -> None:
    """Table VI."""
    table = _table(
        f"{report['corpus']}, {len(report['clips_timed'])} clips; the paper's network = 1",
        *("method", "parameters", "front end", "scoring", "ratio", "in all"),
    )
    for row in report["methods"]:
        table.add_row(
            row["title"],
            f"{row['n_parameters']:,}",
            f"{row['front_end_ms']:.1f} ms",
            f"{row['scoring_ms']:.2f} ms",
            f"{row['excluded']:.3g}",
            f"{row['included']:.3g}",
        )
    console().print(table)


def plot_transfer(report: Report, output: Path) -> None:
    """Bar chart of Table IX."""
    from model.experiments.bar_chart import plot_bars

    plot_bars(
        [row["title"] for row in report["groups"]],
        [row["accuracy"] for row in report["groups"]],
        _transfer_title(report),
        output / "table9.png",
    )


def show_transfer(report: Report) -> None:
    """Table IX."""
    table = _table(_transfer_title(report), "group", "right", "accuracy", "of the draws, %")
    for row in report["groups"]:
        table.add_row(
            f"{row['group']}: {row['title']}" if row["group"] else row["title"],
            f"{row['correct']}/{row['count']}",
            f"{100 * row['accuracy']:.1f} %",
            ", ".join(f"{100 * share:.0f}" for share in row["accuracy_of_draws"]),
        )
    console().print(table)


def _title(report: Report) -> str:
    return f"{report['corpus']}, {len(report['devices'])} devices, {report['protocol']}"


def _transfer_title(report: Report) -> str:
    then = f"the other {report['n_new']}"
    if report["target"] is not None:
        then = f"{report['n_new']} of {report['target']}"
    return f"{report['source']}: {report['n_pretrained']} phones, then {then}"


def _table(title: str, first: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table
