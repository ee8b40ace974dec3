"""Finding TensorRT, in either of its two shapes, and hearing what it says.

NVIDIA ships the same Python API twice: ``tensorrt`` (data centre, workstation, Jetson; 10.3 to 11.x
are supported) and ``tensorrt_rtx`` (TensorRT for RTX, desktop GPUs). One code path serves both.
Nothing here or in its two users calls what only some versions have without asking first;
``tests/test_tensorrt_conformance.py`` holds that against the real bindings.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Literal

from model.errors import EngineError, MissingDependencyError

Flavour = Literal["tensorrt", "tensorrt-rtx"]

#: Modules by flavour, in the order in which they are tried.
_MODULES: dict[Flavour, tuple[str, ...]] = {
    "tensorrt": ("tensorrt",),
    "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
OLDEST = (10, 3)  #: of ``tensorrt``; JetPack 6.1


@dataclass(frozen=True)
class TensorRT:
    """An imported TensorRT.

    Attributes:
        module: the Python module; untyped.
        flavour: which of the two.
        version: such as ``"10.3.0"``.
    """

    module: Any
    flavour: Flavour
    version: str

    @property
    def name(self) -> str:
        """For messages: ``TensorRT 10.3.0``."""
        return f"{'TensorRT' if self.flavour == 'tensorrt' else 'TensorRT-RTX'} {self.version}"


def load_tensorrt(flavour: Flavour | None = None) -> TensorRT:
    """Import TensorRT.

    Args:
        flavour: which; without it, whichever is installed, ``tensorrt`` first.

    Raises:
        MissingDependencyError: not installed, or only its bindings without the libraries.
        EngineError: a version older than :data:`OLDEST`.
    """
    wanted: tuple[Flavour, ...] = (flavour,) if flavour else ("tensorrt", "tensorrt-rtx")
    broken = ""
    for kind in wanted:
        for name in _MODULES[kind]:
            try:
                module = importlib.import_module(name)
            except ModuleNotFoundError:
                continue
            except (ImportError, OSError, RuntimeError) as error:
                broken = f"{name} is installed but does not load: {error}"
                continue
            if not hasattr(module, "Builder"):
                broken = f"{name} is installed but empty"
                continue
            found = TensorRT(module, kind, str(module.__version__))
            if kind == "tensorrt" and _major_minor(found.version) < OLDEST:
                raise EngineError(f"{found.name} is too old; 10.3 or newer is needed")
            return found
    raise MissingDependencyError(
        broken or "TensorRT is not installed on this machine (docs/hardware.md says how)"
    )


def _major_minor(version: str) -> tuple[int, int]:
    parts = version.split(".")
    try:
        return int(parts[0]), int(parts[1])
    except (IndexError, ValueError):
        return (0, 0)


class LogLines:
    """What TensorRT said: its calls fail with None, and the reason is only here.

    Attributes:
        errors: error lines in order.
        warnings: warning lines in order.
    """

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []

    def forget(self) -> None:
        """Before a call that may fail: what was said earlier is not its reason."""
        self.errors.clear()

    def reason(self) -> str:
        """The first error in one line, or that there was none; what follows is its echo."""
        return " ".join(self.errors[0].split()) if self.errors else "no reason given"


_LOGGERS: dict[Flavour, tuple[Any, LogLines]] = {}


def logger_of(tensorrt: TensorRT) -> tuple[Any, LogLines]:
    """The ``ILogger`` of this process, and what it hears.

    One for all objects and for good: TensorRT keeps the first that it is given, and calls it as
    long as any object lives.
    """
    if tensorrt.flavour not in _LOGGERS:
        lines = LogLines()
        _LOGGERS[tensorrt.flavour] = _make_logger(tensorrt.module, lines), lines
    return _LOGGERS[tensorrt.flavour]


def _make_logger(trt: Any, lines: LogLines) -> Any:
    severity = trt.ILogger.Severity
    serious = (severity.INTERNAL_ERROR, severity.ERROR)

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, level: Any, message: str) -> None:
            if level in serious:
                lines.errors.append(message)
            elif level == severity.WARNING:
                lines.warnings.append(message)

    return Logger()
