"""Differences between engines as a table."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from export.parity import BOUNDS, Difference


def parity_table(title: str, rows: Iterable[tuple[str, str, Difference]], precision: str) -> Table:
    """Differences beside their bounds."""
    bounds = BOUNDS[precision]
    table = Table(title=Text(title), title_justify="left")
    for column in ("windows", "reference"):
        table.add_column(column, overflow="fold")
    for column in ("n", "logits", "embedding", "same best"):
        table.add_column(column, justify="right")
    for windows, reference, found in rows:
        table.add_row(
            windows,
            Text(reference),
            str(found.windows),
            f"{found.logits:.2g}",
            f"{found.embedding:.2g}",
            f"{100 * found.top1:.1f} %",
        )
    table.add_section()
    table.add_row(
        "bound",
        precision,
        "",
        f"{bounds.logits:g}",
        f"{bounds.embedding:g}",
        f"{100 * bounds.top1:g} %",
    )
    return table
