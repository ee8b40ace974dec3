"""Writing files whole or not at all, and telling their contents apart."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.errors import DevrecError

_CHUNK_BYTES = 1 << 20


def file_sha256(path: Path) -> str:
    """sha256 of a file's content, hex; raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def make_folder(path: Path) -> None:
    """Make a folder and those above it, unless it is there.

    Raises:
        DevrecError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DevrecError(f"{path}: cannot be made: {error.strerror}") from error


@contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place on success and vanishes on failure.

    Args:
        path: the file to write; an existing one stays untouched until the new one is complete.
        mode: permissions of the new file, without those that the process's mask withholds.

    Raises:
        DevrecError: the folder does not exist or is not writable.
    """
    # The suffix is kept: some writers tell the format by it. Not tempfile's: its files are private,
    # and the process's mask cannot be asked for without changing it under other threads.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{path.suffix}")
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    except OSError as error:
        raise DevrecError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise DevrecError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
