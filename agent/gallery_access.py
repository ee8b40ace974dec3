"""Where galleries are, who may write, and which model they belong to."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from agent.folder_lock import FolderLock
from export.engine import Engine, read_model
from export.sidecar import PLAN_SUFFIX, Sidecar, sha256_of
from model.enrolled_device import ModelIdentity
from model.errors import DevrecError, GalleryError
from model.gallery_index import INDEX, make_folder

#: Where a model's file says whose weights it holds in another precision (``export``).
SOURCE_KEY = "source sha256"

_LOCK = ".lock"
_PATIENCE_S = 60.0  #: for a writer who is at work; none takes that long
_ASK_AGAIN_S = 0.05


def default_gallery(environment: Mapping[str, str]) -> Path:
    """``$XDG_DATA_HOME/devrec-agent/gallery``, in ``~/.local/share`` without it; may not be there.

    Args:
        environment: environment variables.

    Raises:
        GalleryError: this user has no home folder.
    """
    home = environment.get("XDG_DATA_HOME", "")
    try:
        # The specification ignores relative paths.
        base = Path(home) if home.startswith("/") else Path.home() / ".local" / "share"
    except RuntimeError as error:
        raise GalleryError(
            "this user has no home folder to keep a gallery in: name one with --gallery"
        ) from error
    return base / "devrec-agent" / "gallery"


def gallery_folder(given: Path | None) -> Path:
    """The folder that was given, or the default one.

    Raises:
        GalleryError: none was given, and this user has no home folder.
    """
    return given if given is not None else default_gallery(os.environ)


def gallery_state(folder: Path) -> str:
    """Changes with every write to the gallery; empty for one that is not there."""
    try:
        return (folder / INDEX).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Held from opening a gallery to the last write: other writers wait; readers need not.

    Args:
        folder: made if it is missing.

    Raises:
        GalleryError: the folder holds something else, or another writer does not end.
        DevrecError: it cannot be made or locked.
    """
    make_folder(folder)
    try:
        lock = _locked(folder)
    except OSError as error:
        raise DevrecError(f"{folder}: cannot be locked: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()


def _locked(folder: Path) -> FolderLock:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return FolderLock(folder, _LOCK)
        except DevrecError as error:
            if time.monotonic() > deadline:
                raise GalleryError(str(error)) from error
        time.sleep(_ASK_AGAIN_S)


def identity_of(engine: Engine, path: Path) -> ModelIdentity:
    """What embeddings of an engine are tied to.

    The same for all precisions and engines of one model: they compute the same (``verify``).

    Args:
        engine: as loaded.
        path: what it was loaded from: a model file, or a plan with its sidecar.

    Raises:
        ModelError: the file has gone.
    """
    source = engine.metadata.provenance.get(SOURCE_KEY)
    if isinstance(source, str):
        sha256 = source
    elif path.suffix == PLAN_SUFFIX:
        sha256 = Sidecar.read(path).model_sha256
    else:
        sha256 = sha256_of(read_model(path))
    metadata = engine.metadata
    no_windows = np.zeros((0, *metadata.window_shape), np.float32)
    return ModelIdentity(
        sha256=sha256,
        front_end=metadata.front_end,
        embedding_dims=engine.run(no_windows).embedding.shape[1],
        window_frames=metadata.window_frames,
    )
