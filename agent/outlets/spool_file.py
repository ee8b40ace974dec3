"""The spool's part on disk: one SQLite file that survives SIGKILL and power cuts."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from agent.disk import is_in_place
from model.errors import DevrecError

LOG_PAGES = 64  #: pages in the write-ahead log before they are copied into the file
FILES = ("", "-wal")  #: suffixes of the database's files; no -shm in exclusive mode
LOCKED_S = 2.0  #: how long a lock may be held by an agent that is just ending

_SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
  number INTEGER PRIMARY KEY, accepted_s REAL NOT NULL, body BLOB NOT NULL)
"""


class Row(NamedTuple):
    """A stored event.

    Attributes:
        number: position in the order; grows.
        accepted_s: ``time.monotonic()`` of the run that stored it.
        body: the event, JSON in UTF-8.
    """

    number: int
    accepted_s: float
    body: bytes


class SpoolDiskError(DevrecError):
    """The disk is full or fails; what was stored before may still be there."""


class SpoolDamagedError(DevrecError):
    """The file is no database any more."""


@contextmanager
def _mapping_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise SpoolDiskError(str(error)) from error
    except sqlite3.DatabaseError as error:
        raise SpoolDamagedError(str(error)) from error


class SpoolFile:
    """Rows in a file, in order. Used under one lock of the caller.

    Appending is durable when it returns (``synchronous=FULL``: one fsync of the write-ahead log).
    Removing is not (``NORMAL``): after a power cut rows may come back, which costs a duplicate;
    the order and the file itself are safe either way.

    Args:
        path: the file; made if it is missing.

    Attributes:
        last: number of the newest row stored, also when it was removed since; 0 for none.

    Raises:
        SpoolDiskError, SpoolDamagedError: it cannot be opened.
        DevrecError: another user of the file has locked it.
        OSError: it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made = _make_private(path)
        with _mapping_errors():
            self._connection = sqlite3.connect(
                path, timeout=LOCKED_S, isolation_level=None, check_same_thread=False
            )
        try:
            with _mapping_errors():
                self._prepare()
        except SpoolDiskError as error:
            self.close()
            if "locked" in str(error):
                raise DevrecError(f"{path}: the spool is in use") from error
            raise
        except SpoolDamagedError:
            self.close()
            raise

    def _prepare(self) -> None:
        execute = self._connection.execute
        # Exclusive mode needs no shared memory file, which a full disk would refuse.
        execute("PRAGMA locking_mode=EXCLUSIVE")
        execute("PRAGMA journal_mode=WAL")
        execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
        if execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("its check fails")
        if not execute("SELECT 1 FROM sqlite_master WHERE name = 'event'").fetchall():
            execute(_SCHEMA)
        self.last: int = execute("SELECT coalesce(max(number), 0) FROM event").fetchone()[0]

    def append(self, rows: Sequence[Row]) -> None:
        """Store rows, all or none; on the disk when it returns."""
        with self._transaction("FULL"):
            self._connection.executemany("INSERT INTO event VALUES (?, ?, ?)", rows)
        self.last = rows[-1].number

    def read(self, after: int, limit: int) -> list[Row]:
        """The first ``limit`` rows with a number above ``after``."""
        with _mapping_errors():
            found = self._connection.execute(
                "SELECT number, accepted_s, body FROM event WHERE number > ? ORDER BY number "
                "LIMIT ?",
                (after, limit),
            )
            return [Row(*values) for values in found]

    def count_between(self, after: int, last: int) -> int:
        """Rows with a number above ``after`` and up to ``last``."""
        with _mapping_errors():
            query = "SELECT count(*) FROM event WHERE number > ? AND number <= ?"
            return int(self._connection.execute(query, (after, last)).fetchone()[0])

    def number_at(self, position: int) -> int:
        """Number of the row at a position, the oldest at 0; that of the newest beyond the end."""
        with _mapping_errors():
            query = "SELECT number FROM event ORDER BY number LIMIT 1 OFFSET ?"
            found = self._connection.execute(query, (position,)).fetchone()
        return self.last if found is None else int(found[0])

    def used_bytes(self) -> int:
        """Bytes of the pages that hold something, without the log."""
        with _mapping_errors():
            pages, free, size = (
                self._connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
        return int((pages - free) * size)

    def remove(self, number: int) -> None:
        """Remove one row."""
        with self._transaction("NORMAL"):
            self._connection.execute("DELETE FROM event WHERE number = ?", (number,))

    def remove_up_to(self, number: int) -> None:
        """Remove the oldest rows up to a number."""
        with self._transaction("NORMAL"):
            self._connection.execute("DELETE FROM event WHERE number <= ?", (number,))

    @property
    def in_place(self) -> bool:
        """Whether the file is still there: SQLite would go on with a deleted one."""
        return is_in_place(self.path, self._made)

    def close(self) -> None:
        """Close the file; never fails."""
        try:
            self._connection.close()
        except sqlite3.Error:
            return  # nothing is lost: all that was stored is in the log

    @contextmanager
    def _transaction(self, synchronous: str) -> Iterator[None]:
        with _mapping_errors():
            self._connection.execute(f"PRAGMA synchronous={synchronous}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except sqlite3.Error:
                if self._connection.in_transaction:  # some errors have rolled back already
                    self._connection.execute("ROLLBACK")
                raise


def _make_private(path: Path) -> os.stat_result:
    """Make a spool's file, if it is missing, for this user alone; SQLite gives its log the same
    permissions."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with contextlib.suppress(FileNotFoundError, PermissionError):  # nobody's on a FAT
            os.fchmod(descriptor, 0o600)
            Path(f"{path}-wal").chmod(0o600)
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def remove_spool_file(path: Path) -> None:
    """Remove a spool's file with its log."""
    for suffix in FILES:
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Move a damaged spool file out of the way, in place of the one that was set aside before.

    Returns:
        Where it is now.
    """
    aside = Path(f"{path}.damaged")
    remove_spool_file(aside)
    for suffix in FILES:
        source = Path(f"{path}{suffix}")
        if source.exists():
            source.replace(f"{aside}{suffix}")
    return aside
