"""Sizes on disk, and disks that are full."""

from __future__ import annotations

import errno

MEGABYTE = 1_000_000  #: bytes


def is_full(error: OSError) -> bool:
    """Whether an error means that there is no space: that may pass."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
