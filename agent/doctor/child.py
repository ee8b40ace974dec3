"""Looking at parts of the machine that may hang or crash, from a process that may.

PortAudio blocks for as long as a sound server is frozen and aborts the process where ALSA has no
configuration; drivers and runtimes of GPUs have their own ways. So each is looked at by a child:
``python -m agent.doctor.child PROBE SECONDS JSON``, which answers with one JSON object.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from model.errors import DevrecError

#: Module of each probe; its function has the probe's name, takes the request, returns the answer.
PROBES = {
    "inputs": "agent.doctor.sound",
    "level": "agent.doctor.level_test",
    "onnxruntime": "agent.doctor.engine",
    "tensorrt": "agent.doctor.engine",
    "gpu": "agent.doctor.engine",
    "model": "agent.doctor.engine",
    "folders": "agent.doctor.system",
}

GRACE_S = 1.0  #: a killed child that hangs in the kernel is not waited for longer
_ROOT = str(Path(__file__).parents[2])

Answer = dict[str, Any]
Kind = Literal["refused", "failed", "crashed", "hung", "untested"]


class ProbeFailed(Exception):  # noqa: N818 - a finding rather than an error
    """A probe did not answer.

    Args:
        kind: it said why not, it ended with an error that nobody expected or by a signal, it hung,
            or there was no use in trying.
        why: in a line.
    """

    def __init__(self, kind: Kind, why: str) -> None:
        super().__init__(why)
        self.kind = kind


def ask(probe: str, request: Mapping[str, Any], timeout_s: float) -> Answer:
    """Run a probe in a child.

    Args:
        probe: one of :data:`PROBES`.
        request: what it wants to know; JSON-ready.
        timeout_s: the child is killed then.

    Raises:
        ProbeFailed: it has no answer.
    """
    path = os.pathsep.join(filter(None, (_ROOT, os.environ.get("PYTHONPATH"))))
    command = ["-m", "agent.doctor.child", probe, str(timeout_s), json.dumps(request)]
    # Files rather than pipes: a daemon that a sound library starts would hold a pipe open.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
        )
        try:
            code = child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ProbeFailed("hung", f"no answer within {timeout_s:g} s") from None
        finally:
            _end(child)
        out.seek(0)
        err.seek(0)
        text, complaint = out.read(), err.read().decode(errors="replace")
    if code < 0:
        raise ProbeFailed("crashed", f"it crashes ({_signal_name(-code)})")
    if code > 0:
        lines = complaint.strip().splitlines() or [f"exit code {code}"]
        raise ProbeFailed("failed", f"it fails: {lines[-1].strip()}")
    try:
        answer: Answer = json.loads(text)
    except ValueError:
        raise ProbeFailed("failed", "it ends without an answer") from None
    if "refused" in answer:
        raise ProbeFailed("refused", str(answer["refused"]))
    return answer


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.kill()
        try:
            child.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def main(probe: str, timeout_s: str, request: str) -> None:
    """The child: answers on standard output, and is gone."""
    # Should the parent be killed, a child that hangs must not stay for ever.
    signal.alarm(math.ceil(float(timeout_s) + 2 * GRACE_S))
    answers = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    function: Callable[[Answer], Answer] = getattr(importlib.import_module(PROBES[probe]), probe)
    try:
        answer = function(json.loads(request))
    except DevrecError as error:
        answer = {"refused": " ".join(str(error).split())}
    with os.fdopen(answers, "w") as out:
        out.write(json.dumps(answer))
    os._exit(0)  # at once: tidying up may hang or crash as well, and is no finding


if __name__ == "__main__":
    main(*sys.argv[1:])
