"""What the tests of the configuration share: writing files, loading them, being refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import agent.config.loading
from agent.config.loading import LoadedConfig, load_config
from model.errors import ConfigError

FULL = """\
[agent]
name = "desk-1"
model = "models/a.onnx"   # relative to this file

[decision]
enter = 0.8
memory_s = 4

[[input]]
name = "line"
device = "USB"

[[input]]
name = "tape"
device = "clips/tape.wav"
[input.decision]
memory_s = 10

[mqtt]
host = "broker.lab"
credentials_file = "/etc/secret"

[hook]
command = ["notify", "--all"]
events = ["unknown"]
"""


@pytest.fixture(autouse=True)
def no_system_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests must not see the configuration of the machine that they run on."""
    monkeypatch.setattr(agent.config.loading, "SYSTEM_FILE", tmp_path / "etc" / "config.toml")


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def load(path: Path | None = None, flags: dict[str, Any] | None = None, **env: str) -> LoadedConfig:
    return load_config(path, flags or {}, env)


def problems(path: Path | None = None, **env: str) -> list[str]:
    """The lines of the error; each is one line."""
    with pytest.raises(ConfigError) as caught:
        load(path, **env)
    assert caught.value.exit_code == 10
    assert "\n" not in str(caught.value)
    assert all("\n" not in line for line in caught.value.lines)
    return list(caught.value.lines)


def problem(text: str | bytes, tmp_path: Path) -> str:
    """The only complaint about a file, without the name of the file."""
    path = write(tmp_path / "c.toml", text)
    (line,) = problems(path)
    assert line.startswith(f"{path}:")
    return line.removeprefix(f"{path}:")


@contextmanager
def unprivileged() -> Iterator[None]:
    """As a user who owns nothing; root may read everything."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
