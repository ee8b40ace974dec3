"""Events that wait for their receiver, over restarts, power cuts and full disks."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.disk import MEGABYTE, is_full, make_closed_folder
from agent.folder_lock import FolderLock
from agent.outlets.outlet import EventObject, Say
from agent.outlets.spool_file import (
    Row,
    SpoolDamagedError,
    SpoolDiskError,
    SpoolFile,
    remove_spool_file,
    set_aside,
)
from agent.outlets.troubles import Troubles
from model.errors import DevrecError

MEMORY_EVENTS = 1000  #: events kept in memory while the disk takes none
RETRY_S = 1.0  #: how often a disk that took nothing is tried again
LOG_BYTES = 300_000  #: part of the bound that is left to the write-ahead log
FILE = "events.sqlite"
LOCK = "lock"  #: file of the folder's lock
ROW_BYTES = 64  #: what a row takes beside its body, at most
DROPPED_AT_ONCE = 16  #: events that go together when the spool is full, at least


@dataclass(frozen=True)
class Entry:
    """A waiting event.

    Attributes:
        number: position in the order.
        event: the event's JSON object.
        age_s: seconds since it was stored; meaningless if ``inherited``.
        inherited: stored by an earlier run.
    """

    number: int
    event: dict[str, Any]
    age_s: float
    inherited: bool


class Spool:
    """First in, first out, on disk; may be used from several threads.

    What ``append`` was given is on the disk when it returns, and stays until it is acknowledged or
    until the spool is full, when the oldest events go. While the disk is full or fails, events
    wait in memory, behind those on the disk, and are moved there as soon as it takes them.

    Args:
        folder: where the files are; made if it is missing. One agent's only.
        say: told about lost events, damage and a failing disk.
        max_mb: megabytes (10^6 bytes) that the files may take.
        memory_events: events kept in memory while the disk takes none.

    Attributes:
        delivered: events acknowledged.
        lost: events dropped: the spool was full or damaged.

    Raises:
        DevrecError: the folder cannot be used, or another agent uses it.
    """

    def __init__(
        self, folder: Path, say: Say, max_mb: int, memory_events: int = MEMORY_EVENTS
    ) -> None:
        self.folder = folder
        self.delivered = 0
        self.lost = 0
        self._path = folder / FILE
        self._say = say
        self._disk_troubles = Troubles(f"spool {folder}", say)
        self._losses = Troubles(f"spool {folder}", say)
        self._max_bytes = max_mb * MEGABYTE - LOG_BYTES
        self._memory_events = memory_events
        self._lock = threading.Lock()  # guards all that follows
        self._memory: deque[Row] = deque()
        self._folder_lock: FolderLock | None = None
        self._file: SpoolFile | None = None
        self._waiting = 0
        self._acknowledged = 0  # done with up to this number ...
        self._removed = 0  # ... and no longer on the disk up to this one
        self._retry_at = 0.0
        self._closed = False
        try:
            file = self._open()
        except SpoolDiskError as error:
            if self._path.exists() and self._path.stat().st_size:
                raise DevrecError(f"{self._path}: cannot be opened: {error}") from error
            self._in_trouble(error)
        except OSError as error:
            if not is_full(error):
                raise DevrecError(f"{folder}: cannot be used: {error.strerror}") from error
            self._in_trouble(error)
        else:
            self._waiting = file.count_between(0, file.last)
        self._inherited = 0 if self._file is None else self._file.last
        self._last = self._inherited

    @property
    def waiting(self) -> int:
        """Events that are not acknowledged."""
        return self._waiting

    def append(self, event: EventObject) -> None:
        """Store an event; durable when it returns, unless the disk takes none."""
        body = json.dumps(event, ensure_ascii=False).encode()
        with self._lock:
            if self._closed:
                raise DevrecError(f"{self.folder}: the spool is closed")
            self._notice_deletion()
            self._last += 1
            self._waiting += 1
            self._memory.append(Row(self._last, time.monotonic(), body))
            if len(self._memory) == 1 or time.monotonic() >= self._retry_at:
                self._move_to_disk()
            if len(self._memory) > self._memory_events:
                self._memory.popleft()
                self._lose(1, "no room in memory either")

    def read(self, after: int, limit: int) -> list[Entry]:
        """The oldest events that are not acknowledged, in order.

        Args:
            after: only those behind this number.
            limit: at most so many.
        """
        with self._lock:
            rows: list[Row] = []
            after = max(after, self._acknowledged)
            if self._file is not None:
                try:
                    rows = self._file.read(after, limit)
                except SpoolDiskError as error:
                    # Those in memory must not overtake those that cannot be read now.
                    self._in_trouble(error)
                    return []
                except SpoolDamagedError as error:
                    self._begin_anew(error)
            rows += [row for row in self._memory if row.number > after][: limit - len(rows)]
            now = time.monotonic()
            entries = []
            for row in rows:
                event = _parsed(row.body)
                if event is None:
                    self._drop_unreadable(row)
                    continue
                inherited = row.number <= self._inherited
                entries.append(Entry(row.number, event, now - row.accepted_s, inherited))
            return entries

    def acknowledge(self, number: int) -> None:
        """Be done with all events up to a number."""
        with self._lock:
            if self._closed or number <= self._acknowledged:
                return
            done = 0
            if self._file is not None:
                try:
                    done = self._file.count_between(self._acknowledged, number)
                except (SpoolDiskError, SpoolDamagedError):
                    done = min(number, self._file.last) - self._acknowledged
            while self._memory and self._memory[0].number <= number:
                self._memory.popleft()
                done += 1
            self._acknowledged = number
            self._waiting -= done
            self.delivered += done
            self._remove_acknowledged()

    def settle(self) -> None:
        """Try again what the disk has refused, if it is time, and see whether the files are still
        there; call about once a second."""
        with self._lock:
            if not self._closed:
                self._notice_deletion()
            if not self._closed and time.monotonic() >= self._retry_at:
                self._remove_acknowledged()
                self._move_to_disk()

    def close(self) -> None:
        """Release the files; what the disk does not take now is lost."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._remove_acknowledged()
            self._move_to_disk()
            self._lose(len(self._memory), "the agent ends and the disk takes nothing")
            self._memory.clear()
            if self._file is not None:
                self._file.close()
                self._file = None
            self._release_folder()

    def _open(self) -> SpoolFile:
        """Open the file; one that is damaged makes room for a new one."""
        self._lock_folder()
        try:
            try:
                self._file = SpoolFile(self._path)
            except SpoolDamagedError as error:
                self._set_aside(error)
                self._file = SpoolFile(self._path)
        except (OSError, DevrecError):
            self._release_folder()
            raise
        return self._file

    def _lock_folder(self) -> None:
        if self._folder_lock is None:
            make_closed_folder(self.folder, 0o700, _is_ours)
            self._folder_lock = FolderLock(self.folder, LOCK)

    def _release_folder(self) -> None:
        if self._folder_lock is not None:
            self._folder_lock.release()
            self._folder_lock = None

    def _move_to_disk(self) -> None:
        """Move what is in memory to the disk, if that takes it."""
        if not self._memory:
            return
        rows = list(self._memory)
        try:
            file = self._file or self._open()
            try:
                self._store(file, rows)
            except SpoolDamagedError as error:
                self._begin_anew(error)
                self._store(self._file or self._open(), rows)
        except (OSError, DevrecError) as error:
            self._in_trouble(error)
        else:
            self._memory.clear()
            self._disk_troubles.over("the disk takes events again")

    def _store(self, file: SpoolFile, rows: list[Row]) -> None:
        """Append rows; the oldest in the file go if they do not fit."""
        needed = sum(len(row.body) + ROW_BYTES for row in rows)
        while (used := file.used_bytes()) + needed > self._max_bytes:
            first = max(self._acknowledged, file.number_at(0) - 1)
            stored = file.count_between(first, file.last)
            if not stored:
                break
            last = file.number_at(max(DROPPED_AT_ONCE, stored // 64) - 1)
            lost = file.count_between(self._acknowledged, last)
            file.remove_up_to(last)
            self._lose(lost, f"it is full, {used / MEGABYTE:.0f} MB")
        file.append(rows)

    def _remove_acknowledged(self) -> None:
        file = self._file
        if file is None or self._removed >= self._acknowledged:
            return
        try:
            file.remove_up_to(self._acknowledged)
        except SpoolDiskError as error:
            self._in_trouble(error)
            if self._acknowledged >= file.last:
                self._remove_file(file)
        except SpoolDamagedError as error:
            self._begin_anew(error)
        else:
            self._removed = self._acknowledged

    def _remove_file(self, file: SpoolFile) -> None:
        """Even removing rows takes room in the log; removing the files does not."""
        file.close()
        self._file = None
        try:
            remove_spool_file(self._path)
        except OSError as error:
            self._in_trouble(error)
        else:
            self._removed = self._acknowledged

    def _begin_anew(self, error: SpoolDamagedError) -> None:
        """Set the damaged file aside and go on with a new one, if the disk takes one."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._lose(self._waiting - len(self._memory), "it is damaged")
        self._removed = self._acknowledged
        try:
            self._set_aside(error)
            self._file = SpoolFile(self._path)
        except (OSError, DevrecError) as trouble:
            self._in_trouble(trouble)

    def _notice_deletion(self) -> None:
        """Begin anew when somebody has deleted the file or put another in its place."""
        if self._file is None or self._file.in_place:
            return
        self._file.close()
        self._file = None
        if self._folder_lock is not None and not self._folder_lock.in_place:
            self._release_folder()
        lost = self._waiting - len(self._memory)
        self.lost += lost
        self._waiting -= lost
        self._removed = self._acknowledged
        self._say(f"spool {self.folder}: its file was deleted: begun anew, {lost} events are lost")
        try:
            self._lock_folder()
            set_aside(self._path)
            self._open()
        except (OSError, DevrecError) as trouble:
            self._in_trouble(trouble)

    def _set_aside(self, error: SpoolDamagedError) -> None:
        aside = set_aside(self._path)
        self._say(f"spool {self.folder}: damaged ({error}): set aside as {aside}, a new one begun")

    def _drop_unreadable(self, row: Row) -> None:
        self._lose(1, "an event cannot be read")
        if self._file is not None:
            try:
                self._file.remove(row.number)
            except (SpoolDiskError, SpoolDamagedError) as error:
                self._in_trouble(error)

    def _in_trouble(self, error: OSError | DevrecError) -> None:
        why = error.strerror if isinstance(error, OSError) else str(error)
        self._retry_at = time.monotonic() + RETRY_S
        self._disk_troubles.report(f"{why}: new events wait in memory")

    def _lose(self, count: int, why: str) -> None:
        if count > 0:
            self.lost += count
            self._waiting -= count
            self._losses.report(f"{why}: the oldest events are lost", f", {self.lost} so far")


def _is_ours(name: str) -> bool:
    return name == LOCK or name.startswith(FILE)


def _parsed(body: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(body)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
