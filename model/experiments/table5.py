"""Table V of the paper: how often each method names the device of a clip (numpy)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from model.corpus import Corpus
from model.experiments.methods import Method
from model.experiments.protocols import Protocol
from model.metrics import IntArray, confusion_matrix, figures


def table5_report(
    corpus: Corpus,
    protocol: Protocol,
    methods: Sequence[Method],
    folds: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[str, Any]:
    """All figures, JSON-ready.

    Args:
        corpus: that was tested on.
        protocol: of the folds.
        methods: in the order of the table.
        folds: of each method, from :func:`model.experiments.fold_run.run_folds`.

    Returns:
        corpus, protocol and settings; for each method accuracy, precision, recall and F1 over all
        folds' clips, parameters, seconds to fit a fold and milliseconds a clip, every fold.
    """
    first = next(iter(folds.values()))[0]
    return {
        "experiment": "table5",
        "corpus": corpus.name,
        "corpus_sha256": first["settings"]["corpus"],
        "devices": len(corpus.devices),
        "clips": len(corpus.clips),
        "protocol": protocol,
        "settings": first["settings"],
        "methods": [_method(method, folds[method.key], corpus) for method in methods],
    }


def _method(method: Method, folds: Sequence[Mapping[str, Any]], corpus: Corpus) -> dict[str, Any]:
    confusion = pooled_confusion(folds, len(corpus.devices))
    return {
        "key": method.key,
        "title": method.title,
        "paper_accuracy": method.paper_accuracy,
        **asdict(figures(confusion)),
        "n_parameters": max(fold["n_parameters"] for fold in folds),
        "fit_s": round(float(np.mean([fold["fit_s"] for fold in folds])), 3),
        "ms_per_clip": round(float(np.mean([fold["ms_per_clip"] for fold in folds])), 3),
        "folds": [
            {key: value for key, value in fold.items() if key != "settings"} for fold in folds
        ],
    }


def pooled_confusion(folds: Sequence[Mapping[str, Any]], n_devices: int) -> IntArray:
    """Counts over all folds, int64 ``(devices, devices)``, row = true device."""
    truth = np.concatenate([np.array(fold["truth"], np.int64) for fold in folds])
    decided = np.concatenate([np.array(fold["decided"], np.int64) for fold in folds])
    return confusion_matrix(truth, decided, n_devices)


def table5_markdown(report: Mapping[str, Any]) -> str:
    """The table beside the paper's figures."""
    lines = [
        f"{report['corpus']}: {report['devices']} devices, {report['clips']} clips, protocol "
        f"{report['protocol']}, seed {report['settings']['seed']}.",
        "",
        "| method | clips right | accuracy | F1 | the paper's accuracy | parameters | fit a fold | "
        "a clip |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in report["methods"]:
        paper = row["paper_accuracy"]
        lines.append(
            f"| {row['title']} | {row['correct']}/{row['count']} | {100 * row['accuracy']:.1f} % | "
            f"{100 * row['f1']:.1f} % | {'-' if paper is None else f'{100 * paper:.1f} %'} | "
            f"{row['n_parameters']:,} | {row['fit_s']:.1f} s | {row['ms_per_clip']:.1f} ms |"
        )
    return "\n".join(lines) + "\n"
