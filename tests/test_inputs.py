"""Choosing an input by index, name and part of a name."""

from __future__ import annotations

import pytest

from agent.inputs import InputDevice, find_input
from model.errors import CaptureError


def device(index: int, name: str, *, default: bool = False) -> InputDevice:
    return InputDevice(index, name, "ALSA", 1, 48_000, default)


OFFERED = [
    device(0, "HDA Intel: ALC257"),
    device(3, "USB Mic"),
    device(4, "USB Mic 2", default=True),
]


@pytest.mark.parametrize(
    ("spec", "index"), [(None, 4), ("0", 0), ("USB Mic", 3), ("alc257", 0), ("mic 2", 4)]
)
def test_found(spec: str | None, index: int) -> None:
    assert find_input(spec, OFFERED).index == index


@pytest.mark.parametrize(
    ("spec", "message"),
    [("usb", "ambiguous: 3 'USB Mic', 4"), ("7", "no input '7'; there are: 0"), ("x", "no input")],
)
def test_not_found(spec: str, message: str) -> None:
    with pytest.raises(CaptureError, match=message):
        find_input(spec, OFFERED)


def test_no_inputs_at_all() -> None:
    with pytest.raises(CaptureError, match="no audio input"):
        find_input(None, [])
