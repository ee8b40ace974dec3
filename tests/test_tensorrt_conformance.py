"""Every TensorRT attribute that the code uses exists in the real bindings of 10.3, 10.16 and 11.4.

The bindings (1 MB each) are NVIDIA's; the libraries under them are empty stubs, because those are
not to be had from PyPI. So this shows that names exist, not that calls do what they should.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

VERSIONS = ("10.3.0", "10.16.1.11", "11.4.0.106")
FOLDER = Path(os.environ.get("DEVREC_TENSORRT_BINDINGS", Path(sys.prefix) / "tensorrt-bindings"))
FILES = ("tensorrt_api.py", "tensorrt_build.py", "tensorrt_engine.py")

#: TensorRT's class by the name that the code gives its objects.
CLASSES = {
    "builder": "Builder",
    "parser": "OnnxParser",
    "parser_error": "ParserError",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "timing_cache": "ITimingCache",
    "runtime": "Runtime",
    "_runtime": "Runtime",
    "engine": "ICudaEngine",
    "_engine": "ICudaEngine",
    "context": "IExecutionContext",
    "_context": "IExecutionContext",
}


def chain_of(node: ast.expr) -> list[str] | None:
    """``a.b.c`` as names, or None for anything else."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        inner = chain_of(node.value)
        return None if inner is None else [*inner, node.attr]
    return None


def used_attributes() -> set[str]:
    """Dotted names under the module ``tensorrt``, as the three files use them."""
    used: set[str] = set()
    for name in FILES:
        for node in ast.walk(ast.parse((ROOT / "export" / name).read_text())):
            chain = chain_of(node) if isinstance(node, ast.Attribute) else None
            if chain is None:
                continue
            if chain[0] == "trt":
                used.add(".".join(chain[1:]))
            elif chain[0] == "severity":  # = trt.ILogger.Severity
                used.add("ILogger.Severity." + chain[1])
            for position, part in enumerate(chain[:-1]):
                if part in CLASSES and chain[0] in (part, "self", "owner"):
                    used.add(f"{CLASSES[part]}.{chain[position + 1]}")
    return used


def test_the_list_covers_what_the_code_does() -> None:
    """If the code renames its objects, the check below must not quietly check less."""
    used = used_attributes()
    assert {name.split(".")[0] for name in used} >= {*CLASSES.values(), "ILogger", "BuilderFlag"}
    assert used >= {
        "Builder.build_serialized_network",
        "IBuilderConfig.progress_monitor",
        "IBuilderConfig.set_timing_cache",
        "ICudaEngine.get_tensor_profile_shape",
        "IExecutionContext.execute_async_v3",
        "IExecutionContext.set_tensor_address",
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
        "BuilderFlag.VERSION_COMPATIBLE",
        "HardwareCompatibilityLevel.AMPERE_PLUS",
        "IProgressMonitor",
        "Runtime.engine_host_code_allowed",
    }
    assert len(used) >= 50


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Empty libraries with the entry points that the bindings want to see when they load."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler for the stub libraries")
    folder = tmp_path_factory.mktemp("stubs")
    entries = {
        "nvinfer": [
            "createInferBuilder_INTERNAL",
            "createInferRefitter_INTERNAL",
            "createInferRuntime_INTERNAL",
            "getBuilderPluginRegistry",
            "getPluginRegistry",
        ],
        "nvinfer_plugin": ["initLibNvInferPlugins"],
        "nvonnxparser": [
            "createNvOnnxParserRefitter_INTERNAL",
            "createNvOnnxParser_INTERNAL",
            "getNvOnnxParserVersion",
        ],
    }
    for library, names in entries.items():
        source = "".join(f"void *{name}(void) {{ return 0; }}\n" for name in names)
        for major in ("10", "11"):
            file = f"lib{library}.so.{major}"
            command = [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", str(folder / file)]
            subprocess.run([*command, f"-Wl,-soname,{file}"], input=source, text=True, check=True)
    return folder


SCRIPT = """
import importlib, json, sys
module = importlib.import_module(sys.argv[1])
missing = []
for name in json.load(sys.stdin):
    value = module
    for part in name.split("."):
        value = getattr(value, part, None)
        if value is None:
            missing.append(name)
            break
print(json.dumps({"missing": missing, "fp16": hasattr(module.BuilderFlag, "FP16")}))
"""


def ask(module: str, **env: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, module],
        input=json.dumps(sorted(used_attributes())),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **env},
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_attribute_exists(version: str, stubs: Path) -> None:
    package = FOLDER / version / "tensorrt_bindings"
    if not package.is_dir():
        pytest.skip(f"no TensorRT {version} bindings in {FOLDER} (./run-tests puts them there)")
    found = ask("tensorrt", PYTHONPATH=str(package), LD_LIBRARY_PATH=str(stubs))
    assert found["missing"] == []
    # That these are different versions indeed: 11 took the precision flags away.
    assert found["fp16"] == version.startswith("10.")


def test_every_attribute_exists_in_tensorrt_rtx() -> None:
    pytest.importorskip(
        "tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed (extra: tensorrt-rtx)"
    )
    assert ask("tensorrt_rtx_bindings")["missing"] == []
