"""ONNX -> TensorRT plan."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.engine import INPUT
from export.tensorrt_api import TensorRT, logger_of
from model.errors import DevrecError, EngineError, UsageError
from model.files import replacing

_THREAD = "tensorrt-build"
CANCEL_S = 30.0  #: how long a cancelled build may take to notice

Progress = Callable[[str, int, int], None]  #: phase, steps done, steps in all


@dataclass(frozen=True)
class BuildOptions:
    """How to build.

    Attributes:
        batch: smallest, best and largest number of windows a call.
        workspace_mib: limit of scratch memory while building and running; 0: TensorRT's own.
        hardware_compatible: also run on other GPUs, Ampere and newer (slower).
        version_compatible: also load in later versions of TensorRT (slower).
    """

    batch: tuple[int, int, int] = (1, 8, 64)
    workspace_mib: int = 0
    hardware_compatible: bool = False
    version_compatible: bool = False


@dataclass
class Plan:
    """A built engine.

    Attributes:
        data: the serialised plan.
        warnings: what TensorRT warned of.
    """

    data: bytes
    warnings: list[str] = field(default_factory=list)


def build_plan(
    tensorrt: TensorRT,
    model: bytes,
    window_shape: tuple[int, int],
    options: BuildOptions,
    timing_cache: Path | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Parse an ONNX model and build it for the GPU of this machine.

    The network is strongly typed: every tensor has the type that the file gives it.

    Args:
        tensorrt: from :func:`export.tensorrt_api.load_tensorrt`; ``tensorrt`` needs a GPU to build,
            ``tensorrt-rtx`` does not.
        model: serialised ONNX model.
        window_shape: frames and features.
        options: how.
        timing_cache: file that keeps measured timings between builds; replaced when done.
        progress: told about every finished step, from another thread.

    Raises:
        EngineError: TensorRT refused; the message has its own first line about it.
        KeyboardInterrupt: interrupted; the build has been called off.
    """
    task = _Build(tensorrt, model, window_shape, options, timing_cache, progress)
    # In a thread, so that Ctrl-C reaches Python: the builder's C++ holds its caller for minutes.
    thread = threading.Thread(target=task.run, name=_THREAD, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.1)
    except KeyboardInterrupt:
        task.cancelled = True
        # Once is enough: a second one must not cut the cleaning up short.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            thread.join(CANCEL_S)
        finally:
            signal.signal(signal.SIGINT, before)
        raise
    if task.failure is not None:
        raise task.failure
    if task.plan is None:
        raise EngineError(f"{tensorrt.name} built nothing: {task.lines.reason()}")
    return task.plan


def still_building() -> bool:
    """Whether a cancelled build has not noticed yet.

    A program that ends meanwhile must leave it behind without Python's clean-up, because it would
    call into a dead interpreter.
    """
    return any(thread.name == _THREAD for thread in threading.enumerate())


class _Build:
    """One build; everything that TensorRT made lives as long as this does, in order."""

    def __init__(
        self,
        tensorrt: TensorRT,
        model: bytes,
        window_shape: tuple[int, int],
        options: BuildOptions,
        timing_cache: Path | None,
        progress: Progress | None,
    ) -> None:
        self.tensorrt, self.model, self.options = tensorrt, model, options
        self.window_shape, self.cache_path = window_shape, timing_cache
        self.progress = progress
        self.logger, self.lines = logger_of(tensorrt)
        self.cancelled = False
        self.plan: Plan | None = None
        self.failure: DevrecError | None = None

    def run(self) -> None:
        """Build, and keep what went wrong for the waiting thread."""
        try:
            self.plan = self._build()
        except DevrecError as error:
            self.failure = error
        except Exception as error:  # TensorRT's bindings raise what they please
            said = " ".join(str(error).split())
            self.failure = EngineError(f"{self.tensorrt.name} failed to build: {said}")

    def _build(self) -> Plan:
        trt, name = self.tensorrt.module, self.tensorrt.name
        self.lines.forget()
        self.lines.warnings.clear()
        try:
            builder = trt.Builder(self.logger)
        except TypeError as error:  # what the bindings make of a null pointer
            raise EngineError(f"{name} cannot build here: {self.lines.reason()}") from error
        network = parser = config = plan = monitor = None
        try:
            network = builder.create_network(
                1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
            )
            parser = trt.OnnxParser(network, self.logger)
            if not parser.parse(self.model):
                parser_error = parser.get_error(0) if parser.num_errors else None
                said = parser_error.desc() if parser_error else self.lines.reason()
                raise EngineError(f"{name} does not accept the model: {' '.join(said.split())}")
            config = builder.create_builder_config()
            self._configure(trt, builder, config)
            monitor = self._monitor(trt)
            config.progress_monitor = monitor
            # TensorRT for RTX compiles kernels when the plan is loaded: it has nothing to time.
            timed = self.cache_path is not None and self.tensorrt.flavour == "tensorrt"
            if timed:
                self._load_timings(config)
            self.lines.forget()
            plan = builder.build_serialized_network(network, config)
            if plan is None:
                raise EngineError(f"{name} built nothing: {self.lines.reason()}")
            if timed:
                self._save_timings(config)
            return Plan(bytes(plan), list(self.lines.warnings))
        finally:
            # In the reverse order of their making: a parser that outlives its network crashes.
            del plan, config, monitor, parser, network, builder

    def _configure(self, trt: Any, builder: Any, config: Any) -> None:
        options = self.options
        profile = builder.create_optimization_profile()
        profile.set_shape(INPUT, *((size, *self.window_shape) for size in options.batch))
        if config.add_optimization_profile(profile) < 0:
            raise EngineError(f"{self.tensorrt.name} refuses batch sizes {options.batch}")
        config.clear_flag(trt.BuilderFlag.TF32)  # float32 means float32; fp16 is the fast choice
        if options.workspace_mib:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
        if options.hardware_compatible:
            config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
        if options.version_compatible:
            config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)

    def _load_timings(self, config: Any) -> None:
        known = b""
        try:
            if self.cache_path is not None and self.cache_path.is_file():
                known = self.cache_path.read_bytes()
        except OSError as error:
            self.lines.warnings.append(f"timing cache not read: {error}")
        for content in (known, b""):  # nothing, where those are of another version or GPU
            timing_cache = config.create_timing_cache(content)
            if timing_cache is not None and config.set_timing_cache(timing_cache, False):
                return

    def _save_timings(self, config: Any) -> None:
        """Keep the timings for the next build; a full disk does not spoil this one."""
        timing_cache = config.get_timing_cache()
        if self.cache_path is None or timing_cache is None:
            return
        try:
            self.cache_path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.cache_path) as temporary:
                temporary.write_bytes(bytes(timing_cache.serialize()))
        except (DevrecError, OSError) as error:
            self.lines.warnings.append(f"timing cache not kept: {error}")

    def _monitor(self, trt: Any) -> Any:
        build = self

        class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
            """Passes steps on, and calls the build off when asked to."""

            def __init__(self) -> None:
                trt.IProgressMonitor.__init__(self)
                self.steps: dict[str, int] = {}

            def phase_start(self, phase_name: str, parent_phase: Any, num_steps: int) -> None:
                self.steps[phase_name] = num_steps

            def phase_finish(self, phase_name: str) -> None:
                self.steps.pop(phase_name, None)

            def step_complete(self, phase_name: str, step: int) -> bool:
                if build.progress is not None and not build.cancelled:
                    build.progress(phase_name, step + 1, self.steps.get(phase_name, step + 1))
                return not build.cancelled

        return Monitor()


def parse_batch(text: str) -> tuple[int, int, int]:
    """``"1:8:64"`` or ``"8"`` as smallest, best and largest batch.

    Raises:
        UsageError: anything else.
    """
    parts = text.split(":")
    try:
        sizes = [int(part) for part in parts]
    except ValueError:
        sizes = []
    if len(sizes) == 1:
        sizes *= 3
    if len(sizes) != 3 or not 1 <= sizes[0] <= sizes[1] <= sizes[2] <= 4096:
        raise UsageError(f"batch {text}: three rising sizes are wanted, such as 1:8:64")
    return sizes[0], sizes[1], sizes[2]
