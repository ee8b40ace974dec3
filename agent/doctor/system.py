"""What the doctor finds about the program, permissions, folders, the clock and packages."""

from __future__ import annotations

import ctypes
import grp
import importlib
import os
import platform
import pwd
import shutil
import tempfile
import time
from pathlib import Path

from agent.config.folders import nearest_there, why_unwritable
from agent.disk import MEGABYTE
from agent.doctor.child import Answer
from agent.doctor.finding import Finding
from agent.extras import SECTION_MODULES, SERVICE_EXTRA

DEV_SND = Path("/dev/snd")
FIRST_YEAR, LAST_YEAR = 2025, 2100  #: a clock outside was never set

#: systemd's limit: the kernel's estimate of the clock's error, while nobody keeps it right, grows
#: to this many microseconds. The kernel's own flag is also set where only its RTC is left alone.
_UNSYNCHRONISED_US = 16_000_000


def program_finding() -> Finding:
    """Versions of the program and of Python, and the machine."""
    from agent import __version__

    python = f"{platform.python_implementation()} {platform.python_version()}"
    machine = f"{platform.system()} {platform.release()}, {platform.machine()}"
    return Finding("program", "ok", f"devrec-agent {__version__}, {python}, {machine}")


def sound_permission_finding(folder: Path = DEV_SND) -> Finding:
    """Whether this user may open the sound cards.

    Args:
        folder: where their device files are.
    """
    check = "sound permission"
    user = _user()
    devices = sorted(folder.glob("pcmC*D*c")) if folder.is_dir() else []
    if not devices:
        return Finding(check, "ok", "no sound card of the kernel's to open")
    closed = [path for path in devices if not os.access(path, os.R_OK | os.W_OK)]
    if not closed:
        return Finding(check, "ok", f"{user} may open {len(devices)} capture device(s)")
    group = _group_of(closed[0])
    return Finding(
        check,
        "problem",
        f"{user} may not open {', '.join(path.name for path in closed)}",
        f"usermod -aG {group} {user}, then log in again (a service: SupplementaryGroups={group})",
    )


def folders(request: Answer) -> Answer:
    """Whether folders can be written; for :mod:`agent.doctor.child`, since a dead network drive
    hangs.

    Args:
        request: ``folders``: for each its ``setting``, ``path``, ``quota_mb`` (or ``None``) and
            whether the agent ``makes`` it.
    """
    found = [
        folder_finding(one["setting"], Path(one["path"]), one["quota_mb"], makes=one["makes"])
        for one in request["folders"]
    ]
    return {"findings": [finding.to_dict() for finding in found]}


def folder_finding(setting: str, folder: Path, quota_mb: int | None, *, makes: bool) -> Finding:
    """Whether a folder can be written, and has room.

    Args:
        setting: whose folder it is.
        folder: the folder.
        quota_mb: megabytes that the agent may fill there.
        makes: whether the agent makes it.
    """
    hint = "make it, or give it to the agent's user"
    if why := why_unwritable(folder, made=makes):
        return Finding(setting, "problem", f"{why} (as {_user()})", hint)
    existing = nearest_there(folder)
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(existing).free
        with os.scandir(existing) as entries:
            used = sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
    except OSError as error:
        found = f"{folder}: {error.strerror or error} (as {_user()})"
        return Finding(setting, "problem", found, hint)
    if existing != folder:
        used = 0
    words = f"{folder}: writable, {free / MEGABYTE:.0f} MB free"
    if existing != folder:
        words += ", will be made"
    if quota_mb is not None and free + used < quota_mb * MEGABYTE:
        hint = f"make room for {quota_mb} MB, or lower its limit"
        return Finding(setting, "warning", words, hint)
    return Finding(setting, "ok", words)


def clock_finding(now_s: float | None = None) -> Finding:
    """Whether the clock is right: receivers sort events by it.

    Args:
        now_s: seconds since the epoch; the clock's by default.
    """
    at = time.gmtime(time.time() if now_s is None else now_s)
    words = time.strftime("%Y-%m-%d %H:%M:%S UTC", at)
    if not FIRST_YEAR <= at.tm_year <= LAST_YEAR:
        hint = "set it: timedatectl set-ntp true; without a network: timedatectl set-time"
        return Finding("clock", "problem", f"{words}: cannot be", hint)
    synchronised = _synchronised()
    if synchronised is None:
        return Finding("clock", "ok", f"{words}; whether it is kept right cannot be told here")
    if not synchronised:
        hint = "timedatectl set-ntp true, or install systemd-timesyncd or chrony"
        return Finding("clock", "warning", f"{words}; not synchronised", hint)
    return Finding("clock", "ok", f"{words}; synchronised")


def packages_finding(sections: frozenset[str]) -> Finding:
    """Whether the optional packages are there.

    Args:
        sections: tables that the configuration has.
    """
    present, missing, needed = [], [], []
    for section, module in SECTION_MODULES.items():
        try:
            importlib.import_module(module)
        except ImportError:
            missing.append(f"{module.split('.')[0]} (for [{section}])")
            if section in sections:
                needed.append(section)
        else:
            present.append(module.split(".")[0])
    found = "; ".join(
        f"{word}: {', '.join(names)}"
        for word, names in (("installed", present), ("not installed", missing))
        if names
    )
    if needed:
        hint = f"pip install {SERVICE_EXTRA}"
        return Finding("optional packages", "problem", found, hint)
    return Finding("optional packages", "ok", found)


class _Timex(ctypes.Structure):
    """The head of the kernel's ``struct timex``, and room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("rest", ctypes.c_byte * 512),
    )


def _synchronised() -> bool | None:
    """Whether somebody keeps the kernel's clock right; ``None`` where nobody can tell."""
    state = _Timex()
    try:
        if ctypes.CDLL(None).adjtimex(ctypes.byref(state)) < 0:
            return None
    except (OSError, AttributeError):
        return None
    return bool(state.maxerror < _UNSYNCHRONISED_US)


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user {os.geteuid()}"


def _group_of(path: Path) -> str:
    group = path.stat().st_gid
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)
