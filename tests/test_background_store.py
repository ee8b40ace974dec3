"""Kept background models are those that fitting gives; files that are not are not used."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: train)")

from model.baselines import background_store
from model.baselines.background_store import NOT_KEPT, BackgroundStore
from model.baselines.gsv_svm import GsvSvm
from model.baselines.ivector_svm import IVectorSvm
from model.baselines.universal_background import DiagonalMixture, fit_background_model
from model.errors import CorpusError, DevrecError
from tests.baseline_rig import TRAINING_SPEECH, UNHEARD_SPEECH, clips_of

CLIPS = list(np.random.default_rng(0).normal(size=(6, 40, 3)).astype(np.float32))
SETTINGS = {"n_gaussians": 3, "seed": 5, "max_frames": 100}


def assert_same(one: DiagonalMixture, other: DiagonalMixture) -> None:
    for part in ("weights", "means", "variances"):
        np.testing.assert_array_equal(getattr(one, part), getattr(other, part))


def refuse_to_fit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(background_store, "fit_mixture", lambda *_: pytest.fail("fitted"))


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A folder below which one model is kept."""
    folder = tmp_path / "made" / "when needed"
    assert_same(
        BackgroundStore(folder).fitted(CLIPS, **SETTINGS), fit_background_model(CLIPS, **SETTINGS)
    )
    assert only_file(folder).name.startswith("ubm-")
    return folder


def test_without_a_folder_it_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_store, "_write", lambda *_: pytest.fail("kept"))
    assert_same(NOT_KEPT.fitted(CLIPS, **SETTINGS), fit_background_model(CLIPS, **SETTINGS))


def test_a_kept_one_is_not_fitted_again(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = fit_background_model(CLIPS, **SETTINGS)
    refuse_to_fit(monkeypatch)
    asked: list[int] = []

    def one_by_one() -> Iterator[npt.NDArray[np.float32]]:
        for index, clip in enumerate(CLIPS):
            asked.append(index)
            yield clip

    assert_same(BackgroundStore(kept).fitted(one_by_one(), **SETTINGS), fitted)
    assert asked == list(range(len(CLIPS)))


@pytest.mark.parametrize("changed", [{"n_gaussians": 4}, {"seed": 6}, {"max_frames": 99}])
def test_other_settings_are_another_model(kept: Path, changed: dict[str, int]) -> None:
    other = SETTINGS | changed
    fitted = BackgroundStore(kept).fitted(CLIPS, **other)
    assert_same(fitted, fit_background_model(CLIPS, **other))
    assert len(list(kept.iterdir())) == 2


def test_one_other_frame_is_another_model(kept: Path) -> None:
    settings = SETTINGS | {"max_frames": 1000}
    BackgroundStore(kept).fitted(CLIPS, **settings)
    clips = [clip.copy() for clip in CLIPS]
    clips[3][17, 1] = np.nextafter(clips[3][17, 1], np.float32(9))
    BackgroundStore(kept).fitted(clips, **settings)
    assert len(list(kept.iterdir())) == 3


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_damaged_file_is_fitted_anew(kept: Path, data: st.DataObject) -> None:
    path = only_file(kept)
    whole = path.read_bytes()
    position = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    if data.draw(st.booleans()):
        damaged[position] ^= data.draw(st.integers(1, 255))
    else:
        del damaged[position:]
    path.write_bytes(damaged)
    fitted = fit_background_model(CLIPS, **SETTINGS)
    assert_same(BackgroundStore(kept).fitted(CLIPS, **SETTINGS), fitted)
    with pytest.MonkeyPatch.context() as patch:  # and it is whole again
        refuse_to_fit(patch)
        assert_same(BackgroundStore(kept).fitted(CLIPS, **SETTINGS), fitted)


GOOD = {"weights": np.full(3, 1 / 3), "means": np.zeros((3, 3)), "variances": np.ones((3, 3))}


@pytest.mark.parametrize(
    "changed",
    [
        {"weights": np.full(4, 1 / 4)},
        {"weights": np.ones(3)},
        {"weights": np.array([-1.0, 1.0, 1.0])},
        {"means": np.zeros((3, 2))},
        {"means": np.full((3, 3), np.nan)},
        {"means": np.zeros((3, 3), np.float32)},
        {"means": np.full((3, 3), "text", dtype=object)},
        {"variances": np.zeros((3, 3))},
        {"variances": np.full((3, 3), np.inf)},
        {"variances": None},
    ],
)
def test_a_file_of_something_else_is_fitted_anew(
    kept: Path, changed: dict[str, npt.NDArray[np.float64] | None]
) -> None:
    path = only_file(kept)
    fitted = fit_background_model(CLIPS, **SETTINGS)
    np.savez(path, **GOOD)
    taken = BackgroundStore(kept).fitted(CLIPS, **SETTINGS)
    np.testing.assert_array_equal(taken.means, GOOD["means"])  # so only the change can be at fault
    parts = {name: part for name, part in (GOOD | changed).items() if part is not None}
    np.savez(path, allow_pickle=True, **parts)
    assert_same(BackgroundStore(kept).fitted(CLIPS, **SETTINGS), fitted)


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="at least as many frames"):
        BackgroundStore(tmp_path).fitted(CLIPS[:1], n_gaussians=41)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DevrecError, match="cannot be made"):
        BackgroundStore(tmp_path / "file" / "folder").fitted(CLIPS, **SETTINGS)


def test_methods_share_one_and_answer_as_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    makes = (
        partial(GsvSvm, n_gaussians=8, max_frames=1000),
        partial(IVectorSvm, n_gaussians=8, max_frames=1000, iterations=2),
    )
    asked, _ = clips_of(3, UNHEARD_SPEECH)
    expected = []
    for make in makes:
        baseline = make()
        baseline.fit(*clips_of(3, TRAINING_SPEECH[:2]))
        expected.append(baseline.scores(asked))
    store = BackgroundStore(tmp_path)
    store.fitted(
        (clip.mfcc for clip in clips_of(3, TRAINING_SPEECH[:2])[0]), 8, seed=0, max_frames=1000
    )
    refuse_to_fit(monkeypatch)
    for make, scores in zip(makes, expected, strict=True):
        baseline = make(store=store)
        baseline.fit(*clips_of(3, TRAINING_SPEECH[:2]))
        np.testing.assert_array_equal(baseline.scores(asked), scores)
