"""The audio inputs that PortAudio offers, and finding the one that a user means."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

from agent.capture.device_identity import PREFIXES, identities
from agent.capture.input_device import (
    NAME_PREFIX,
    is_index,
    is_marked_live,
    names_audio_file,
)
from model.errors import CaptureError


@dataclass(frozen=True)
class InputDevice:
    """An audio input.

    Attributes:
        index: PortAudio's index; changes when devices come and go.
        name: PortAudio's name.
        host_api: ALSA, PulseAudio, JACK, ...
        channels: most channels it delivers.
        native_rate_hz: rate it runs at by default.
        is_default: whether it is the default input.
        identity: what stays the same when the machine restarts, the most stable first, see
            :mod:`agent.capture.device_identity`; empty for what is no hardware.
    """

    index: int
    name: str
    host_api: str
    channels: int
    native_rate_hz: int
    is_default: bool
    identity: tuple[str, ...] = ()


def portaudio() -> ModuleType:
    """The sounddevice module.

    Raises:
        CaptureError: the PortAudio library is not installed.
    """
    try:
        import sounddevice
    except OSError as error:
        raise CaptureError(
            "the PortAudio library is missing: install it, e.g. apt-get install libportaudio2"
        ) from error
    module: ModuleType = sounddevice
    return module


def list_inputs() -> list[InputDevice]:
    """All inputs, by index.

    Raises:
        CaptureError: PortAudio is missing or failed.
    """
    sounddevice = portaudio()
    try:
        apis = sounddevice.query_hostapis()
        infos = sounddevice.query_devices()
        default = sounddevice.default.device[0]
    except sounddevice.PortAudioError as error:
        raise CaptureError(f"PortAudio cannot list devices: {error}") from error
    return [
        InputDevice(
            index=index,
            name=str(info["name"]),
            host_api=str(apis[info["hostapi"]]["name"]),
            channels=int(info["max_input_channels"]),
            native_rate_hz=round(info["default_samplerate"]),
            is_default=index == default,
            identity=identities(str(info["name"])),
        )
        for index, info in enumerate(infos)
        if info["max_input_channels"] > 0
    ]


def stable_identity(device: InputDevice, inputs: list[InputDevice]) -> str | None:
    """What to write into a configuration for ``device``: the most stable that means it alone.

    Args:
        device: one of ``inputs``.
        inputs: all that are offered.

    Returns:
        an identity, or its name where it is no hardware, as ``portaudio:NAME`` where the name
        alone would mean something else; ``None`` when only its index tells it from others.
    """
    for token in device.identity:
        if sum(token in other.identity for other in inputs) == 1:
            return token
    if device.identity or sum(device.name == other.name for other in inputs) != 1:
        return None
    misread = is_index(device.name) or is_marked_live(device.name)
    return f"{NAME_PREFIX if misread or names_audio_file(device.name) else ''}{device.name}"


def find_input(spec: str | None, inputs: list[InputDevice] | None = None) -> InputDevice:
    """The input that a user means.

    Args:
        spec: ``None`` for the default input; digits for an index; an identity (``alsa:PCH``,
            ``alsa:APE,1``, ``usb-path:1-1.2``, ``usb:0d8c:0014``, ``usb:0d8c:0014:SERIAL``), see
            :mod:`agent.capture.device_identity`; else a name, or a part of one (any case) that fits
            exactly one input, and ``portaudio:`` may stand before it.
        inputs: what to choose from; PortAudio's list by default.

    Raises:
        CaptureError: no input, none that fits, or several.
    """
    offered = list_inputs() if inputs is None else inputs
    if not offered:
        raise CaptureError("PortAudio offers no audio input on this machine")
    if spec is None:
        return next((device for device in offered if device.is_default), offered[0])
    by_identity = spec.startswith(PREFIXES)
    if is_index(spec):
        fitting = [device for device in offered if device.index == int(spec)]
    elif by_identity:
        fitting = _with_identity(spec, offered)
    else:
        fitting = _with_name(spec.removeprefix(NAME_PREFIX), offered)
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(_listed(device, offered, by_identity) for device in fitting or offered)
    if fitting:
        raise CaptureError(f"input {spec!r} is ambiguous: {listed}")
    raise CaptureError(f"no input {spec!r}; there are: {listed}")


def _with_name(name: str, offered: list[InputDevice]) -> list[InputDevice]:
    """Inputs of this name; only where there is none, with this in their name, in any case."""
    exact = [device for device in offered if device.name == name]
    wanted = name.lower()
    return exact or [device for device in offered if wanted and wanted in device.name.lower()]


def _with_identity(spec: str, offered: list[InputDevice]) -> list[InputDevice]:
    """Inputs of this identity; only where there is none, of this one in another case."""
    exact = [device for device in offered if spec in device.identity]
    wanted = spec.lower()
    return exact or [
        device for device in offered if wanted in (token.lower() for token in device.identity)
    ]


def _listed(device: InputDevice, offered: list[InputDevice], by_identity: bool) -> str:
    """An input in a list of choices."""
    identity = stable_identity(device, offered) if by_identity and device.identity else None
    return f"{device.index} {device.name!r}" + (f" ({identity})" if identity else "")
