"""The report as one HTML page: no script, nothing loaded from outside, pictures inside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.extras import missing_dependency
from agent.report import number_words
from agent.report.content import (
    CANDIDATES_SHOWN,
    ClassificationReport,
    ClassifiedFile,
    ComparisonReport,
    Report,
)
from agent.report.fact_rows import FactRow, fact_rows
from agent.report.verdict_words import (
    LIMITS,
    LR_LIMIT,
    POSTERIOR_LIMIT,
    Words,
    classification_words,
    comparison_words,
    support,
    verbal_scale,
)
from model.errors import DevrecError
from model.files import replacing

if TYPE_CHECKING:
    from jinja2 import Environment

    from agent.report.pictures import Picture

COLUMNS = 4  #: files side by side in a table: more do not fit a printed page


@dataclass(frozen=True)
class FileSection:
    """A section of a classification: the file, its answer in words, facts and pictures."""

    file: ClassifiedFile
    words: Words
    facts: tuple[FactRow, ...]
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class SideBySide:
    """A table of facts: the headings of its columns, and its rows."""

    headings: tuple[str, ...]
    rows: tuple[FactRow, ...]


def check_report(path: Path) -> None:
    """Refuse a report that could not be written, before the work for it is done.

    Raises:
        DevrecError: the folder does not exist or cannot be written to, or the path is a folder.
        MissingDependencyError: the extra is not installed.
    """
    _environment()
    if path.is_dir():
        raise DevrecError(f"{path}: cannot be written: Is a directory")
    if not path.parent.is_dir():
        raise DevrecError(f"{path}: cannot be written: no such folder")


def write_report(report: Report, path: Path) -> None:
    """Write the page; an existing file stays untouched until the new one is complete.

    Raises:
        DevrecError: the folder does not exist, or the file cannot be written.
        MissingDependencyError: the extra is not installed.
    """
    check_report(path)
    page = render_page(report)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def render_page(report: Report) -> str:
    """The page as text, to be encoded as UTF-8.

    Raises:
        MissingDependencyError: the extra is not installed.
        ValueError: content that does not fit together: no files, no references, spectra of
            different lengths.
    """
    environment = _environment()
    if isinstance(report, ClassificationReport):
        if not report.files and not report.failures:
            raise ValueError("a report on no files")
        name, values = "classification.html.j2", _classification(report)
    else:
        if not report.references:
            raise ValueError("a comparison without reference recordings")
        name, values = "comparison.html.j2", _comparison(report)
    return environment.get_template(name).render(report=report, **values)


def _environment() -> Environment:
    """Jinja's environment: everything escaped, unknown names refused."""
    try:
        import jinja2
        import matplotlib  # noqa: F401  # asked for here, so that a missing one is told early
    except ModuleNotFoundError as error:
        missing = missing_dependency(error)
        if missing is None:
            raise
        raise missing from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("agent.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    for function in (
        number_words.number,
        number_words.log10_lr,
        number_words.percent,
        number_words.probability,
        number_words.decibels,
        number_words.seconds,
        number_words.date_utc,
        support,
    ):
        environment.filters[function.__name__] = function
    return environment


def _shown(value: object) -> object:
    """Every value that a template prints: plain text with nothing hidden in it."""
    return number_words.visible(value) if type(value) is str else value


def _classification(report: ClassificationReport) -> dict[str, Any]:
    """What the template of a classification shows besides the report itself."""
    from agent.report.pictures import classification_pictures

    sections = [
        FileSection(
            file,
            classification_words(file.verdict),
            fact_rows([file.measured.facts]),
            classification_pictures(file),
        )
        for file in report.files
    ]
    ratios = any(file.verdict.nearest.log10_lr is not None for file in report.files)
    return {
        "title": "Which device made the recording?",
        "sections": sections,
        "candidates_shown": CANDIDATES_SHOWN,
        "scale": verbal_scale() if ratios else (),
        "limits": (*((LR_LIMIT,) if ratios else ()), POSTERIOR_LIMIT, *LIMITS),
    }


def _comparison(report: ComparisonReport) -> dict[str, Any]:
    """What the template of a comparison shows besides the report itself."""
    from agent.report.pictures import comparison_pictures, reference_pictures, tippett_picture

    tippett = None
    if report.validation is not None and report.result.log10_lr is not None:
        tippett = tippett_picture(report.validation, report.result)
    return {
        "title": "Did the same device make the recordings?",
        "words": comparison_words(report),
        "tables": _side_by_side(report),
        "tippett": tippett,
        "pictures": comparison_pictures(report),
        "reference_pictures": reference_pictures(report.references),
        "scale": verbal_scale() if report.result.log10_lr is not None else (),
        "limits": (LR_LIMIT, *LIMITS),
    }


def _side_by_side(report: ComparisonReport) -> tuple[SideBySide, ...]:
    """Facts of the questioned recording beside those of the references, a few at a time."""
    tables = []
    count = len(report.references)
    size = -(-count // -(-count // (COLUMNS - 1)))  # evenly: four are two and two
    for first in range(0, count, size):
        part = report.references[first : first + size]
        facts = [file.measured.facts for file in (report.questioned, *part)]
        numbers = range(first + 1, first + 1 + len(part))
        names = FactRow("file", tuple(file.name for file in facts))
        headings = ("questioned", *(f"reference {number}" for number in numbers))
        tables.append(SideBySide(headings, (names, *fact_rows(facts))))
    return tuple(tables)
