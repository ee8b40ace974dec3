"""Putting what ``crossval`` and ``openset`` measured into a model (numpy)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model.errors import UsageError
from model.likelihood_ratio import Calibration, LrBounds
from model.mel import DoubleArray
from model.open_set import OpenSet


def read_report(path: Path, kind: str, corpus: str) -> dict[str, Any]:
    """A report of ``crossval`` or ``openset`` on the same corpus, of the ``statistics`` profile.

    Args:
        path: the file.
        kind: ``"crossval"`` or ``"openset"``.
        corpus: content hash of the corpus that is trained on.

    Raises:
        UsageError: unreadable, another kind of report, or of another corpus or profile.
    """
    try:
        report = json.loads(path.read_text())
        found = report["settings"]["corpus"] if kind == "crossval" else report["corpus"]
        needed = report["calibration"] if kind == "crossval" else report["shipped"]
        profile = report["settings"]["network"]["profile"] if kind == "crossval" else "statistics"
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path}: not a report of `devrec-agent {kind}` that can be used"
        ) from error
    if found != corpus or not needed:
        raise UsageError(f"{path}: the report is of another corpus")
    if profile != "statistics":  # its probabilities say nothing of this one's
        raise UsageError(f"{path}: the report is of the {profile} profile")
    return dict(report)


def open_set_from(
    prototypes: DoubleArray,
    spectra: DoubleArray,
    openset: Mapping[str, Any],
    crossval: Mapping[str, Any] | None,
) -> OpenSet:
    """The open set to ship.

    Args:
        prototypes: float64 ``(devices, dims)``, mean embedding of each device's clips.
        spectra: float64 ``(devices, bands)``, their long-term log-mel spectra.
        openset: report of :func:`model.open_set_trials.run_trials`.
        crossval: report of :func:`model.crossval.leave_groups_out`, for the temperature; 1 without.
    """
    shipped = openset["shipped"]
    evidence: dict[str, Any] = {
        "corpus": openset["corpus_name"],
        "devices": openset["devices"],
        "draws": openset["draws"],
        "kinds": {
            kind: {
                key: round(float(row[key]), 5)
                for key in ("auroc", "eer", "tpr", "enrolled_named_right", "known_named_right")
                if row[key] is not None
            }
            for kind, row in openset["kinds"].items()
        },
        "true_acceptance": shipped["true_acceptance"],
        # At thresholds chosen on other strangers: what to count on with new devices.
        "strangers_accepted": {
            kind: row["at_threshold_of_other_strangers"]["unknown_accepted"]
            for kind, row in openset["kinds"].items()
        },
        "speech": openset["speech"],
        "comparison": openset["comparison"],
        "other_domains": openset["other_domains"],
    }
    if crossval is not None:
        evidence["condition_means"] = crossval["condition_means"]
        evidence["ece"] = {
            kind: row["ece"]
            for kind, row in crossval["calibration"].items()
            if kind != "temperature"
        }
    return OpenSet(
        prototypes=prototypes,
        spectra=spectra - spectra.mean(axis=1, keepdims=True),
        calibration=Calibration.from_dict(shipped["calibration"]),
        bounds=LrBounds.from_dict(shipped["bounds"]),
        threshold=float(shipped["threshold"]),
        false_acceptance=float(shipped["false_acceptance"]),
        known_devices=int(openset["known_devices"]),
        temperature=float(crossval["calibration"]["temperature"]) if crossval else 1.0,
        same=np.array(openset["validation"]["same"], np.float64),
        different=np.array(openset["validation"]["different"], np.float64),
        evidence=evidence,
    )
