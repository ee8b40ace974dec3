"""Fine-tuning: only what should learn does, as if the whole network ran; and by the command."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")
pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: train)")
onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: train)")

from sklearn.discriminant_analysis import LinearDiscriminantAnalysis  # noqa: E402
from typer.testing import CliRunner, Result  # noqa: E402

from agent.cli import app  # noqa: E402
from export.engine_loading import load_engine  # noqa: E402
from export.exporting import export_onnx  # noqa: E402
from export.onnx_file import write_model  # noqa: E402
from export.rebuild import rebuild_network  # noqa: E402
from export.sidecar import sha256_of  # noqa: E402
from export.source_model import Source  # noqa: E402
from model.builtin import BUILTIN_MODEL  # noqa: E402
from model.errors import CorpusError  # noqa: E402
from model.features import FrontEndConfig  # noqa: E402
from model.fine_tuning import (  # noqa: E402
    Epoch,
    fine_tune,
    fine_tuning_windows,
    learning_parameters,
    shuffled_batches,
)
from model.metadata import ModelMetadata  # noqa: E402
from model.network import DeviceNetwork  # noqa: E402
from model.network_config import PROFILES, NetworkConfig, Profile, front_end_for  # noqa: E402
from model.statistics_training import LINEAR_SHARE  # noqa: E402
from model.training_config import FREEZES, PRESETS, Freeze, TrainingConfig  # noqa: E402
from model.training_data import ClipData  # noqa: E402
from tests.conftest import run_cli_without, save_changed  # noqa: E402
from tests.simulated import RATE_HZ, record, speech_like  # noqa: E402

QUICK = PRESETS["transfer"].with_changes(epochs=3, batch=8, learning_rate=1e-2)
N_DEVICES = 3


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The last bits depend on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def simulated_windows(n: int, n_devices: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise, and a mean of its own for each simulated device."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % n_devices
    means = torch.randn(n_devices, 73, generator=generator)
    return torch.randn(n, 128, 73, generator=generator) + means[labels][:, None], labels


def trained_network(profile: Profile, dropout: float = 0.0) -> DeviceNetwork:
    """A small network for five devices, none of its numbers at its initial 0 or 1."""
    config = NetworkConfig.for_profile(profile, 5, front_end_for(profile))
    small = {"filters": (4, 3), "lstm_units": 6, "heads": 2, "head_dim": 4, "feed_forward": 5}
    small |= {"token_dim": 4, "hidden_dim": 12, "mlp_dim": 10, "n_discriminants": 4, "n_robust": 2}
    torch.manual_seed(0)
    network = DeviceNetwork(dataclasses.replace(config, **small, dropout=dropout))
    windows, labels = simulated_windows(20, 5, seed=1)
    network.fit_statistics(windows, labels)
    network.train()
    with torch.no_grad():
        network(windows)  # moves the batch norms' statistics
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        if profile == "statistics":
            for name in ("discriminants.projection", "discriminants.centre"):
                network.get_buffer(name).normal_(std=0.1)
    return network


def state_of(network: DeviceNetwork) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("freeze", FREEZES)
@pytest.mark.parametrize("profile", PROFILES)
def test_only_what_is_not_frozen_changes(profile: Profile, freeze: Freeze) -> None:
    network = trained_network(profile, dropout=0.2)
    before = state_of(network)
    windows, labels = simulated_windows(20, N_DEVICES, seed=2)
    tuned = fine_tune(network, windows, labels, N_DEVICES, freeze, QUICK)
    after = tuned.state_dict()
    changed = {name for name, old in before.items() if not torch.equal(old, after[name])}
    expected = {"classifier.weight", "classifier.bias"}
    if freeze == "trunk":
        expected |= {"mlp.weight", "mlp.bias"}
        if profile != "paper":  # gain and bias, not the statistics
            expected |= {"mlp_norm.weight", "mlp_norm.bias"}
    learnt = {id(parameter) for parameter in learning_parameters(tuned, freeze)}
    assert {name for name, p in tuned.named_parameters() if id(p) in learnt} == expected
    if profile == "statistics":  # measured
        expected |= {"linear_scores.weight", "linear_scores.bias"}
    assert changed == expected

    # The given network is as it was, and the new one shares nothing with it.
    assert all(torch.equal(old, network.state_dict()[name]) for name, old in before.items())
    assert network.training
    assert network.config.n_devices == 5
    assert tuned.config == dataclasses.replace(network.config, n_devices=N_DEVICES)
    assert not any(module.training for module in tuned.modules())
    assert not {p.data_ptr() for p in tuned.parameters()} & {
        p.data_ptr() for p in network.parameters()
    }
    with torch.no_grad():
        logits, embedding = tuned(windows)
        assert logits.shape == (20, N_DEVICES)
        if freeze == "mlp" or profile == "statistics":
            torch.testing.assert_close(embedding, network.eval()(windows)[1], rtol=0, atol=0)


def slowly(
    network: DeviceNetwork,
    windows: torch.Tensor,
    labels: torch.Tensor,
    freeze: Freeze,
    config: TrainingConfig,
) -> DeviceNetwork:
    """The same training with the whole network run in every step."""
    tuned = copy.deepcopy(network).eval()
    torch.manual_seed(config.seed)
    tuned.classifier = torch.nn.Linear(network.config.mlp_dim, N_DEVICES)
    if network.config.profile == "statistics":
        tuned.linear_scores = torch.nn.Identity()  # left out
        tuned.linear_scores.forward = lambda raw: torch.zeros(len(raw), N_DEVICES)  # type: ignore[method-assign]
    layers = (
        [tuned.classifier] if freeze == "mlp" else [tuned.classifier, tuned.mlp, tuned.mlp_norm]
    )
    tuned.requires_grad_(False)
    for layer in layers:
        layer.requires_grad_(True)
    optimizer = torch.optim.Adam(
        [p for p in tuned.parameters() if p.requires_grad], QUICK.learning_rate
    )
    rng = np.random.default_rng((config.seed, 3))
    tuned.dropout.train()
    for _ in range(config.epochs):
        for batch in shuffled_batches(len(windows), config.batch, rng):
            loss = torch.nn.functional.cross_entropy(tuned(windows[batch])[0], labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return tuned.eval()


@pytest.mark.parametrize(
    ("profile", "freeze", "dropout"),
    [
        ("paper", "trunk", 0.3),
        ("paper", "mlp", 0.3),
        ("hybrid", "trunk", 0.3),
        ("hybrid", "mlp", 0.3),
        ("statistics", "trunk", 0.3),
        ("statistics", "mlp", 0.0),  # its dropout before the MLP is the same layer as that after it
    ],
)
def test_it_equals_running_the_whole_network(
    profile: Profile, freeze: Freeze, dropout: float
) -> None:
    network = trained_network(profile, dropout)
    windows, labels = simulated_windows(21, N_DEVICES, seed=2)
    quick = fine_tune(network, windows, labels, N_DEVICES, freeze, QUICK)
    reference = slowly(network, windows, labels, freeze, QUICK)
    unseen, _ = simulated_windows(12, N_DEVICES, seed=3)
    with torch.no_grad():
        found, expected = quick(unseen)[0], reference(unseen)[0]
        if profile == "statistics":
            raw = quick.statistics.statistics(quick.input_norm.mels(quick.mels(unseen)))  # type: ignore[union-attr]
            found = found - quick.linear_scores(raw)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_linear_scores_are_of_the_new_devices_under_equal_priors() -> None:
    """Many windows of a device make it no likelier."""
    network = trained_network("statistics")
    windows, labels = simulated_windows(300, N_DEVICES, seed=2)
    chosen = (labels < 2) | (torch.arange(300) % 5 == 0)
    windows, labels = windows[chosen], labels[chosen]
    tuned = fine_tune(network, windows, labels, N_DEVICES, "mlp", QUICK)
    with torch.no_grad():
        raw = tuned.statistics.statistics(tuned.input_norm.mels(tuned.mels(windows)))  # type: ignore[union-attr]
        found = torch.log_softmax(tuned.linear_scores(raw) / LINEAR_SHARE, dim=1)
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    reference.fit(raw.double().numpy(), labels.numpy())
    likelihoods = reference.decision_function(raw.double().numpy()) - np.log(reference.priors_)
    expected = torch.log_softmax(torch.from_numpy(likelihoods), dim=1)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=5e-2)


@pytest.mark.parametrize("profile", PROFILES)
def test_it_learns_and_repeats_itself(profile: Profile) -> None:
    network = trained_network(profile, dropout=0.2)
    windows, labels = simulated_windows(60, N_DEVICES, seed=2)
    config = QUICK.with_changes(epochs=30, learning_rate=2e-2)
    epochs: list[Epoch] = []
    tuned = fine_tune(network, windows, labels, N_DEVICES, "trunk", config, on_epoch=epochs.append)
    assert [epoch.number for epoch in epochs] == list(range(1, 31))
    assert epochs[-1].loss < 0.5 * epochs[0].loss
    assert all(epoch.validation_loss is None for epoch in epochs)
    with torch.no_grad():
        assert (tuned(windows)[0].argmax(dim=1) == labels).float().mean() > 0.9

    torch.manual_seed(99)  # what was drawn before makes no difference, and is not disturbed
    drawn = torch.get_rng_state()
    again = fine_tune(network, windows, labels, N_DEVICES, "trunk", config)
    assert torch.equal(torch.get_rng_state(), drawn)
    for name, tensor in tuned.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    other = fine_tune(
        network, windows, labels, N_DEVICES, "trunk", config.with_changes(seed=1, epochs=1)
    )
    assert not torch.equal(other.classifier.weight, tuned.classifier.weight)


@pytest.mark.parametrize("profile", ["hybrid", "statistics"])
def test_the_best_epoch_is_kept_and_patience_ends_it(profile: Profile) -> None:
    """Validation windows under wrong labels: the loss can only rise once it has learnt."""
    network = trained_network(profile)
    windows, labels = simulated_windows(30, N_DEVICES, seed=2)
    unlike = (windows, (labels + 1) % N_DEVICES)
    config = QUICK.with_changes(epochs=40, patience=3)
    epochs: list[Epoch] = []
    tuned = fine_tune(
        network, windows, labels, N_DEVICES, "trunk", config, unlike, on_epoch=epochs.append
    )
    losses = [epoch.validation_loss for epoch in epochs]
    best = int(np.argmin(losses))
    assert [epoch.best for epoch in epochs] == [
        loss < min(losses[:place], default=np.inf) for place, loss in enumerate(losses)
    ]
    assert len(epochs) == best + 1 + config.patience < config.epochs
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(tuned(windows)[0], unlike[1])
    assert float(loss) == pytest.approx(losses[best], rel=1e-5)

    patient = config.with_changes(epochs=len(epochs) + 2, patience=0)
    whole: list[Epoch] = []
    same = fine_tune(
        network, windows, labels, N_DEVICES, "trunk", patient, unlike, on_epoch=whole.append
    )
    assert len(whole) == patient.epochs
    assert torch.equal(same.mlp.weight, tuned.mlp.weight)


@pytest.mark.parametrize("profile", ["hybrid", "statistics"])
def test_validation_windows_count_alike_by_device(profile: Profile) -> None:
    """Also where a device has none."""
    network = trained_network(profile)
    windows, labels = simulated_windows(30, N_DEVICES, seed=2)
    chosen = (labels == 0) | ((labels == 2) & (torch.arange(30) < 6))
    unseen = (windows[chosen] + 1, labels[chosen])
    assert torch.bincount(unseen[1]).tolist() == [10, 0, 2]
    epochs: list[Epoch] = []
    config = QUICK.with_changes(epochs=1)
    tuned = fine_tune(
        network, windows, labels, N_DEVICES, "trunk", config, unseen, on_epoch=epochs.append
    )
    with torch.no_grad():
        log_shares = torch.log_softmax(tuned(unseen[0])[0], dim=1)
    losses = -log_shares.gather(1, unseen[1][:, None])[:, 0]
    expected = (losses[unseen[1] == 0].mean() + losses[unseen[1] == 2].mean()) / 2
    assert epochs[0].validation_loss == pytest.approx(float(expected), rel=1e-5)


def test_progress_goes_through_track() -> None:
    windows, labels = simulated_windows(12, N_DEVICES, seed=2)
    asked: list[int] = []

    def track(numbers: range) -> Iterator[int]:
        for number in numbers:
            asked.append(number)
            yield number

    fine_tune(trained_network("statistics"), windows, labels, N_DEVICES, "mlp", QUICK, track=track)
    assert asked == [1, 2, 3]


@pytest.mark.parametrize(
    ("labels", "n_devices", "message"),
    [
        ([0, 0, 0], 1, "two devices"),
        ([0, 2, 2], 4, r"devices \[1, 3\]"),
        ([0, 1, 2], 3, "single window"),
    ],
)
def test_too_little_to_learn_from(labels: list[int], n_devices: int, message: str) -> None:
    windows, _ = simulated_windows(3, 3, seed=2)
    network = trained_network("statistics")
    with pytest.raises(CorpusError, match=message):
        fine_tune(network, windows, torch.tensor(labels), n_devices, "trunk", QUICK)


def numbered_clip(label: int, n_frames: int) -> ClipData:
    """Of float16, and every frame other than the rest."""
    frames = np.arange(n_frames * 73).reshape(n_frames, 73) % 2003 + 3000 * label
    return ClipData(label, (frames / 8).astype(np.float16), copies=[np.zeros((n_frames, 73))])


def starts_of(clip: ClipData, windows: torch.Tensor) -> list[int]:
    """Where in a clip windows begin."""
    own = clip.features.astype(np.float32)
    return [
        next(s for s in range(0, len(own), 32) if np.array_equal(own[s : s + 128], window))
        for window in windows.numpy()
    ]


def test_windows_are_a_hop_apart() -> None:
    clips = [numbered_clip(0, 128 + 32 * 9), numbered_clip(1, 128), numbered_clip(0, 127)]
    windows, labels = fine_tuning_windows(clips)
    assert windows.shape == (11, 128, 73)
    assert windows.dtype == torch.float32
    assert labels.tolist() == [0] * 10 + [1]
    assert starts_of(clips[0], windows[:10]) == list(range(0, 320, 32))
    assert starts_of(clips[1], windows[10:]) == [0]


def test_too_many_windows_are_drawn_alike_of_all_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.fine_tuning.SPREAD_WINDOWS", 50)
    # Of device 0 long clips, of 1 many short ones of one window, of 2 a single one.
    clips = [numbered_clip(0, 128 + 32 * 99), numbered_clip(2, 150)]
    clips += [numbered_clip(1, 128 + k % 8) for k in range(200)]
    windows, labels = fine_tuning_windows(clips)
    assert torch.bincount(labels).tolist() == [24, 25, 1]
    starts = starts_of(clips[0], windows[:24])
    assert starts == sorted(set(starts))  # each at most once
    assert max(np.diff(starts)) > 32
    again, other = fine_tuning_windows(clips)[0], fine_tuning_windows(clips, seed=1)[0]
    assert torch.equal(again, windows)
    assert not torch.equal(other, windows)
    few = [numbered_clip(k % 3, 128) for k in range(300)]
    assert sorted(torch.bincount(fine_tuning_windows(few)[1]).tolist()) == [16, 17, 17]


def test_memory_is_that_of_the_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.fine_tuning.SPREAD_WINDOWS", 20)
    clips = [ClipData(label, np.zeros((40_000, 73), np.float16)) for label in (0, 1)]
    tracemalloc.start()
    try:
        windows, _ = fine_tuning_windows(clips)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert windows.shape == (20, 128, 73)
    assert most < 2 * windows.numel() * 4  # a clip in float32 would be eight times as much


# The command


def run_here(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def simulated_phones(folder: Path, numbers: range, n_clips: int = 3) -> Path:
    folder.mkdir()
    for clip in range(1, n_clips + 1):
        spoken = speech_like(2.5, seed=clip)
        for number in numbers:
            heard = record(spoken, number, seed=clip)
            soundfile.write(folder / f"phone{number}_{clip}.wav", heard, RATE_HZ)
    return folder


@pytest.fixture(scope="module")
def other_phones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated_phones(tmp_path_factory.mktemp("phones") / "others", range(10, 13))


@pytest.fixture(scope="module")
def first_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the statistics profile, trained on four simulated phones."""
    folder = tmp_path_factory.mktemp("first")
    corpus = simulated_phones(folder / "first", range(4))
    path = folder / "first [4].onnx"  # square brackets: no markup
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.statistics_training.REAL_WINDOWS", 600)
        patch.setattr("model.statistics_training.VIRTUAL_WINDOWS", 4)
        done = run_here(
            "train", corpus, "-o", path, "--steps", "20", "--augment", "none", "--split-by", "none"
        )
    assert done.exit_code == 0, done.stderr
    return path


QUICKLY = ("--epochs", "15", "--learning-rate", "0.01")


@pytest.mark.parametrize("freeze", FREEZES)
def test_other_phones_by_the_command(
    first_model: Path, other_phones: Path, tmp_path: Path, freeze: str
) -> None:
    output = tmp_path / "others.onnx"
    done = run_here(
        "train", other_phones, "--from", first_model, "--freeze", freeze, "-o", output,
        *QUICKLY, "--seed", "3",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    said = " ".join(done.stderr.split())  # whatever the width
    assert re.search(
        r"15 epochs on \d+ parameters of first \[4\]\.onnx's network: epoch (\d|1[0-5]) was kept, "
        r"validation loss \d\.\d{4} ",
        said,
    )
    assert "strangers" not in done.stderr  # the first model knew none, either
    assert [path.name for path in tmp_path.iterdir()] == ["others.onnx"]
    engine, first = load_engine(output), load_engine(first_model)
    metadata = engine.metadata
    assert metadata.labels == ("phone10", "phone11", "phone12")
    assert metadata.front_end == first.metadata.front_end
    origin = metadata.provenance["fine-tuned from"]
    assert origin == {
        "file": "first [4].onnx",
        "sha256": sha256_of(first_model.read_bytes()),
        "labels": list(first.metadata.labels),
        "freeze": freeze,
    }
    assert metadata.provenance["corpus"] == "others"
    assert metadata.provenance["epochs"] == 15
    training = metadata.provenance["training"]
    assert (training["preset"], training["batch"], training["seed"]) == ("transfer", 32, 3)
    assert metadata.provenance["metrics"]["test clips"] == 3
    # The embedding is that of the first model.
    windows = np.random.default_rng(0).standard_normal((4, 128, 73)).astype(np.float32)
    expected = first.run(windows).embedding
    np.testing.assert_allclose(
        engine.run(windows).embedding, expected, atol=1e-4 * np.abs(expected).max()
    )
    done = run_here("classify", "--json", other_phones, "--model", output)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == 9
    for answer in answers:
        assert Path(answer["file"]).name.startswith(answer["device"] + "_")


def test_the_new_model_runs_without_torch(
    first_model: Path, other_phones: Path, tmp_path: Path
) -> None:
    output = tmp_path / "others.onnx"
    done = run_here(
        "train", other_phones, "--from", first_model, "-o", output, "--split-by", "none",
        "--profile", "statistics", "--epochs", "1",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert re.search(r"network: loss \d\.\d{4} ", " ".join(done.stderr.split()))
    provenance = load_engine(output).metadata.provenance
    assert provenance["fine-tuned from"]["freeze"] == "trunk"
    assert provenance["training"]["learning_rate"] == PRESETS["transfer"].learning_rate
    absent = ("torch", "onnx", "lightning", "sklearn", "matplotlib")
    clip = other_phones / "phone11_2.wav"
    ran = run_cli_without(absent, "classify", clip, "--model", output)
    assert ran.returncode == 0, ran.stderr.decode()
    assert b"phone11" in ran.stdout


def test_the_built_in_models_strangers_stay_behind(other_phones: Path, tmp_path: Path) -> None:
    output = tmp_path / "others.onnx"
    done = run_here(
        "train", other_phones, "--from", BUILTIN_MODEL, "--freeze", "mlp", "-o", output,
        "--split-by", "none", *QUICKLY,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "the new model knows no strangers" in done.stderr
    assert load_engine(output).metadata.open_set is None


@pytest.mark.parametrize("profile", ["paper", "hybrid"])
def test_recurrent_models_by_the_command(
    profile: Profile, other_phones: Path, tmp_path: Path
) -> None:
    """Early stopping, and a front end of the model's own."""
    network = trained_network(profile).eval()
    front_end = dataclasses.replace(front_end_for(profile), remove_dc=profile == "paper")
    assert front_end != FrontEndConfig()
    labels = tuple(f"old {k}" for k in range(5))
    source, output = tmp_path / "source.onnx", tmp_path / "new.onnx"
    windows = simulated_windows(4, 2, seed=0)[0].numpy()
    write_model(
        network, ModelMetadata(labels, front_end, network.config.to_dict()), source, windows
    )
    done = run_here(
        "train", other_phones, "--from", source, "-o", output, "--epochs", "50",
        "--learning-rate", "1e-12", "--patience", "2", "--split-by", "group",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    said = " ".join(done.stderr.split())
    ended = re.search(
        r"stopped early after (\d+) of 50 epochs (\d+) epochs on \d+ parameters", said
    )
    assert ended is not None
    assert ended[1] == ended[2]
    kept = int(ended[1]) - 2  # the epochs without progress
    assert re.search(rf"network: epoch {kept} was kept, validation loss \d\.\d{{4}} ", said)
    metadata = load_engine(output).metadata
    assert metadata.front_end == front_end
    assert metadata.provenance["epochs"] < 50
    tuned = rebuild_network(onnx.load(str(output)), "new")
    torch.testing.assert_close(tuned.mlp.weight, network_of(source).mlp.weight, rtol=0, atol=1e-5)


def network_of(path: Path) -> DeviceNetwork:
    return rebuild_network(onnx.load(str(path)), path.name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--freeze", "head"], "unknown part to freeze head; there are: trunk, mlp"),
        (["--profile", "paper"], "is of the profile statistics"),
        (["--preset", "robust"], "--preset robust does not go with --from: only transfer does"),
        (["--precision", "16-mixed"], "--precision 16-mixed does not go with --from: only 32 does"),
        (
            ["--accelerator", "gpu"],
            "--accelerator gpu does not go with --from: only auto or cpu do",
        ),
        (["--steps", "9"], "--steps does not go with --from: fine-tuning goes by --epochs"),
        (["--augment", "none"], "--augment does not go with --from"),
        (["--copies", "2"], "--copies does not go with --from"),
        (["--speech", "x"], "--speech does not go with --from"),
        (["--openset", "x"], "--openset does not go with --from: a fine-tuned model knows no"),
        (["--crossval", "x"], "--crossval does not go with --from"),
        (["--resume"], "--resume does not go with --from: fine-tuning keeps no checkpoints"),
        (["--keep-run"], "--keep-run does not go with --from"),
        (["--learning-rate", "0"], "learning rate > 0"),
    ],
)
def test_options_that_do_not_go_with_from(
    options: list[str], message: str, first_model: Path, other_phones: Path, tmp_path: Path
) -> None:
    output = tmp_path / "m.onnx"
    done = run_here("train", other_phones, "--from", first_model, "-o", output, *options)
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--freeze", "mlp"], "--freeze goes with --from"),
        (["--preset", "transfer"], "--preset transfer is for fine-tuning"),
    ],
)
def test_options_that_need_from(
    options: list[str], message: str, other_phones: Path, tmp_path: Path
) -> None:
    done = run_here("train", other_phones, "-o", tmp_path / "m.onnx", *options)
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_models_that_cannot_be_trained_on(
    first_model: Path, other_phones: Path, tmp_path: Path
) -> None:
    half, text, plan = (tmp_path / name for name in ("half.onnx", "text.onnx", "engine.plan"))
    export_onnx(Source(first_model), half, "fp16")
    text.write_text("no model")
    plan.write_bytes(b"\0")
    model = onnx.load(str(first_model))
    newer = save_changed(model, tmp_path / "newer.onnx", {"devrec.format_version": "2"})
    network = {**load_engine(first_model).metadata.network, "novelty": 1}
    changes = {"devrec.format_version": "1", "devrec.network": json.dumps(network)}
    unknown = save_changed(model, tmp_path / "unknown.onnx", changes)
    for path, message in (
        (half, "is in fp16; train from the float32 original"),
        (text, "not a loadable ONNX file"),
        (plan, "an engine; train from the .onnx model"),
        (newer, "model format 2, this version reads 1"),
        (unknown, "unknown network settings: ['novelty']"),
        (tmp_path / "missing.onnx", "no such model file"),
    ):
        done = run_here("train", other_phones, "--from", path, "-o", tmp_path / "m.onnx")
        assert done.exit_code == 4, done.stderr
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_phone_without_a_whole_window(first_model: Path, tmp_path: Path) -> None:
    corpus = simulated_phones(tmp_path / "phones", range(2))
    for clip in range(3):
        soundfile.write(corpus / f"brief_{clip}.wav", speech_like(1.0, seed=clip), RATE_HZ)
    done = run_here("train", corpus, "--from", first_model, "-o", tmp_path / "m.onnx")
    assert done.exit_code == 5
    assert "no training clip of at least 128 frames for: brief" in done.stderr
