"""Examining a machine: can the agent do its work here, and if not, what is missing?

Whatever may hang or crash is looked at by :mod:`agent.doctor.child`, so that one broken part does
not hide the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent.doctor.child import Answer, ProbeFailed, ask
from agent.doctor.engine import gpu_finding, model_finding, onnxruntime_finding, tensorrt_finding
from agent.doctor.finding import Finding
from agent.doctor.hardware_in_use import hardware_in_use, held_by_agent
from agent.doctor.setup import ExaminedInput, Setup, read_setup
from agent.doctor.sound import inputs_finding, level_finding, portaudio_finding
from agent.doctor.system import (
    clock_finding,
    packages_finding,
    program_finding,
    sound_permission_finding,
)

#: Seconds that each probe may take. Sound answers in a tenth of a second or hangs; GPUs and their
#: libraries take long the first time.
INPUTS_S, LEVEL_S, FOLDERS_S, RUNTIME_S, MODEL_S = 5.0, 10.0, 10.0, 40.0, 60.0


def examine(
    config: Path | None, flags: Mapping[str, Any], input: str | None, environ: Mapping[str, str]
) -> list[Finding]:
    """Run all checks.

    Args:
        config: the configuration's file; ``None`` to search for it.
        flags: settings given on the command line, by name.
        input: an input to listen to in place of those configured.
        environ: the environment.

    Returns:
        a finding for every check, in the order in which they are read.
    """
    configuration, setup = read_setup(config, flags, input, environ)
    needs_gpu = setup.engine == "tensorrt" or Path(setup.model or "").suffix == ".plan"
    with ThreadPoolExecutor() as pool:
        # Two things at a time: sound, and everything that is not.
        sound = pool.submit(_listen, setup)
        folders = pool.submit(_folder_findings, setup)
        onnxruntime, tensorrt, gpu = (
            _ask(probe, {}, RUNTIME_S) for probe in ("onnxruntime", "tensorrt", "gpu")
        )
        model = _ask("model", _model_request(setup), MODEL_S)
        inputs, levels = sound.result()
        written = folders.result()
    in_use = hardware_in_use(inputs)
    rate = None if isinstance(model, ProbeFailed) else int(model["sample_rate_hz"])
    return [
        _guarded("program", program_finding),
        configuration,
        portaudio_finding(inputs),
        inputs_finding(inputs, in_use),
        *(
            level_finding(one, level, rate, in_use, held_by_agent(one.device, inputs, in_use))
            for one, level in levels
        ),
        _guarded("sound permission", sound_permission_finding),
        onnxruntime_finding(onnxruntime, needed=Path(setup.model or "").suffix != ".plan"),
        tensorrt_finding(tensorrt, needs_gpu),
        gpu_finding(gpu, needs_gpu),
        model_finding(model, setup.hop_s),
        *written,
        _guarded("clock", clock_finding),
        _guarded("optional packages", lambda: packages_finding(setup.sections)),
    ]


def _listen(
    setup: Setup,
) -> tuple[Answer | ProbeFailed, list[tuple[ExaminedInput, Answer | ProbeFailed]]]:
    """PortAudio's inputs, and the level of each that is examined, one after the other: PortAudio
    does not list what is open."""
    inputs = _ask("inputs", {}, INPUTS_S)
    levels: list[tuple[ExaminedInput, Answer | ProbeFailed]] = []
    for one in setup.inputs:
        if one.is_file or not isinstance(inputs, ProbeFailed):
            request = {"device": one.device, "rate_hz": one.rate_hz, "is_file": one.is_file}
            levels.append((one, _ask("level", request, LEVEL_S)))
        else:  # it would hang or crash in the same way
            failed = ProbeFailed("untested", "not tested: the inputs cannot be listed")
            levels.append((one, failed))
    return inputs, levels


def _model_request(setup: Setup) -> Answer:
    from model.builtin import BUILTIN_MODEL

    path = setup.model or str(BUILTIN_MODEL)
    return {"path": path, "engine": setup.engine, "threads": setup.threads}


def _folder_findings(setup: Setup) -> list[Finding]:
    if not setup.folders:
        return []
    answer = _ask("folders", {"folders": [asdict(one) for one in setup.folders]}, FOLDERS_S)
    if isinstance(answer, ProbeFailed):
        return [Finding("folders", "problem", str(answer), "a network drive that is down?")]
    return [Finding.from_dict(values) for values in answer["findings"]]


def _ask(probe: str, request: Answer, timeout_s: float) -> Answer | ProbeFailed:
    try:
        return ask(probe, request, timeout_s)
    except ProbeFailed as failed:
        return failed
    except OSError as error:  # no process or temporary file can be made
        return ProbeFailed("failed", f"cannot be examined: {error.strerror or error}")


def _guarded(check: str, look: Callable[[], Finding]) -> Finding:
    """A finding, also where the check itself fails."""
    try:
        return look()
    except Exception as error:  # the other checks are worth having
        return Finding(check, "problem", f"the check failed: {type(error).__name__}: {error}")
