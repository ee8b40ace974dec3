"""The model card in short, out of what travels with a model."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from agent import __version__
from agent.report.content import GalleryFacts, HowMade, ModelFacts, ModelFigure
from agent.report.number_words import number, percent
from export.engine import Engine, read_model
from export.sidecar import sha256_of
from model.builtin import BUILTIN_MODEL
from model.metadata import ModelMetadata
from model.open_set import OpenSet

#: Of the built-in model, whatever it was measured to do (docs/model-card.md).
BUILT_IN_LIMIT = (
    "The built-in model comes from one session in one quiet studio: nothing supports its answers "
    "across sessions, rooms or distances, nor with devices of other kinds than phones and tablets."
)

#: Kinds of conditions in a model's evidence, in words.
_KINDS = {"clean": "as recorded", "seen": "degraded as in training", "unseen": "degraded otherwise"}


def model_facts(
    metadata: ModelMetadata, name: str, sha256: str, gallery: GalleryFacts | None = None
) -> ModelFacts:
    """Facts about a model.

    Args:
        metadata: of the model.
        name: of the model or its file.
        sha256: of the model file, hex.
        gallery: enrolled devices that took part.
    """
    provenance = metadata.provenance
    corpus = f"{provenance.get('corpus', 'a corpus that the model does not name')}: "
    corpus += f"{len(metadata.labels)} devices"
    if "clips" in provenance:
        corpus += f", {provenance['clips']} clips"
    figures = () if metadata.open_set is None else _figures(metadata.open_set)
    return ModelFacts(
        name=name,
        sha256=sha256,
        devices=metadata.labels,
        corpus=corpus,
        training=_training(metadata),
        figures=figures,
        limits=model_limits(metadata, sha256),
        gallery=gallery,
    )


def model_limits(metadata: ModelMetadata, sha256: str) -> tuple[str, ...]:
    """Sentences on what this model cannot do."""
    limits = []
    if sha256 == sha256_of(read_model(BUILTIN_MODEL)):
        limits.append(BUILT_IN_LIMIT)
    else:
        limits.append(
            "Figures are of the corpus named above alone: devices, sessions, rooms and kinds of "
            "speech that it does not hold are not covered by them."
        )
    if metadata.open_set is None:
        limits.append("The model names one of its devices always, also for others' recordings.")
    return tuple(limits)


def how_made(engine: Engine) -> HowMade:
    """How the report of this process comes about, now."""
    return HowMade(
        program_version=__version__,
        command_line=shlex.join(["devrec-agent", *sys.argv[1:]]),
        made_utc=datetime.now(timezone.utc),
        engine=engine.description,
    )


def _training(metadata: ModelMetadata) -> tuple[tuple[str, str], ...]:
    """Settings worth a row."""
    provenance = metadata.provenance
    settings = provenance.get("training")
    preset = settings.get("preset") if isinstance(settings, Mapping) else None
    rows = {
        "profile": metadata.network.get("profile"),
        "preset": preset,
        "clips used": provenance.get("split"),
        "trained": provenance.get("created"),
        "with": f"devrec-agent {provenance['version']}" if "version" in provenance else None,
        "corpus sha256": provenance.get("corpus sha256"),
    }
    return tuple((name, str(value)) for name, value in rows.items() if value is not None)


def _figures(open_set: OpenSet) -> tuple[ModelFigure, ...]:
    """What was measured on devices held out of the embedding."""
    evidence = open_set.evidence
    held_out = f"{evidence.get('corpus', '?')}, devices held out of the embedding"
    figures = [
        ModelFigure(
            "unknown devices accepted at the threshold when it was chosen",
            percent(open_set.false_acceptance),
            f"{held_out}; {open_set.known_devices} devices known",
        )
    ]
    accepted = evidence.get("strangers_accepted")
    for kind, share in (accepted if isinstance(accepted, Mapping) else {}).items():
        data = (
            f"{held_out}, thresholds chosen on others than those tested; {_KINDS.get(kind, kind)}"
        )
        figures.append(ModelFigure("unknown devices accepted", percent(float(share)), data))
    kinds = evidence.get("kinds")
    for kind, row in (kinds if isinstance(kinds, Mapping) else {}).items():
        data = f"{held_out}; {_KINDS.get(kind, kind)}"
        figures += [
            ModelFigure(name, value, data)
            for name, value in _kind_figures(row)
            if value is not None
        ]
    return (*figures, *_elsewhere(evidence.get("other_domains")))


def _elsewhere(found: object) -> tuple[ModelFigure, ...]:
    """What was measured on recordings of another kind than the corpus's, which were simulated."""
    scores = found.get("scores") if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping) or not isinstance(scores, Mapping):
        return ()
    kind = "measured" if found.get("measured_responses") else "drawn"
    data = (
        f"recordings of another kind: {found.get('devices')} simulated microphones of {kind} "
        f"responses in each of {found.get('domains')} simulated rooms, two recordings of each"
    )
    rows = {
        "named right, one recording enrolled": scores.get("named_right"),
        "the same device accepted at the threshold": scores.get("same_accepted"),
        "another device accepted at the threshold": scores.get("different_accepted"),
    }
    return tuple(
        ModelFigure(name, percent(float(value)), data)
        for name, value in rows.items()
        if value is not None
    )


def _kind_figures(row: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    def share(key: str) -> str | None:
        return percent(float(row[key])) if key in row else None

    return [
        ("known told from unknown, AUROC", number(row["auroc"], 3) if "auroc" in row else None),
        ("known accepted at 1 % of unknown", share("tpr")),
        ("named right, one clip enrolled", share("enrolled_named_right")),
    ]
