"""What all commands share: options, consoles, and how errors reach the user."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer

from agent.extras import missing_dependency
from model.errors import DevrecError

if TYPE_CHECKING:
    from rich.console import Console

    from export.engine import Engine

P = ParamSpec("P")
R = TypeVar("R")

ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        "-m",
        envvar="DEVREC_AGENT_MODEL",
        help="Model file (.onnx) or engine (.plan); the built-in model of 40 phones without it.",
        show_default=False,
    ),
]
ThreadsOption = Annotated[
    int, typer.Option("--threads", min=1, max=64, help="Threads of the engine.")
]

EngineOption = Annotated[
    str,
    typer.Option(
        "--engine",
        envvar="DEVREC_AGENT_ENGINE",
        help="auto (TensorRT where `export` has built a plan, else ONNX Runtime), onnx or "
        "tensorrt.",
    ),
]

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="DEVREC_AGENT_CONFIG",
        help="Configuration file, in place of those in /etc/devrec-agent and "
        "~/.config/devrec-agent.",
        show_default=False,
    ),
]

ClipsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--clips",
        help="Recordings, or folders of them, to compare on real windows (and for int8 to measure "
        "ranges on); may be given several times.",
        show_default=False,
    ),
]


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors that the program raises on purpose into one line and an exit code."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except DevrecError as error:
            for line in error.lines:
                complain(line)
            raise typer.Exit(error.exit_code) from error
        except ModuleNotFoundError as error:
            missing = missing_dependency(error)
            if missing is None:
                raise
            complain(str(missing))
            raise typer.Exit(missing.exit_code) from error
        except KeyboardInterrupt as error:
            complain("interrupted")
            builder = sys.modules.get("export.tensorrt_build")  # nothing builds unless it is there
            if builder is not None and builder.still_building():
                os._exit(130)
            raise typer.Exit(130) from error
        except BrokenPipeError as error:
            # The reader of our output has gone (`| head`): nothing is wrong, nobody listens.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from error

    return wrapper


def complain(message: str) -> None:
    """One line on stderr."""
    print(f"devrec-agent: {' '.join(message.split())}", file=sys.stderr, flush=True)


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object, one line, flushed: somebody may be reading live."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def console() -> Console:
    """The terminal for results."""
    from rich.console import Console

    return Console(highlight=False)


def progress_console() -> Console:
    """The terminal for progress, on stderr so that results can be piped."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def open_engine(model: Path | None, threads: int, engine: str = "auto") -> Engine:
    """Load the given model or the built-in one into the engine asked for."""
    from export.engine_choice import choose_engine
    from model.builtin import BUILTIN_MODEL

    path = model if model is not None else BUILTIN_MODEL
    return choose_engine(path, engine, threads, complain)
