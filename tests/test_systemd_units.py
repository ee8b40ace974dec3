"""The unit files as systemd's own tools judge them: no mistake, and how exposed the service is."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.config.loading import load_config
from tests.conftest import ROOT

SYSTEMD = ROOT / "systemd"
DROP_INS = sorted(path.name for path in (SYSTEMD / "drop-ins").glob("*.conf"))
UNITS = ("devrec-agent.service", "devrec-agent@.service")

#: Exposure of the unit alone and with each drop-in, as printed, of 10; systemd/README.md has them.
EXPOSURE = {
    None: 0.9,
    "jetson.conf": 0.9,
    "network.conf": 1.0,
    "no-network.conf": 0.2,
    "nvidia.conf": 0.9,
}

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def lay_out(folder: Path, unit: str, drop_in: str | None) -> Path:
    """The unit with a drop-in beside it; its program replaced by one that exists everywhere."""
    text = (SYSTEMD / unit).read_text()
    path = folder / unit
    path.write_text(text.replace("/opt/devrec-agent/bin/devrec-agent", "/bin/true"))
    if drop_in is not None:
        beside = folder / f"{unit}.d"
        beside.mkdir()
        shutil.copy(SYSTEMD / "drop-ins" / drop_in, beside)
    return path


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@needs_analyze
@pytest.mark.parametrize("drop_in", [None, *DROP_INS])
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_finds_no_mistake(unit: str, drop_in: str | None, tmp_path: Path) -> None:
    path = lay_out(tmp_path, unit, drop_in)
    done = analyze("verify", "--man=no", path)
    # It ends with 0 for a misspelt key, too.
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_analyze
@pytest.mark.parametrize("drop_in", [None, *DROP_INS])
@pytest.mark.parametrize("unit", UNITS)
def test_exposure_is_as_documented(unit: str, drop_in: str | None, tmp_path: Path) -> None:
    path = lay_out(tmp_path, unit, drop_in)
    done = analyze("security", "--offline=true", "--no-pager", path)
    assert done.stderr == ""
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found is not None, done.stdout
    assert float(found[1]) <= EXPOSURE[drop_in]


def test_every_drop_in_is_documented() -> None:
    assert set(EXPOSURE) == {None, *DROP_INS}
    readme = (SYSTEMD / "README.md").read_text()
    for drop_in, exposure in EXPOSURE.items():
        assert f"| {f'`{drop_in}`' if drop_in else 'as it is'} | {exposure} |" in readme


def test_template_is_the_same_service() -> None:
    def settings(unit: str) -> list[str]:
        lines = (SYSTEMD / unit).read_text().splitlines()
        return [line for line in lines if line and not line.startswith("#")]

    alone, template = (settings(unit) for unit in UNITS)
    template.remove("Environment=DEVREC_AGENT_INSTANCE=%i")
    differing = [new for old, new in zip(alone, template, strict=True) if old != new]
    assert all("%i" in line for line in differing)
    assert {line.split("=")[0] for line in differing} == {
        "Description",
        "ExecStart",
        "StateDirectory",
        "LogsDirectory",
    }


@pytest.mark.parametrize("switched_on", [False, True])
def test_example_configuration_is_right(switched_on: bool, tmp_path: Path) -> None:
    text = (SYSTEMD / "config.toml").read_text()
    if switched_on:
        text = re.sub(r"^#(?=\S)", "", text, flags=re.MULTILINE)
    path = tmp_path / "config.toml"
    path.write_text(text)
    config = load_config(path, {}, {}).config
    assert [entry.name for entry in config.input] == ["mic", "hall"][: 1 + switched_on]
    sections = (config.jsonl, config.mqtt, config.prometheus, config.evidence)
    assert all((section is not None) == switched_on for section in sections)
