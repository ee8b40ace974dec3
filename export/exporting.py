"""Making engines from a model file: rewrite, build, compare with PyTorch, and only then keep."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

import onnx
from onnx import ModelProto

from export.cuda_runtime import CudaRuntime, Gpu
from export.engine_cache import building, cached_plan, timing_cache_path
from export.onnxruntime_engine import OnnxRuntimeEngine
from export.precision import Precision
from export.sidecar import Sidecar, sha256_of, sidecar_path
from export.source_model import Comparison, Source
from export.tensorrt_api import Flavour, TensorRT, load_tensorrt
from export.tensorrt_build import BuildOptions, Progress, build_plan
from export.tensorrt_engine import TensorRTEngine
from model.errors import DevrecError, EngineError, UsageError
from model.files import replacing
from model.metadata import KEY_PREFIX


@dataclass
class ExportReport:
    """What an export made.

    Attributes:
        path: the engine file.
        precision: of its products.
        engine: runtime and device that it was compared on.
        comparisons: with PyTorch.
        notes: what the user should know.
        build_s: seconds that the build took.
    """

    path: Path
    precision: Precision
    engine: str = ""
    comparisons: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    build_s: float = 0.0


def export_onnx(source: Source, target: Path, precision: Precision) -> ExportReport:
    """Write the model in another precision as an ONNX file.

    Raises:
        ParityError: beyond the bounds; nothing is written.
    """
    model, _ = source.in_precision(precision, "onnxruntime")
    copy = ModelProto()
    copy.CopyFrom(model)
    provenance = {
        **source.engine.metadata.provenance,
        "precision": precision,
        "source sha256": source.sha256,
    }
    properties = {
        **source.engine.properties,
        KEY_PREFIX + "provenance": json.dumps(provenance, ensure_ascii=False),
    }
    onnx.helper.set_model_props(copy, properties)
    report = ExportReport(target, precision)
    with replacing(target) as temporary:
        temporary.write_bytes(copy.SerializeToString())
        engine = OnnxRuntimeEngine(temporary)
        report.engine = engine.description
        report.comparisons = source.compare(engine)
    return report


def export_tensorrt(
    source: Source,
    target: Path | None,
    precision: Precision,
    options: BuildOptions,
    *,
    flavour: Flavour | None = None,
    ranges: dict[str, float] | None = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Build a TensorRT plan for this machine's GPU.

    Args:
        source: the model.
        target: the ``.plan`` to write; into the cache, for ``--engine auto``, without it.
        precision: of the products.
        options: for the builder.
        flavour: which TensorRT; whichever is installed without it.
        ranges: known ranges for int8.
        progress: told about the builder's steps.

    Raises:
        EngineError: no GPU where one is needed, or TensorRT refused.
        ParityError: beyond the bounds; nothing is written.
    """
    tensorrt = load_tensorrt(flavour)
    if options.version_compatible and tensorrt.flavour == "tensorrt-rtx":
        raise UsageError(f"{tensorrt.name} has no version-compatible plans")
    gpu, why_none = _gpu_to_build_on(tensorrt)
    if target is None:
        if gpu is None:
            raise UsageError(f"say where the plan goes (-o): {why_none}")
        target = cached_plan(source.sha256, tensorrt, gpu, precision)
        with building(target):
            return export_tensorrt(
                *(source, target, precision, options),
                flavour=tensorrt.flavour,
                ranges=ranges,
                progress=progress,
            )
    timings = None
    if gpu is not None and tensorrt.flavour == "tensorrt":  # TensorRT for RTX has nothing to time
        with suppress(DevrecError):  # no home: no timings
            timings = timing_cache_path(tensorrt, gpu)
    model, ranges = source.in_precision(precision, "tensorrt", ranges)
    report = ExportReport(target, precision)
    with _staging(target) as temporary:
        started = time.monotonic()
        shape = source.engine.metadata.window_shape
        plan = build_plan(tensorrt, model.SerializeToString(), shape, options, timings, progress)
        report.build_s = time.monotonic() - started
        report.notes += [f"{tensorrt.name}: {warning}" for warning in plan.warnings]
        sidecar = Sidecar(
            plan_sha256=sha256_of(plan.data),
            model_sha256=source.sha256,
            precision=precision,
            flavour=tensorrt.flavour,
            tensorrt=tensorrt.version,
            gpu=gpu.name if gpu else "",
            compute_capability=gpu.compute_capability if gpu else "",
            batch=options.batch,
            # TensorRT for RTX only warns about this option.
            hardware_compatible=options.hardware_compatible and tensorrt.flavour == "tensorrt",
            version_compatible=options.version_compatible,
            workspace_mib=options.workspace_mib,
            ranges=ranges,
            properties=source.engine.properties,
            parity={},
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )
        temporary.write_bytes(plan.data)
        sidecar.write(temporary)
        if gpu is not None:
            _compare_plan(source, temporary, sidecar, report)
        else:
            _compare_graph(source, temporary, model, report)
            report.notes.append(
                f"the plan was built but never run ({why_none}); it compares itself with PyTorch "
                "when it is first loaded on a GPU"
            )
    return report


def _gpu_to_build_on(tensorrt: TensorRT) -> tuple[Gpu | None, str]:
    """The GPU; or none, and why, where TensorRT for RTX is content without."""
    try:
        return CudaRuntime().gpu, ""
    except EngineError as error:
        if tensorrt.flavour == "tensorrt-rtx":
            return None, str(error)
        raise EngineError(
            f"{tensorrt.name} builds on the GPU that it builds for: {error}"
        ) from error


def _compare_plan(source: Source, plan: Path, sidecar: Sidecar, report: ExportReport) -> None:
    """Parity of the plan itself."""
    engine = TensorRTEngine(plan, trusted=True)
    try:
        report.comparisons = source.compare(engine)
        report.engine = engine.description
    finally:
        engine.close()
    parity = {c.kind: c.difference.to_dict() for c in report.comparisons}
    replace(sidecar, parity=parity).write(plan)


def _compare_graph(source: Source, plan: Path, model: ModelProto, report: ExportReport) -> None:
    """Parity of a plan's graph, where no GPU can run the plan."""
    graph = plan.with_suffix(".onnx")
    try:
        graph.write_bytes(model.SerializeToString())
        stand_in = OnnxRuntimeEngine(graph)
        stand_in.precision = report.precision
        report.engine = f"the plan's graph in {stand_in.description}"
        report.comparisons = source.compare(stand_in)
    finally:
        graph.unlink(missing_ok=True)


@contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """A folder beside the target in which plan and sidecar are made; both move on success."""
    try:
        folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise DevrecError(f"{target}: cannot be written: {error.strerror}") from error
    try:
        temporary = folder / target.name
        yield temporary
        temporary.replace(target)
        sidecar_path(temporary).replace(sidecar_path(target))
    except OSError as error:
        raise DevrecError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
