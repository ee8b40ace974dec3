"""Training on statistics: the right frames, discriminants as scikit-learn's, and it learns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")
pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: train)")

from sklearn.discriminant_analysis import LinearDiscriminantAnalysis  # noqa: E402

from model import statistics_training  # noqa: E402
from model.embedding_scoring import cosine_scores  # noqa: E402
from model.errors import CorpusError  # noqa: E402
from model.features import WINDOW_FRAMES, extract, windows_of  # noqa: E402
from model.network import DeviceNetwork  # noqa: E402
from model.network_config import NetworkConfig, front_end_for  # noqa: E402
from model.response_curves import response_curves  # noqa: E402
from model.segment_windows import SegmentWindows  # noqa: E402
from model.statistics_training import fit_linear, train_head  # noqa: E402
from model.synthetic_speech import synthetic_speech  # noqa: E402
from model.training_config import PRESETS  # noqa: E402
from model.training_data import ClipData, fixed_windows, spread_windows  # noqa: E402
from model.virtual_microphone import VirtualMicrophone  # noqa: E402
from model.window_statistics import Discriminants, LinearScores  # noqa: E402
from tests.simulated import RATE_HZ  # noqa: E402

FRONT_END = front_end_for("statistics")
QUICK = PRESETS["fast"].with_changes(warm_up_steps=200, virtual_devices=60)


# Windows


def counted_clip(label: int, n_frames: int, n_copies: int, number: int) -> ClipData:
    """A clip whose frames say which clip, which copy and which frame they are."""

    def frames(copy: int) -> np.ndarray:
        place = np.arange(n_frames)
        skipped = np.full(n_frames, -1)
        return np.stack([skipped, np.full(n_frames, number), np.full(n_frames, copy), place], 1)

    return ClipData(
        label,
        frames(0).astype(np.float32),
        [frames(copy).astype(np.float16) for copy in range(1, n_copies)],
    )


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(
        st.lists(st.one_of(st.just(128), st.integers(128, 400)), min_size=1, max_size=3),
        min_size=1,
        max_size=4,
    ),
    n_copies=st.integers(1, 3),
    pieces=st.sampled_from([1, 2, 4, 8]),
    seed=st.integers(0, 2**32 - 1),
)
def test_windows_are_of_the_copy_and_device_asked_for(
    lengths: list[list[int]], n_copies: int, pieces: int, seed: int
) -> None:
    """And no piece reaches across a clip's edge."""
    numbered = [(device, length) for device, group in enumerate(lengths) for length in group]
    clips = [
        counted_clip(device, length, n_copies, number)
        for number, (device, length) in enumerate(numbered)
    ]
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(clips))
    windows = SegmentWindows([clips[i] for i in order], first_mel=1)
    assert (windows.n_devices, windows.n_copies) == (len(lengths), n_copies)
    copies = rng.integers(0, n_copies, 12)
    devices = rng.integers(0, len(lengths), 12)
    drawn = windows.draw(copies, devices, pieces, rng)
    assert drawn.dtype == torch.float32
    assert drawn.shape == (12, WINDOW_FRAMES, 3)
    for window, copy, device in zip(drawn.int().numpy(), copies, devices, strict=True):
        for piece in np.split(window, pieces):
            clip, of_copy, place = piece.T
            assert len(set(clip)) == 1
            assert numbered[clip[0]][0] == device
            assert set(of_copy) == {copy}
            assert place[0] >= 0
            assert place[-1] < numbered[clip[0]][1]
            np.testing.assert_array_equal(np.diff(place), 1)


def test_each_place_is_as_likely_as_any_other() -> None:
    clips = [counted_clip(0, 128, 1, 0), counted_clip(0, 131, 1, 1)]  # 1 place and 4 places
    windows = SegmentWindows(clips, first_mel=1)
    none = np.zeros(4000, np.int64)
    first = windows.draw(none, none, 1, np.random.default_rng(0))[:, 0]
    places = {tuple(row) for row in first[:, [0, 2]].int().tolist()}
    assert places == {(0, 0), (1, 0), (1, 1), (1, 2), (1, 3)}
    for clip, place in places:
        share = ((first[:, 0] == clip) & (first[:, 2] == place)).float().mean()
        assert float(share) == pytest.approx(0.2, abs=0.03)  # almost five standard deviations


# Linear discriminants


def gaussian_devices(
    n_devices: int, n_statistics: int, n_each: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Devices with one covariance, far from round, and means of their own."""
    rng = np.random.default_rng(0)
    mixing = np.eye(n_statistics) + 0.2 * rng.standard_normal((n_statistics, n_statistics))
    means = rng.standard_normal((n_devices, n_statistics))
    labels = np.repeat(np.arange(n_devices), n_each)
    values = (rng.standard_normal((len(labels), n_statistics)) + means[labels]) @ mixing + 10
    return torch.from_numpy(values.astype(np.float32)), torch.from_numpy(labels)


@pytest.mark.parametrize("n_devices", [2, 3, 6])
def test_linear_scores_decide_as_scikit_learn(n_devices: int) -> None:
    values, labels = gaussian_devices(n_devices, 12, 200)
    share = 0.2
    scores = LinearScores(12, n_devices)
    assert not scores(values).any()  # before they are measured they add nothing
    scores.fit(values, labels, share)
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    reference.fit(values.double().numpy(), labels.numpy())
    found = scores(values)
    np.testing.assert_array_equal(found.argmax(1), reference.predict(values.double().numpy()))
    np.testing.assert_allclose(
        torch.log_softmax(found / share, dim=1),
        reference.predict_log_proba(values.double().numpy()),
        atol=2e-2,
    )


def test_discriminants_of_real_devices_are_fishers() -> None:
    n_devices, n_statistics = 6, 12
    values, labels = gaussian_devices(n_devices, n_statistics, 2000)
    discriminants = Discriminants(n_statistics, n_devices - 1, 0)
    discriminants.fit(values, labels, n_devices, real_weight=5.0)
    embedded = discriminants(values).numpy()
    centred = np.concatenate(
        [embedded[labels == k] - embedded[labels == k].mean(axis=0) for k in range(n_devices)]
    )
    np.testing.assert_allclose(np.cov(centred.T), np.eye(n_devices - 1), atol=0.05)
    means = np.stack([embedded[labels == k].mean(axis=0) for k in range(n_devices)])
    np.testing.assert_allclose(means.mean(axis=0), 0, atol=1e-3)

    reference = LinearDiscriminantAnalysis(solver="svd").fit(values.numpy(), labels.numpy())
    expected = reference.transform(values.numpy())
    ours, theirs = discriminants.projection.numpy(), reference.scalings_[:, : n_devices - 1]
    assert scipy.linalg.subspace_angles(ours, theirs).max() < 0.02
    # Up to a rotation: distances and angles between recordings are the same.
    few = slice(None, None, 500)
    np.testing.assert_allclose(
        embedded[few] @ embedded[few].T, expected[few] @ expected[few].T, rtol=0.05, atol=0.5
    )


def test_discriminants_follow_weighted_virtual_devices() -> None:
    """A direction in which only virtual devices differ is found, and real ones count for more."""
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(8), 300)  # 0 to 3 are real
    means = np.zeros((8, 5))
    means[:4, 0] = (-3, -1, 1, 3)
    means[4:, 1] = (-3, -1, 1, 3)
    values = torch.from_numpy(rng.standard_normal((len(owner), 5)) + means[owner])
    discriminants = Discriminants(5, 2, 0)
    discriminants.fit(values, torch.from_numpy(owner), 4, real_weight=5.0)
    directions = np.abs(discriminants.projection.numpy())
    assert directions.argmax(axis=0).tolist() == [0, 1]
    discriminants.fit(values, torch.from_numpy(owner), 4, real_weight=0.2)
    directions = np.abs(discriminants.projection.numpy())
    assert directions.argmax(axis=0).tolist() == [1, 0]


def test_robust_discriminants_are_fishers_and_change_no_others() -> None:
    """Of covariances; behind those of the corpus, around the corpus's centre."""
    values, labels = gaussian_devices(6, 12, 200)
    discriminants = Discriminants(12, 5, 3)
    discriminants.fit(values, labels, 6, real_weight=5.0)
    before = discriminants(values).numpy()
    assert before.shape == (1200, 8)
    assert not before[:, 5:].any()  # zero before they are measured
    rng = np.random.default_rng(1)
    mixing = rng.standard_normal((2, 12, 15))
    between, within = (part @ part.T for part in mixing)
    discriminants.fit_robust(between, within)
    after = discriminants(values).numpy()
    np.testing.assert_array_equal(after[:, :5], before[:, :5])
    robust = discriminants.projection[:, 5:].double().numpy()
    np.testing.assert_allclose(robust.T @ within @ robust, np.eye(3), atol=1e-4)
    eigenvalues, directions = np.linalg.eig(np.linalg.solve(within, between))
    largest = np.argsort(eigenvalues.real)[::-1][:3]
    np.testing.assert_allclose(
        np.diag(robust.T @ between @ robust), eigenvalues.real[largest], rtol=1e-4
    )
    leading = directions.real[:, largest]
    for ours, theirs in zip(robust.T, leading.T, strict=True):
        cosine = ours @ theirs / (np.linalg.norm(ours) * np.linalg.norm(theirs))
        assert abs(cosine) == pytest.approx(1.0, abs=1e-4)
    centre = discriminants.centre.numpy()
    np.testing.assert_allclose(
        after[:, 5:], (values.numpy() - centre) @ robust, rtol=1e-3, atol=1e-3
    )


def test_response_curves() -> None:
    curves = response_curves(300, 34, np.random.default_rng(0))
    assert curves.shape == (300, 34)
    assert curves.dtype == np.float32
    np.testing.assert_array_equal(curves, response_curves(300, 34, np.random.default_rng(0)))
    spread_db = 20 / np.log(10) * curves.std(axis=1)
    assert np.quantile(spread_db, 0.05) < 1  # units of one model
    assert np.quantile(spread_db, 0.95) > 3  # models far apart
    step, jump = (np.abs(np.diff(c, axis=1)).mean() for c in (curves, curves[:, ::17]))
    assert step < 0.5 * jump  # smooth


# Networks


@dataclass(frozen=True)
class Task:
    """Five simulated devices: clips to train on, and clips of other voices to test."""

    train: list[ClipData]
    test: list[ClipData]


@pytest.fixture(scope="module")
def task() -> Task:
    devices = [VirtualMicrophone.draw(seed) for seed in range(5)]
    clips: list[list[ClipData]] = []
    for voice in range(3):
        spoken = synthetic_speech(3.0, seed=voice)
        recorded = [
            device.record(spoken, RATE_HZ, np.random.default_rng((voice, label)))
            for label, device in enumerate(devices)
        ]
        clips.append([ClipData(k, extract(heard, FRONT_END)) for k, heard in enumerate(recorded)])
    return Task([*clips[0], *clips[1]], clips[2])


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics_training, "BATCH", 64)
    monkeypatch.setattr(statistics_training, "REAL_WINDOWS", 1000)
    monkeypatch.setattr(statistics_training, "VIRTUAL_WINDOWS", 10)


def network_for(profile: str, clips: list[ClipData]) -> DeviceNetwork:
    torch.manual_seed(0)
    n_devices = 1 + max(clip.label for clip in clips)
    config = NetworkConfig.for_profile(profile, n_devices, FRONT_END)  # type: ignore[arg-type]
    network = DeviceNetwork(config)
    network.fit_statistics(*spread_windows(clips))
    return network


def drawn_from(clips: list[ClipData]) -> SegmentWindows:
    return SegmentWindows(clips, first_mel=39)


@torch.no_grad()
def scored(network: DeviceNetwork, clips: list[ClipData]) -> tuple[np.ndarray, np.ndarray, float]:
    """Logits, embeddings and accuracy of windows."""
    windows, labels = fixed_windows(clips, 32)
    logits, embeddings = network.eval()(windows)
    accuracy = (logits.argmax(1) == labels).float().mean()
    return logits.numpy(), embeddings.numpy(), float(accuracy)


def test_the_statistics_profile_learns_simulated_devices(task: Task) -> None:
    network = network_for("statistics", task.train)
    before = scored(network, task.test)
    assert before[2] < 0.6
    assert not before[1].any()  # the embedding is measured, not trained
    loss = train_head(network, drawn_from(task.train), QUICK)
    assert 0 < loss < 0.8
    head, _, accuracy = scored(network, task.test)
    assert accuracy >= 0.9
    fit_linear(network, drawn_from(task.train), QUICK)
    logits, _, accuracy = scored(network, task.test)
    assert accuracy >= 0.95
    assert not np.allclose(logits, head)
    n_own = network.config.n_discriminants
    embeddings = scored(network, task.test)[1]
    assert embeddings[:, :n_own].any(axis=0).all()
    assert not embeddings[:, n_own:].any()  # these take simulated domains

    known, asked = (
        np.stack(
            [
                scored(network, [clip for clip in clips if clip.label == label])[1].mean(axis=0)
                for label in range(5)
            ]
        ).astype(np.float64)
        for clips in (task.train, task.test)
    )
    assert cosine_scores(known, asked).argmax(axis=1).tolist() == list(range(5))


def test_training_again_gives_the_same_network(task: Task) -> None:
    answers = []
    for _ in range(2):
        network = network_for("statistics", task.train)
        train_head(network, drawn_from(task.train), QUICK.with_changes(warm_up_steps=5))
        fit_linear(network, drawn_from(task.train), QUICK)
        answers.append(scored(network, task.test))
    np.testing.assert_allclose(answers[0][0], answers[1][0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(answers[0][1], answers[1][1], rtol=1e-4, atol=1e-4)


def test_two_devices_with_one_short_clip_each(task: Task) -> None:
    single = [ClipData(k, task.train[k].features[:WINDOW_FRAMES]) for k in range(2)]
    with pytest.raises(CorpusError, match="every device has a single window"):
        network_for("statistics", single)
    clips = [ClipData(k, task.train[k].features[: WINDOW_FRAMES + 8]) for k in range(2)]
    network = network_for("statistics", clips)
    train_head(network, drawn_from(clips), QUICK.with_changes(warm_up_steps=20))
    fit_linear(network, drawn_from(clips), QUICK)
    logits, embeddings, accuracy = scored(network, clips)
    assert logits.shape == (2, 2)
    assert np.isfinite(logits).all()
    assert np.isfinite(embeddings).all()
    assert accuracy == 1.0


@pytest.mark.parametrize("profile", ["statistics", "hybrid"])
def test_from_mels_is_the_network_without_its_sequence(profile: str, task: Task) -> None:
    network = network_for(profile, task.train)
    train_head(network, drawn_from(task.train), QUICK.with_changes(warm_up_steps=5))
    if profile == "statistics":
        fit_linear(network, drawn_from(task.train), QUICK)
    network.eval()
    windows = torch.from_numpy(np.array(windows_of(task.test[0].features, 64)))
    with torch.no_grad():
        logits, embedding = network.from_mels(windows[:, :, 39:])
        torch.testing.assert_close(network.statistics_alone(windows), logits)
        if profile == "statistics":
            torch.testing.assert_close(network(windows), (logits, embedding))
            # None of the other features count.
            windows[:, :, :39] = 7.0
            torch.testing.assert_close(network(windows)[0], logits)
    with pytest.raises(ValueError, match="no statistics"):
        network_for("paper", task.train).from_mels(windows[:, :, 39:])


def test_nothing_to_train(task: Task) -> None:
    for profile, steps in (("paper", 5), ("statistics", 0)):
        network = network_for(profile, task.train)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        assert (
            train_head(network, drawn_from(task.train), QUICK.with_changes(warm_up_steps=steps))
            == 0.0
        )
        for name, value in network.state_dict().items():
            torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_virtual_devices_stand_on_clips_and_on_further_speech(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[tuple[torch.Tensor, torch.Tensor, int]] = []
    drawn: list[tuple[int, np.ndarray]] = []
    draw = SegmentWindows.draw

    def keep(self: Discriminants, values: torch.Tensor, owner: torch.Tensor, n_real: int,
             real_weight: float) -> None:  # fmt: skip
        fitted.append((values, owner, n_real))

    def spied(
        self: SegmentWindows, copies: np.ndarray, devices: np.ndarray, *rest: object
    ) -> object:
        drawn.append((self.n_devices, devices))
        return draw(self, copies, devices, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Discriminants, "fit", keep)
    monkeypatch.setattr(SegmentWindows, "draw", spied)
    network = network_for("statistics", task.train)
    speech = [ClipData(0, task.test[0].features, [task.test[1].features])]
    for further, from_speech in (([], 0), (speech, 24 * 10)):
        drawn.clear()
        fit_linear(network, drawn_from(task.train), QUICK, drawn_from(further) if further else None)
        values, owner, n_real = fitted.pop()
        assert n_real == 5
        assert values.shape == (len(owner), 4 * 34)
        assert torch.isfinite(values).all()
        counts = np.bincount(owner.numpy())
        assert counts[:5].tolist() == [200] * 5
        assert counts[5:].tolist() == [10] * 60
        assert sum(len(devices) for n, devices in drawn if n == 1) == from_speech
    fit_linear(
        network, drawn_from(task.train), QUICK.with_changes(virtual_devices=0), drawn_from(speech)
    )
    assert fitted.pop()[1].max() == 4
