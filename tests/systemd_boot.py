"""A real systemd, booted as process 1 of namespaces of its own on a throw-away copy of this system.

The copy is an overlay: everything that is written goes into memory and ends with the machine. Units
of the host are hidden; the machine has the journal, its own loopback network, and what a test adds.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parent.parent
SYSTEMD = Path("/lib/systemd/systemd")
UNITS = Path("etc/systemd/system")
INSTALLED = Path("opt/devrec-agent")  #: where the units expect the program
PYTHON = Path("opt/python")  #: an interpreter out of somebody's home is shown here
PROGRAMS = ("unshare", "nsenter", "mount", "umount", "pivot_root", "systemctl", "journalctl")
BOOT_S = 20.0

#: Units of the host that the machine keeps; all others that its targets want are dropped.
JOURNAL = ("systemd-journald.socket", "systemd-journald-dev-log.socket", "systemd-journald.service")


def missing_parts() -> str | None:
    """Why no systemd can be booted here, or ``None`` when it can."""
    if os.geteuid() != 0:
        return "booting a systemd needs root"
    if not SYSTEMD.exists():
        return "systemd is not installed"
    for program in PROGRAMS:
        if shutil.which(program) is None:
            return f"{program} is not installed"
    try:
        probe = _cgroup2() / f"devrec-probe-{os.getpid()}"
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        return f"no control group can be made: {error}"
    namespaces = ["--mount", "--pid", "--uts", "--ipc", "--cgroup", "--net", "--fork"]
    mounting = ["mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    tried = subprocess.run(["unshare", *namespaces, *mounting], capture_output=True, check=False)
    if tried.returncode:
        return f"no namespaces, or no mounts in them: {tried.stderr.decode().strip()}"
    return None


def _cgroup2() -> Path:
    """Where version 2 of control groups is mounted."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] == "cgroup2":
            return Path(fields[4])
    raise OSError("cgroup2 is not mounted")


class SystemdMachine:
    """A booted systemd; use as a context manager.

    Args:
        units: name below ``/etc/systemd/system`` (``x.service``, ``x.service.d/y.conf``) -> text.
        files: other files, absolute path -> text; a text that starts with ``#!`` is executable.
        commands: run in the machine before systemd starts, e.g. ``systemd-sysusers``.

    Attributes:
        folder: of this system, for the machine's preparation; removed at the end.
        cgroup: all processes of the machine; removed at the end.

    ``/opt/devrec-agent`` holds a virtual environment with this interpreter, its packages and this
    checkout, readable for everybody wherever they really are.
    """

    def __init__(
        self,
        units: Mapping[str, str],
        files: Mapping[str, str] | None = None,
        commands: Sequence[Sequence[str]] = (),
    ) -> None:
        self._units, self._files, self._commands = units, files or {}, commands
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def __enter__(self) -> SystemdMachine:
        self.folder = Path(tempfile.mkdtemp(prefix="devrec-boot-"))
        self.cgroup = _cgroup2() / self.folder.name
        self._log = self.folder / "boot.log"
        try:
            self._boot()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._end()

    def _boot(self) -> None:
        self.cgroup.mkdir()
        (self.folder / "machine").mkdir()  # a tmpfs in the machine's own mount namespace
        stage = self.folder / "stage"
        self._write_stage(stage)
        plan = [f"{source}\t{target}" for source, target in self._python_binds(stage).items()]
        (self.folder / "binds").write_text("\n".join(plan))
        (self.folder / "commands").write_text("\n".join("\t".join(c) for c in self._commands))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(self.folder), str(self.cgroup)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + BOOT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            if self._leader or self._find_leader():
                answer = self.run("systemctl", "is-active", "basic.target")
                if answer.stdout.strip() == "active":
                    return
            time.sleep(0.05)
        raise RuntimeError(f"systemd did not come up:\n{self._log.read_text()}")

    def _find_leader(self) -> bool:
        """Process 1 of the machine: the child of ``unshare``, once it has become systemd."""
        assert self._process is not None
        pid = self._process.pid
        with suppress(OSError):
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                if Path(f"/proc/{child}/exe").resolve().name == "systemd":
                    self._leader = int(child)
        return bool(self._leader)

    def _write_stage(self, stage: Path) -> None:
        """Files that are laid over the copy of the system."""
        files = {f"/{UNITS}/{name}": text for name, text in self._units.items()} | {
            "/etc/fstab": "",
            "/etc/machine-id": "",
            "/etc/systemd/journald.conf": "[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\n",
            **self._files,
        }
        for name, text in files.items():
            path = stage / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if text.startswith("#!") else 0o644)

    def _python_binds(self, stage: Path) -> dict[Path, Path]:
        """A virtual environment at ``/opt/devrec-agent``, and what has to be shown for it."""
        base = Path(sys.base_prefix).resolve()
        interpreter = Path(sys.executable).resolve()
        binds: dict[Path, Path] = {}
        if any(base.is_relative_to(home) for home in ("/root", "/home", "/tmp")):
            binds[base] = Path("/") / PYTHON
            interpreter = Path("/") / PYTHON / interpreter.relative_to(base)
            if any((base / "lib").glob("libpython*.so.*")):  # found by its old path otherwise
                (stage / "etc/ld.so.conf.d").mkdir(parents=True, exist_ok=True)
                (stage / "etc/ld.so.conf.d/000-python.conf").write_text(f"/{PYTHON}/lib\n")
                self._commands = [["ldconfig"], *self._commands]
        venv = stage / INSTALLED
        packages = venv / f"lib/python3.{sys.version_info.minor}/site-packages"
        packages.mkdir(parents=True)
        (venv / "bin").mkdir(exist_ok=True)
        (venv / "bin" / "python3").symlink_to(interpreter)
        (venv / "pyvenv.cfg").write_text(f"home = {interpreter.parent}\n")
        shown = [ROOT, *(Path(p) for p in site.getsitepackages() if Path(p).is_dir())]
        targets = [Path("/") / INSTALLED / f"packages-{i}" for i in range(len(shown))]
        # The checkout first: the installed package may be an editable one, with paths of its own.
        (packages / "shown.pth").write_text("".join(f"{target}\n" for target in targets))
        return binds | dict(zip(shown, targets, strict=True))

    def run(self, *command: str, timeout: float = 20) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine, as root."""
        entered = ["nsenter", f"--target={self._leader}"]
        entered += ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
        return subprocess.run(
            [*entered, *command],
            cwd="/",
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def systemctl(self, *arguments: str) -> None:
        """Run ``systemctl``.

        Raises:
            AssertionError: it failed; says what systemd and the last unit named said.
        """
        done = self.run("systemctl", *arguments)
        if done.returncode:
            raise AssertionError(f"{arguments}: {done.stderr}{self._last_words(arguments[-1])}")

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit."""
        done = self.run("systemctl", "show", unit, *(f"--property={name}" for name in properties))
        return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)

    def wait(self, unit: str, timeout: float = 15, **wanted: str) -> dict[str, str]:
        """Wait until properties of a unit have the wanted values.

        Raises:
            AssertionError: it did not come to that; says what is, and the journal.
        """
        deadline = time.monotonic() + timeout
        while (shown := self.show(unit, *wanted)) != wanted:
            if time.monotonic() > deadline:
                raise AssertionError(f"{unit}: {shown}, not {wanted}\n{self._last_words(unit)}")
            time.sleep(0.05)
        return shown

    def journal(self, unit: str, *options: str) -> str:
        """What a unit, and systemd about it, wrote into the journal."""
        return self.run("journalctl", "--no-pager", "-o", "cat", "-u", unit, *options).stdout

    def _last_words(self, unit: str) -> str:
        return self.journal(unit, "--lines=30")

    def stdout(self, unit: str) -> list[str]:
        """Lines that the unit's processes wrote, without what systemd says about it."""
        return self.journal(unit, "_TRANSPORT=stdout").splitlines()

    def _end(self) -> None:
        """Kill the machine; its mounts go with its last process, its control groups are removed."""
        if self._process is not None:
            kill = self.cgroup / "cgroup.kill"
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                if kill.exists():
                    kill.write_text("1")
                self._process.kill()
                if "populated 0" in (self.cgroup / "cgroup.events").read_text():
                    break
                time.sleep(0.02)
            self._process.wait()
        for path, _, _ in os.walk(self.cgroup, topdown=False):
            Path(path).rmdir()
        shutil.rmtree(self.folder)


def _enter(folder: Path, cgroup: Path) -> None:
    """First stage, in a process of its own: into the control group, then into the namespaces."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: go with the tests
    (cgroup / "cgroup.procs").write_text(str(os.getpid()))
    options = ["--mount", "--pid", "--uts", "--ipc", "--cgroup", "--net", "--propagation=private"]
    command = ["unshare", *options, "--fork", "--kill-child=SIGKILL"]
    os.execvp("unshare", [*command, sys.executable, __file__, str(folder)])


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def _build_and_become_systemd(folder: Path) -> None:
    """Second stage, process 1: build the throw-away root, move into it, become systemd."""
    machine = folder / "machine"
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", machine)
    upper, work, root = (machine / name for name in ("upper", "work", "root"))
    for path in (upper, work, root):
        path.mkdir()
    layers = f"lowerdir=/,upperdir={upper},workdir={work}"
    _mount("-t", "overlay", "-o", layers, "overlay", root)

    shutil.rmtree(root / UNITS)
    for wants in (root / "lib/systemd/system").resolve().glob("*.wants"):
        shutil.rmtree(wants)
    wants = root / UNITS / "basic.target.wants"
    wants.mkdir(parents=True)
    for unit in JOURNAL:
        (wants / unit).symlink_to(f"/lib/systemd/system/{unit}")
    shutil.copytree(folder / "stage", root, symlinks=True, dirs_exist_ok=True)

    for line in (folder / "binds").read_text().splitlines():
        source, _, target = line.partition("\t")
        shown = root / target.lstrip("/")
        if Path(source).is_dir():
            shown.mkdir(parents=True, exist_ok=True)
        else:
            shown.parent.mkdir(parents=True, exist_ok=True)
            shown.touch()
        _mount("--bind", "-o", "ro", source, shown)

    _mount("-t", "proc", "proc", root / "proc")
    _mount("-t", "sysfs", "sysfs", root / "sys")
    _mount("-t", "cgroup2", "cgroup2", root / "sys/fs/cgroup")
    for name in ("run", "tmp", "var/tmp", "dev"):
        _mount("-t", "tmpfs", "-o", f"mode={755 if name in ('run', 'dev') else 1777}", "tmpfs",
               root / name)  # fmt: skip
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        status = Path("/dev", name).stat()
        os.mknod(root / "dev" / name, status.st_mode, status.st_rdev)
        (root / "dev" / name).chmod(0o666)
    (root / "dev/shm").mkdir()
    _mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", root / "dev/shm")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        (root / "dev" / name).symlink_to(f"/proc/self/fd/{number}")
    (root / "dev/fd").symlink_to("/proc/self/fd")
    (root / "dev/ptmx").symlink_to("pts/ptmx")
    commands = [line.split("\t") for line in (folder / "commands").read_text().splitlines()]

    (root / "old").mkdir()
    # pivot_root, not chroot: a process in a chroot may not make user namespaces.
    os.chdir(root)
    subprocess.run(["pivot_root", ".", "old"], check=True)
    os.chdir("/")
    subprocess.run(["umount", "--lazy", "/old"], check=True)
    for command in commands:
        subprocess.run(command, check=True)
    environment = {"container": "devrec", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    options = ["--unit=basic.target", "--log-target=journal-or-kmsg", "--show-status=no"]
    os.execve(SYSTEMD, [str(SYSTEMD), *options], environment)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        _enter(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        _build_and_become_systemd(Path(sys.argv[1]))
