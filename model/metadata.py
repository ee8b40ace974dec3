"""What travels with a model: labels, front end, network and provenance; no torch, no onnx."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from model.errors import ModelError
from model.features import WINDOW_FRAMES, FrontEndConfig
from model.open_set import OpenSet

FORMAT = "devrec-agent model"
FORMAT_VERSION = 1
KEY_PREFIX = "devrec."  #: of every key in the model file's metadata


@dataclass(frozen=True)
class ModelMetadata:
    """Everything but the weights.

    Attributes:
        labels: device of each logit, in order.
        front_end: how samples become frames.
        network: the network's settings (profile, sizes), as JSON-ready values.
        provenance: version, corpus, split, metrics, training settings, as JSON-ready values.
        window_frames: frames of one window.
        open_set: what it knows beyond its devices; ``None``: it names one of them always.
    """

    labels: tuple[str, ...]
    front_end: FrontEndConfig
    network: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    window_frames: int = WINDOW_FRAMES
    open_set: OpenSet | None = None

    @property
    def window_shape(self) -> tuple[int, int]:
        """Frames and features of one window (128, 73)."""
        return self.window_frames, self.front_end.n_features

    def to_properties(self) -> dict[str, str]:
        """Key-value strings for ONNX ``metadata_props``."""
        values: dict[str, Any] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "labels": list(self.labels),
            "front_end": self.front_end.to_dict(),
            "network": self.network,
            "provenance": self.provenance,
            "window_frames": self.window_frames,
        }
        if self.open_set is not None:
            values["open_set"] = self.open_set.to_dict()
        return {
            KEY_PREFIX + key: json.dumps(value, ensure_ascii=False) for key, value in values.items()
        }

    @classmethod
    def from_properties(cls, properties: dict[str, str], source: str) -> ModelMetadata:
        """Read and validate what :meth:`to_properties` wrote.

        Args:
            properties: the file's key-value strings; foreign keys are ignored.
            source: file name for messages.

        Raises:
            ModelError: not a devrec-agent model, another format version, or damaged.
        """
        if KEY_PREFIX + "format" not in properties:
            raise ModelError(f"{source}: an ONNX file, but not a devrec-agent model")
        try:
            values = {
                key.removeprefix(KEY_PREFIX): json.loads(text)
                for key, text in properties.items()
                if key.startswith(KEY_PREFIX)
            }
            if values["format"] != FORMAT:
                raise ModelError(f"{source}: not a devrec-agent model")
            if values["format_version"] != FORMAT_VERSION:
                raise ModelError(
                    f"{source}: model format {values['format_version']}, "
                    f"this version reads {FORMAT_VERSION}"
                )
            labels = values["labels"]
            if (
                not isinstance(labels, list)
                or not labels
                or not all(isinstance(label, str) for label in labels)
                or len(set(labels)) != len(labels)
            ):
                raise ModelError(f"{source}: damaged labels")
            if not isinstance(values["front_end"], dict) or not isinstance(
                values["window_frames"], int
            ):
                raise ModelError(f"{source}: damaged metadata")
            open_set = (
                OpenSet.from_dict(values["open_set"], source) if "open_set" in values else None
            )
            if open_set is not None and len(open_set.prototypes) != len(labels):
                raise ModelError(f"{source}: damaged open-set data: other devices than the model")
            return cls(
                labels=tuple(labels),
                front_end=FrontEndConfig.from_dict(values["front_end"]),
                network=dict(values["network"]),
                provenance=dict(values["provenance"]),
                window_frames=values["window_frames"],
                open_set=open_set,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{source}: damaged metadata: {error}") from error
