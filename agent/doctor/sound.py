"""What the doctor finds about PortAudio, its inputs and their levels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent.capture.device_identity import PROC_ASOUND, card_identity, hardware_of
from agent.doctor.child import Answer, ProbeFailed
from agent.doctor.finding import Finding, State
from agent.signal_checks import WARNINGS

#: What to do when PortAudio takes the process down, or hangs.
_HINTS = {
    "crashed": "ALSA has no usable configuration: see ALSA_CONFIG_PATH, and install libasound2-data"
    " for /usr/share/alsa/alsa.conf",
    "hung": "a sound server hangs: restart it, e.g. systemctl --user restart pulseaudio "
    "(or pipewire)",
    "failed": "",
    "refused": "",
    "untested": "",
}


def inputs(request: Answer) -> Answer:
    """PortAudio's version, library and inputs; for :mod:`agent.doctor.child`.

    Raises:
        CaptureError: the library is missing, or cannot list devices.
    """
    from agent.capture.inputs import list_inputs, portaudio, stable_identity

    sounddevice = portaudio()
    version = str(sounddevice.get_portaudio_version()[1]).split(",")[0]
    offered = list_inputs()
    listed = [{**asdict(one), "use": stable_identity(one, offered)} for one in offered]
    return {"version": version, "library": _library(), "inputs": listed}


def portaudio_finding(answer: Answer | ProbeFailed) -> Finding:
    """Whether PortAudio works, and which it is."""
    if isinstance(answer, ProbeFailed):
        return Finding("PortAudio", "problem", str(answer), _HINTS[answer.kind])
    return Finding("PortAudio", "ok", f"{answer['version']} ({answer['library']})")


def inputs_finding(answer: Answer | ProbeFailed, in_use: list[str]) -> Finding:
    """How many inputs there are, and what a configuration should call them.

    Args:
        answer: of :func:`inputs`.
        in_use: of :func:`hardware_in_use`.
    """
    if isinstance(answer, ProbeFailed):
        return Finding("inputs", "problem", "cannot be listed")
    offered: list[dict[str, Any]] = answer["inputs"]
    not_listed = f"not listed while in use: {'; '.join(in_use)}" if in_use else ""
    if not offered:
        hint = not_listed or "plug one in; `arecord -l` shows what the kernel sees"
        return Finding("inputs", "problem", "none", hint)
    names = [
        f"{one['use'] or 'index {index}, {name}'.format(**one)}"
        f"{' (default)' if one['is_default'] else ''}"
        for one in offered
    ]
    return Finding("inputs", "ok", f"{len(offered)}: {', '.join(names)}", not_listed)


def level_finding(
    name: str, answer: Answer | ProbeFailed, model_rate_hz: int | None, in_use: list[str]
) -> Finding:
    """Whether an input delivers sound that can be judged.

    Args:
        name: of the input.
        answer: of :func:`agent.doctor.level_test.level`.
        model_rate_hz: rate that the model works at, if known.
        in_use: of :func:`hardware_in_use`.
    """
    check = f"level of {name}"
    if isinstance(answer, ProbeFailed):
        hint = _HINTS[answer.kind]
        if answer.kind == "refused":
            hint = f"in use: {'; '.join(in_use)}" if in_use else "`devrec-agent devices` lists all"
        return Finding(check, "problem", str(answer), hint)
    decibel, rate = answer["level_dbfs"], answer["sample_rate_hz"]
    level = "no signal" if decibel is None else f"{decibel:.1f} dBFS"
    found, hints = [f"{level} at {rate} Hz, {answer['name']}"], []
    state: State = "ok"
    if answer["silent"]:
        found.append("digital silence: every sample is zero")
        hints.append("unmute it and turn up its gain: alsamixer, F4")
    else:
        for code in answer["warnings"]:
            found.append(WARNINGS[code])
            hints.append(
                "turn its gain down" if code == "clipping" else "turn its gain up, or make a sound"
            )
    if model_rate_hz is not None and rate < model_rate_hz:
        found.append(f"below the model's {model_rate_hz} Hz")
        hints.append(f"use an input that runs at {model_rate_hz} Hz or more")
    if hints:
        state = "warning"
    return Finding(check, state, "; ".join(found), "; ".join(hints))


def hardware_in_use(
    answer: Answer | ProbeFailed, proc_asound: Path = PROC_ASOUND, proc: Path = Path("/proc")
) -> list[str]:
    """Capture devices of the kernel's that PortAudio does not list because they are open.

    Args:
        answer: of :func:`inputs`.
        proc_asound: where ALSA describes its cards.
        proc: where the kernel describes processes.
    """
    offered = [] if isinstance(answer, ProbeFailed) else answer["inputs"]
    listed = {hardware_of(one["name"]) for one in offered}
    found = []
    for card, device, owner in _open_devices(proc_asound):
        if (card, device) not in listed:
            card_id = card_identity(card, proc_asound).card_id
            program = _program(owner, proc)
            found.append(f"hw:{card},{device} ({card_id}) by {program}, process {owner}")
    return found


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


def _program(process: int, proc: Path) -> str:
    try:
        return (proc / str(process) / "comm").read_text().strip() or "?"
    except OSError:
        return "?"


def _library() -> str:
    """File of the PortAudio that this process has loaded."""
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return "file unknown"
    match = re.search(r"(/\S*libportaudio\S*)", maps)
    return match[1] if match else "file unknown"
