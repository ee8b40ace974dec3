"""What lies beside a TensorRT plan: everything that the plan itself does not say.

A plan is a bare block that other loaders read too, so nothing is put in front of it. Its sidecar,
``<plan>.json``, carries the model's metadata, what the plan is bound to, and its checksum: a plan
that was cut short, changed or made elsewhere is refused before TensorRT sees it.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from export.parity import RECORD_KEY
from export.precision import PRECISIONS
from model.errors import ModelError
from model.files import replacing
from model.metadata import KEY_PREFIX, ModelMetadata

FORMAT = "devrec-agent plan"
FORMAT_VERSION = 1
PLAN_SUFFIX = ".plan"


def sidecar_path(plan: Path) -> Path:
    """``model.plan`` to ``model.plan.json``."""
    return plan.with_name(plan.name + ".json")


def sha256_of(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Sidecar:
    """The facts of a plan.

    Attributes:
        plan_sha256: of the plan.
        model_sha256: of the float32 model file that it was made from.
        precision: ``fp32``, ``fp16`` or ``int8``.
        flavour: ``tensorrt`` or ``tensorrt-rtx``.
        tensorrt: version that built it.
        gpu: name of the GPU that it was built on, or empty when it was built without one.
        compute_capability: of that GPU, or empty.
        batch: smallest, best and largest number of windows a call.
        hardware_compatible: built for newer GPU generations too.
        version_compatible: built for newer TensorRT versions too.
        workspace_mib: limit of scratch memory, 0 for TensorRT's own.
        ranges: measured ranges behind int8, to build again elsewhere; empty otherwise.
        properties: the model file's metadata, with PyTorch's answers to compare with.
        parity: differences measured after the build; empty when it could not be run there.
        created: when, ISO 8601, UTC.
    """

    plan_sha256: str
    model_sha256: str
    precision: str
    flavour: str
    tensorrt: str
    gpu: str
    compute_capability: str
    batch: tuple[int, int, int]
    hardware_compatible: bool
    version_compatible: bool
    workspace_mib: int
    ranges: dict[str, float]
    properties: dict[str, str]
    parity: dict[str, Any]
    created: str

    def write(self, plan: Path) -> None:
        """Write beside a plan, whole or not at all."""
        values = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}
        # Readable: labels and front end as JSON, not as JSON in strings. What else a model file
        # carries is not ours and may be anything.
        values["properties"] = {
            key: value if key == RECORD_KEY else json.loads(value)
            for key, value in self.properties.items()
            if key.startswith(KEY_PREFIX)
        }
        with replacing(sidecar_path(plan)) as temporary:
            temporary.write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def read(cls, plan: Path) -> Sidecar:
        """Read what :meth:`write` wrote.

        Raises:
            ModelError: missing, damaged or of another version.
        """
        path = sidecar_path(plan)
        try:
            values = json.loads(path.read_text())
        except FileNotFoundError as error:
            raise ModelError(f"{plan}: its description {path.name} is missing") from error
        except (OSError, ValueError, RecursionError) as error:
            raise ModelError(f"{path}: cannot be read: {error}") from error
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise ModelError(f"{path}: does not describe a plan of devrec-agent")
        version = values.pop("format_version", None)
        if version != FORMAT_VERSION:
            raise ModelError(f"{path}: format {version}, this version reads {FORMAT_VERSION}")
        try:
            if set(values) != {field.name for field in fields(cls)}:
                raise ValueError("keys are missing or unknown")
            _check(values)
            values["batch"] = tuple(values["batch"])
            values["properties"] = {
                key: value if key == RECORD_KEY else json.dumps(value, ensure_ascii=False)
                for key, value in values["properties"].items()
            }
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise ModelError(f"{path}: damaged: {error}") from error

    def metadata(self, source: str) -> ModelMetadata:
        """Labels, front end and provenance."""
        return ModelMetadata.from_properties(self.properties, source)


def _check(values: dict[str, Any]) -> None:
    """Types and ranges of what a file says.

    Raises:
        ValueError: naming the key at fault.
    """
    texts = ("plan_sha256", "model_sha256", "flavour", "tensorrt", "gpu", "compute_capability")
    batch, ranges = values["batch"], values["ranges"]
    right = {
        **{key: isinstance(values[key], str) for key in (*texts, "created")},
        **{key: isinstance(values[key], dict) for key in ("properties", "parity")},
        **{
            key: isinstance(values[key], bool)
            for key in ("hardware_compatible", "version_compatible")
        },
        "precision": values["precision"] in PRECISIONS,
        "workspace_mib": type(values["workspace_mib"]) is int and values["workspace_mib"] >= 0,
        "batch": isinstance(batch, list)
        and len(batch) == 3
        and all(type(size) is int for size in batch)
        and 1 <= batch[0] <= batch[1] <= batch[2],
        "ranges": isinstance(ranges, dict)
        and all(isinstance(span, float) and math.isfinite(span) for span in ranges.values()),
    }
    for key, fine in right.items():
        if not fine:
            raise ValueError(f"{key} is out of range")
