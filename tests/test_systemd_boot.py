"""The service under a real systemd: its own user, all restrictions, real audio, a real hang."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest

from tests import pulse
from tests.conftest import ROOT
from tests.systemd_boot import SystemdMachine, missing_parts

_missing = missing_parts() or pulse.missing_parts()
pytestmark = pytest.mark.skipif(_missing is not None, reason=str(_missing))

SYSTEMD = ROOT / "systemd"
AGENT = "devrec-agent.service"
SOUND = Path("/var/lib/sound")  #: socket of the sound server and ALSA's way to it
PROGRAM = "/opt/devrec-agent/bin/devrec-agent"

#: The program as pip installs it.
REAL = """#!/opt/devrec-agent/bin/python3
from agent.cli import app
app()
"""

CONFIG = """
[agent]
name = "booted"

[[input]]
name = "fakemic"
device = "fakemic"
rate_hz = 32000
"""

#: The sound server, a unit of the same machine.
PULSE = f"""
[Service]
RuntimeDirectory=pulse
Environment=HOME=/run/pulse XDG_RUNTIME_DIR=/run/pulse PULSE_RUNTIME_PATH=/run/pulse
ExecStart=/usr/bin/pulseaudio -n --daemonize=no --exit-idle-time=-1 --use-pid-file=no \
 --high-priority=no --realtime=no --disallow-exit \
 -L "module-native-protocol-unix auth-anonymous=1 socket={SOUND}/pulse.sock" \
 -L "module-null-sink sink_name=mic rate={pulse.RATE_HZ} channels=1 format=s16le norewinds=1"
"""

ALSA = f"""</usr/share/alsa/alsa.conf>
pcm.fakemic {{ type pulse server "unix:{SOUND}/pulse.sock" device "mic.monitor"
  hint {{ show on description "FakeMic" }} }}
"""

#: All that the tests change of the unit: where sound comes from, and shorter times.
DROP_IN = f"""
[Service]
Environment=ALSA_CONFIG_PATH={SOUND}/alsa.conf
BindPaths={SOUND}
TimeoutStartSec=4s
WatchdogSec=1500ms
RestartSec=100ms
"""


def installed(
    program: str, drop_in: str = DROP_IN, name: str = "test.conf"
) -> AbstractContextManager[SystemdMachine]:
    """A machine on which devrec-agent is installed as the README says, not yet started."""
    files = {
        "/etc/sysusers.d/devrec-agent.conf": (SYSTEMD / "devrec-agent.sysusers").read_text(),
        "/etc/tmpfiles.d/devrec-agent.conf": (SYSTEMD / "devrec-agent.tmpfiles").read_text(),
        "/etc/devrec-agent/config.toml": CONFIG,
        "/etc/devrec-agent/right.toml": CONFIG,
        "/etc/devrec-agent/wrong.toml": "[agent]\nhop_s = -1\n",
        "/etc/devrec-agent/kept.toml": '[evidence]\nfolder = "/var/lib/devrec-agent/evidence"\n',
        f"{SOUND}/alsa.conf": ALSA,
        PROGRAM: program,
    }
    units = {
        AGENT: (SYSTEMD / AGENT).read_text(),
        f"{AGENT}.d/{name}": drop_in,
        "pulse.service": PULSE,
    }
    commands = [
        ["systemd-sysusers", "devrec-agent.conf"],
        ["systemd-tmpfiles", "--create", "devrec-agent.conf"],
    ]
    return SystemdMachine(units, files, commands=commands)


@pytest.fixture(scope="module")
def machine() -> Iterator[SystemdMachine]:
    """A machine that the tests share; each brings it into the state that it wants."""
    with installed(REAL) as booted:
        yield booted


@pytest.fixture
def wrong_configuration(machine: SystemdMachine) -> Iterator[str]:
    """Puts a wrong configuration in place; says what its message must name."""
    machine.run("cp", "/etc/devrec-agent/wrong.toml", "/etc/devrec-agent/config.toml")
    yield "hop_s"
    machine.run("cp", "/etc/devrec-agent/right.toml", "/etc/devrec-agent/config.toml")


def hearing(machine: SystemdMachine) -> int:
    """See to it that sound server and service run; the service's main process."""
    machine.systemctl("start", "pulse.service")
    machine.systemctl("start", AGENT)
    return int(machine.show(AGENT, "MainPID")["MainPID"])


def restarts(machine: SystemdMachine) -> int:
    """How often systemd has restarted the service since somebody last started it."""
    return int(machine.show(AGENT, "NRestarts")["NRestarts"])


def said(machine: SystemdMachine, part: str) -> int:
    """How often the service has said something into its journal."""
    return "\n".join(machine.stdout(AGENT)).count(part)


def reads_again(machine: SystemdMachine, *command: str, answer: str) -> None:
    """Have the service read its configuration again, and wait until it has said so."""
    before = said(machine, answer)
    machine.systemctl(*command, AGENT)
    deadline = time.monotonic() + 10
    while said(machine, answer) == before:
        assert time.monotonic() < deadline, machine.journal(AGENT)
        time.sleep(0.05)


def test_program_as_the_services_user_as_the_readme_has_it(machine: SystemdMachine) -> None:
    """Also before the service has ever run, and from a folder that its user must not enter."""
    (as_agent,) = re.findall(
        r"^as_agent\(\) \{.*?^\}", (SYSTEMD / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    for file in ("config", "kept"):
        path = f"/etc/devrec-agent/{file}.toml"
        command = f"cd /root\n{as_agent}\nas_agent config check --config {path}"
        done = machine.run("sh", "-c", command)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{path}: fine\n", "")


def test_runs_as_its_own_user(machine: SystemdMachine) -> None:
    pid = hearing(machine)
    status = dict(
        line.split(":\t", 1)
        for line in machine.run("cat", f"/proc/{pid}/status").stdout.splitlines()
        if ":\t" in line
    )
    uid, gid, groups = (
        machine.run("id", option, "devrec-agent").stdout.split() for option in ("-u", "-g", "-G")
    )
    assert status["Uid"].split() == uid * 4
    assert status["Gid"].split() == gid * 4
    assert sorted(status["Groups"].split()) == sorted(groups)
    for group in ("audio", "video", "render"):
        assert machine.run("getent", "group", group).stdout.split(":")[2] in groups
    assert int(status["CapBnd"], 16) == int(status["CapEff"], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    for folder in ("/var/lib", "/var/cache", "/var/log"):
        shown = machine.run("stat", "-c", "%U %a", f"{folder}/devrec-agent").stdout
        assert shown == "devrec-agent 750\n"


def test_reaches_sound_cards_that_come_and_no_other_device(machine: SystemdMachine) -> None:
    pid = hearing(machine)
    devices = f"/proc/{pid}/root/dev"
    # Plugged in while the service runs, into a machine that had no card before. There is no
    # hardware behind it, so what counts is how opening it fails.
    machine.run("mknod", "/dev/snd/pcmC9D0c", "c", "116", "24")
    machine.run("mknod", "/dev/mem", "c", "1", "1")
    assert machine.run("ls", f"{devices}/snd").stdout.split() == ["pcmC9D0c"]
    seen = machine.run("ls", devices).stdout.split()
    assert {"null", "urandom", "shm"} <= set(seen)
    assert "mem" not in seen

    group = f"/sys/fs/cgroup/system.slice/{AGENT}/cgroup.procs"
    for device, answer in (("snd/pcmC9D0c", "No such"), ("mem", "Operation not permitted")):
        opened = machine.run("sh", "-c", f"echo $$ > {group}; head -c 1 /dev/{device}")
        assert answer in opened.stderr


def test_ready_only_once_audio_arrives_however_long_that_takes(machine: SystemdMachine) -> None:
    machine.systemctl("stop", AGENT, "pulse.service")
    machine.systemctl("enable", AGENT)
    machine.systemctl("start", "multi-user.target")  # as at boot; comes back at once
    machine.wait("multi-user.target", ActiveState="active")
    time.sleep(5.0)  # beyond TimeoutStartSec
    waiting = machine.show(AGENT, "SubState", "StatusText")
    assert waiting["SubState"] == "start", machine.journal(AGENT)
    assert waiting["StatusText"].startswith("fakemic: ")
    # A reload would wait as long.
    reads_again(machine, "kill", "-s", "HUP", "--kill-who=main", answer="configuration read again")

    machine.systemctl("start", "pulse.service")
    machine.wait(AGENT, ActiveState="active", SubState="running")
    assert restarts(machine) == 0
    events = [json.loads(line) for line in machine.stdout(AGENT) if line.startswith("{")]
    assert ("input_state", "running") in [(e["event"], e.get("state")) for e in events]


def test_hang_is_ended_by_the_watchdog_and_restarted(machine: SystemdMachine) -> None:
    pid = hearing(machine)
    wanted = restarts(machine) + 1
    machine.run("kill", "-STOP", str(pid))
    stopped = time.monotonic()
    machine.wait(AGENT, NRestarts=str(wanted), ActiveState="active", SubState="running")
    assert time.monotonic() - stopped < 10
    assert hearing(machine) != pid
    journal = machine.journal(AGENT)
    assert "Watchdog timeout" in journal
    assert "Fatal Python error: Aborted" in journal  # says where it hung
    time.sleep(2.0)  # beyond WatchdogSec: it is fed again
    assert restarts(machine) == wanted


def test_reload_keeps_the_process(machine: SystemdMachine) -> None:
    pid = hearing(machine)
    reads_again(machine, "reload", answer="configuration read again")
    machine.wait(AGENT, ActiveState="active", SubState="running", MainPID=str(pid))


def test_reload_of_a_wrong_configuration_changes_nothing(
    machine: SystemdMachine, wrong_configuration: str
) -> None:
    pid = hearing(machine)
    reads_again(machine, "reload", answer="reload: ")
    assert wrong_configuration in "\n".join(machine.stdout(AGENT))
    machine.wait(AGENT, ActiveState="active", SubState="running", MainPID=str(pid))


def test_stop_is_quick(machine: SystemdMachine) -> None:
    hearing(machine)
    started = time.monotonic()
    machine.systemctl("stop", AGENT)
    assert time.monotonic() - started < 2.0
    ended = machine.show(AGENT, "ActiveState", "Result", "ExecMainStatus")
    assert ended == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}


def test_start_with_a_wrong_configuration_fails_once(
    machine: SystemdMachine, wrong_configuration: str
) -> None:
    machine.systemctl("stop", AGENT)
    assert machine.run("systemctl", "start", AGENT).returncode != 0
    time.sleep(0.3)  # beyond RestartSec
    machine.wait(AGENT, ActiveState="failed", ExecMainStatus="10")
    assert restarts(machine) == 0
    assert wrong_configuration in machine.stdout(AGENT)[-1]
    machine.systemctl("reset-failed", AGENT)


#: Tries a TCP port on which nobody listens: "refused" means that the way there is open.
NETWORK_PROBE = """#!/opt/devrec-agent/bin/python3
import errno, signal, socket
from agent.service_notify import ServiceNotifier
for address in ("127.0.0.1", "10.1.2.3", "203.0.113.9"):
    try:
        socket.create_connection((address, 9), timeout=0.3)
    except TimeoutError:
        print(address, "no answer", flush=True)
    except OSError as error:
        print(address, errno.errorcode[error.errno], flush=True)
ServiceNotifier().ready("done")
signal.pause()
"""


@pytest.mark.parametrize(
    ("drop_in", "answers"),
    [
        (None, ("ECONNREFUSED", "no answer", "no answer")),
        ("network.conf", ("ECONNREFUSED", "ECONNREFUSED", "no answer")),
        ("no-network.conf", ("EAFNOSUPPORT", "EAFNOSUPPORT", "EAFNOSUPPORT")),
    ],
)
def test_network_reaches_as_far_as_the_drop_in_says(
    drop_in: str | None, answers: tuple[str, ...]
) -> None:
    addresses = ("127.0.0.1", "10.1.2.3", "203.0.113.9")
    text = (SYSTEMD / "drop-ins" / drop_in).read_text() if drop_in else ""
    with installed(NETWORK_PROBE, text, drop_in or "none.conf") as machine:
        for address in addresses[1:]:
            machine.run("ip", "address", "add", f"{address}/32", "dev", "lo")
        machine.systemctl("start", AGENT)
        expected = [
            f"{address} {answer}" for address, answer in zip(addresses, answers, strict=True)
        ]
        assert machine.stdout(AGENT) == expected


def test_a_machine_leaves_nothing_behind_when_its_test_fails() -> None:
    machine = SystemdMachine({})
    with suppress(ZeroDivisionError), machine:
        assert (machine.cgroup / "cgroup.events").exists()
        raise ZeroDivisionError
    assert not machine.cgroup.exists()
    assert not machine.folder.exists()
    assert str(machine.folder) not in Path("/proc/self/mountinfo").read_text()
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [line for line in commands if str(machine.folder).encode() in line]
