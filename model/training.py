"""Training with Lightning: settings in, a trained network out; resumable after a kill.

Several GPUs or hosts are Lightning's DDP (``Trainer`` arguments through ``accelerator`` and
``devices``); there is no loop of our own. Checkpoints hold tensors and plain values only and are
read back with ``weights_only``, so that no pickle is ever executed.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from model.accelerator import check_accelerator
from model.corpus import Clip
from model.errors import UsageError
from model.feature_copies import FeatureCopies
from model.features import WINDOW_FRAMES, FrontEndConfig
from model.files import replacing
from model.network import DeviceNetwork
from model.network_config import NetworkConfig
from model.one_cycle import one_cycle
from model.segment_windows import SegmentWindows
from model.split import Split
from model.statistics_training import fit_linear, train_head
from model.training_config import TrainingConfig
from model.training_data import (
    ClipData,
    RandomWindows,
    fixed_windows,
    label_clips,
    spread_windows,
    training_clips,
)

VALIDATION_HOP_FRAMES = 64
_SETTINGS_FILE = "settings.json"


class DeviceModule(lightning.LightningModule):
    """Lightning's view of the network: loss, optimiser and schedule."""

    def __init__(self, network: DeviceNetwork, config: TrainingConfig) -> None:
        super().__init__()
        self.network, self.config = network, config
        self.loss = torch.nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """Cross entropy of one batch.

        Dropout and noise are seeded by the step, so that a resumed run repeats what an
        uninterrupted one would have drawn.
        """
        step_seed = self.config.seed * 1_000_003 + self.global_step
        torch.manual_seed(step_seed + 500_009 * self.global_rank)
        windows, labels = batch
        loss: Tensor = self.loss(self.network(windows)[0], labels)
        self.log("loss", loss, prog_bar=True, on_step=False, on_epoch=True, batch_size=len(labels))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        """Loss and window accuracy on the validation clips."""
        windows, labels = batch
        logits = self.network(windows)[0]
        loss = torch.nn.functional.cross_entropy(logits, labels)
        hits = (logits.argmax(dim=1) == labels).float().mean()
        values = {"val_loss": loss, "val_accuracy": hits}
        self.log_dict(values, prog_bar=True, batch_size=len(labels), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """Adam or AdamW under the preset's schedule."""
        config = self.config
        kind = torch.optim.AdamW if config.weight_decay else torch.optim.Adam
        optimizer = kind(
            self.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        if config.schedule == "step":
            step = torch.optim.lr_scheduler.StepLR(optimizer, config.step_epochs, gamma=0.1)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": step}}
        steps = int(self.trainer.estimated_stepping_batches)
        cycle = one_cycle(optimizer, config.learning_rate, steps, rise=0.2)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}


class WindowData(lightning.LightningDataModule):
    """Fresh random windows for every epoch, fixed windows for validation."""

    def __init__(
        self,
        train: Sequence[ClipData],
        validation: Sequence[ClipData],
        config: TrainingConfig,
    ) -> None:
        super().__init__()
        self._train, self._validation, self._config = train, validation, config
        held = sum(len(clip.features) // WINDOW_FRAMES for clip in train)
        self.n_windows = max(config.batch, round(held * config.windows_factor))

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Reloaded each epoch (see the trainer), so that the epoch number enters the seed."""
        epoch = self.trainer.current_epoch if self.trainer is not None else 0
        dataset = RandomWindows(
            self._train,
            self.n_windows,
            self._config.seed,
            epoch,
            splice=self._config.splice,
        )
        # Windows differ at random anyway and devices alternate: no shuffling needed, and every
        # batch sees every device about equally often.
        return DataLoader(dataset, batch_size=self._config.batch, drop_last=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]] | list[Any]:
        """All windows of the validation clips; empty without any."""
        if not self._validation:
            return []
        windows, labels = fixed_windows(self._validation, VALIDATION_HOP_FRAMES)
        return DataLoader(TensorDataset(windows, labels), batch_size=self._config.batch)


class _EpochLines(Callback):
    """One line per epoch where the console is no terminal (logs, CI)."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        shown = ", ".join(
            f"{name} {float(value):.4f}" for name, value in sorted(trainer.callback_metrics.items())
        )
        self._console.print(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: {shown}")


@dataclass(frozen=True)
class Trained:
    """A trained network and how it came about.

    Attributes:
        network: in evaluation mode, on the CPU.
        labels: device of each logit.
        epochs: passes done.
        stopped_early: whether early stopping ended the run.
        validation: last or best validation figures; empty without validation clips.
        main_process: false in the further processes of a data-parallel run, which write nothing.
    """

    network: DeviceNetwork
    labels: tuple[str, ...]
    epochs: int
    stopped_early: bool
    validation: dict[str, float]
    main_process: bool = True


def train(
    split: Split,
    features: Mapping[Clip, npt.NDArray[np.floating]],
    network_config: NetworkConfig,
    front_end: FrontEndConfig,
    config: TrainingConfig,
    run_dir: Path,
    *,
    labels: Sequence[str],
    copies: FeatureCopies | None = None,
    speech: Sequence[ClipData] = (),
    resume: bool = False,
    fingerprint: str = "",
    accelerator: str = "auto",
    devices: int | str = "auto",
    console: Console | None = None,
) -> Trained:
    """Train a network on the training clips of a split.

    The ``statistics`` profile takes ``config.warm_up_steps`` steps and no epochs, so that it leaves
    nothing to resume; the others go on for ``config.epochs`` epochs.

    Args:
        split: what to train on and validate with.
        features: front-end frames of every clip of the split.
        network_config: profile and sizes.
        front_end: the features' config.
        config: hyper-parameters.
        run_dir: folder for checkpoints; created.
        labels: device of each logit.
        copies: augmented copies of the training clips to draw from as well.
        speech: see :func:`model.statistics_training.fit_linear`.
        resume: go on from ``run_dir``'s last checkpoint if there is one.
        fingerprint: of the corpus; a run can only be resumed with the same one.
        accelerator: Lightning's: ``"auto"``, ``"cpu"``, ``"gpu"``.
        devices: Lightning's number of devices.
        console: where progress goes; ``None`` for silence.

    Raises:
        UsageError: the run to resume was started with other settings, or there is no such
            accelerator here.
        CorpusError: a device has no clip of at least one window to train on.
        KeyboardInterrupt: after Ctrl-C; the run can be resumed.
    """
    train_clips = training_clips(split.train, features, labels, copies)
    validation_clips = label_clips(split.validation, features, labels)
    check_accelerator(accelerator)
    _quieten()
    settings = json.loads(
        json.dumps(
            {
                "training": config.to_dict(),
                "network": network_config.to_dict(),
                "front_end": front_end.to_dict(),
                "split": split.name,
                "labels": list(labels),
                "fingerprint": fingerprint,
            }
        )
    )
    last = _prepare_run_dir(run_dir, settings, resume)
    torch.manual_seed(config.seed)
    network = DeviceNetwork(network_config)
    if last is None:  # a checkpoint brings both along
        windows, targets = spread_windows(train_clips)
        network.fit_statistics(windows, targets)
        del windows, targets
        if network.statistics is not None:
            drawn = SegmentWindows.for_network(train_clips, network_config)
            last_loss = train_head(network, drawn, config)
            if network_config.profile == "statistics":  # and that is all there is to train
                further = SegmentWindows.for_network(speech, network_config) if speech else None
                fit_linear(network, drawn, config, further)
                if console is not None:
                    console.print(f"{config.warm_up_steps} steps: loss {last_loss:.4f}")
                return Trained(network.eval(), tuple(labels), 0, False, {})
            del drawn
    module = DeviceModule(network, config)
    watched = "val_loss" if validation_clips else None
    checkpoint = ModelCheckpoint(
        run_dir,
        filename="best",
        monitor=watched,
        save_last=True,
        enable_version_counter=False,
        save_on_train_epoch_end=True,  # whole epochs only: a resumed run repeats none by half
    )
    callbacks: list[Callback] = [checkpoint]
    if watched and config.patience:
        callbacks.append(EarlyStopping(watched, patience=config.patience))
    terminal = console is not None and console.is_terminal
    if terminal:
        callbacks.append(RichProgressBar(leave=False))
    elif console is not None:
        callbacks.append(_EpochLines(console))
    trainer = lightning.Trainer(
        accelerator=accelerator,
        devices=devices,
        max_epochs=config.epochs,
        precision=config.precision,  # type: ignore[arg-type]
        gradient_clip_val=config.gradient_clip or None,
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=terminal,
        enable_model_summary=False,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        default_root_dir=run_dir,
        deterministic="warn",
    )
    data = WindowData(train_clips, validation_clips, config)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=last, weights_only=True)
    except SystemExit as stop:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from stop
    best = checkpoint.best_model_path
    if watched and best:
        state = torch.load(best, map_location="cpu", weights_only=True)["state_dict"]
        module.load_state_dict(state)
    validation = {
        name: float(value)
        for name, value in trainer.callback_metrics.items()
        if name.startswith("val_")
    }
    return Trained(
        network=module.network.cpu().eval(),
        labels=tuple(labels),
        epochs=trainer.current_epoch,
        stopped_early=trainer.current_epoch < config.epochs,
        validation=validation,
        main_process=trainer.is_global_zero,
    )


def _prepare_run_dir(run_dir: Path, settings: dict[str, Any], resume: bool) -> Path | None:
    """Create the run's folder; the checkpoint to go on from, if that is asked and there is one."""
    run_dir.mkdir(parents=True, exist_ok=True)
    file, last = run_dir / _SETTINGS_FILE, run_dir / "last.ckpt"
    if resume and last.is_file():
        try:
            before = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise UsageError(f"{run_dir}: not a training run that can be resumed") from error
        changed = sorted(key for key in settings if settings[key] != before.get(key))
        if changed:
            raise UsageError(f"{run_dir}: cannot resume, these have changed: {', '.join(changed)}")
        return last
    for stale in run_dir.glob("*.ckpt"):
        stale.unlink()
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(settings, indent=1))
    return None


def _quieten() -> None:
    """Keep Lightning's advertisements and advice off the user's terminal; failures still raise."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    warnings.filterwarnings("ignore", message=r".*(num_workers|LeafSpec|isinstance\(treespec).*")
