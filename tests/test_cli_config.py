"""``devrec-agent config`` as a user runs it: show, check, path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config.loading import SYSTEM_FILE
from tests.conftest import CLI_ENV, ROOT, run_cli


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of the machine that tests run on."""
    if SYSTEM_FILE.exists():
        pytest.skip(f"{SYSTEM_FILE} exists: these tests assume none")
    monkeypatch.setitem(CLI_ENV, "XDG_CONFIG_HOME", str(tmp_path / "xdg"))


def write(path: Path, text: str, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def errors(done: subprocess.CompletedProcess[bytes], code: int = 10) -> list[str]:
    """Lines on stderr; nothing on stdout, no traceback."""
    assert done.returncode == code, done.stderr.decode()
    assert done.stdout == b""
    lines = done.stderr.decode().splitlines()
    assert all(line.startswith("devrec-agent: ") for line in lines), lines
    return [line.removeprefix("devrec-agent: ") for line in lines]


def test_show_is_a_file_that_says_the_same(tmp_path: Path) -> None:
    text = '[agent]\nname = "caf"\n[mqtt]\nhost = "b"\ntopic = "zürich/\\"a"\n[[input]]\nname = "x"'
    path = write(tmp_path / "c.toml", text)
    first = run_cli("config", "show", "--config", path, DEVREC_AGENT_AGENT_THREADS="2", LC_ALL="C")
    assert first.returncode == 0, first.stderr.decode()
    assert first.stderr == b""
    shown = first.stdout.decode()
    assert f'topic = "zürich/\\"a"  # {path}:5\n' in shown
    assert "threads = 2  # DEVREC_AGENT_AGENT_THREADS\n" in shown
    assert "keepalive_s = 30  # default\n" in shown
    again = run_cli("config", "show", "-c", write(tmp_path / "shown.toml", shown), "--json")
    first_json = run_cli("config", "show", "-c", path, "--json", DEVREC_AGENT_AGENT_THREADS="2")
    values, origins = json.loads(again.stdout), json.loads(first_json.stdout)["origins"]
    assert values["config"] == json.loads(first_json.stdout)["config"]
    assert values["files"] == [str(tmp_path / "shown.toml")]
    assert origins["agent.threads"] == "DEVREC_AGENT_AGENT_THREADS"
    assert origins["input[0].name"] == f"{path}:7"
    assert origins["input[0].device"] == "default"


def test_wrong_configuration_one_line_each(tmp_path: Path) -> None:
    path = write(tmp_path / "c.toml", "[agent]\nthreads = 0\nhop = 1\n")
    for command in ("show", "check"):
        assert errors(run_cli("config", command, "-c", path)) == [
            f"{path}:2: agent.threads: is out of range "
            "(expected a whole number from 1 to 64, got 0)",
            f"{path}:3: agent.hop: there is no such setting; did you mean agent.hop_s?",
        ]


def test_check_finds_what_is_missing(tmp_path: Path) -> None:
    write(tmp_path / "blocked", "a file")
    path = write(
        tmp_path / "c.toml",
        """\
[agent]
model = "no.onnx"
[[input]]
name = "tape"
device = "no.wav"
[jsonl]
path = "nowhere/events.jsonl"
[mqtt]
host = "localhost"
ca_file = "."
spool = "blocked"
[hook]
command = ["no-such-program"]
[evidence]
folder = "blocked/evidence"
""",
    )
    lines = errors(run_cli("config", "check", "-c", path))
    assert lines == [
        f"{path}:2: agent.model: {tmp_path}/no.onnx cannot be read: No such file or directory",
        f"{path}:5: input[0].device: {tmp_path}/no.wav cannot be read: No such file or directory",
        f"{path}:7: jsonl.path: there is no folder {tmp_path}/nowhere",
        f"{path}:10: mqtt.ca_file: {tmp_path} is not a file",
        f"{path}:11: mqtt.spool: {tmp_path}/blocked is not a folder",
        f"{path}:13: hook.command: there is no program no-such-program that may be run",
        f"{path}:15: evidence.folder: {tmp_path}/blocked is not a folder",
    ]


def test_check_of_what_is_fine(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret", "me\ngeheim\n", 0o600)
    text = f'[mqtt]\nhost = "localhost"\ntls = false\ncredentials_file = "{secret}"\n'
    text += 'spool = "spool"\n[jsonl]\npath = "e.jsonl"\n[evidence]\nfolder = "a/b"\n'
    text += '[hook]\ncommand = ["true"]\n'
    path = write(tmp_path / "c.toml", text)
    done = run_cli("config", "check", DEVREC_AGENT_CONFIG=str(path))
    assert (done.returncode, done.stdout.decode()) == (0, f"{path}: fine\n")
    assert done.stderr == b""
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["c.toml", "secret"]
    secret.chmod(0o644)  # the agent would start, so this is a warning
    done = run_cli("config", "check", "-c", path)
    assert done.returncode == 0
    assert f"{secret} can be read by everybody" in done.stderr.decode()
    write(secret, "geheim", 0o600)
    (line,) = errors(run_cli("config", "check", "-c", path))
    assert line.startswith(f"{path}:1: mqtt: {secret}: needs the user name on line 1")
    assert "geheim" not in line


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that all users can enter; pytest's are private."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_check_as_another_user_names_the_permission(public_folder: Path) -> None:
    secret = write(public_folder / "secret", "me\ngeheim\n", 0o600)
    text = f'[mqtt]\nhost = "x"\ncredentials_file = "{secret}"\n[evidence]\nfolder = "kept"\n'
    text += '[jsonl]\npath = "private/events/e.jsonl"\n[agent]\nmodel = "private/m.onnx"\n'
    private = public_folder / "private"
    write(private / "events" / "e.jsonl", "")
    private.chmod(0o700)
    path = write(public_folder / "c.toml", text)
    # The interpreter itself may be out of that user's reach: first everything is loaded.
    warm = write(public_folder / "warm.toml", "[agent]\nthreads = 2\n")
    script = (
        "import os\nfrom agent.cli import app\n"
        f"app(['config', 'check', '-c', {str(warm)!r}], standalone_mode=False)\n"
        f"os.seteuid(65534)\napp(['config', 'check', '-c', {str(path)!r}])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=CLI_ENV, capture_output=True, check=False
    )
    assert done.stdout.decode() == f"{warm}: fine\n"
    done.stdout = b""
    assert errors(done) == [
        f"{path}:3: mqtt.credentials_file: {secret} cannot be read: Permission denied "
        "(user 65534; the file is of user 0, group 0, mode 0600)",
        f"{path}:5: evidence.folder: {public_folder} cannot be written to",
        f"{path}:7: jsonl.path: {private}/events cannot be reached: Permission denied",
        f"{path}:9: agent.model: {private}/m.onnx cannot be read: Permission denied "
        "(to enter its folder)",
    ]


def test_path_lists_files_in_order(tmp_path: Path) -> None:
    own = tmp_path / "xdg" / "devrec-agent" / "config.toml"
    done = run_cli("config", "path")
    assert done.stdout.decode() == f"absent\t{SYSTEM_FILE}\nabsent\t{own}\n"
    write(own, "")
    assert run_cli("config", "path").stdout.decode().endswith(f"read\t{own}\n")
    done = run_cli("config", "check")
    assert done.stdout.decode() == f"{own}: fine\n"
    given = write(tmp_path / "given.toml", "")
    assert run_cli("config", "path", "-c", given).stdout.decode() == f"read\t{given}\n"


def test_without_any_file(tmp_path: Path) -> None:
    done = run_cli("config", "check", DEVREC_AGENT_NEWER_THING="1")
    assert done.stdout.decode() == "no file, defaults and variables: fine\n"
    assert done.stderr.decode() == (
        "devrec-agent: DEVREC_AGENT_NEWER_THING: no setting, passed over\n"
    )
    missing = tmp_path / "no.toml"
    assert errors(run_cli("config", "check", "-c", missing)) == [f"{missing}: no such file"]


def test_help_stays_fast() -> None:
    """What the configuration needs is not imported for ``--help``."""
    script = (
        "import sys, agent.cli\n"
        "slow = {'pydantic', 'onnxruntime', 'paho', 'prometheus_client', 'tomllib'}\n"
        "print(sorted(slow & {name.split('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[]"
