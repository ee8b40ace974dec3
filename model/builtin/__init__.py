"""The model that ships with the package; ``docs/model-card.md`` says what it can and cannot do."""

from __future__ import annotations

from pathlib import Path

BUILTIN_MODEL = Path(__file__).parent / "ccnu-mobile-40.onnx"
