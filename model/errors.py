"""The one tree of errors that devrec-agent raises on purpose.

Every class carries the exit code that the command line returns for it, so that scripts can tell
the kinds of failure apart. Errors of the libraries below (libsndfile, PortAudio, ONNX Runtime)
are mapped onto this tree where they are called; a message is always one line.
"""

from __future__ import annotations


class DevrecError(Exception):
    """Anything that the program can explain to its user in one line."""

    exit_code: int = 1

    @property
    def lines(self) -> tuple[str, ...]:
        """What to tell the user: one line, or several where several things are wrong at once."""
        return (str(self),)


class UsageError(DevrecError):
    """Options that do not fit together or lie out of range."""

    exit_code = 2


class AudioError(DevrecError):
    """An audio file or stream that cannot be classified: missing, not audio, empty, too short."""

    exit_code = 3


class ModelError(DevrecError):
    """A model file that is missing, foreign, damaged or of another format version."""

    exit_code = 4


class EngineError(DevrecError):
    """An engine that cannot be built or run here: no GPU, no driver, made for another machine."""

    exit_code = 8


class StalePlanError(EngineError):
    """A plan for another TensorRT or GPU, or one that TensorRT refuses: building it again helps."""


class ParityError(DevrecError):
    """Two engines that should compute the same do not."""

    exit_code = 9


class CorpusError(DevrecError):
    """A corpus that cannot be read or cannot be split as asked."""

    exit_code = 5


class CaptureError(DevrecError):
    """An audio input that is unknown, ambiguous or cannot be opened, or that went silent."""

    exit_code = 6


class MissingDependencyError(DevrecError):
    """A command that needs an optional extra which is not installed."""

    exit_code = 7


class ConfigError(DevrecError):
    """The configuration is wrong: a file that cannot be read, unknown settings, values out of
    range, files that it names and that are not there.

    Args:
        problems: all that is wrong, each one line that begins with where it stands.
    """

    exit_code = 10

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self._problems = problems

    @property
    def lines(self) -> tuple[str, ...]:
        """One line for every problem."""
        return self._problems


class GalleryError(DevrecError):
    """A gallery of enrolled devices that is damaged, foreign or made with another model, or that
    does not hold, or holds already, what is asked for."""

    exit_code = 11
