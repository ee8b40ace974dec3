"""Pictures in a terminal: shapes that follow the data, whatever the terminal can do."""

from __future__ import annotations

import io
import itertools
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from agent.terminal_chart import LABEL_CELLS, ResponseChart, SpectrogramPicture

FREQUENCIES = np.geomspace(50, 16_000, 300)


def drawn(picture: object, width: int = 100, encoding: str = "utf-8", **console: Any) -> list[str]:
    """Lines as the terminal gets them."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    Console(file=file, width=width, **console).print(picture)
    file.flush()
    return [line.rstrip() for line in raw.getvalue().decode(encoding).splitlines()]


def heights(lines: list[str]) -> list[int]:
    """Line of the topmost dot in every column of a chart."""
    columns = range(LABEL_CELLS, LABEL_CELLS + 60)
    grid = [line.ljust(LABEL_CELLS + 60) for line in lines]
    return [
        next((k for k, line in enumerate(grid) if "\u2801" <= line[column] <= "\u28ff"), -1)
        for column in columns
    ]


def test_rising_line_rises() -> None:
    octaves = np.log2(FREQUENCIES / 1000)
    lines = drawn(ResponseChart(FREQUENCIES, 3 * octaves, range_db=(-20, 20)))
    assert len(lines) == 9
    found = heights(lines[:8])
    assert -1 not in found
    assert all(a >= b for a, b in itertools.pairwise(found))
    assert found[0] > 4 > found[-1]
    assert lines[0].startswith("+20 dB")
    assert lines[7].startswith("-20 dB")
    assert lines[8].split() == ["50", "100", "200", "500", "1k", "2k", "5k", "10k", "Hz"]


def test_every_column_has_its_level() -> None:
    """Also where the curve is steep; outside the range nothing is drawn."""
    steep = np.where(FREQUENCIES > 1000, -25.0, 5.0)
    assert -1 not in heights(drawn(ResponseChart(FREQUENCIES, steep, range_db=(-30, 10)))[:8])
    outside = heights(drawn(ResponseChart(FREQUENCIES, steep, range_db=(-20, 10)))[:8])
    assert outside[:20] == [1] * 20
    assert outside[-20:] == [-1] * 20


def test_range_is_the_curves_own() -> None:
    lines = drawn(ResponseChart(FREQUENCIES, np.linspace(-73, 3.0, 300)))
    assert lines[0].startswith("+10 dB")
    assert lines[7].startswith("-40 dB")
    flat = drawn(ResponseChart(FREQUENCIES, np.zeros(300)))
    assert len(set(heights(flat[:8]))) == 1


@pytest.mark.parametrize("width", [20, 40, 80])
def test_chart_fits(width: int) -> None:
    lines = drawn(ResponseChart(FREQUENCIES, np.sin(FREQUENCIES / 999)), width=width)
    assert len(lines) == 9
    assert max(map(len, lines)) <= width


def test_without_unicode() -> None:
    chart = ResponseChart(FREQUENCIES, 5 * np.sin(FREQUENCIES / 999))
    mels = np.random.default_rng(0).standard_normal((100, 34))
    for picture in (chart, SpectrogramPicture(mels)):
        assert all(line.isascii() for line in drawn(picture, encoding="ascii"))


def test_spectrogram_is_the_right_way_up() -> None:
    """Low bands at the bottom, time to the right; loud is bright."""
    mels = np.zeros((120, 34))
    mels[60:, :17] = 10.0
    lines = drawn(SpectrogramPicture(mels, width=40, height=8))
    assert len(lines) == 8
    assert all(line.strip() == "" for line in lines[:4])
    assert all(line == 20 * " " + 20 * "█" for line in lines[4:])


def test_spectrogram_in_colour() -> None:
    mels = np.zeros((120, 34))
    mels[:, :2] = 1.0
    lines = drawn(
        SpectrogramPicture(mels, width=5, height=3, limits=(0, 1)),
        force_terminal=True,
        color_system="truecolor",
    )
    assert len(lines) == 3
    assert "38;2;0;0;4;48;2;0;0;4m▀" in lines[0]
    assert "38;2;0;0;4;48;2;" in lines[2]
    assert "48;2;0;0;4" not in lines[2]


@pytest.mark.parametrize("shape", [(1, 1), (3, 34), (1000, 5), (128, 80)])
def test_spectrogram_of_any_shape(shape: tuple[int, int]) -> None:
    lines = drawn(
        SpectrogramPicture(np.random.default_rng(1).standard_normal(shape)),
        width=30,
        force_terminal=True,
        color_system="truecolor",
    )
    assert len(lines) == 8
    assert all(line.count("▀") == 30 for line in lines)
