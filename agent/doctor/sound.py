"""What the doctor finds about PortAudio, its inputs and their levels."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent.doctor.child import Answer, ProbeFailed
from agent.doctor.finding import Finding, State
from agent.doctor.hardware_in_use import HardwareInUse
from agent.doctor.setup import ExaminedInput
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


def inputs_finding(answer: Answer | ProbeFailed, in_use: list[HardwareInUse]) -> Finding:
    """How many inputs there are, and what a configuration should call them.

    Args:
        answer: of :func:`inputs`.
        in_use: hardware that is not listed because it is open.
    """
    if isinstance(answer, ProbeFailed):
        return Finding("inputs", "problem", "cannot be listed")
    offered: list[dict[str, Any]] = answer["inputs"]
    not_listed = f"not listed while in use: {_listed(in_use)}" if in_use else ""
    if not offered:
        if any(one.by_agent for one in in_use):
            return Finding("inputs", "ok", f"none but what is in use: {_listed(in_use)}")
        hint = not_listed or "plug one in; `arecord -l` shows what the kernel sees"
        return Finding("inputs", "problem", "none", hint)
    names = [
        f"{one['use'] or 'index {index}, {name}'.format(**one)}"
        f"{' (default)' if one['is_default'] else ''}"
        for one in offered
    ]
    return Finding("inputs", "ok", f"{len(offered)}: {', '.join(names)}", not_listed)


def level_finding(
    one: ExaminedInput,
    answer: Answer | ProbeFailed,
    model_rate_hz: int | None,
    in_use: list[HardwareInUse],
    held: HardwareInUse | None,
) -> Finding:
    """Whether an input delivers sound that can be judged.

    Args:
        one: the input.
        answer: of :func:`agent.doctor.level_test.level`.
        model_rate_hz: rate that the model works at, if known.
        in_use: hardware that is not listed because it is open.
        held: what of it the input means, if an agent has that open.
    """
    check = f"level of {one.name}"
    if isinstance(answer, ProbeFailed):
        if answer.kind == "refused" and held is not None:
            return Finding(check, "ok", f"in use by the agent, not tested: {held}")
        hint = _HINTS[answer.kind]
        if answer.kind == "refused" and not one.is_file:
            hint = f"in use: {_listed(in_use)}" if in_use else "`devrec-agent devices` lists all"
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


def _listed(in_use: list[HardwareInUse]) -> str:
    return "; ".join(map(str, in_use))


def _library() -> str:
    """File of the PortAudio that this process has loaded."""
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return "file unknown"
    match = re.search(r"(/\S*libportaudio\S*)", maps)
    return match[1] if match else "file unknown"
