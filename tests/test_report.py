"""The report's page: self-contained, safe with hostile names, and true to its content."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
import sys
import xml.etree.ElementTree as ElementTree
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from agent.classification import Candidate, WindowScore
from agent.report.content import (
    ClassificationReport,
    ClassifiedFile,
    ComparedFile,
    ComparisonReport,
    ComparisonResult,
    FailedFile,
    GalleryFacts,
    HowMade,
    ModelFacts,
    ModelFigure,
    ReferenceSpectrum,
    Report,
    Validation,
    Verdict,
)
from agent.report.figures import (
    MOST_COLUMNS,
    NumberedReference,
    grouped,
    label_of,
    long_term_figure,
    mel_figure,
    spectrogram_figure,
    timeline_figure,
)
from agent.report.file_facts import MeasuredFile, measure_file
from agent.report.number_words import number, percent, probability, seconds, times, visible
from agent.report.page import check_report, render_page, write_report
from agent.report.verdict_words import classification_words, comparison_words, strength
from model.errors import DevrecError, MissingDependencyError
from model.features import FrontEndConfig
from model.likelihood_ratio import LrBounds, verbal
from model.likelihood_ratio_validation import lr_figures
from tests.simulated import RATE_HZ, record, speech_like

CONFIG = FrontEndConfig(remove_dc=True, prefbank="log")
HOSTILE = '<img src=x onerror="alert(1)">\'&{{ 7*7 }}\u202egnp.\udcff.wav'
VOID = {"meta", "img", "br", "link", "input", "hr"}
RNG = np.random.default_rng(1)
SAME, DIFFERENT = RNG.normal(2.0, 1.0, 40), RNG.normal(-2.0, 1.0, 300)


class Page(HTMLParser):
    """A parsed page: tags with their attributes, and the text that a reader sees."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data

    def values(self, attribute: str) -> list[str]:
        return [attrs[attribute] for _, attrs in self.tags if attribute in attrs]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> MeasuredFile:
    path = tmp_path_factory.mktemp("clips") / "clip.wav"
    soundfile.write(path, record(speech_like(3.0, seed=1), device=1), RATE_HZ)
    found = measure_file(path, "clip.wav", CONFIG)
    assert found.facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def renamed(measured: MeasuredFile, name: str) -> MeasuredFile:
    facts = dataclasses.replace(measured.facts, name=name)
    return dataclasses.replace(measured, facts=facts)


def classified(
    measured: MeasuredFile, name: str = "clip.wav", device: str = "simB", lr: float | None = 3.21
) -> ClassifiedFile:
    low = None if lr is None else -1.5
    candidates = (
        Candidate(device, 0.9731, lr, "gallery"),
        Candidate("simA", 0.0213, low),
        *(Candidate(f"sim{k}", 0.0004, low) for k in range(12)),
    )
    windows = tuple(
        WindowScore(0.5 * k, 0.5 * k + 1.03, device if k % 3 else "simA", 0.8, lr) for k in range(5)
    )
    bands = np.linspace(-1.0, 1.0, CONFIG.n_mels)
    return ClassifiedFile(
        renamed(measured, name),
        Verdict(device, candidates[0], 14, 5, 3, None if lr is None else 1.25, 0.01),
        candidates,
        windows,
        (ReferenceSpectrum("simA", bands), ReferenceSpectrum(device, -bands)),
        ("clipped: the waveform reaches full scale",),
    )


MODEL = ModelFacts(
    "simulated-14",
    "ab12" * 16,
    ("simA", "simB"),
    "14 simulated devices",
    (("preset", "fast"),),
    (ModelFigure("false acceptance", "0.9 %", "simulated devices held out"),),
    ("Simulated devices only.",),
    GalleryFacts("gallery.json", "cd34" * 16, 1, 3),
)
MADE = HowMade(
    "9.8.7",
    "devrec-agent classify 'a b.wav' --report out.html",
    datetime(2031, 2, 3, 4, 5, 6, tzinfo=timezone.utc),
    "ONNX Runtime, CPU",
)


def classification(*files: ClassifiedFile, **more: tuple[object, ...]) -> ClassificationReport:
    return ClassificationReport(files, MODEL, MADE, **more)  # type: ignore[arg-type]


def comparison(measured: MeasuredFile, names: list[str], log10_lr: float | None = 1.72) -> Report:
    figures = lr_figures(SAME, DIFFERENT)
    return ComparisonReport(
        ComparedFile(renamed(measured, "questioned.wav")),
        tuple(ComparedFile(renamed(measured, name), ("quiet",), 1.11) for name in names),
        ComparisonResult(7.125, log10_lr, log10_lr, figures.bounds),
        MODEL,
        MADE,
        Validation(SAME, DIFFERENT, figures, "Simulated trials."),
        ("coded differently",),
    )


def assert_self_contained(source: str) -> Page:
    page = Page(source)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "base", "form"}
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    targets = page.values("src") + page.values("href")
    pictures = [target for target in targets if target.startswith("data:image/svg+xml;base64,")]
    anchors = [target for target in targets if target.startswith("#")]
    assert len(pictures) + len(anchors) == len(targets)
    identifiers = page.values("id")
    assert len(set(identifiers)) == len(identifiers)
    assert {anchor[1:] for anchor in anchors} <= set(identifiers)
    outside = re.sub(r"data:image/svg\+xml;base64,[A-Za-z0-9+/=]*", "", source)
    assert "://" not in outside
    assert "url(" not in outside
    assert "@import" not in outside
    for picture in pictures:
        root = ElementTree.fromstring(base64.b64decode(picture.partition(",")[2]))
        assert root.tag.endswith("}svg")
        for element in root.iter():
            assert not element.tag.endswith("}script")
            for name, value in element.attrib.items():
                if name.endswith("href"):
                    assert value.startswith(("#", "data:image/png;base64,"))
    return page


def test_the_page_of_a_classification_says_what_the_content_does(measured: MeasuredFile) -> None:
    page = assert_self_contained(render_page(classification(classified(measured))))
    facts = measured.facts
    for expected in (
        "strong support for the proposition that simB made the recording",
        "about 1,600 times as probable if simB made the recording as if another device did",
        "3.21", "97.3 %", "3 of 5", "from log10 LR 1.25", "1.0 % of the recordings",
        "clipped: the waveform", "simA", "gallery", "\N{MINUS SIGN}1.50", "2.1 %",
        "6 further devices", facts.sha256, f"{facts.size_bytes:,} bytes", "32,000 Hz", "3.00 s",
        number(facts.level_dbfs, 1), number(facts.peak_dbfs, 1), "Signed 16 bit PCM",
        "simulated-14", "ab12" * 16, "14 simulated devices", "preset", "0.9 %", "cd34" * 16,
        "Simulated devices only.", "9.8.7", "'a b.wav'", "2031-02-03 04:05:06 UTC",
        "ONNX Runtime, CPU", "not the probability that a device made a recording",
    ):  # fmt: skip
        assert expected in page.text, expected
    assert "Summary" not in page.text
    assert sum(tag == "img" for tag, _ in page.tags) == 4
    assert all(text for text in page.values("alt"))


def test_several_files_have_a_summary_and_a_section_each(measured: MeasuredFile) -> None:
    one = classified(measured, "one.wav")
    two = classified(measured, "two.wav", lr=0.31)
    two = dataclasses.replace(two, verdict=dataclasses.replace(two.verdict, device=None))
    failed = (FailedFile("three.wav", "not an audio file"),)
    report = classification(one, two, failures=failed, notes=("All simulated.",))
    page = assert_self_contained(render_page(report))
    assert page.values("href") == ["#file-1", "#file-2"]
    for expected in ("Summary", "one.wav", "unknown", "nearest: simB", "Unknown device"):
        assert expected in page.text
    assert "three.wav: not an audio file" in page.text
    assert "All simulated." in page.text
    assert "three.wav" in Page(render_page(classification(failures=failed))).text


def test_hostile_names_are_text(measured: MeasuredFile, tmp_path: Path) -> None:
    device = "</td><script>alert(1)</script>$\\frac{$"
    file = classified(measured, HOSTILE, device)
    report = classification(file, file, failures=(FailedFile(HOSTILE, HOSTILE),), notes=(HOSTILE,))
    report = dataclasses.replace(
        report,
        model=dataclasses.replace(MODEL, name=HOSTILE, devices=(device, HOSTILE)),
        made=dataclasses.replace(MADE, command_line=HOSTILE, host=HOSTILE),
    )
    write_report(report, tmp_path / "report.html")  # lone surrogates could not be encoded
    page = assert_self_contained((tmp_path / "report.html").read_text(encoding="utf-8"))
    shown = visible(HOSTILE)
    assert shown.endswith("\\u202egnp.\\xff.wav")
    assert page.text.count(shown) >= 9
    assert device in page.text
    assert "49" not in re.sub(r"[0-9a-f]{64}", "", page.text.partition("The model")[0])
    assert "\u202e" not in page.text


def test_without_likelihood_ratios_nothing_is_made_up(measured: MeasuredFile) -> None:
    file = dataclasses.replace(classified(measured, lr=None), references=(), windows=())
    page = assert_self_contained(render_page(classification(file)))
    assert "LR" not in page.text.replace("LRs", "").partition("The model")[0]
    assert "no calibrated likelihood ratios" in page.text
    assert "carries no spectra" in page.text
    assert sum(tag == "img" for tag, _ in page.tags) == 3
    report = dataclasses.replace(comparison(measured, ["r.wav"], None), validation=None)
    page = assert_self_contained(render_page(report))
    assert "7.125" in page.text
    assert "carries no validation" in page.text
    assert "Not calibrated" in page.text


def test_the_page_of_a_comparison_says_what_the_content_does(measured: MeasuredFile) -> None:
    page = assert_self_contained(render_page(comparison(measured, ["r1.wav", "r2.wav"])))
    figures = lr_figures(SAME, DIFFERENT)
    for expected in (
        verbal(1.72)[1:], "1.72", "7.125", "about 52 times as probable", "coded differently",
        number(figures.cllr, 3), number(figures.min_cllr, 3), percent(figures.eer),
        number(figures.bounds.lower, 2), number(figures.bounds.upper, 2), "Simulated trials.",
        "40 with the same device, 300 with different devices", "r1.wav", "r2.wav", "1.11", "quiet",
        measured.facts.sha256,
    ):  # fmt: skip
        assert expected in page.text, expected
    assert any("This case: log10 LR 1.72" in text for text in page.values("alt"))
    assert "differs" not in page.values("class")


def test_files_of_different_kinds_are_marked(measured: MeasuredFile) -> None:
    report = comparison(measured, [f"r{k}.wav" for k in range(10)])
    assert isinstance(report, ComparisonReport)
    other = dataclasses.replace(measured.facts, codec="Vorbis", bits=None, bandwidth_hz=7000.0)
    odd = ComparedFile(dataclasses.replace(measured, facts=other))
    page = Page(render_page(dataclasses.replace(report, references=(*report.references, odd))))
    assert page.values("class").count("differs") == 3
    assert page.values("class").count("side keep") == 4
    assert "first 8 of 11 reference recordings" in page.text
    assert sum(tag == "img" for tag, _ in page.tags) == 3 + 8


def test_long_names_wrap() -> None:
    style = (Path(render_page.__code__.co_filename).parent / "templates/style.css").read_text()
    rule = next(line for line in style.splitlines() if "overflow-wrap: anywhere" in line)
    assert {"h2,", "td,", "li,", "p,"} <= set(rule.split())


@given(st.floats(-12, 12))
def test_words_are_those_of_the_scale(value: float) -> None:
    word = strength(value)
    assert verbal(value).startswith("no support" if word is None else f"{word} support")
    nearest = Candidate("X", 0.5, value)
    bounds = LrBounds(-2.0, 2.0)
    words = classification_words(Verdict("X", nearest, 3, 4, 4, None, None, bounds))
    assert ("set to the limit" in " ".join(words.meaning)) == (not -2.0 < value < 2.0)


def test_a_limited_ratio_is_told(measured: MeasuredFile) -> None:
    report = comparison(measured, ["r.wav"])
    assert isinstance(report, ComparisonReport)
    assert "The score alone" not in comparison_words(report).meaning[0]
    result = ComparisonResult(9.0, 2.0, 4.56, LrBounds(-1.5, 2.0))
    limited = comparison_words(dataclasses.replace(report, result=result)).meaning[0]
    assert "would give log10 LR 4.56" in limited
    assert "\N{MINUS SIGN}1.50 to 2.00" in limited


def test_numbers_for_people() -> None:
    assert number(-0.001, 2) == "0.00"
    assert number(-1.5, 1) == "\N{MINUS SIGN}1.5"
    assert [percent(s) for s in (0.0, 1e-5, 0.5, 0.9999, 1.0)] == [
        "0 %", "< 0.1 %", "50.0 %", "> 99.9 %", "100 %",
    ]  # fmt: skip
    assert probability(1.0) == "> 99.9 %"
    assert [times(m) for m in (0.0, 0.5, 2.0, 3.2, 6.4, 9.0)] == [
        "1.0", "3.2", "100", "1,600", "2.5 million", "1 billion",
    ]  # fmt: skip
    assert [seconds(s) for s in (8, 61.5, 3723.5)] == [
        "8.00 s", "61.50 s (1:01.5)", "3723.50 s (1:02:03.5)",
    ]  # fmt: skip


def test_pictures_of_unusual_content(measured: MeasuredFile) -> None:
    spectra = measured.spectra
    assert len(spectrogram_figure(spectra.spectrogram).axes) == 2
    assert len(spectrogram_figure(spectra.spectrogram, half_width=True).axes) == 1
    odd = NumberedReference(1, ReferenceSpectrum("short", np.zeros(5)))
    with pytest.raises(ValueError, match="shape"):
        mel_figure(spectra.mel, [odd])
    lines = long_term_figure(spectra.long_term, [spectra.long_term] * 3).axes[0].lines
    assert np.asarray(lines[1].get_ydata()) == pytest.approx(np.asarray(lines[0].get_ydata()))
    with pytest.raises(ValueError, match="no windows"):
        timeline_figure([], {}, 1.0)
    assert label_of(3, "a$b$" + "x" * 80).startswith(r"3: a\$b\$")
    assert len(label_of(None, "x" * 80)) < 30
    assert label_of(2, "\u534e") == "2: □"


def test_the_curve_of_a_candidate_is_the_one_given(measured: MeasuredFile) -> None:
    mel = measured.spectra.mel
    same = NumberedReference(1, ReferenceSpectrum("_same", mel.mean_log_mel))
    figure = mel_figure(mel, [same])
    entries = [text.get_text() for text in figure.legends[0].get_texts()]
    assert entries == ["this file", "1: _same (off by 0.0 dB rms)"]
    assert np.abs(np.asarray(figure.axes[1].lines[0].get_ydata())).max() < 1e-9
    # Energies are magnitudes: a factor of ten is 20 dB.
    level = np.asarray(figure.axes[0].lines[0].get_ydata())
    assert level == pytest.approx(20 * mel.mean_log_mel / np.log(10))


def test_long_timelines_are_grouped() -> None:
    windows = [WindowScore(0.5 * k, 0.5 * k + 1, "ABBB"[k % 4], 0.5, k) for k in range(4000)]
    blocks = grouped(windows)
    assert len(blocks) == MOST_COLUMNS
    assert {block.device for block in blocks} == {"B"}
    assert (blocks[1].start_s, blocks[1].log10_lr) == (5.0, 14.5)
    figure = timeline_figure(windows, {"A": 2, "B": 1}, 2000.5, 1.0)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["1: B"]
    devices = [f"d{k}" for k in range(9)]
    few = [WindowScore(k, k + 1, device, 0.5) for k, device in enumerate(devices)]
    labels = timeline_figure(few, {}, 10.0).axes[0].get_yticklabels()
    assert [label.get_text() for label in labels][-1] == "3 other devices"


def test_the_same_report_is_the_same_page(measured: MeasuredFile) -> None:
    report = comparison(measured, ["r.wav"])
    assert render_page(report) == render_page(report)


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_extra_is_told_in_a_line(
    package: str, measured: MeasuredFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    told = rf"^this needs {package}, which is missing: pip install 'devrec-agent\[report\]'$"
    for attempt in (
        lambda: check_report(tmp_path / "out.html"),
        lambda: write_report(classification(classified(measured)), tmp_path / "out.html"),
    ):
        with pytest.raises(MissingDependencyError, match=told) as caught:
            attempt()
        assert caught.value.exit_code == 7
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_told_and_leaves_nothing(
    measured: MeasuredFile, tmp_path: Path
) -> None:
    report = classification(classified(measured))
    with pytest.raises(DevrecError, match=r"no[/\\]out\.html: cannot be written: no such folder"):
        write_report(report, tmp_path / "no" / "out.html")
    with pytest.raises(DevrecError, match="cannot be written"):
        write_report(report, tmp_path)
    target = tmp_path / "out.html"
    target.write_text("old")
    odd = dataclasses.replace(report.files[0], references=(ReferenceSpectrum("simA", np.zeros(3)),))
    with pytest.raises(ValueError, match="shape"):
        write_report(classification(odd), target)
    assert target.read_text() == "old"
    with pytest.raises(ValueError, match="no files"):
        render_page(classification())
    with pytest.raises(ValueError, match="without reference"):
        render_page(comparison(measured, []))
    assert [path.name for path in tmp_path.iterdir()] == ["out.html"]
