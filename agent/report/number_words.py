"""Numbers and names as a reader of the report sees them."""

from __future__ import annotations

import math
import unicodedata
from datetime import datetime, timezone

MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EN DASH}"  #: where there is no value


def number(value: float, digits: int) -> str:
    """A number with ``digits`` decimals and a real minus sign; never a negative zero."""
    if math.isinf(value):
        return f"{MINUS if value < 0 else ''}∞"
    text = f"{value:.{digits}f}"
    if not text.strip("-0."):
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def log10_lr(value: float | None) -> str:
    """A log10 likelihood ratio to two decimals; a dash where there is none."""
    return NOTHING if value is None else number(value, 2)


def percent(share: float) -> str:
    """A share for people, to a tenth of a percent; never 100 % or 0 % unless it is exact."""
    if 0.999 < share < 1.0:
        return "> 99.9 %"
    if 0.0 < share < 0.001:
        return "< 0.1 %"
    return f"{100 * share:.1f} %" if share not in (0.0, 1.0) else f"{100 * share:.0f} %"


def probability(value: float) -> str:
    """A probability for people; never 100 %, which no evidence gives."""
    return "> 99.9 %" if value > 0.999 else "< 0.1 %" if value < 0.001 else percent(value)


def times(magnitude: float) -> str:
    """``10 ** magnitude`` to two digits, in words from a million on ("1,600", "2.5 million")."""
    if magnitude >= 12:
        return f"10^{magnitude:.0f}"
    value = float(f"{10.0**magnitude:.1e}")
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if value >= size:
            return (
                f"{value / size:.2g} {word}" if value / size < 100 else f"{value / size:.0f} {word}"
            )
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def decibels(value: float, unit: str = "dBFS") -> str:
    """A level to a tenth of a decibel."""
    return f"{number(value, 1)} {unit}"


def seconds(value: float) -> str:
    """A duration: ``8.00 s``, from a minute on ``1:02:03.0`` as well."""
    text = f"{value:.2f} s"
    if value < 60:
        return text
    minutes, rest = divmod(value, 60)
    hours, minutes = divmod(int(minutes), 60)
    clock = f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"
    return f"{text} ({clock})"


def hertz(value: float) -> str:
    """A sample rate, exactly: ``44,100 Hz``."""
    return f"{value:,.0f} Hz"


def kilohertz(value: float | None) -> str:
    """A frequency to a tenth of a kilohertz; a dash where there is none."""
    return NOTHING if value is None else f"{value / 1000:.1f} kHz"


def date_utc(value: datetime | None) -> str:
    """Date and time to the second, UTC; a dash where there is none."""
    return NOTHING if value is None else f"{value.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def visible(text: str) -> str:
    """Text with nothing hidden: control characters, characters that turn the direction of
    writing, and bytes of file names that are no UTF-8 are written as escapes.

    A file name may hold any of them, and could otherwise pass for another name, or could not be
    written at all.
    """
    return "".join(_escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte of a name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return (
            f"\\x{code:02x}"
            if code < 0x100
            else f"\\u{code:04x}"
            if code < 0x10000
            else f"\\U{code:08x}"
        )
    return letter


def shortened(text: str, length: int) -> str:
    """Text of at most ``length`` characters, its middle left out if it is longer."""
    if len(text) <= length:
        return text
    head = (length - 1 + 1) // 2
    tail = length - 1 - head
    return f"{text[:head]}…{text[len(text) - tail :]}"
