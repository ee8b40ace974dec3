"""Facts of files as the rows of a table, one file or several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.report.file_facts import FileFacts
from agent.report.number_words import (
    NOTHING,
    date_utc,
    decibels,
    hertz,
    kilohertz,
    number,
    percent,
    seconds,
)

BANDWIDTH_RATIO = 1.2  #: from which two bandwidths are told to differ


@dataclass(frozen=True)
class FactRow:
    """One fact of all files.

    Attributes:
        name: of the fact.
        values: one for each file.
        differs: the files are of different kinds in this, which can change the comparison.
        code: the values are hexadecimal.
    """

    name: str
    values: tuple[str, ...]
    differs: bool = False
    code: bool = False


def fact_rows(files: Sequence[FileFacts]) -> tuple[FactRow, ...]:
    """The rows of a table with a column for each file, at least one."""

    def kind(name: str, values: Sequence[str]) -> FactRow:
        return FactRow(name, tuple(values), differs=len(set(values)) > 1)

    def value(name: str, values: Sequence[str]) -> FactRow:
        return FactRow(name, tuple(values))

    def band(name: str, values: Sequence[float | None]) -> FactRow:
        known = [value for value in values if value is not None]
        far = bool(known) and max(known) > BANDWIDTH_RATIO * min(known)
        differs = far or 0 < len(known) < len(values)
        return FactRow(name, tuple(kilohertz(value) for value in values), differs)

    return (
        FactRow("sha256", tuple(facts.sha256 for facts in files), code=True),
        value("size", [f"{facts.size_bytes:,} bytes" for facts in files]),
        value("last modified", [date_utc(facts.modified_utc) for facts in files]),
        kind("container", [facts.container for facts in files]),
        kind("coding", [facts.codec for facts in files]),
        kind("bits a sample", [NOTHING if f.bits is None else str(f.bits) for f in files]),
        kind("sample rate", [hertz(facts.sample_rate_hz) for facts in files]),
        kind("channels", [_channels(facts.channels) for facts in files]),
        value("duration", [seconds(facts.duration_s) for facts in files]),
        band("energy up to", [facts.bandwidth_hz for facts in files]),
        value("varying up to", [kilohertz(facts.varying_up_to_hz) for facts in files]),
        value("level (RMS)", [decibels(facts.level_dbfs) for facts in files]),
        value("peak", [decibels(facts.peak_dbfs) for facts in files]),
        value("DC offset", [f"{number(100 * facts.dc, 4)} % of full scale" for facts in files]),
        value("samples at full scale", [percent(facts.clipped_share) for facts in files]),
    )


def _channels(count: int) -> str:
    return "1" if count == 1 else f"{count} (the first is used)"
