"""`devrec-agent doctor`: what it finds, and that nothing it looks at takes it down."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from agent.capture.inputs import InputDevice
from agent.doctor.child import ProbeFailed, ask
from agent.doctor.engine import gpu_finding, model_finding, tensorrt_finding
from agent.doctor.finding import Finding, worst
from agent.doctor.hardware_in_use import hardware_in_use, held_by_agent
from agent.doctor.setup import ExaminedInput, read_setup
from agent.doctor.sound import inputs_finding, level_finding
from agent.doctor.system import clock_finding, folder_finding, packages_finding
from tests.conftest import ROOT, run_cli
from tests.pulse import INPUT_NAME, RATE_HZ, PulseServer, missing_parts
from tests.small_disk import fill, small_disk

needs_sound = pytest.mark.skipif(missing_parts() is not None, reason=str(missing_parts()))
#: Where no configuration of the machine's is found.
NOWHERE = {"XDG_CONFIG_HOME": "/nonexistent", "HOME": "/nonexistent"}


@pytest.fixture(scope="module")
def pulse() -> Iterator[PulseServer]:
    with PulseServer() as server:
        yield server


def doctor(*arguments: str | Path, **env: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code, and findings by check."""
    done = run_cli("doctor", "--json", *arguments, **{**NOWHERE, **env})
    assert done.stderr == b""
    assert done.stdout.count(b"\n") == 1
    answer = json.loads(done.stdout)
    assert done.returncode == (1 if answer["state"] == "problem" else 0)
    return done.returncode, {finding["check"]: finding for finding in answer["checks"]}


def sounds_of(pulse: PulseServer) -> dict[str, str]:
    """The part of its environment that leads to the server."""
    keys = ("PULSE_SERVER", "PULSE_RUNTIME_PATH", "XDG_RUNTIME_DIR", "ALSA_CONFIG_PATH")
    return {key: pulse.env[key] for key in keys}


def wav(path: Path, samples: np.ndarray) -> Path:
    soundfile.write(path, samples, RATE_HZ, subtype="PCM_16")
    return path


@needs_sound
def test_a_machine_on_which_all_is_well(pulse: PulseServer, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.2, 0.2, 30 * RATE_HZ)
    player = pulse.play(wav(tmp_path / "noise.wav", noise))
    try:
        code, found = doctor("--input", INPUT_NAME, **sounds_of(pulse))
    finally:
        player.kill()
        player.wait()
    assert code == 0, found
    states = {check: finding["state"] for check, finding in found.items()}
    # The clock is that of whoever runs the tests.
    assert {states.pop("clock")} <= {"ok", "warning"}
    assert set(states.values()) == {"ok"}, found
    assert list(found)[:5] == [
        "program",
        "configuration",
        "PortAudio",
        "inputs",
        f"level of {INPUT_NAME}",
    ]
    assert "PortAudio V19" in found["PortAudio"]["found"]
    assert "/libportaudio" in found["PortAudio"]["found"]
    assert INPUT_NAME in found["inputs"]["found"]
    level = float(found[f"level of {INPUT_NAME}"]["found"].split(" dBFS")[0])
    assert level == pytest.approx(20 * np.log10(0.2 / np.sqrt(3)), abs=1.0)
    assert "40 classes" in found["model"]["found"]
    assert "CPU" in found["ONNX Runtime"]["found"]


@needs_sound
def test_levels_that_are_worth_a_warning(
    pulse: PulseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in sounds_of(pulse).items():
        monkeypatch.setenv(key, value)

    def level(rate_hz: int) -> Finding:
        request = {"device": INPUT_NAME, "rate_hz": rate_hz, "is_file": False}
        return level_finding(
            ExaminedInput("mic", None), ask("level", request, 10), 32_000, [], None
        )

    silent = level(16_000)
    assert silent.state == "warning"
    assert "digital silence" in silent.found
    assert "below the model's 32000 Hz" in silent.found
    assert "unmute" in silent.hint
    square = np.sign(np.sin(np.arange(20 * RATE_HZ) * 0.05))
    player = pulse.play(wav(tmp_path / "loud.wav", square))
    try:
        loud = level(RATE_HZ)
    finally:
        player.kill()
        player.wait()
    assert (loud.state, loud.hint) == ("warning", "turn its gain down")
    assert "clipped" in loud.found
    with pytest.raises(ProbeFailed, match="no input 'usb:0d8c:0014'; there are: ") as failed:
        ask("level", {"device": "usb:0d8c:0014", "rate_hz": None, "is_file": False}, 10)
    assert (
        level_finding(ExaminedInput("mic", None), failed.value, None, [], None).state == "problem"
    )


@needs_sound
def test_a_frozen_sound_server(pulse: PulseServer) -> None:
    assert pulse._daemon is not None
    pulse._daemon.send_signal(signal.SIGSTOP)
    begun = time.monotonic()
    try:
        code, found = doctor(**sounds_of(pulse))
    finally:
        pulse._daemon.send_signal(signal.SIGCONT)
    assert time.monotonic() - begun < 20
    assert code == 1
    assert found["PortAudio"]["found"] == "no answer within 5 s"
    assert "restart it" in found["PortAudio"]["hint"]
    assert found["inputs"]["state"] == "problem"
    assert "not tested" in found["level of the default input"]["found"]
    assert found["model"]["state"] == "ok"


@needs_sound
def test_alsa_without_configuration_and_a_broken_file(tmp_path: Path) -> None:
    """PortAudio aborts the process: only the child's."""
    (tmp_path / "alsa.conf").write_text("")
    config = tmp_path / "config.toml"
    config.write_text("[agent]\nhop_s = -1\nthreads = 0\n")
    code, found = doctor("--config", config, ALSA_CONFIG_PATH=str(tmp_path / "alsa.conf"))
    assert code == 1
    assert found["PortAudio"]["found"] == "it crashes (SIGABRT)"
    assert "ALSA_CONFIG_PATH" in found["PortAudio"]["hint"]
    assert found["configuration"]["state"] == "problem"
    assert found["configuration"]["found"] == "2 mistakes"
    assert [line.split(":")[2] for line in found["configuration"]["details"]] == [
        " agent.hop_s",
        " agent.threads",
    ]
    assert found["model"]["state"] == "ok"


def test_configured_folders_files_and_table(tmp_path: Path) -> None:
    clip = wav(tmp_path / "clip.wav", np.random.default_rng(0).uniform(-0.2, 0.2, 2 * RATE_HZ))
    config = tmp_path / "config.toml"
    config.write_text(
        f'[[input]]\nname = "line-1"\ndevice = "{clip}"\n'
        f'[evidence]\nfolder = "{tmp_path / "new" / "evidence"}"\n'
        f'[jsonl]\npath = "{tmp_path / "missing" / "events.jsonl"}"\n'
    )
    done = run_cli("doctor", "--config", config, **{**NOWHERE, "ALSA_CONFIG_PATH": "/dev/null"})
    assert done.returncode == 1
    rows = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in done.stdout.decode().splitlines()
        if line.startswith("│")
    ]
    states = {row[0]: row[1] for row in rows if row[0]}
    assert states["level of line-1"] == "ok"
    assert states["evidence.folder"] == "ok"
    assert states["jsonl.path"] == "problem"
    assert not (tmp_path / "new").exists()


def test_a_file_that_is_not_there_is_no_sound_card(tmp_path: Path) -> None:
    _, setup = read_setup(None, {}, "missing.wav", {})
    assert setup.inputs == (
        ExaminedInput("missing.wav", str(Path.cwd() / "missing.wav"), None, True),
    )
    _, setup = read_setup(None, {}, "x" * 300, {})
    assert setup.inputs == (ExaminedInput("x" * 300, "x" * 300),)


def test_model_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"nonsense")
    with pytest.raises(ProbeFailed, match=r"model\.onnx: not a loadable ONNX file") as failed:
        ask("model", {"path": str(path), "engine": "auto", "threads": 1}, 60)
    assert model_finding(failed.value, 0.5).state == "problem"


def test_a_driver_that_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real library that dies when it is asked for GPUs."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    from export.cuda_runtime import _SIGNATURES

    source = tmp_path / "cudart.c"
    source.write_text("\n".join(f"int {name}() {{ __builtin_trap(); }}" for name in _SIGNATURES))
    library = tmp_path / "libcudart.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    monkeypatch.setenv("DEVREC_AGENT_CUDART", str(library))
    with pytest.raises(ProbeFailed, match=r"it crashes \(SIG") as failed:
        ask("gpu", {}, 30)
    assert gpu_finding(failed.value, needed=False).state == "warning"
    assert gpu_finding(failed.value, needed=True).state == "problem"


def test_what_is_missing_matters_only_where_it_is_needed() -> None:
    for needed, state in ((False, "ok"), (True, "problem")):
        assert tensorrt_finding({"name": None}, needed).state == state
        assert gpu_finding({"driver": None, "gpu": None, "reason": "no"}, needed).state == state
    hidden = gpu_finding({"driver": "550.54", "gpu": None, "reason": "no device"}, needed=False)
    assert (hidden.state, "--gpus all" in hidden.hint) == ("warning", True)


def test_a_model_that_is_too_slow() -> None:
    answer = {"file": "m", "sha256": "ab" * 32, "classes": 3, "engine": "e", "note": ""}
    assert model_finding({**answer, "window_ms": 400.0}, 0.5).state == "ok"
    assert model_finding({**answer, "window_ms": 600.0}, 0.5).state == "warning"


def test_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    assert packages_finding(frozenset()).state == "ok"
    assert packages_finding(frozenset({"mqtt"})).state == "ok"
    missing = packages_finding(frozenset({"prometheus"}))
    assert missing.state == "problem"
    assert "prometheus_client (for [prometheus])" in missing.found


def test_clock_that_was_never_set() -> None:
    assert clock_finding(3600.0).state == "problem"
    assert "1970-01-01" in clock_finding(3600.0).found
    assert clock_finding().state != "problem"


def test_folders(tmp_path: Path) -> None:
    assert folder_finding("x", tmp_path, 1, makes=True).state == "ok"
    assert folder_finding("x", tmp_path / "a" / "b", 1, makes=True).state == "ok"
    assert folder_finding("x", tmp_path / "a" / "b", 1, makes=False).state == "problem"
    assert folder_finding("x", tmp_path, 10**9, makes=True).state == "warning"
    (tmp_path / "file").write_text("")
    assert folder_finding("x", tmp_path / "file", 1, makes=True).state == "problem"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_folder_on_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        fill(disk)
        finding = folder_finding("evidence.folder", disk, 1, makes=True)
    assert finding.state == "problem"
    assert "No space left" in finding.found


AS_NOBODY = """
import os, sys
from pathlib import Path
from agent.doctor.system import folder_finding, sound_permission_finding
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sound = sound_permission_finding(Path(sys.argv[1]))
folder = folder_finding("evidence.folder", Path(sys.argv[2]) / "made", 1, makes=True)
print(sound.state, "|", sound.found, "|", sound.hint, "|", folder.state)
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may enter; pytest's own are private."""
    with tempfile.TemporaryDirectory(prefix="devrec-open-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_permissions_of_another_user(open_folder: Path) -> None:
    """Device files as udev makes them (root:audio, 0660), in a fake /dev/snd: there is no card."""
    devices = open_folder / "snd"
    devices.mkdir()
    for name in ("pcmC0D0c", "pcmC0D0p", "controlC0"):
        (devices / name).touch(0o660)
        (devices / name).chmod(0o660)
    try:
        shutil.chown(devices / "pcmC0D0c", "root", "audio")
    except (PermissionError, LookupError):
        pytest.skip("needs root and a group audio")
    private = open_folder / "private"
    private.mkdir(0o700)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(devices), str(private)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    state, found, hint, folder_state = (part.strip() for part in done.stdout.split("|"))
    assert (state, folder_state) == ("problem", "problem")
    assert found == "nobody may not open pcmC0D0c"
    assert hint.startswith("usermod -aG audio nobody")


AGENT = "/opt/devrec-agent/bin/python3\0/opt/devrec-agent/bin/devrec-agent\0listen\0"
WORKER = "/opt/devrec-agent/bin/python3\0-m\0agent.capture.worker\0{}\0"


@pytest.mark.parametrize("command", ["arecord\0-\0", AGENT, WORKER])
def test_inputs_that_somebody_has_open(command: str, tmp_path: Path) -> None:
    """A fake /proc, as with a microphone that another program holds: there is no card here."""
    asound, process = tmp_path / "asound", tmp_path / "4242"
    for card, name, status in (
        (0, "PCH", "closed\n"),
        (1, "Device", "state: RUNNING\nowner_pid   : 4242\ntrigger_time: 1.0\n"),
    ):
        sub = asound / f"card{card}" / "pcm0c" / "sub0"
        sub.mkdir(parents=True)
        (sub / "status").write_text(status)
        (sub.parent / "info").write_text("card: 1\nid: Mic\nname: USB Audio\n")
        (asound / f"card{card}" / "id").write_text(name)
    (asound / "cards").write_text(
        " 0 [PCH            ]: HDA-Intel - HDA Intel PCH\n                      somewhere\n"
        " 1 [Device         ]: USB-Audio - USB PnP Sound Device\n                      there\n"
    )
    process.mkdir()
    (process / "comm").write_text("arecord\n")
    (process / "cmdline").write_text(command)
    free = InputDevice(0, "HDA Intel PCH: ALC257 Analog (hw:0,0)", "ALSA", 2, 48_000, True)
    offered = {"inputs": [{**asdict(free), "use": "alsa:PCH"}]}
    in_use = hardware_in_use(offered, asound, tmp_path, tmp_path)
    by_agent = command != "arecord\0-\0"
    owner = "devrec-agent" if by_agent else "arecord"
    assert [str(one) for one in in_use] == [
        f"USB PnP Sound Device: USB Audio (hw:1,0) by {owner}, process 4242"
    ]
    finding = inputs_finding({"inputs": []}, in_use)
    assert finding.state == ("ok" if by_agent else "problem")
    assert f"{owner}, process 4242" in (finding.found if by_agent else finding.hint)

    def level_state(spec: str | None) -> str:
        failed = ProbeFailed("refused", f"no input {spec!r}; there are: ")
        held = held_by_agent(spec, offered, in_use)
        return level_finding(ExaminedInput("mic", None), failed, None, in_use, held).state

    for spec in ("alsa:Device", "usb pnp", "3", None):
        assert level_state(spec) == ("ok" if by_agent else "problem"), spec
    for spec in ("alsa:PCH", "ALC257", "usb:0d8c:0014", "a"):
        assert level_state(spec) == "problem", spec


def test_the_worst_finding_counts() -> None:
    findings = [Finding("a", "ok", ""), Finding("b", "problem", ""), Finding("c", "warning", "")]
    assert worst(findings) == "problem"
    assert worst([]) == "ok"
