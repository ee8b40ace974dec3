"""Events as JSON lines: on standard output, and in a file that is rotated."""

from __future__ import annotations

import fcntl
import json
import os
import select
import stat
import time
from pathlib import Path

from agent.disk import MEGABYTE, is_full, is_in_place
from agent.outlets.outlet import EventObject, ReceiverGoneError, Say
from agent.outlets.troubles import Troubles
from model.errors import DevrecError

POLL_S = 0.2  #: how often a blocked reader of standard output is looked at
TAIL_BYTES = 1024 * 1024  #: longest line that a power cut can have torn


def json_line(event: EventObject) -> bytes:
    """One JSON object, one line, UTF-8."""
    return json.dumps(event, ensure_ascii=False).encode() + b"\n"


class StandardOutput:
    """Events on a file descriptor that somebody may read live, slowly, or not at all.

    Written past Python's buffers, whose lock a blocked reader would hold until the program ends.

    Args:
        descriptor: open file descriptor; stays open.
    """

    backlog = None

    def __init__(self, descriptor: int = 1) -> None:
        self.name = "standard output"
        self._descriptor = descriptor
        self._deadline = float("inf")
        self._torn = False

    def deliver(self, event: EventObject) -> None:
        """Write one line; waits for a slow reader.

        Raises:
            ReceiverGoneError: the reader has closed its end.
            OSError: cannot be written, e.g. a full disk behind it.
            DevrecError: the agent ends and nobody reads.
        """
        left = memoryview((b"\n" if self._torn else b"") + json_line(event))
        size = len(left)
        try:
            while left:
                self._wait()
                # As much as a pipe takes without blocking once it is writable.
                left = left[os.write(self._descriptor, left[: select.PIPE_BUF]) :]
        except BrokenPipeError as error:
            raise ReceiverGoneError(self.name) from error
        finally:
            # The rest of a torn line cannot follow later: the next one begins on its own line.
            self._torn = 0 < len(left) < size or (self._torn and len(left) == size)

    def stop_by(self, deadline: float) -> None:
        """A line under way is given up at ``deadline``."""
        self._deadline = deadline

    def close(self, deadline: float) -> None:
        """Nothing to release."""

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        while not poll.poll(POLL_S * 1000):
            if time.monotonic() >= self._deadline:
                raise DevrecError("nobody reads it")


class JsonLinesFile:
    """Events in a file, whole lines only: ``path``, older ones in ``path.1``, ``path.2`` ...

    Each line is on the disk when ``deliver`` returns. A line that a power cut has torn is cut off
    when the file is opened; one that a full disk has torn is cut off at once. A file that somebody
    moves away or deletes is begun anew. A new one cannot be read by everybody (0640).

    Args:
        path: the file; its folder must exist.
        say: told about a torn line.
        max_mb: megabytes (10^6 bytes) after which a new file is begun.
        keep: older files that are kept.

    Raises:
        DevrecError: cannot be opened (a full disk alone is no reason: that may pass), is in use by
            another agent, or ends in something that is not a line of JSON.
    """

    backlog = None

    def __init__(self, path: Path, say: Say, max_mb: int, keep: int) -> None:
        self.name = f"file {path}"
        self._path, self._say, self._keep = path.absolute(), say, keep
        self._max_bytes = max_mb * MEGABYTE
        self._descriptor: int | None = None
        try:
            self._open()
        except OSError as error:
            if not is_full(error):
                raise DevrecError(f"{path}: cannot be opened: {error.strerror}") from error
            Troubles(self.name, say).report(f"cannot be begun yet: {error.strerror}")

    def deliver(self, event: EventObject) -> None:
        """Append one line.

        Raises:
            OSError: cannot be written; nothing of the line is left in the file.
        """
        line = json_line(event)
        descriptor, size = self._current()
        if size and size + len(line) > self._max_bytes:
            self._rotate()
            descriptor, size = self._open()
        try:
            left = memoryview(line)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fdatasync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise

    def stop_by(self, deadline: float) -> None:
        """A line is written at once or not at all: nothing to be stopped."""

    def close(self, deadline: float) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _current(self) -> tuple[int, int]:
        """The open file and its size."""
        if self._descriptor is not None:
            opened = os.fstat(self._descriptor)
            if is_in_place(self._path, opened):
                return self._descriptor, opened.st_size
        return self._open()

    def _open(self) -> tuple[int, int]:
        self.close(time.monotonic())
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise DevrecError(f"{self._path}: not a regular file")
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DevrecError(f"{self._path}: in use by another devrec-agent") from error
            self._mend(descriptor)
            size = os.fstat(descriptor).st_size
        except (OSError, DevrecError):
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return descriptor, size

    def _mend(self, descriptor: int) -> None:
        """End the file with a whole line."""
        size = os.fstat(descriptor).st_size
        tail = os.pread(descriptor, TAIL_BYTES, max(0, size - TAIL_BYTES))
        torn = tail[tail.rfind(b"\n") + 1 :]
        if not torn:
            return
        # What a power cut leaves is a beginning of ours, or blocks of zeros.
        if not torn.startswith((b"{", b"\0")) or len(torn) == TAIL_BYTES:
            raise DevrecError(f"{self._path}: does not end in a line of JSON: not a file of ours")
        try:
            json.loads(torn)
        except ValueError:
            os.ftruncate(descriptor, size - len(torn))
            self._say(f"{self.name}: a torn last line of {len(torn)} bytes was cut off")
        else:
            os.write(descriptor, b"\n")

    def _rotate(self) -> None:
        self.close(time.monotonic())
        if self._keep == 0:
            self._path.unlink()
            return
        for number in range(self._keep - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
