"""The part of an embedding for recordings of another kind: fitted on many domains, and of use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")
pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: train)")

from model import domain_training  # noqa: E402
from model.detection_metrics import auroc  # noqa: E402
from model.domain_training import (  # noqa: E402
    COHORT_DEVICES,
    HOP_FRAMES,
    brought_closer,
    domain_trials,
    fit_other_domains,
    held_out_domains,
    recording_embeddings,
    training_domains,
    window_statistics,
)
from model.embedding_scoring import cosine_scores  # noqa: E402
from model.errors import UsageError  # noqa: E402
from model.features import windows_of  # noqa: E402
from model.network import DeviceNetwork  # noqa: E402
from model.network_config import NetworkConfig, front_end_for  # noqa: E402
from model.other_domains import OtherDomains  # noqa: E402
from model.simulated_domains import SimulatedDomains  # noqa: E402

FRONT_END = front_end_for("statistics")
BANDS = FRONT_END.n_mels
CORPUS_DEVICES = 12


def curves(rng: np.random.Generator, n: int, spread: float) -> np.ndarray:
    """Smooth curves over the bands, ``(n, bands)``."""
    waves = np.cos(np.pi * np.outer(np.arange(1, 9), np.linspace(0, 1, BANDS)))
    return spread * rng.standard_normal((n, 8)) @ waves


#: What voices differ in. A corpus of one set of voices does not show it, and its devices differ in
#: nothing as much.
VOICE = np.cos(2 * np.pi * np.outer((1, 2), np.linspace(0, 1, BANDS)))


def recordings(n_domains: int, n_devices: int, seed: int, voices: float = 3.0) -> np.ndarray:
    """Made-up log-mel frames: a curve of each device, room and take's voice, under noise.

    Args:
        n_domains: of a room each.
        n_devices: of each domain.
        seed: of everything.
        voices: how far those of two takes differ.

    Returns:
        float16 ``(domains, devices, 2, 192, bands)``.
    """
    rng = np.random.default_rng(seed)
    devices = curves(rng, n_domains * n_devices, 0.4).reshape(n_domains, n_devices, 1, 1, BANDS)
    devices = devices + 1.5 * rng.standard_normal((*devices.shape[:-1], 2)) @ VOICE
    rooms = curves(rng, n_domains, 0.25)[:, None, None, None]
    spoken = voices * rng.standard_normal((n_domains, 1, 2, 1, 2)) @ VOICE
    # What is said is the same on all devices of a domain.
    words = rng.standard_normal((n_domains, 1, 2, 192, BANDS))
    noise = 0.2 * rng.standard_normal((n_domains, n_devices, 2, 192, BANDS))
    return (devices + rooms + spoken + words + noise).astype(np.float16)


def windows_from(mels: np.ndarray) -> Any:
    """What the network takes, ``(n, 128, 73)``; it must not look at the other features."""
    windows = windows_of(mels.astype(np.float32), HOP_FRAMES)
    other = np.full((*windows.shape[:2], 73 - BANDS), 7.0, np.float32)
    return torch.from_numpy(np.concatenate([other, windows], axis=2))


@dataclass(frozen=True)
class Fitted:
    """A network with both kinds of discriminants, and what there was before the second."""

    network: DeviceNetwork
    before: dict[str, Any]
    other: OtherDomains
    first: np.ndarray


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    torch.manual_seed(0)
    config = NetworkConfig.for_profile("statistics", CORPUS_DEVICES, FRONT_END)
    network = DeviceNetwork(config)
    corpus = recordings(1, CORPUS_DEVICES, seed=1, voices=0.1)[0]
    windows = torch.cat([windows_from(take) for device in corpus for take in device])
    labels = torch.arange(CORPUS_DEVICES).repeat_interleave(len(windows) // CORPUS_DEVICES)
    network.fit_statistics(windows, labels)
    statistics = network.statistics.statistics(network.input_norm.mels(windows[:, :, -BANDS:]))
    network.discriminants.fit(statistics, labels, CORPUS_DEVICES, 1.0)
    network.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first = recordings(12, 8, seed=2)
    other = fit_other_domains(network, first, recordings(10, 8, seed=3))
    return Fitted(network, before, other, first)


def named_right(embeddings: np.ndarray) -> float:
    """Share of second takes that are most like the first take of their own device."""
    right = [
        cosine_scores(domain[:, 0], domain[:, 1]).argmax(axis=1) == np.arange(len(domain))
        for domain in embeddings
    ]
    return float(np.mean(right))


def test_robust_dimensions_tell_devices_apart_in_new_domains(fitted: Fitted) -> None:
    """Better than those of the corpus, by either figure."""
    n_own = fitted.network.config.n_discriminants
    embeddings = recording_embeddings(fitted.network, recordings(10, 8, seed=4))
    own, robust = embeddings[..., :n_own], embeddings[..., n_own:]
    assert named_right(robust) > 0.85
    assert named_right(robust) > named_right(own) + 0.3
    normalised = auroc(*domain_trials(embeddings, fitted.other.cohort.scores))
    assert normalised > 0.9
    assert normalised > auroc(*domain_trials(own, cosine_scores)) + 0.2
    # And what is calibrated on the second half holds there.
    same, different = domain_trials(embeddings, fitted.other.log10_lr)
    assert (same > 0).mean() > 0.8
    assert (different < 0).mean() > 0.7


def test_the_corpus_does_not_change(fitted: Fitted) -> None:
    n_own = fitted.network.config.n_discriminants
    for name, value in fitted.network.state_dict().items():
        if name != "discriminants.projection":
            torch.testing.assert_close(value, fitted.before[name], rtol=0, atol=0)
    before = fitted.before["discriminants.projection"]
    after = fitted.network.discriminants.projection
    torch.testing.assert_close(after[:, :n_own], before[:, :n_own], rtol=0, atol=0)
    assert not before[:, n_own:].any()
    assert after[:, n_own:].any(dim=0).all()


def test_embeddings_are_means_over_windows(fitted: Fitted) -> None:
    mels = fitted.first[:2, :3]
    found = recording_embeddings(fitted.network, mels)
    statistics = window_statistics(fitted.network, mels)
    assert found.shape == (2, 3, 2, fitted.network.config.embedding_dim)
    assert found.dtype == np.float64
    n_windows = (192 - 128) // HOP_FRAMES + 1
    assert statistics.shape == (2, 3, 2, n_windows, 4 * BANDS)
    for place in np.ndindex(2, 3, 2):
        with torch.no_grad():
            embedding = fitted.network(windows_from(mels[place]))[1].numpy()
        assert len(embedding) == n_windows
        np.testing.assert_allclose(found[place], embedding.mean(axis=0), rtol=1e-3, atol=1e-3)


def test_the_cohort_is_of_the_first_half_and_the_calibration_of_the_second(
    fitted: Fitted,
) -> None:
    cohort = fitted.other.cohort
    assert cohort.first == fitted.network.config.n_discriminants
    takes = recording_embeddings(fitted.network, fitted.first)[:, :, 0]
    expected = [device for domain in takes for device in domain[:COHORT_DEVICES]]
    np.testing.assert_allclose(cohort.embeddings, expected, rtol=1e-5, atol=1e-5)
    embeddings = brought_closer(recording_embeddings(fitted.network, recordings(10, 8, seed=3)))
    for found, scores in zip(
        (fitted.other.same, fitted.other.different),
        domain_trials(embeddings, cohort.scores),
        strict=True,
    ):
        np.testing.assert_allclose(found, np.sort(fitted.other.calibration.log10_lr(scores)))
    assert fitted.other.bounds.lower < 0 < fitted.other.bounds.upper


def test_what_varies_within_a_device_has_unit_variance(fitted: Fitted) -> None:
    """Windows a little and takes for the rest, as long as both are what was fitted on."""
    n_own = fitted.network.config.n_discriminants
    takes = recording_embeddings(fitted.network, fitted.first)[..., n_own:]
    within = 2 * (takes - takes.mean(axis=2, keepdims=True)).reshape(-1, takes.shape[-1]) ** 2
    assert 0.2 < within.mean() < 1.3


def test_devices_are_brought_closer_and_what_varies_within_them_stays() -> None:
    rng = np.random.default_rng(8)
    embeddings = rng.standard_normal((5, 4, 2, 3))
    closer = brought_closer(embeddings)
    devices, moved = embeddings.mean(axis=2), closer.mean(axis=2)
    for domain, factor in enumerate((0.3, 0.475, 0.65, 0.825, 1.0)):
        centre = devices[domain].mean(axis=0)
        np.testing.assert_allclose(moved[domain] - centre, factor * (devices[domain] - centre))
    within = embeddings - devices[:, :, None]
    np.testing.assert_allclose(closer - moved[:, :, None], within, atol=1e-12)


def test_trials() -> None:
    """Every first take with every second one of its domain, none across domains."""
    embeddings = np.arange(3 * 4 * 2, dtype=np.float64).reshape(3, 4, 2, 1)  # each says its place

    def scores(prototypes: np.ndarray, questioned: np.ndarray) -> np.ndarray:
        assert prototypes.shape == questioned.shape == (4, 1)
        return 100 * questioned + prototypes[:, 0]

    same, different = domain_trials(embeddings, scores)
    assert same.tolist() == [100 * (2 * k + 1) + 2 * k for k in range(12)]
    expected = [
        100 * (8 * d + 2 * asked + 1) + 8 * d + 2 * known
        for d in range(3)
        for asked in range(4)
        for known in range(4)
        if asked != known
    ]
    assert different.tolist() == expected


def test_which_domains_are_simulated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Other speech and other seeds for each part, so that no device recurs."""
    asked: list[tuple[SimulatedDomains, Path]] = []

    def record(domains: SimulatedDomains, front_end: object, folder: Path, **_: object) -> Any:
        assert front_end is FRONT_END
        asked.append((domains, folder))
        return np.zeros(len(asked))  # each can be told from the next

    monkeypatch.setattr(domain_training, "domain_recordings", record)
    speech = [(Path(f"{name}1.wav"), Path(f"{name}2.wav")) for name in "abc"]
    responses = tuple(Path(f"m{k}.wav") for k in range(domain_training.DEVICES))
    for seed in (0, 1, 7):
        first, second = training_domains(speech[:2], FRONT_END, tmp_path, seed)
        assert len(first) + 1 == len(second)
        asked.append((held_out_domains(speech[2], responses, seed), tmp_path / "test"))
    assert [domains.speech for domains, _ in asked] == 3 * speech
    assert len({domains.seed for domains, _ in asked}) == 9
    for k, (domains, _) in enumerate(asked):
        held_out = k % 3 == 2
        assert domains.microphones == (responses if held_out else ())
        assert domains.n_devices == domain_training.DEVICES
        n_domains = domain_training.TEST_DOMAINS if held_out else domain_training.DOMAINS
        assert domains.n_domains == n_domains
    assert len({folder for _, folder in asked}) == 3
    drawn = held_out_domains(speech[2], (), 0)
    assert (drawn.microphones, drawn.seed) == ((), asked[2][0].seed)


def test_too_few_microphones_to_test_with() -> None:
    speech = (Path("a.wav"), Path("b.wav"))
    responses = tuple(Path(f"m{k}.wav") for k in range(domain_training.DEVICES - 1))
    with pytest.raises(UsageError, match="10 microphones are needed, and 9 are there"):
        held_out_domains(speech, responses, 0)
