"""Choosing an input by index, name, part of a name and identity."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.capture.input_device import resolved_device
from agent.capture.inputs import InputDevice, find_input, stable_identity
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


def card(index: int, hardware: str, *tokens: str) -> InputDevice:
    """An input with its identities as :mod:`agent.capture.device_identity` gives them."""
    number = hardware.split(",")[1]
    both = tuple(token for one in tokens for token in (one, f"{one},{number}"))
    return InputDevice(index, f"Card (hw:{hardware})", "ALSA", 1, 48_000, False, both)


CARDS = [
    card(0, "0,0", "alsa:PCH"),
    card(1, "1,0", "alsa:APE"),
    card(2, "1,1", "alsa:APE"),
    card(3, "2,0", "usb-path:1-1.2", "alsa:Device", "usb:0d8c:0014"),
    card(4, "3,0", "usb-path:1-1.3", "alsa:Device_1", "usb:0d8c:0014"),
    card(5, "4,0", "usb:046d:0a66:A1B2", "usb-path:1-3", "alsa:Wireless", "usb:046d:0a66"),
    # Two whose maker gave them the same serial number.
    card(6, "5,0", "usb:1234:5678:0001", "usb-path:1-4", "alsa:Twin", "usb:1234:5678"),
    card(7, "6,0", "usb:1234:5678:0001", "usb-path:1-5", "alsa:Twin_1", "usb:1234:5678"),
    device(8, "pulse", default=True),
]


@pytest.mark.parametrize(
    ("spec", "index"),
    [
        ("alsa:PCH", 0),
        ("alsa:pch", 0),
        ("alsa:APE,0", 1),
        ("alsa:APE,1", 2),
        ("usb-path:1-1.2", 3),
        ("usb-path:1-1.3,0", 4),
        ("usb:046d:0a66", 5),
        ("usb:046D:0A66:A1B2", 5),
        ("alsa:Device", 3),
    ],
)
def test_found_by_identity(spec: str, index: int) -> None:
    assert find_input(spec, CARDS).index == index


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("alsa:APE", r"ambiguous: 1 'Card \(hw:1,0\)' \(alsa:APE,0\), 2 .* \(alsa:APE,1\)$"),
        ("usb:0d8c:0014", r"ambiguous: 3 .*\(usb-path:1-1.2\), 4 .*\(usb-path:1-1.3\)$"),
        ("usb:1234:5678:0001", "ambiguous: 6 "),
        ("usb-path:1-1", r"no input 'usb-path:1-1'; there are: 0 .*\(alsa:PCH\).*8 'pulse'$"),
        ("alsa:APE,7", "no input 'alsa:APE,7'"),
        ("usb:046d:0a66:OTHER", "no input"),
    ],
)
def test_not_found_by_identity(spec: str, message: str) -> None:
    with pytest.raises(CaptureError, match=message) as caught:
        find_input(spec, CARDS)
    assert "\n" not in str(caught.value)


def test_identity_to_use_is_stable_and_means_one_input() -> None:
    use = [stable_identity(one, CARDS) for one in CARDS]
    assert use == [
        "alsa:PCH",
        "alsa:APE,0",
        "alsa:APE,1",
        "usb-path:1-1.2",
        "usb-path:1-1.3",
        "usb:046d:0a66:A1B2",
        "usb-path:1-4",
        "usb-path:1-5",
        "pulse",
    ]
    assert [find_input(spec, CARDS).index for spec in use] == list(range(len(CARDS)))


def test_no_identity_where_only_the_index_tells_inputs_apart() -> None:
    twins = [device(0, "mic"), device(1, "mic")]
    assert stable_identity(twins[0], twins) is None


@pytest.mark.parametrize("name", ["7", "Mic / Line (front)", "room.wav", "usb:x", "portaudio:x"])
def test_a_name_that_looks_like_something_else(name: str) -> None:
    inputs = [device(3, name), device(7, "Other")]
    use = stable_identity(inputs[0], inputs)
    assert use == f"portaudio:{name}"
    assert resolved_device(use, Path("/")) == use  # no file
    assert find_input(use, inputs).index == 3


def test_digits_that_are_no_index() -> None:
    for spec in ("²", "٣", "9" * 5000, "portaudio:", "portaudio:0"):
        with pytest.raises(CaptureError, match="no input"):
            find_input(spec, OFFERED)
