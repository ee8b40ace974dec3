"""A program of the user's cannot hold up, deafen or spy on the agent."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.outlets.outlet import OutletQueue
from tests.mosquitto import wait_until
from tests.outlet_rig import open_one

EVENT = {
    "event": "device_identified",
    "id": "run-1",
    "input": "mic",
    "device": "Nokia 3310 ä; rm -rf /",
    "probability": 0.98,
}
Opener = Callable[..., OutletQueue]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def hook(tmp_path: Path, said: list[str]) -> Opener:
    """Opens the hook as the agent does, with a script of its own or a whole command."""

    def opened(script: str | None = None, command: list[str] | None = None, **how: Any) -> Any:
        if script is not None:
            path = tmp_path / "hook.sh"
            path.write_text(f"#!/bin/sh\ncd {tmp_path}\n{script}\n")
            path.chmod(0o755)
            command = [str(path), "first argument", "$HOME"]
        return open_one({"hook": {"command": command, **how}}, said.append)

    return opened


def stop(queue: OutletQueue, seconds: float = 5) -> None:
    queue.stop(time.monotonic() + seconds)


def alive(path: Path) -> bool:
    """Whether the process whose number a file holds is there, and is no zombie."""
    state = Path(f"/proc/{int(path.read_text())}/stat")
    return state.exists() and state.read_text().rpartition(") ")[2][0] != "Z"


def test_what_the_program_gets(
    hook: Opener, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVREC_AGENT_MQTT_PASSWORD", "secret")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    monkeypatch.setenv("KEPT", "yes")
    queue = hook('cat > event; env > env; printf "%s|" "$@" > arguments; readlink /proc/$PPID/cwd')
    queue.offer({**EVENT, "event": "gap"})  # no alarm: not run for it
    queue.offer(EVENT)
    stop(queue)
    assert json.loads((tmp_path / "event").read_text()) == EVENT
    assert (tmp_path / "arguments").read_text() == "first argument|$HOME|"
    environment = (tmp_path / "env").read_text().splitlines()
    told = {line for line in environment if line.startswith("DEVREC_")}
    assert told == {
        "DEVREC_EVENT=device_identified",
        "DEVREC_ID=run-1",
        "DEVREC_INPUT=mic",
        f"DEVREC_DEVICE={EVENT['device']}",
        "DEVREC_PROBABILITY=0.98",
    }
    assert "KEPT=yes" in environment
    assert "secret" not in "".join(environment)
    assert "NOTIFY_SOCKET" not in "".join(environment)
    assert (queue.delivered, queue.lost) == (1, 0)
    assert not said


def test_it_runs_in_the_root_folder_and_in_a_group_of_its_own(hook: Opener, tmp_path: Path) -> None:
    script = "import os,sys; open(sys.argv[1],'w').write(f'{os.getcwd()} {os.getpgid(0)}')"
    out = tmp_path / "out"
    queue = hook(command=["python3", "-c", script, str(out)])
    queue.offer(EVENT)
    stop(queue)
    folder, group = out.read_text().split()
    assert folder == "/"
    assert int(group) != os.getpgid(0)


def test_what_it_prints_stays_out_of_the_events(
    hook: Opener, capfd: pytest.CaptureFixture[str]
) -> None:
    queue = hook("echo result; echo complaint >&2")
    queue.offer(EVENT)
    stop(queue)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == "complaint\n"


def test_failure_is_said(hook: Opener, said: list[str], tmp_path: Path) -> None:
    queue = hook("exit 3")
    for _ in range(3):
        queue.offer(EVENT)
    stop(queue)
    assert queue.lost == 3
    assert said == [f"hook {tmp_path}/hook.sh: event lost: ended with exit code 3"]


def test_program_that_does_not_read(hook: Opener, said: list[str]) -> None:
    queue = hook("exec <&-; sleep 0.2")
    queue.offer({**EVENT, "filler": "x" * 1_000_000})
    stop(queue)
    assert queue.delivered == 1
    assert not said


@pytest.mark.parametrize("name", ["/missing/program", "missing-program"])
def test_program_that_is_not_there(hook: Opener, said: list[str], name: str) -> None:
    queue = hook(command=[name])
    assert said == [f"hook {name}: there is no such program, or it may not be run"]
    queue.offer(EVENT)
    stop(queue)
    assert said[1:] == [f"hook {name}: event lost: cannot be run: No such file or directory"]
    assert queue.lost == 1


def test_slow_program_is_killed_with_its_children(
    hook: Opener, said: list[str], tmp_path: Path
) -> None:
    queue = hook("sleep 60 & echo $! > child; echo $$ > own; wait", timeout_s=0.5)
    queue.offer(EVENT)
    wait_until(lambda: queue.lost == 1)
    assert "killed: it takes too long" in said[0]
    wait_until(lambda: not alive(tmp_path / "child") and not alive(tmp_path / "own"))
    stop(queue)


def test_what_it_leaves_behind_is_killed(hook: Opener, said: list[str], tmp_path: Path) -> None:
    queue = hook("sleep 60 & echo $! > child")
    queue.offer(EVENT)
    wait_until(lambda: queue.delivered == 1)
    wait_until(lambda: not alive(tmp_path / "child"))
    stop(queue)
    assert not said


def test_end_of_the_agent_does_not_wait_for_it(
    hook: Opener, said: list[str], tmp_path: Path
) -> None:
    queue = hook("echo $$ > own; sleep 60", timeout_s=60)
    for _ in range(5):
        queue.offer(EVENT)
    wait_until(lambda: (tmp_path / "own").exists() and (tmp_path / "own").read_text())
    began = time.monotonic()
    stop(queue, 0.5)
    assert time.monotonic() - began < 1.5
    wait_until(lambda: queue.lost == 5)
    assert not alive(tmp_path / "own")
    assert "4 events could not be handed over" in said[-1]
