"""``devrec-agent experiment``: the paper's experiments on any corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.commands import train_options as options
from agent.commands.common import console, progress_console, reports_errors

if TYPE_CHECKING:
    from model.corpus import Corpus

experiment_app = typer.Typer(
    help="The experiments of the paper, on a corpus of yours. Killed runs go on where they were.",
    no_args_is_help=True,
)

OutputOption = Annotated[
    Path, typer.Option("-o", "--output", help="Folder for results and finished folds.")
]
ProtocolOption = Annotated[
    str,
    typer.Option(
        "--protocol",
        help="leave-one-clip-out: every content is tested by methods that never heard it; paper: "
        "64/16/20 % of each device's clips by index.",
    ),
]
MethodOption = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        help="Only this one; may be given several times. Without it all but network-paper, which "
        "takes minutes a fold on the sample.",
        show_default=False,
    ),
]
ProcessesOption = Annotated[
    int | None,
    typer.Option(
        "--processes", min=1, help="Folds at a time; one a core without it.", show_default=False
    ),
]


@experiment_app.command()
@reports_errors
def table5(
    corpus: options.CorpusArgument,
    output: OutputOption = Path("table5"),
    protocol: ProtocolOption = "leave-one-clip-out",
    method: MethodOption = None,
    seed: options.SeedOption = 0,
    processes: ProcessesOption = None,
) -> None:
    """Methods side by side (Table V): accuracy, F1, parameters, time.

    Writes table5.json with every fold, table5.md, a bar chart and a confusion matrix per method.
    """
    from model.corpus import read_corpus
    from model.experiments.bar_chart import plot_bars
    from model.experiments.fold_run import paper_features, run_folds
    from model.experiments.methods import chosen
    from model.experiments.protocols import check_protocol, folds
    from model.experiments.table5 import table5_markdown, table5_report
    from model.files import replacing

    kind, methods = check_protocol(protocol), chosen(method or [])
    data = read_corpus(corpus)
    folds(data, kind)  # whether it can be split, before anything is made
    progress = progress_console()
    output.mkdir(parents=True, exist_ok=True)
    paper_features(data, output / "features", options.progress(progress, "reading"))
    found = run_folds(
        data,
        kind,
        methods,
        output,
        seed=seed,
        processes=processes,
        track=options.progress(progress, "methods and folds"),
    )
    report = table5_report(data, kind, methods, found)
    for name, text in (
        ("table5.json", json.dumps(report, ensure_ascii=False, indent=1)),
        ("table5.md", table5_markdown(report)),
    ):
        with replacing(output / name) as temporary:
            temporary.write_text(text)
    title = f"{data.name}, {len(data.devices)} devices, {kind}"
    rows = report["methods"]
    plot_bars(
        [row["title"] for row in rows],
        [row["accuracy"] for row in rows],
        title,
        output / "table5.png",
    )
    _plot_confusions(report, data, output)
    _show(report, title)


def _plot_confusions(report: dict[str, Any], data: Corpus, output: Path) -> None:
    from model.confusion_plot import plot_confusion
    from model.experiments.table5 import pooled_confusion

    for row in report["methods"]:
        plot_confusion(
            pooled_confusion(row["folds"], len(data.devices)),
            data.devices,
            f"{row['title']}: {row['correct']} of {row['count']} clips (cells in % of the row)",
            output / f"confusion-{row['key']}.png",
        )


def _show(report: dict[str, Any], title: str) -> None:
    from rich.table import Table

    table = Table(title=title, title_justify="left", pad_edge=False)
    table.add_column("method", no_wrap=True)
    for name in ("right", "accuracy", "parameters", "fit", "a clip"):
        table.add_column(name, justify="right")
    for row in report["methods"]:
        table.add_row(
            row["title"],
            f"{row['correct']}/{row['count']}",
            f"{100 * row['accuracy']:.1f} %",
            f"{row['n_parameters']:,}",
            f"{row['fit_s']:.1f} s",
            f"{row['ms_per_clip']:.1f} ms",
        )
    console().print(table)
