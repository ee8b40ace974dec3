"""``devrec-agent evaluate``: a model's figures on a labelled corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.commands.common import ThreadsOption, console, open_engine, reports_errors
from agent.commands.train_options import CorpusArgument

if TYPE_CHECKING:
    from model.evaluation import Evaluation


@reports_errors
def evaluate(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="Model file (.onnx), or 'builtin'."),
    ],
    corpus: CorpusArgument,
    as_json: Annotated[
        bool, typer.Option("--json", help="The figures as one JSON object on stdout.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the JSON report here.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Confusion matrix of the windows (.png).")
    ] = None,
    hop_frames: Annotated[
        int, typer.Option("--hop-frames", min=1, help="Frames between windows.")
    ] = 64,
    split: Annotated[
        str | None,
        typer.Option("--split", help="Only clips of this side of the manifest's split column."),
    ] = None,
    threads: ThreadsOption = 1,
) -> None:
    """Accuracy, precision, recall and F1 per window and per clip, and the confusion matrix.

    A clip's decision is the device of the highest mean log posterior over its windows. Exit code
    3 when clips had to be left out.
    """
    from model.audio import read_clip
    from model.corpus import Corpus, read_corpus
    from model.errors import AudioError, CorpusError
    from model.evaluation import evaluate as run_evaluation
    from model.features import FloatArray, extract
    from model.files import replacing

    if plot is not None:  # its library is an extra: say so before the work, not after it
        from model.confusion_plot import plot_confusion
    engine = open_engine(None if model == "builtin" else Path(model), threads)
    data = read_corpus(corpus)
    if split is not None:
        data = Corpus(data.name, tuple(clip for clip in data.clips if clip.split == split))
        if not data.clips:
            raise CorpusError(f"{corpus}: no clip in split {split}")
    front_end = engine.metadata.front_end

    def features_or_error(path: Path) -> FloatArray | AudioError:
        try:
            return extract(read_clip(path, front_end.sample_rate_hz), front_end)
        except AudioError as error:
            return error

    result = run_evaluation(
        lambda windows: engine.run(windows).logits,
        ((clip, features_or_error(clip.path)) for clip in data.clips),
        engine.metadata.labels,
        engine.metadata.window_frames,
        hop_frames,
    )
    report = {"model": model, "corpus": data.name, "hop_frames": hop_frames, **result.to_dict()}
    if output is not None:
        with replacing(output) as temporary:
            temporary.write_text(json.dumps(report, ensure_ascii=False, indent=1))
    if plot is not None:
        title = (
            f"{data.name}: {100 * result.windows.accuracy:.1f} % of "
            f"{result.windows.count} windows (cells in % of the row)"
        )
        plot_confusion(result.window_confusion, result.devices, title, plot)
    if as_json:
        print(json.dumps(report, ensure_ascii=False))
    else:
        _show(result)
    if result.skipped:
        raise typer.Exit(AudioError.exit_code)


def _show(result: Evaluation) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(pad_edge=False, header_style="bold")
    table.add_column("")
    for title in ("count", "right", "accuracy", "precision", "recall", "F1"):
        table.add_column(title, justify="right")
    for name, values in (("windows", result.windows), ("clips", result.clips)):
        shares = (values.accuracy, values.precision, values.recall, values.f1)
        table.add_row(
            name,
            str(values.count),
            str(values.correct),
            *(f"{100 * share:.2f} %" for share in shares),
        )
    out = console()
    out.print(table)
    for file, truth, decided in result.wrong_clips:
        out.print(Text(f"wrong: {file} was recorded by {truth}, decided {decided}"))
    for file, reason in result.skipped:
        out.print(Text(f"left out: {file}: {reason}", style="yellow"))
