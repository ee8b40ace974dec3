"""Test conditions: all of them apply, always the same way, and the unseen ones are unseen."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from model.augmentation import codec as codecs
from model.augmentation import conditions as known
from model.augmentation import noise as noises
from model.augmentation.augmentation import Chain, OneOf
from model.augmentation.codec import Codec
from model.augmentation.conditions import CLEAN, TEST_VOICE, Condition, conditions
from model.augmentation.noise import Babble
from model.augmentation.recipe import FFMPEG_CODECS, recipe
from model.corpus import Clip
from tests.simulated import RATE_HZ, speech_like

CLIP, OTHER_CLIP = (Clip(Path(f"simA_{k}.wav"), "simA", str(k)) for k in (1, 2))


@pytest.fixture(scope="module", autouse=True)
def few_voices() -> Iterator[None]:
    """Babble of a few short voices: making the real ones takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noises, "VOICES", 3)
        patch.setattr(noises, "VOICE_SECONDS", 0.5)
        noises._synthetic_voices.cache_clear()
        yield
    noises._synthetic_voices.cache_clear()


@pytest.mark.parametrize("condition", known._ALL, ids=lambda condition: condition.name)
def test_every_condition_applies(condition: Condition) -> None:
    if condition.codec is not None and not codecs.has_codec(condition.codec):
        pytest.skip(f"no ffmpeg with the encoder {codecs.FFMPEG[condition.codec][0]} here")
    samples = speech_like(0.6, 0)
    changed = condition.apply(samples, RATE_HZ, CLIP)
    assert changed.shape == samples.shape
    assert changed.dtype == np.float32
    assert np.isfinite(changed).all()
    assert np.abs(changed).max() <= 1.0
    assert np.array_equal(changed, samples) == (condition == CLEAN)
    moved = dataclasses.replace(CLIP, path=Path("/elsewhere") / CLIP.path.name)
    np.testing.assert_array_equal(changed, condition.apply(samples, RATE_HZ, moved))


def test_noise_is_each_clips_own() -> None:
    samples = speech_like(0.3, 0)
    condition = next(c for c in known._ALL if c.family == "noise")
    first, second = (condition.apply(samples, RATE_HZ, clip) for clip in (CLIP, OTHER_CLIP))
    assert not np.array_equal(first, second)


def test_names_are_unique_and_families_are_seen_or_unseen() -> None:
    names = [condition.name for condition in known._ALL]
    assert len(set(names)) == len(names)
    assert known._ALL[0] is CLEAN
    assert CLEAN.change is None
    seen, unseen = ({c.family for c in known._ALL if c.seen is kind} for kind in (True, False))
    assert seen
    assert unseen
    assert not seen & unseen


def parts_of(thing: object) -> Iterator[object]:
    """A condition's or a recipe's augmentations, those inside others too."""
    yield thing
    if isinstance(thing, Chain | OneOf):
        for _, inner in thing.steps if isinstance(thing, Chain) else thing.choices:
            yield from parts_of(inner)


def codecs_of(thing: object) -> set[str]:
    return {name for part in parts_of(thing) if isinstance(part, Codec) for name in part.names}


def test_training_knows_nothing_of_unseen_families() -> None:
    trained = recipe(["all"])
    kinds = {type(part) for part in parts_of(trained)}
    for condition in known._ALL[1:]:
        inside = {type(part) for part in parts_of(condition.change)} - {Chain}
        if condition.seen:
            assert inside <= kinds
            assert codecs_of(condition.change) <= codecs_of(trained)
        else:
            assert not inside & (kinds - {Codec})
            assert not codecs_of(condition.change) & codecs_of(trained)


def test_telephone_codecs_are_trained_and_those_of_ffmpeg_are_not() -> None:
    """What needs ffmpeg is only trained on where it is named, and is called unseen."""
    seen, unseen = (
        set().union(*(codecs_of(c.change) for c in known._ALL if c.seen is kind))
        for kind in (True, False)
    )
    assert seen == codecs_of(recipe(["all"]))
    assert {"gsm", "mu-law", "a-law"} <= seen
    named = {name for _, step in FFMPEG_CODECS.values() for name in step.names}
    assert named == {c.codec for c in known._ALL if c.codec is not None}
    assert named <= unseen


def test_test_babble_is_of_other_voices_than_trainings() -> None:
    voices = {part.first_voice for part in parts_of(recipe(["all"])) if isinstance(part, Babble)}
    assert voices
    tested = {c.change.first_voice for c in known._ALL if isinstance(c.change, Babble)}
    assert tested == {TEST_VOICE}
    assert all(abs(TEST_VOICE - first) >= 1000 for first in voices)


def test_families_that_an_augmentation_makes_seen() -> None:
    def seen(*names: str) -> set[str]:
        return {c.family for c in conditions(names) if c.seen}

    assert set(known.SEEN_WITH) == set(FFMPEG_CODECS)
    made = {c.family for c in conditions()}
    assert seen() == seen("all", "noise")
    assert seen("all", "calls") - seen() == {"call codecs"} & made
    assert seen("aac", "calls") - seen() == {"call codecs", "AAC"} & made
    for c in conditions():  # a family is seen as a whole or not at all
        assert c.seen == (c.family in seen())


def test_conditions_leave_out_what_cannot_be_made_here(monkeypatch: pytest.MonkeyPatch) -> None:
    needy = {c.name for c in known._ALL if c.codec is not None}
    monkeypatch.setattr(codecs, "ffmpeg_encoders", lambda: frozenset({"aac"}))
    left_out = {c.name for c in known._ALL} - {c.name for c in conditions()}
    assert left_out == {c.name for c in known._ALL if c.codec not in (None, "aac")}
    assert left_out < needy
    for condition in known._ALL:
        of_ffmpeg = codecs_of(condition.change) & set(codecs.FFMPEG)
        assert of_ffmpeg == ({condition.codec} - {None})
