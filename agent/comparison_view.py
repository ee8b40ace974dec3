"""A comparison on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from agent.comparison import Comparison
from agent.comparison_words import (
    NOT_A_PROBABILITY,
    bounds_words,
    comparison_limits,
    figures_words,
    meaning,
    propositions,
    score_words,
)
from agent.report.number_words import NOTHING, log10_lr, number, visible
from model.likelihood_ratio import verbal


def show_comparison(terminal: Console, comparison: Comparison, limits: Sequence[str]) -> None:
    """Print the answer, what it rests on, and what it does not say.

    Args:
        terminal: where to.
        comparison: the answer.
        limits: sentences on what the model cannot do.
    """
    terminal.print(_recordings(comparison))
    terminal.print(_answer(comparison))
    rows = {
        "validation": [f"{figures_words(comparison)}.", comparison.validation],
        "warnings": [caution.words for caution in comparison.cautions],
        "limits": [NOT_A_PROBABILITY, *limits, *comparison_limits(comparison)],
    }
    table = _rows()
    for name, sentences in rows.items():
        for place, sentence in enumerate(sentences):
            style = "yellow" if name == "warnings" else ""
            table.add_row(name if place == 0 else "", Text(visible(sentence), style))
    terminal.print(table)


def _rows() -> Table:
    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _answer(comparison: Comparison) -> Panel:
    words = verbal(comparison.log10_lr)
    style = "green" if comparison.log10_lr > 0 else "red"
    if words.startswith("no "):
        style = "yellow"
    first, second = propositions(comparison)
    table = _rows()
    value = f"{log10_lr(comparison.log10_lr)}  {meaning(comparison)}"
    for name, cell in (
        ("log10 LR", Text(value, "bold")),
        ("supported", Text(bounds_words(comparison))),
        ("score", Text(f"{number(comparison.score, 3)} ({score_words(comparison)})")),
        ("first", Text(visible(first))),
        ("second", Text(second)),
    ):
        table.add_row(name, cell)
    headline = Text(words[0].upper() + words[1:], f"bold {style}")
    return Panel(Group(headline, table), border_style=style)


def _recordings(comparison: Comparison) -> Table:
    table = Table(pad_edge=False, header_style="bold")
    table.add_column("recording", no_wrap=True)
    table.add_column("file", overflow="fold")
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("log10 LR alone", justify="right")
    table.add_column("warnings", overflow="fold", style="yellow")
    given = [
        ("questioned", comparison.questioned, NOTHING),
        *(
            ("reference", reference, log10_lr(alone))
            for reference, alone in zip(comparison.references, comparison.alone, strict=True)
        ),
    ]
    for role, recording, alone in given:
        # Text, not markup: a file name may hold square brackets.
        table.add_row(
            role,
            Text(visible(recording.name)),
            f"{recording.clip.duration_s:.1f}",
            alone,
            Text("; ".join(recording.warnings) or NOTHING),
        )
    return table
