"""A real PulseAudio daemon of our own with a null sink, heard by PortAudio as an input."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

RATE_HZ = 32_000
INPUT_NAME = "fakemic"
_NULL_SINK = f"module-null-sink sink_name=mic rate={RATE_HZ} channels=1 format=s16le norewinds=1"


def missing_parts() -> str | None:
    """Why no real sound source can run here, or ``None`` when it can."""
    for program in ("pulseaudio", "paplay", "pactl"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if ctypes.util.find_library("portaudio") is None:
        return "the PortAudio library (libportaudio2) is not installed"
    plugins = [*Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_pulse.so")]
    if not plugins:
        return "ALSA's pulse plugin (libasound2-plugins) is not installed"
    return None


class PulseServer:
    """PulseAudio with a null sink whose monitor is the ALSA device ``fakemic``.

    ``env`` is what a process needs to see it. ``norewinds=1`` makes capture sample-exact.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="devrec-pulse-")
        root = Path(self._folder.name)
        self._socket = root / "pulse.sock"
        alsa = root / "alsa.conf"
        alsa.write_text(
            "</usr/share/alsa/alsa.conf>\n"
            f'pcm.{INPUT_NAME} {{ type pulse server "unix:{self._socket}" device "mic.monitor" '
            'hint { show on description "FakeMic" } }\n'
        )
        self.env = {
            **os.environ,
            "HOME": str(root),
            "XDG_RUNTIME_DIR": str(root),
            "PULSE_RUNTIME_PATH": str(root),
            "PULSE_SERVER": f"unix:{self._socket}",
            "ALSA_CONFIG_PATH": str(alsa),
        }
        self._daemon: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PulseServer:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        self._folder.cleanup()

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        self._daemon = subprocess.Popen(
            [
                "pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no",
                "--high-priority=no", "--realtime=no", "--disallow-exit",
                "-L", f"module-native-protocol-unix auth-anonymous=1 socket={self._socket}",
                "-L",
                _NULL_SINK,
            ],
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            answer = subprocess.run(
                ["pactl", "info"], env=self.env, capture_output=True, check=False
            )
            if answer.returncode == 0:
                return
            time.sleep(0.1)
        raise RuntimeError("PulseAudio did not start")

    def play(self, path: Path) -> subprocess.Popen[bytes]:
        """Play a wav file into the null sink; returns at once."""
        return subprocess.Popen(["paplay", "--device=mic", str(path)], env=self.env)

    def signal(self, number: int) -> None:
        """Send a signal to the daemon, e.g. SIGSTOP."""
        if self._daemon is not None:
            self._daemon.send_signal(number)

    def unload_source(self) -> None:
        """Take the source away, as if its plug were pulled."""
        subprocess.run(
            ["pactl", "unload-module", "module-null-sink"],
            env=self.env, check=True, timeout=10, capture_output=True,
        )  # fmt: skip

    def load_source(self) -> None:
        """Bring the source back."""
        subprocess.run(
            ["pactl", "load-module", *_NULL_SINK.split()],
            env=self.env, check=True, timeout=10, capture_output=True,
        )  # fmt: skip

    def kill(self) -> None:
        """End the daemon with SIGKILL."""
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon.wait()
            self._daemon = None
