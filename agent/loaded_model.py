"""The model that a configuration names, loaded into its engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.config.settings import AgentSection
from agent.gallery_access import gallery_folder, gallery_state, identity_of
from agent.known_devices import KnownDevices, known_devices
from agent.outlets.outlet import Say
from export.engine import Engine, read_model
from export.engine_choice import choose_engine
from export.sidecar import sha256_of
from model.builtin import BUILTIN_MODEL
from model.gallery import Gallery


@dataclass(frozen=True)
class LoadedModel:
    """An engine, and what it was made from.

    Attributes:
        engine: ready to run.
        path: the model's file.
        sha256: of that file as it was loaded.
        choice: engine and threads, devices and gallery asked for, and the gallery's state.
        known: the devices that answers may name.
    """

    engine: Engine
    path: Path
    sha256: str
    choice: tuple[str | int | None, ...]
    known: KnownDevices

    @property
    def facts(self) -> dict[str, Any]:
        """JSON-ready values for events and evidence."""
        return {
            "model": str(self.path),
            "model_sha256": self.sha256,
            "engine": self.engine.description,
        }


def load_model(settings: AgentSection, say: Say, current: LoadedModel | None) -> LoadedModel:
    """Load what the settings name; minutes, where a TensorRT engine must be built first.

    Args:
        settings: of the agent.
        say: told what an automatic choice could not use.
        current: returned if it is the same, the content of the file included.

    Raises:
        DevrecError: the model or the engine cannot be used.
    """
    path = settings.model or BUILTIN_MODEL
    sha256 = sha256_of(read_model(path))
    folder = None if settings.devices == "built-in" else gallery_folder(settings.gallery)
    state = None if folder is None else gallery_state(folder)
    choice = settings.engine, settings.threads, settings.devices, str(folder), state
    if current is not None and (current.path, current.sha256, current.choice) == (
        path,
        sha256,
        choice,
    ):
        return current
    if current is not None and (current.path, current.sha256, *current.choice[:2]) == (
        path,
        sha256,
        *choice[:2],
    ):
        engine = current.engine  # only the devices are others
    else:
        engine = choose_engine(path, settings.engine, settings.threads, say)
    gallery = None if folder is None else Gallery.open(folder, identity_of(engine, path))
    known = known_devices(engine, gallery, settings.devices)
    return LoadedModel(engine, path, sha256, choice, known)
