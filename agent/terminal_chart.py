"""Pictures in a terminal (rich): a response curve in braille, a spectrogram in half-blocks.

Both shrink to the width there is, and do without colour or Unicode where the terminal has none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.style import Style
from rich.text import Text

LABEL_CELLS = 7  #: left of a chart: "+10 dB "
DOTS_ACROSS, DOTS_DOWN = 2, 4  #: of a braille character

#: Bits of a braille character's dots by row and column (Unicode block U+2800).
_BRAILLE = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_TICKS_HZ = (20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
#: From quiet to loud; even steps of lightness, as matplotlib's "magma" has them.
_COLOURS = (
    (0, 0, 4),
    (59, 15, 112),
    (140, 41, 129),
    (222, 73, 104),
    (254, 159, 109),
    (252, 253, 191),
)
_SHADES, _ASCII_SHADES = " ░▒▓█", " .:*#"

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ResponseChart:
    """A curve of level over logarithmic frequency.

    Attributes:
        frequencies_hz: rising, above 0, 1-D.
        level_db: same shape.
        width: characters across the curve; the labels need :data:`LABEL_CELLS` more.
        height: lines of the curve; one more holds the frequencies.
        range_db: lowest and highest level; what lies outside is not drawn. The curve's own range,
            in steps of 10 dB and at most 50 dB, by default.
        style: of the curve.
    """

    frequencies_hz: Array
    level_db: Array
    width: int = 60
    height: int = 8
    range_db: tuple[float, float] | None = None
    style: str = "cyan"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the chart: yields one :class:`rich.text.Text` a line."""
        width = max(8, min(self.width, options.max_width - LABEL_CELLS))
        low, high = self.range_db if self.range_db is not None else self._own_range()
        dots = self._dots(width, low, high)
        zero_line = self._line_of(0.0, low, high) if low < 0 < high else None
        for line in range(self.height):
            level = {0: high, self.height - 1: low, zero_line: 0.0}.get(line)
            label = "" if level is None else f"{level:+.0f} dB" if level else "0 dB"
            text = Text(no_wrap=True)
            text.append(f"{label:>{LABEL_CELLS - 1}} ", "dim")
            for column in range(width):
                cell = dots[
                    line * DOTS_DOWN : (line + 1) * DOTS_DOWN,
                    column * DOTS_ACROSS : (column + 1) * DOTS_ACROSS,
                ]
                if cell.any():
                    text.append(_character(cell, options.ascii_only), self.style)
                else:
                    dash = "-" if options.ascii_only else "┈"
                    text.append(dash if line == zero_line else " ", "dim")
            yield text
        yield self._frequency_axis(width)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Its width, for columns and panels."""
        wanted = min(self.width + LABEL_CELLS, options.max_width)
        return Measurement(min(8 + LABEL_CELLS, wanted), wanted)

    def _own_range(self) -> tuple[float, float]:
        high = 10.0 * math.ceil((float(self.level_db.max()) + 0.5) / 10)
        low = 10.0 * math.floor((float(self.level_db.min()) - 0.5) / 10)
        return max(low, high - 50), high

    def _line_of(self, level_db: float, low: float, high: float) -> int:
        """Line in which a level lies."""
        return self._dot_row(np.array([level_db]), low, high)[0] // DOTS_DOWN

    def _dot_row(self, level_db: Array, low: float, high: float) -> list[int]:
        """Row of each level's dot from the top; outside the chart for levels outside the range."""
        last = self.height * DOTS_DOWN - 1
        share = np.clip((high - level_db) / (high - low), -1, 2)
        at: list[int] = np.rint(share * last).astype(int).tolist()
        return at

    def _dots(self, width: int, low: float, high: float) -> npt.NDArray[np.bool_]:
        """Which dots are set, ``(height * 4, width * 2)``."""
        columns = width * DOTS_ACROSS
        where = np.geomspace(self.frequencies_hz[0], self.frequencies_hz[-1], columns)
        level = np.interp(np.log(where), np.log(self.frequencies_hz), self.level_db)
        at = self._dot_row(level, low, high)
        dots = np.zeros((self.height * DOTS_DOWN, columns), bool)
        for column, row in enumerate(at):
            before = at[max(column - 1, 0)]
            # Steep parts are joined, up to the dot beside the last column's.
            top, bottom = (before + 1, row) if before < row else (row, max(row, before - 1))
            dots[max(top, 0) : max(bottom + 1, 0), column] = True
        return dots

    def _frequency_axis(self, width: int) -> Text:
        first, last = math.log(self.frequencies_hz[0]), math.log(self.frequencies_hz[-1])
        line = [" "] * (LABEL_CELLS + width)
        free_from = 0
        for tick in _TICKS_HZ:
            label = f"{tick // 1000}k" if tick >= 1000 else str(tick)
            at = round((math.log(tick) - first) / (last - first) * (width - 1))
            start = LABEL_CELLS + at - (len(label) - 1) // 2
            if at < 0 or start < free_from or start + len(label) > len(line):
                continue
            line[start : start + len(label)] = label
            free_from = start + len(label) + 2
        unit = " Hz"
        if free_from - 2 + len(unit) <= len(line):
            line[free_from - 2 : free_from - 2 + len(unit)] = unit
        return Text("".join(line), style="dim", no_wrap=True)


@dataclass(frozen=True)
class SpectrogramPicture:
    """A logarithmic spectrogram, low bands at the bottom, two bands to a line.

    Attributes:
        log_mel: levels ``(frames, bands)`` in any logarithmic unit.
        width: characters across.
        height: lines.
        limits: levels that are drawn darkest and brightest; the quietest and the loudest, without
            the outermost hundredth, by default.
    """

    log_mel: npt.NDArray[np.floating] = field(repr=False)
    width: int = 60
    height: int = 8
    limits: tuple[float, float] | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the picture: yields one :class:`rich.text.Text` a line."""
        width = max(1, min(self.width, options.max_width))
        colourful = console.color_system is not None and not console.no_color
        plain = options.ascii_only or not colourful
        shares = self._shares(width, self.height if plain else 2 * self.height)
        if plain:
            shades = _ASCII_SHADES if options.ascii_only else _SHADES
            for row in shares:
                numbers = np.rint(row * (len(shades) - 1)).astype(int)
                yield Text("".join(shades[k] for k in numbers), no_wrap=True)
            return
        for upper, lower in zip(shares[::2], shares[1::2], strict=True):
            text = Text(no_wrap=True)
            for top, bottom in zip(upper, lower, strict=True):
                text.append("▀", Style(color=_colour(top), bgcolor=_colour(bottom)))
            yield text

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Its width, for columns and panels."""
        return Measurement(1, min(self.width, options.max_width))

    def _shares(self, width: int, rows: int) -> Array:
        """Brightness ``(rows, width)`` from 0 to 1, the highest band first."""
        levels = np.asarray(self.log_mel, np.float64)
        n_frames, n_bands = levels.shape
        columns = np.stack(
            [part.mean(axis=0) for part in _parts(levels, width, n_frames)], axis=1
        )  # (bands, width)
        cells = np.stack([part.mean(axis=0) for part in _parts(columns, rows, n_bands)])
        low, high = self.limits if self.limits is not None else np.quantile(levels, (0.01, 0.99))
        return np.clip((cells[::-1] - low) / max(float(high - low), 1e-9), 0, 1)


def _parts(values: Array, n_parts: int, length: int) -> list[Array]:
    """Equal stretches along the first axis; overlapping where there are more parts than rows."""
    edges = np.linspace(0, length, n_parts + 1)
    starts = np.minimum(edges[:-1].astype(int), length - 1)
    ends = np.maximum(np.ceil(edges[1:]).astype(int), starts + 1)
    return [values[start:end] for start, end in zip(starts, ends, strict=True)]


def _character(cell: npt.NDArray[np.bool_], ascii_only: bool) -> str:
    if ascii_only:
        return "*"
    bits = 0
    for row, column in zip(*np.nonzero(cell), strict=True):
        bits |= _BRAILLE[row][column]
    return chr(0x2800 + bits)


def _colour(share: float) -> Color:
    place = share * (len(_COLOURS) - 1)
    low = min(int(place), len(_COLOURS) - 2)
    mixed = (
        round(a + (b - a) * (place - low))
        for a, b in zip(_COLOURS[low], _COLOURS[low + 1], strict=True)
    )
    return Color.from_rgb(*mixed)
