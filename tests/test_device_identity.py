"""Identities of sound cards, read from fake /proc/asound and /sys trees.

No machine that runs the tests has these cards, so the trees are made here. Their layout and values
are modelled on those of real machines: a laptop with on-board HDA, USB microphones behind a hub,
and a Jetson with its APE card.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.capture.device_identity import (
    CardIdentity,
    UsbIdentity,
    card_identity,
    hardware_of,
    identities,
)
from tests.conftest import ROOT

PCH = "devices/pci0000:00/0000:00:1f.3"
XHCI = "devices/pci0000:00/0000:00:14.0/usb1"
JETSON_XHCI = "devices/platform/bus@0/3610000.usb/usb1"


@dataclass
class FakeMachine:
    """Two folders that look like ``/proc/asound`` and ``/sys``."""

    proc_asound: Path
    sysfs: Path

    def card(self, number: int, card_id: str, device: str) -> None:
        """A card, linked as the kernel links it: class/sound/cardN -> .../sound/cardN, device ->
        the device that it belongs to."""
        (self.proc_asound / f"card{number}").mkdir(parents=True)
        (self.proc_asound / f"card{number}" / "id").write_text(f"{card_id}\n")
        card = self.sysfs / device / "sound" / f"card{number}"
        card.mkdir(parents=True)
        (card / "id").write_text(f"{card_id}\n")
        (card / "device").symlink_to("../..")
        classes = self.sysfs / "class" / "sound"
        classes.mkdir(parents=True, exist_ok=True)
        (classes / f"card{number}").symlink_to(Path("../..") / card.relative_to(self.sysfs))

    def usb(self, device: str, vendor: str, product: str, serial: str | None = None) -> str:
        """A USB device and those above it (hub, root hub); the path of its first interface."""
        bus = self.sysfs / device.split("/usb1/")[0] / "usb1"
        place = self.sysfs / device
        place.mkdir(parents=True, exist_ok=True)
        for folder in (place, *place.parents):
            if folder == place:
                values = {"idVendor": vendor, "idProduct": product, "serial": serial}
            elif folder == bus:
                values = {"idVendor": "1d6b", "idProduct": "0002", "serial": "0000:00:14.0"}
            else:
                values = {"idVendor": "05e3", "idProduct": "0610", "serial": None}  # a hub
            for name, value in values.items():
                if value is not None:
                    (folder / name).write_text(f"{value}\n")
            if folder == bus:
                break
        interface = f"{device}/{place.name}:1.0"
        (self.sysfs / interface).mkdir()
        return interface

    def identities(self, name: str) -> tuple[str, ...]:
        return identities(name, self.proc_asound, self.sysfs)


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path / "proc" / "asound", tmp_path / "sys")


@pytest.mark.parametrize(
    ("name", "hardware"),
    [
        ("HDA Intel PCH: ALC257 Analog (hw:0,0)", (0, 0)),
        ("NVIDIA Jetson Orin NX APE: - (hw:1,19)", (1, 19)),
        ("default", None),
        ("pulse", None),
        ("Mic (hw:0,0) clone", None),
    ],
)
def test_hardware_in_portaudio_names(name: str, hardware: tuple[int, int] | None) -> None:
    assert hardware_of(name) == hardware


def test_on_board_card_has_its_kernel_name_alone(machine: FakeMachine) -> None:
    machine.card(0, "PCH", PCH)
    (machine.sysfs / PCH / "vendor").write_text("0x8086\n")
    assert machine.identities("HDA Intel PCH: ALC257 Analog (hw:0,0)") == ("alsa:PCH", "alsa:PCH,0")


def test_usb_headset_with_serial_number(machine: FakeMachine) -> None:
    machine.card(1, "Wireless", machine.usb(f"{XHCI}/1-3", "046D", "0A66", "A1B2C3"))
    found = machine.identities("Logitech Wireless Headset: USB Audio (hw:1,0)")
    assert found[:5:2] == ("usb:046d:0a66:A1B2C3", "usb-path:1-3", "alsa:Wireless")
    assert "usb:046d:0a66" in found
    assert "usb-path:1-3,0" in found


def test_twins_without_serial_differ_by_their_sockets(machine: FakeMachine) -> None:
    first = machine.usb(f"{XHCI}/1-1/1-1.2", "0d8c", "0014")
    second = machine.usb(f"{XHCI}/1-1/1-1.3", "0d8c", "0014")
    machine.card(1, "Device", first)
    machine.card(2, "Device_1", second)
    one = machine.identities("USB Audio Device: - (hw:1,0)")
    two = machine.identities("USB Audio Device: - (hw:2,0)")
    assert one[0] == "usb-path:1-1.2"
    assert two[0] == "usb-path:1-1.3"
    assert set(one) & set(two) == {"usb:0d8c:0014", "usb:0d8c:0014,0"}


def test_twins_keep_their_identity_when_they_come_in_another_order(tmp_path: Path) -> None:
    def plugged(folder: str, order: tuple[str, str]) -> dict[str, str]:
        machine = FakeMachine(tmp_path / folder / "asound", tmp_path / folder / "sys")
        found = {}
        for number, port in enumerate(order, start=1):
            interface = machine.usb(f"{XHCI}/1-1/{port}", "0d8c", "0014")
            machine.card(number, ("Device", "Device_1")[number - 1], interface)
            found[port] = machine.identities(f"USB Audio Device: - (hw:{number},0)")[0]
        return found

    before = plugged("before", ("1-1.2", "1-1.3"))
    assert before == plugged("after", ("1-1.3", "1-1.2"))


def test_jetson_card_with_many_devices(machine: FakeMachine) -> None:
    machine.card(1, "APE", "devices/platform/sound")
    assert machine.identities("NVIDIA Jetson Orin NX APE: - (hw:1,19)") == (
        "alsa:APE",
        "alsa:APE,19",
    )
    interface = machine.usb(f"{JETSON_XHCI}/1-2/1-2.4", "2886", "0018")
    machine.card(2, "ArrayUAC10", interface)
    found = machine.identities("ReSpeaker 4 Mic Array (UAC1.0): USB Audio (hw:2,0)")
    assert found[0] == "usb-path:1-2.4"


def test_the_kernels_name_is_found_where_proc_is_hidden(machine: FakeMachine) -> None:
    machine.card(0, "PCH", PCH)
    hidden = machine.proc_asound.parent / "nothing"
    assert card_identity(0, hidden, machine.sysfs).card_id == "PCH"


def test_a_card_that_has_gone_has_no_identity(machine: FakeMachine) -> None:
    assert card_identity(7, machine.proc_asound, machine.sysfs) == CardIdentity(None, None)
    assert machine.identities("USB Audio Device: - (hw:7,0)") == ()


def test_odd_serial_numbers_can_be_typed(machine: FakeMachine) -> None:
    interface = machine.usb(f"{XHCI}/1-4", "0d8c", "0014")
    (machine.sysfs / XHCI / "1-4" / "serial").write_bytes(b" \x02AB:c\xff 1 \n")
    machine.card(1, "Device", interface)
    usb = card_identity(1, machine.proc_asound, machine.sysfs).usb
    assert usb == UsbIdentity("1-4", "0d8c", "0014", "AB:c 1")
    (machine.sysfs / XHCI / "1-4" / "serial").write_bytes(b"\n")
    assert machine.identities("USB Audio Device: - (hw:1,0)")[0] == "usb-path:1-4"


def test_importing_inputs_stays_light() -> None:
    """The capture worker imports it: no numpy, no typer."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, agent.capture.inputs; "
            "sys.exit(any(m in sys.modules for m in ('numpy', 'typer', 'pydantic')))",
        ],
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0
