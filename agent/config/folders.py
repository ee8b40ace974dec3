"""Whether a folder can be written, as far as can be told without writing."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def why_unwritable(folder: Path, *, made: bool) -> str | None:
    """Why nothing can be put into a folder, in words; ``None`` when nothing speaks against it.

    Args:
        folder: the folder.
        made: whether it is made when it is missing, so that the folder above must be writable.
    """
    try:
        folder.lstat()
    except (FileNotFoundError, NotADirectoryError):
        if not made:
            return f"there is no folder {folder}"
    except OSError as error:
        return f"{folder} cannot be reached: {error.strerror}"
    folder = nearest_there(folder)
    mode = mode_of(folder)
    if mode is not None and not stat.S_ISDIR(mode):
        return f"{folder} is not a folder"
    if mode is None or not may(folder, os.W_OK | os.X_OK):
        return f"{folder} cannot be written to"
    return None


def nearest_there(folder: Path) -> Path:
    """The folder, or where it is missing, the nearest one above that is there."""
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def mode_of(path: Path) -> int | None:
    """Kind and permissions; ``None`` for what is not there or cannot be looked at."""
    try:
        return path.stat().st_mode
    except OSError:
        return None


def may(path: Path, mode: int) -> bool:
    """Whether this user may do to ``path`` what ``mode`` says (``os.R_OK`` and its like)."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)
