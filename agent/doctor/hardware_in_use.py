"""Capture hardware that PortAudio does not list, because somebody has it open."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.capture.device_identity import PROC_ASOUND, SYSFS, card_identity, hardware_of
from agent.capture.input_device import is_index
from agent.capture.inputs import InputDevice, find_input
from agent.doctor.child import Answer, ProbeFailed
from model.errors import CaptureError

PROC = Path("/proc")

#: In the command line of an agent: its program, and the module that its capture workers run.
_PROGRAM, _WORKER = "devrec-agent", "agent.capture.worker"


@dataclass(frozen=True)
class HardwareInUse:
    """A capture device of the kernel's that is open.

    Attributes:
        device: what PortAudio would list, were it free; its index is -1.
        owner: who has it, in words.
        by_agent: whether that is a devrec-agent.
    """

    device: InputDevice
    owner: str
    by_agent: bool

    def __str__(self) -> str:
        """In words, e.g. ``USB Audio: Mic (hw:1,0) by arecord, process 4242``."""
        return f"{self.device.name} by {self.owner}"


def hardware_in_use(
    answer: Answer | ProbeFailed,
    proc_asound: Path = PROC_ASOUND,
    proc: Path = PROC,
    sysfs: Path = SYSFS,
) -> list[HardwareInUse]:
    """Open capture devices that PortAudio does not list.

    Args:
        answer: of :func:`agent.doctor.sound.inputs`.
        proc_asound: where ALSA describes its cards.
        proc: where the kernel describes processes.
        sysfs: where the kernel describes its devices.
    """
    offered = [] if isinstance(answer, ProbeFailed) else answer["inputs"]
    listed = {hardware_of(one["name"]) for one in offered}
    return [
        HardwareInUse(_device(card, number, proc_asound, sysfs), *_owner(process, proc))
        for card, number, process in _open_devices(proc_asound)
        if (card, number) not in listed
    ]


def held_by_agent(
    spec: str | None, answer: Answer | ProbeFailed, in_use: list[HardwareInUse]
) -> HardwareInUse | None:
    """What an input means, if an agent has it open.

    Args:
        spec: ``device`` of the input. The default input and an index mean another one, or none,
            while hardware is in use: they are taken to mean what an agent has open.
        answer: of :func:`agent.doctor.sound.inputs`.
        in_use: of :func:`hardware_in_use`.
    """
    held = [one for one in in_use if one.by_agent]
    if spec is None or is_index(spec):
        return held[0] if held else None
    offered: list[dict[str, Any]] = [] if isinstance(answer, ProbeFailed) else answer["inputs"]
    free = [
        InputDevice(**{key: value for key, value in one.items() if key != "use"}) for one in offered
    ]
    try:
        meant = find_input(spec, [*free, *(one.device for one in in_use)])
    except CaptureError:
        return None
    return next((one for one in held if one.device is meant), None)


def _open_devices(proc_asound: Path) -> Iterator[tuple[int, int, int]]:
    """Card, device and owner of every capture device that is open."""
    for status in sorted(proc_asound.glob("card[0-9]*/pcm[0-9]*c/sub[0-9]*/status")):
        place = re.search(r"card(\d+)/pcm(\d+)c/", str(status))
        try:
            owner = re.search(r"^owner_pid\s*:\s*(\d+)", status.read_text(), re.MULTILINE)
        except OSError:
            continue
        if place and owner:
            yield int(place[1]), int(place[2]), int(owner[1])


def _device(card: int, number: int, proc_asound: Path, sysfs: Path) -> InputDevice:
    """The device under the name that PortAudio gives it: of the card, and of the device."""
    cards, info = (
        _text(proc_asound / "cards"),
        _text(proc_asound / f"card{card}" / f"pcm{number}c" / "info"),
    )
    described = re.search(rf"^\s*{card} \[.*?\]: .*? - (.*)$", cards, re.MULTILINE)
    called = re.search(r"^name: (.*)$", info, re.MULTILINE)
    identity = card_identity(card, proc_asound, sysfs)
    words = described[1].strip() if described else identity.card_id or f"card {card}"
    name = f"{words}: {called[1].strip() if called else '?'} (hw:{card},{number})"
    return InputDevice(-1, name, "ALSA", 1, 0, False, identity.tokens(number))


def _owner(process: int, proc: Path) -> tuple[str, bool]:
    """A process in words, and whether it is a devrec-agent or a capture worker of one."""
    arguments = _text(proc / str(process) / "cmdline").split("\0")
    # Where Python runs the program, its script is the second part.
    programs = [Path(part).name for part in arguments[:2]]
    if _WORKER in arguments or _PROGRAM in programs:
        return f"devrec-agent, process {process}", True
    program = _text(proc / str(process) / "comm").strip() or "?"
    return f"{program}, process {process}", False


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
