"""Sizes on disk, disks that are full, and folders that are not everybody's."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

MEGABYTE = 1_000_000  #: bytes


def is_full(error: OSError) -> bool:
    """Whether an error means that there is no space: that may pass."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def make_closed_folder(folder: Path, mode: int, is_ours: Callable[[str], bool]) -> None:
    """Make a folder that others cannot look into, or close one that is there.

    One that is there loses what ``mode`` does not give, unless it is somebody else's or holds
    anything that is not ours: ``/srv`` must not be closed to everybody because audio is put there.

    Args:
        folder: the folder; made with those above it if it is missing.
        mode: permissions.
        is_ours: tells by its name whether a file in the folder is of our making.

    Raises:
        OSError: it cannot be made or read.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=mode)
    found = folder.stat()
    permissions = stat.S_IMODE(found.st_mode)
    if found.st_uid != os.geteuid() or not permissions & 0o777 & ~mode:
        return
    if all(is_ours(entry.name) for entry in folder.iterdir()):
        with contextlib.suppress(PermissionError):  # a FAT knows no permissions
            folder.chmod(permissions & (mode | ~0o777))


def is_in_place(path: Path, opened: os.stat_result) -> bool:
    """Whether a path still leads to the file that was opened there; ``False`` if it was deleted or
    replaced."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # that cannot be told now
        return True
    return os.path.samestat(found, opened)
