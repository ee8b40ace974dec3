"""Table IX from its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from model.corpus import Corpus
from model.experiments.protocols import Protocol
from model.experiments.transfer import GROUPS, Group


def transfer_report(
    source: Corpus,
    target: Corpus | None,
    protocol: Protocol,
    parts: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """All figures, JSON-ready.

    Args:
        source: corpus that was trained on first.
        target: corpus of the new phones, where that is another one.
        protocol: of the folds.
        parts: from :func:`model.experiments.transfer.run_transfer`.

    Returns:
        for every group clips right in all, accuracy, that of each draw, and how many numbers were
        trained on the new phones; every part, with the new phones that its indices are of.
    """
    shared = {key: value for key, value in parts[0]["settings"].items() if key != "devices"}
    n_new = len(parts[0]["settings"]["devices"])
    return {
        "experiment": "table9",
        "source": source.name,
        "target": target.name if target is not None else None,
        "n_new": n_new,
        "n_pretrained": len(source.devices) - (n_new if target is None else 0),
        "n_draws": 1 + max(part["draw"] for part in parts),
        "protocol": protocol,
        "settings": shared,
        "groups": [_row(group, parts) for group in GROUPS],
        "parts": [
            {"devices": part["settings"]["devices"]}
            | {key: value for key, value in part.items() if key != "settings"}
            for part in parts
        ],
    }


def _row(group: Group, parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    mine = [part for part in parts if part["key"] == group.method.key]
    right: dict[int, list[int]] = {}
    for part in mine:
        decided = part["decided"][group.freeze] if group.freeze else part["decided"]
        hits = [one == two for one, two in zip(part["truth"], decided, strict=True)]
        right.setdefault(part["draw"], []).extend(map(int, hits))
    every = [hit for hits in right.values() for hit in hits]
    learning = [part["n_learning"][group.freeze] for part in mine if group.freeze]
    return {
        "group": group.number,
        "title": group.title,
        "correct": sum(every),
        "count": len(every),
        "accuracy": sum(every) / len(every),
        "accuracy_of_draws": [sum(hits) / len(hits) for hits in right.values()],
        "n_learning": learning[0] if learning else mine[0]["n_parameters"],
    }


def transfer_markdown(report: Mapping[str, Any]) -> str:
    """The table; the paper's own figures but one are not at hand."""
    onto = f"{report['n_new']} of {report['target']}"
    if report["target"] is None:
        onto = f"the other {report['n_new']}, {report['n_draws']} draws"
    lines = [
        f"{report['source']}: {report['n_pretrained']} phones to train on, fine-tuned on {onto}; "
        f"protocol {report['protocol']}, seed {report['settings']['seed']}.",
        "",
        "| group | clips right | accuracy | of the draws | numbers that learn |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in report["groups"]:
        title = f"{row['group']}: {row['title']}" if row["group"] else row["title"]
        draws = ", ".join(f"{100 * share:.0f}" for share in row["accuracy_of_draws"])
        lines.append(
            f"| {title} | {row['correct']}/{row['count']} | {100 * row['accuracy']:.1f} % | "
            f"{draws} % | {row['n_learning']:,} |"
        )
    return "\n".join(lines) + "\n"
