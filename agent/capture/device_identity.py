"""What stays the same about a sound card when the machine restarts or its cards come in another
order.

The kernel numbers cards as it meets them, so ``hw:1,0`` may be another microphone tomorrow. These
say more:

- ``usb:0d8c:0014:SERIAL``: this very device, wherever it is plugged in. Many have no serial number,
  and some makers give all their devices the same one.
- ``usb-path:1-1.2``: whatever is plugged in at this socket: bus 1, port 1, behind it port 2.
- ``alsa:PCH``: the kernel's name of the card. Two cards of the same kind get ``Device`` and
  ``Device_1`` in the order in which they come.
- ``usb:0d8c:0014``: a device of this make.

Each may be followed by a comma and the number of the card's device (``alsa:APE,1``), for cards that
have several.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PROC_ASOUND = Path("/proc/asound")  #: ALSA's own account of its cards; hidden in some containers
SYSFS = Path("/sys")

#: Beginnings by which an identity is told from a name.
PREFIXES = ("alsa:", "usb-path:", "usb:")

#: PortAudio's names of ALSA hardware end so: card and device.
_HARDWARE = re.compile(r"\(hw:(\d+),(\d+)\)\s*$")


@dataclass(frozen=True)
class UsbIdentity:
    """A USB device as its descriptors and its place describe it.

    Attributes:
        path: bus and ports, e.g. ``1-1.2``.
        vendor: four hexadecimal digits, lower case.
        product: likewise.
        serial: serial number, if it has one.
    """

    path: str
    vendor: str
    product: str
    serial: str | None


@dataclass(frozen=True)
class CardIdentity:
    """A sound card.

    Attributes:
        card_id: the kernel's name for it, e.g. ``PCH``; ``None`` when the card has gone.
        usb: its USB device, for a USB card.
    """

    card_id: str | None
    usb: UsbIdentity | None

    def tokens(self, device: int) -> tuple[str, ...]:
        """Identities of one of the card's devices, the most stable first.

        Args:
            device: number of the device on the card, the M of ``hw:N,M``.
        """
        found = []
        if self.usb is not None:
            make = f"usb:{self.usb.vendor}:{self.usb.product}"
            if self.usb.serial is not None:
                found.append(f"{make}:{self.usb.serial}")
            found.append(f"usb-path:{self.usb.path}")
        if self.card_id is not None:
            found.append(f"alsa:{self.card_id}")
        if self.usb is not None:
            found.append(make)
        return tuple(token for one in found for token in (one, f"{one},{device}"))


def hardware_of(name: str) -> tuple[int, int] | None:
    """Card and device number in PortAudio's name of an ALSA input; ``None`` for a plugin
    (``default``, ``pulse``), which is no hardware."""
    match = _HARDWARE.search(name)
    return (int(match[1]), int(match[2])) if match else None


def card_identity(card: int, proc_asound: Path = PROC_ASOUND, sysfs: Path = SYSFS) -> CardIdentity:
    """What is known about a card.

    Args:
        card: its number, the N of ``hw:N,M``.
        proc_asound: where ALSA describes its cards.
        sysfs: where the kernel describes its devices.
    """
    described = sysfs / "class" / "sound" / f"card{card}"
    card_id = _line(proc_asound / f"card{card}" / "id") or _line(described / "id")
    return CardIdentity(card_id, _usb_identity(described / "device", sysfs))


def identities(name: str, proc_asound: Path = PROC_ASOUND, sysfs: Path = SYSFS) -> tuple[str, ...]:
    """Identities of the input that PortAudio's ALSA part calls ``name``, the most stable first.

    Returns:
        none for what is no ALSA hardware, or has gone.
    """
    hardware = hardware_of(name)
    if hardware is None:
        return ()
    card, device = hardware
    return card_identity(card, proc_asound, sysfs).tokens(device)


def _usb_identity(device: Path, sysfs: Path) -> UsbIdentity | None:
    """The first USB device on the way up from a card; its interfaces lie below it."""
    try:
        place = device.resolve(strict=True)
        top = sysfs.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: links in a circle, before Python 3.13
        return None
    while top in place.parents:
        vendor, product = _line(place / "idVendor"), _line(place / "idProduct")
        if vendor is not None and product is not None:
            serial = _line(place / "serial")
            return UsbIdentity(place.name, vendor.lower(), product.lower(), serial)
        place = place.parent
    return None


def _line(path: Path) -> str | None:
    """The text of a one-line file of the kernel's, or ``None``; a serial number may hold anything,
    so what cannot be typed into a configuration is left out."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    printable = "".join(c for c in text if c.isprintable() and c != "\N{REPLACEMENT CHARACTER}")
    return printable.strip() or None
