"""Tables V, VII and VIII: how often each method names the device of a clip (numpy)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from model.corpus import Corpus
from model.experiments.fold_task import Folds
from model.experiments.methods import Method
from model.experiments.protocols import Protocol
from model.metrics import IntArray, confusion_matrix, figures


def accuracy_report(
    experiment: str,
    corpus: Corpus,
    protocol: Protocol,
    methods: Sequence[Method],
    folds: Folds,
) -> dict[str, Any]:
    """All figures, JSON-ready.

    Args:
        experiment: name of the table.
        corpus: that was tested on.
        protocol: of the folds.
        methods: in the order of the table.
        folds: of each method.

    Returns:
        corpus and protocol; for each method its settings, accuracy, precision, recall and F1 over
        all folds' clips, parameters, seconds to fit a fold and milliseconds a clip, every fold.
    """
    settings = [fold["settings"] for key in folds for fold in folds[key]]
    return {
        "experiment": experiment,
        "corpus": corpus.name,
        "corpus_sha256": settings[0]["corpus"],
        "devices": list(corpus.devices),
        "clips": len(corpus.clips),
        "protocol": protocol,
        "seed": settings[0]["seed"],
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
        "settings": folds[0]["settings"],
        "folds": [
            {key: value for key, value in fold.items() if key != "settings"} for fold in folds
        ],
    }


def pooled_confusion(folds: Sequence[Mapping[str, Any]], n_devices: int) -> IntArray:
    """Counts over all folds, int64 ``(devices + 1, devices + 1)``, row = true device.

    The last column counts clips that a method could say nothing of; they are wrong.
    """
    truth = np.concatenate([np.array(fold["truth"], np.int64) for fold in folds])
    decided = np.concatenate([np.array(fold["decided"], np.int64) for fold in folds])
    return confusion_matrix(truth, np.where(decided < 0, n_devices, decided), n_devices + 1)


def accuracy_markdown(report: Mapping[str, Any]) -> str:
    """The table beside the paper's figures."""
    lines = [
        f"{report['corpus']}: {len(report['devices'])} devices, {report['clips']} clips, protocol "
        f"{report['protocol']}, seed {report['seed']}.",
        "",
        "| method | clips right | accuracy | F1 | the paper's accuracy | parameters |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in report["methods"]:
        paper = row["paper_accuracy"]
        lines.append(
            f"| {row['title']} | {row['correct']}/{row['count']} | {100 * row['accuracy']:.1f} % | "
            f"{100 * row['f1']:.1f} % | {'-' if paper is None else f'{100 * paper:.1f} %'} | "
            f"{row['n_parameters']:,} |"
        )
    return "\n".join(lines) + "\n"
