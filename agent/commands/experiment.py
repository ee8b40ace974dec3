"""``devrec-agent experiment``: the paper's experiments on any corpus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.commands import experiment_options as shared
from agent.commands import experiment_view as view
from agent.commands import train_options as options
from agent.commands.common import progress_console, reports_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model.experiments.methods import Fitting, Method
    from model.experiments.protocols import Protocol

experiment_app = typer.Typer(
    help="The experiments of the paper, on a corpus of yours. Killed runs go on where they were.",
    no_args_is_help=True,
)

MethodOption = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        help="Only this one; may be given several times: mfcc-frames-svm, mfcc-svm, gsv-svm, "
        "bed-svm, ivector-svm, gsv-cnn, feature-fusion, multi-attention, lda, ecapa, "
        "network-statistics, network-paper. Without it all but the last, which takes minutes a "
        "fold on the sample.",
        show_default=False,
    ),
]


@experiment_app.command()
@reports_errors
def table5(
    corpus: options.CorpusArgument,
    output: shared.OutputOption = Path("experiments"),
    protocol: shared.ProtocolOption = "leave-one-clip-out",
    method: MethodOption = None,
    preset: shared.PresetOption = None,
    epochs: shared.EpochsOption = None,
    accelerator: shared.AcceleratorOption = "cpu",
    seed: shared.SeedOption = 0,
    processes: shared.ProcessesOption = None,
) -> None:
    """Methods side by side (Table V): accuracy, F1, parameters.

    Writes table5.json with every fold, table5.md, a bar chart and a confusion matrix per method.
    """
    from model.experiments.methods import chosen
    from model.experiments.protocols import check_protocol

    kind, methods = check_protocol(protocol), chosen(method or [])
    settings = shared.fitting(kind, preset, epochs, accelerator, seed)
    _accuracy("table5", corpus, output, kind, methods, settings, processes)


@experiment_app.command()
@reports_errors
def table6(
    corpus: options.CorpusArgument,
    output: shared.OutputOption = Path("experiments"),
    protocol: shared.ProtocolOption = "leave-one-clip-out",
    seed: shared.SeedOption = 0,
) -> None:
    """What each method costs (Table VI): parameters and time a clip, with and without features.

    All in one run and on one thread, which a kill ends; the paper's network has ratio 1.
    """
    from model.corpus import read_corpus
    from model.experiments.cost import cost_markdown, measure_costs
    from model.experiments.fold_task import make_features
    from model.experiments.methods import METHODS, Fitting
    from model.experiments.protocols import check_protocol, folds
    from model.files import make_folder

    kind, data = check_protocol(protocol), read_corpus(corpus)
    folds(data, kind)
    progress = progress_console()
    make_folder(output)
    make_features(data, METHODS, output, track=options.progress(progress, "reading"))
    report = measure_costs(
        data,
        kind,
        METHODS,
        output,
        Fitting(seed=seed),
        options.progress(progress, "fitting and timing"),
    )
    view.write_table(output, "table6", report, cost_markdown(report))
    view.show_costs(report)


@experiment_app.command()
@reports_errors
def table7(
    corpus: options.CorpusArgument,
    output: shared.OutputOption = Path("experiments"),
    protocol: shared.ProtocolOption = "leave-one-clip-out",
    preset: shared.PresetOption = None,
    epochs: shared.EpochsOption = None,
    accelerator: shared.AcceleratorOption = "cpu",
    seed: shared.SeedOption = 0,
    processes: shared.ProcessesOption = None,
) -> None:
    """One block of the paper's network at a time (Table VII), beside the whole."""
    from model.experiments.ablations import SINGLE_BLOCKS
    from model.experiments.protocols import check_protocol

    kind = check_protocol(protocol)
    settings = shared.fitting(kind, preset, epochs, accelerator, seed)
    _accuracy("table7", corpus, output, kind, SINGLE_BLOCKS, settings, processes)


@experiment_app.command()
@reports_errors
def table8(
    corpus: options.CorpusArgument,
    output: shared.OutputOption = Path("experiments"),
    protocol: shared.ProtocolOption = "leave-one-clip-out",
    preset: shared.PresetOption = None,
    epochs: shared.EpochsOption = None,
    accelerator: shared.AcceleratorOption = "cpu",
    seed: shared.SeedOption = 0,
    processes: shared.ProcessesOption = None,
) -> None:
    """Two blocks of the paper's network at a time (Table VIII), beside the whole."""
    from model.experiments.ablations import PAIRS_OF_BLOCKS
    from model.experiments.protocols import check_protocol

    kind = check_protocol(protocol)
    settings = shared.fitting(kind, preset, epochs, accelerator, seed)
    _accuracy("table8", corpus, output, kind, PAIRS_OF_BLOCKS, settings, processes)


def _accuracy(
    name: str,
    corpus: Path,
    output: Path,
    protocol: Protocol,
    methods: Sequence[Method],
    settings: Fitting,
    processes: int | None,
) -> None:
    """Run methods on all folds, and write and show the table."""
    from model.corpus import read_corpus
    from model.experiments.accuracy_table import accuracy_markdown, accuracy_report
    from model.experiments.fold_task import make_features, run_folds
    from model.experiments.protocols import folds
    from model.files import make_folder

    data = read_corpus(corpus)
    folds(data, protocol)  # whether it can be split, before anything is made
    progress = progress_console()
    make_folder(output)
    at_once = shared.processes(processes, settings.accelerator)
    reading = options.progress(progress, "reading")
    make_features(data, methods, output, processes=processes, track=reading)
    found = run_folds(
        data,
        protocol,
        methods,
        output,
        settings,
        processes=at_once,
        track=options.progress(progress, "methods and folds"),
    )
    report = accuracy_report(name, data, protocol, methods, found)
    view.write_table(output, name, report, accuracy_markdown(report))
    view.plot_accuracies(report, output)
    view.show_accuracies(report)


@experiment_app.command()
@reports_errors
def table9(
    corpus: options.CorpusArgument,
    output: shared.OutputOption = Path("experiments"),
    onto: Annotated[
        Path | None,
        typer.Option(
            "--onto",
            help="Another corpus, whose phones are the new ones (MOBIPHONE in the paper). Without "
            "it, phones of CORPUS are drawn.",
            show_default=False,
        ),
    ] = None,
    pretrained: Annotated[
        int | None,
        typer.Option(
            "--pretrained",
            min=2,
            help="Phones of CORPUS to train on first; the others are new. 62.5 % of them without "
            "it, which is 25 of 40.",
            show_default=False,
        ),
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(
            "--draws", min=1, help="Draws of these phones; 3 without it.", show_default=False
        ),
    ] = None,
    protocol: shared.ProtocolOption = "leave-one-clip-out",
    preset: shared.PresetOption = None,
    epochs: shared.EpochsOption = None,
    accelerator: shared.AcceleratorOption = "cpu",
    seed: shared.SeedOption = 0,
    processes: shared.ProcessesOption = None,
) -> None:
    """Networks of some phones, fine-tuned on others (Table IX)."""
    from model.corpus import read_corpus
    from model.errors import UsageError
    from model.experiments.fold_task import make_features
    from model.experiments.protocols import check_protocol, folds
    from model.experiments.transfer import DRAWS, GROUPS, new_phones, run_transfer
    from model.experiments.transfer_table import transfer_markdown, transfer_report
    from model.files import make_folder

    kind = check_protocol(protocol)
    settings = shared.fitting(kind, preset, epochs, accelerator, seed)
    if onto is not None and (pretrained or draws):
        raise UsageError(
            "--pretrained and --draws are of phones of one corpus; with --onto all are trained on"
        )
    data = read_corpus(corpus)
    target = read_corpus(onto) if onto is not None else None
    folds(target or data, kind)
    chosen = new_phones(data, target, pretrained, draws or DRAWS, seed)
    progress = progress_console()
    make_folder(output)
    reading = options.progress(progress, "reading")
    every = [group.method for group in GROUPS]
    make_features(target or data, every, output, processes=processes, track=reading)
    if target is not None:
        networks = [group.method for group in GROUPS if group.freeze]
        make_features(data, networks, output, processes=processes, track=reading)
    parts = run_transfer(
        data,
        target,
        kind,
        output,
        settings,
        chosen,
        processes=shared.processes(processes, accelerator),
        track=options.progress(progress, "trainings"),
    )
    report = transfer_report(data, target, kind, parts)
    view.write_table(output, "table9", report, transfer_markdown(report))
    view.plot_transfer(report, output)
    view.show_transfer(report)
