"""Parts that several tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.simulated import write_corpus

if TYPE_CHECKING:
    import onnx

ROOT = Path(__file__).parent.parent

#: Real recordings, where they are at hand; never part of the repository.
CCNU_MOBILE = Path(os.environ.get("DEVREC_CCNU_MOBILE", ROOT.parent / "shared" / "ccnu_mobile"))


@pytest.fixture(scope="session")
def ccnu_mobile() -> Path:
    """Folder of the real recordings, or a skip that says where they were looked for."""
    if not (CCNU_MOBILE / "manifest.csv").is_file():
        pytest.skip(f"no real recordings at {CCNU_MOBILE} (set DEVREC_CCNU_MOBILE)")
    return CCNU_MOBILE


@pytest.fixture(scope="session")
def simulated_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five simulated devices, four clips of 4 s each, CCNU_Mobile naming."""
    return write_corpus(tmp_path_factory.mktemp("corpus") / "simulated")


#: One thread: two training processes on two cores would spin on each other's barriers, and results
#: depend on the number of threads in the last bits.
CLI_ENV = {**os.environ, "COLUMNS": "160", "OMP_NUM_THREADS": "1"}


def run_cli(
    *arguments: str | Path, stdin: bytes | None = None, timeout: float = 240, **env: str
) -> subprocess.CompletedProcess[bytes]:
    """The program as a user starts it, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "agent.cli", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=timeout,
        cwd=ROOT,
        env={**CLI_ENV, **env},
        check=False,
    )


def run_cli_without(
    modules: Iterable[str], *arguments: str | Path
) -> subprocess.CompletedProcess[bytes]:
    """The program on a machine on which some modules are not installed."""
    # Not None in sys.modules: scipy looks torch up there, and takes it for a module.
    script = (
        "import sys\n"
        f"ABSENT = {set(modules)!r}\n"
        "class Without:\n"
        "    def __init__(self, finder):\n"
        "        self.finder = finder\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] not in ABSENT:\n"
        "            return self.finder.find_spec(name, path, target)\n"
        "    def __getattr__(self, name):\n"
        "        return getattr(self.finder, name)\n"
        "sys.meta_path[:] = map(Without, sys.meta_path)\n"
        f"from agent.cli import app\napp({[str(a) for a in arguments]!r})\n"
    )
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, cwd=ROOT, env=CLI_ENV, check=False
    )


def save_changed(model: onnx.ModelProto, path: Path, changes: dict[str, str]) -> Path:
    """Save a model file with some of its metadata changed, or removed by a dash."""
    import onnx  # an extra: not every test needs it

    properties = {entry.key: entry.value for entry in model.metadata_props} | changes
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {k: v for k, v in properties.items() if v != "-"})
    onnx.save(model, str(path))
    return path


@pytest.fixture(scope="session")
def simulated_model(simulated_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with recurrent layers, trained for two epochs on the simulated corpus."""
    path = tmp_path_factory.mktemp("model") / "simulated.onnx"
    done = run_cli(
        "train", simulated_corpus, "-o", path, "--profile", "hybrid", "--preset", "fast",
        "--epochs", "2", "--steps", "100", "--split-by", "group",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return path
