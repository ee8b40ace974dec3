"""Pictures are written whole, in either format, and hold what they should show."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from model.detection_plots import (
    reliability_figure,
    render,
    roc_figure,
    tippett_figure,
    write_figure,
)
from model.errors import DevrecError, UsageError
from model.likelihood_ratio import LrBounds
from model.probability_calibration import reliability

RNG = np.random.default_rng(11)
TARGETS, NONTARGETS = RNG.normal(1.0, 1.0, 30), RNG.normal(-1.0, 1.0, 200)


def tippett_example() -> Figure:
    return tippett_figure(TARGETS, NONTARGETS, LrBounds(-1.2, 1.5), 0.7)


def roc_example() -> Figure:
    sets = {"clean": (TARGETS, NONTARGETS), "noise": (TARGETS - 1, NONTARGETS)}
    return roc_figure(sets, "simulated scores")


def reliability_example() -> Figure:
    logs = RNG.normal(0.0, 2.0, (300, 6))
    return reliability_figure(reliability(logs, RNG.integers(0, 6, 300)), "simulated scores")


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts that lie on each other once drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = [
        (text.get_text(), text.get_window_extent(canvas.get_renderer()))
        for text in figure.findobj(Text)
        if isinstance(text, Text) and text.get_visible() and text.get_text().strip()
    ]
    return [
        (one, two)
        for place, (one, box) in enumerate(texts)
        for two, other in texts[place + 1 :]
        if box.overlaps(other) and box != other
    ]


@pytest.mark.parametrize("example", [tippett_example, roc_example, reliability_example])
def test_files_hold_the_figure(example: object, tmp_path: Path) -> None:
    assert callable(example)
    figure = example()
    assert isinstance(figure, Figure)
    write_figure(figure, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    write_figure(figure, tmp_path / "picture.SVG")
    root = ElementTree.fromstring((tmp_path / "picture.SVG").read_bytes())
    assert root.tag.endswith("}svg")
    assert len(list(tmp_path.iterdir())) == 2
    assert render(figure, "svg") == (tmp_path / "picture.SVG").read_bytes()


@pytest.mark.parametrize("example", [tippett_example, roc_example, reliability_example])
def test_no_text_lies_on_another(example: object) -> None:
    assert callable(example)
    assert overlapping(example()) == []


def test_tippett_says_cost_and_error_rate_and_marks_the_case() -> None:
    figure = tippett_example()
    title = figure.axes[0].get_title()
    assert all(word in title for word in ("Cllr", "minCllr", "EER"))
    entries = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "this case: log10 LR 0.70" in entries
    assert any("30 trials" in entry for entry in entries)
    assert any("200 trials" in entry for entry in entries)


def test_extremes_can_be_drawn() -> None:
    figure = tippett_figure([np.inf, 1.0], [-np.inf, 3.0], LrBounds(0.0, 0.0), -40.0)
    entries = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "this case: log10 LR \N{MINUS SIGN}40.00, off the scale" in entries
    assert render(figure)
    assert render(roc_figure({"one": ([1.0], [1.0])}, "one trial each", fpr_limit=0.0005))
    assert render(reliability_figure(reliability([[0.0, -9.0]], [1]), "one trial"))


def test_what_cannot_be_drawn_or_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png or \.svg"):
        write_figure(roc_example(), tmp_path / "picture.jpg")
    with pytest.raises(DevrecError, match="cannot be written"):
        write_figure(roc_example(), tmp_path / "nowhere" / "picture.png")
    with pytest.raises(ValueError, match="0 sets"):
        roc_figure({}, "nothing")
    with pytest.raises(ValueError, match="5 sets"):
        roc_figure({str(n): (TARGETS, NONTARGETS) for n in range(5)}, "too many")
