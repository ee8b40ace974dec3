"""The model that ships: its file, and its answers on real recordings where they are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from agent.classification import classify_audio
from export.engine import Engine
from export.engine_loading import load_engine
from model.builtin import BUILTIN_MODEL
from model.corpus import read_corpus
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def engine() -> Engine:
    return load_engine(BUILTIN_MODEL)


def test_file(engine: Engine) -> None:
    assert BUILTIN_MODEL.stat().st_size <= 4_000_000
    assert len(engine.metadata.labels) == 40
    assert engine.metadata.provenance["split"] == "all clips"
    assert engine.metadata.front_end.remove_dc


def test_card_names_every_device(engine: Engine) -> None:
    card = (ROOT / "docs" / "model-card.md").read_text()
    assert [label for label in engine.metadata.labels if label not in card] == []
    assert engine.metadata.provenance["corpus sha256"] in card


def test_real_clips(engine: Engine, ccnu_mobile: Path) -> None:
    """All were trained on: this shows that the path works, not how well it generalises."""
    corpus = read_corpus(ccnu_mobile)
    clips = [clip for clip in corpus.clips if clip.group == "2"]
    assert len(clips) == 40
    for clip in clips:
        result = classify_audio(engine, clip.path, clip.path.name)
        assert result.best.device == clip.device
        assert result.warnings == ()


def test_answer_ignores_level_and_dc(engine: Engine, ccnu_mobile: Path, tmp_path: Path) -> None:
    """Level and DC alone tell these recordings apart; the model must not use them."""
    for name in ("IPHONEX_1.wav", "SAMSUNG_S8_3.wav", "xiaomi5_4.wav"):
        samples, rate_hz = soundfile.read(ccnu_mobile / name, dtype="float32")
        plain = classify_audio(engine, ccnu_mobile / name, name)
        soundfile.write(tmp_path / name, 0.25 * samples + 0.02, rate_hz, subtype="FLOAT")
        changed = classify_audio(engine, tmp_path / name, name)
        assert changed.best.device == plain.best.device
        assert changed.best.probability == pytest.approx(plain.best.probability, abs=0.05)


def test_quiet_answer_is_flagged(engine: Engine, ccnu_mobile: Path, tmp_path: Path) -> None:
    samples, rate_hz = soundfile.read(ccnu_mobile / "IPHONEX_1.wav", dtype="float32")
    soundfile.write(tmp_path / "quiet.wav", np.float32(0.03) * samples, rate_hz, subtype="FLOAT")
    assert classify_audio(engine, tmp_path / "quiet.wav", "quiet").warnings == ("quiet",)
