"""What is known about how good a model's likelihood ratios are, as figures and in words."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from agent.report.number_words import percent
from model.likelihood_ratio import LrBounds
from model.likelihood_ratio_validation import LrFigures, lr_figures
from model.mel import DoubleArray
from model.open_set import OpenSet

#: Sets of trials of ``model.open_set_trials``: those that a model keeps, and the easy ones of them.
ALL, CLEAN = "clean and seen", "clean"


def validation_figures(open_set: OpenSet, *, another_kind: bool = False) -> LrFigures:
    """Figures of all trials, as they were measured; of the trials that the model keeps without.

    The bounds are those that the model's likelihood ratios are limited to.

    Args:
        open_set: of the model.
        another_kind: of the validation for recordings of another kind than the corpus's.
    """
    other = open_set.other_domains
    if another_kind and other is not None:
        found = lr_figures(other.same, other.different)
        return dataclasses.replace(found, bounds=other.bounds)
    found = _measured(open_set, ALL) or lr_figures(open_set.same, open_set.different)
    return dataclasses.replace(found, bounds=open_set.bounds)


def validation_trials(open_set: OpenSet, *, another_kind: bool) -> tuple[DoubleArray, DoubleArray]:
    """Log10 LRs of the same-device and of the different-device trials that the model keeps."""
    other = open_set.other_domains
    if another_kind and other is not None:
        return other.same, other.different
    return open_set.same, open_set.different


def validation_words(open_set: OpenSet, *, another_kind: bool = False) -> str:
    """Devices, recordings and conditions of the trials, in sentences."""
    if another_kind:
        return _simulated_words(open_set)
    evidence = open_set.evidence
    corpus = evidence.get("corpus", "a corpus that the model does not name")
    devices, draws = evidence.get("devices"), evidence.get("draws")
    words = f"Pairs of recordings from {corpus}"
    if devices is not None:
        words += f", of {devices} devices"
    words += ", by devices that the embedding was not fitted on"
    if draws is not None:
        words += f" ({draws} draws of such devices)"
    words += (
        "; the two recordings of a pair hold different words, and likelihood ratios were "
        "calibrated on other devices than they were tested on."
    )
    measured, clean = _measured(open_set, ALL), _measured(open_set, CLEAN)
    if measured is not None:
        words += (
            " The reference is as recorded; the questioned recording is as recorded, or degraded "
            "in a way that the model was trained for (noise, rooms, codecs, band limits). So "
            "trials share recordings, and are fewer than they count."
        )
    if clean is not None:
        words += (
            f" With both as recorded ({clean.n_same} and {clean.n_different} trials): Cllr "
            f"{clean.cllr:.3f}, minCllr {clean.min_cllr:.3f}, EER {percent(clean.eer)}."
        )
    return words


def _simulated_words(open_set: OpenSet) -> str:
    words = (
        "Pairs of simulated recordings: speech in made-up rooms, played to virtual microphones, "
        "two recordings of each, in one room and of different voices; other rooms, "
        "microphones and voices than the scores were fitted on."
    )
    tested = open_set.evidence.get("other_domains")
    scores: Any = tested.get("scores") if isinstance(tested, Mapping) else None
    try:
        kind = "measured" if tested["measured_responses"] else "drawn"  # type: ignore[index]
        cost = "infinite" if scores["cllr"] is None else f"{float(scores['cllr']):.3f}"
        return words + (
            f" Tested on {tested['domains']} further rooms, "  # type: ignore[index]
            f"with simulated microphones of {kind} responses: Cllr {cost}, EER "
            f"{percent(float(scores['eer']))}."
        )
    except (KeyError, TypeError, ValueError):
        return words


def _measured(open_set: OpenSet, name: str) -> LrFigures | None:
    """Figures of a set of trials that travel with the model, if they do."""
    comparison = open_set.evidence.get("comparison")
    values: Any = comparison.get(name) if isinstance(comparison, Mapping) else None
    try:
        cost = math.inf if values["cllr"] is None else float(values["cllr"])
        return LrFigures(
            n_same=int(values["n_same"]),
            n_different=int(values["n_different"]),
            cllr=cost,
            min_cllr=float(values["min_cllr"]),
            eer=float(values["eer"]),
            bounds=LrBounds.from_dict(values["bounds"]),
        )
    except (KeyError, TypeError, ValueError):
        return None
