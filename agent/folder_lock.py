"""One agent a folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from agent.disk import is_in_place
from model.errors import DevrecError


class FolderLock:
    """Keeps all others away from a folder, a second user in this process among them. Goes with the
    process, however that ends.

    Args:
        folder: the folder; it exists.
        name: of the file in it that is locked; made if it is missing.

    Raises:
        DevrecError: somebody else has it.
        OSError: the file cannot be made or locked.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / name
        # Writable: network file systems lock nothing else.
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException as error:
            os.close(self._descriptor)
            if isinstance(error, BlockingIOError):
                raise DevrecError(f"{folder}: in use by another devrec-agent") from error
            raise

    @property
    def in_place(self) -> bool:
        """Whether the file is still there: nobody is kept away once it was deleted."""
        return is_in_place(self._path, os.fstat(self._descriptor))

    def release(self) -> None:
        """Let others in."""
        # Said aloud: a process that is just being forked off has the descriptor too.
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)
