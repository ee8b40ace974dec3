"""The few calls of the CUDA runtime that running an engine takes, through ctypes.

No torch, no pycuda: every Jetson and every CUDA install has ``libcudart``. All calls are made on
device 0 of ``CUDA_VISIBLE_DEVICES``.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.errors import EngineError

#: Environment variable with the path of a libcudart in an unusual place.
LIBRARY_VARIABLE = "DEVREC_AGENT_CUDART"

_MAJOR, _MINOR = 75, 76  # cudaDevAttrComputeCapabilityMajor, ...Minor
_TO_DEVICE, _TO_HOST = 1, 2  # cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost
_NON_BLOCKING = 1  # cudaStreamNonBlocking
_CAPTURE_THREAD_LOCAL = 1  # cudaStreamCaptureModeThreadLocal
_PROPERTIES_BYTES = 16384  # the structure grows with versions; the name stands first in all
_POINTER, _SIZE, _INT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int

#: Signatures, so that ctypes does not cut pointers to 32 bits.
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cudaGetDeviceCount": (ctypes.POINTER(_INT),),
    "cudaSetDevice": (_INT,),
    "cudaDeviceGetAttribute": (ctypes.POINTER(_INT), _INT, _INT),
    "cudaGetDeviceProperties": (_POINTER, _INT),
    "cudaMalloc": (ctypes.POINTER(_POINTER), _SIZE),
    "cudaFree": (_POINTER,),
    "cudaMallocHost": (ctypes.POINTER(_POINTER), _SIZE),
    "cudaFreeHost": (_POINTER,),
    "cudaMemcpyAsync": (_POINTER, _POINTER, _SIZE, _INT, _POINTER),
    "cudaStreamCreateWithFlags": (ctypes.POINTER(_POINTER), ctypes.c_uint),
    "cudaStreamSynchronize": (_POINTER,),
    "cudaStreamDestroy": (_POINTER,),
    "cudaStreamBeginCapture": (_POINTER, _INT),
    "cudaStreamEndCapture": (_POINTER, ctypes.POINTER(_POINTER)),
    "cudaGraphInstantiateWithFlags": (ctypes.POINTER(_POINTER), _POINTER, ctypes.c_ulonglong),
    "cudaGraphLaunch": (_POINTER, _POINTER),
    "cudaGraphDestroy": (_POINTER,),
    "cudaGraphExecDestroy": (_POINTER,),
    "cudaGetLastError": (),
}


@dataclass(frozen=True)
class Gpu:
    """The GPU in use.

    Attributes:
        name: as the driver calls it.
        compute_capability: ``"8.7"`` for Orin.
    """

    name: str
    compute_capability: str


class CudaRuntime:
    """``libcudart``, loaded, with a driver and a GPU behind it.

    Raises:
        EngineError: no library, no driver, a driver older than the library, or no GPU.
    """

    def __init__(self) -> None:
        self._library = _load()
        count = _INT(0)
        try:
            self._call("cudaGetDeviceCount", ctypes.byref(count))
        except EngineError as error:
            raise EngineError(
                f"no usable NVIDIA GPU and driver on this machine ({error})"
            ) from error
        if count.value < 1:
            raise EngineError("no CUDA GPU on this machine")
        self._call("cudaSetDevice", 0)
        self.gpu = self._gpu()

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            self._library.cudaGetErrorString.restype = ctypes.c_char_p
            text = self._library.cudaGetErrorString(_INT(code)) or b"unknown error"
            raise EngineError(f"CUDA: {text.decode(errors='replace')} (error {code} of {name})")

    def _gpu(self) -> Gpu:
        numbers = []
        for attribute in (_MAJOR, _MINOR):
            value = _INT(0)
            self._call("cudaDeviceGetAttribute", ctypes.byref(value), attribute, 0)
            numbers.append(value.value)
        properties = ctypes.create_string_buffer(_PROPERTIES_BYTES)
        self._call("cudaGetDeviceProperties", properties, 0)
        name = properties.raw[:256].split(b"\0", 1)[0].decode(errors="replace")
        return Gpu(name or "unnamed GPU", f"{numbers[0]}.{numbers[1]}")

    def allocate(self, size: int) -> int:
        """Device memory of ``size`` bytes; its address."""
        return self._pointer("cudaMalloc", _SIZE(size))

    def free(self, address: int) -> None:
        """Free device memory."""
        self._call("cudaFree", _POINTER(address))

    def allocate_host(self, size: int) -> int:
        """Pinned host memory of ``size`` bytes, which copies need to be asynchronous."""
        return self._pointer("cudaMallocHost", _SIZE(size))

    def free_host(self, address: int) -> None:
        """Free pinned memory."""
        self._call("cudaFreeHost", _POINTER(address))

    def create_stream(self) -> int:
        """A stream that does not wait for the default one."""
        return self._pointer("cudaStreamCreateWithFlags", ctypes.c_uint(_NON_BLOCKING))

    def destroy_stream(self, stream: int) -> None:
        """Destroy a stream."""
        self._call("cudaStreamDestroy", _POINTER(stream))

    def synchronize(self, stream: int) -> None:
        """Wait until all work of a stream is done."""
        self._call("cudaStreamSynchronize", _POINTER(stream))

    def copy_to_device(self, target: int, source: int, size: int, stream: int) -> None:
        """Queue a copy of ``size`` bytes from pinned memory."""
        self._call(
            "cudaMemcpyAsync",
            _POINTER(target),
            _POINTER(source),
            size,
            _TO_DEVICE,
            _POINTER(stream),
        )

    def copy_to_host(self, target: int, source: int, size: int, stream: int) -> None:
        """Queue a copy of ``size`` bytes into pinned memory."""
        self._call(
            "cudaMemcpyAsync", _POINTER(target), _POINTER(source), size, _TO_HOST, _POINTER(stream)
        )

    def begin_capture(self, stream: int) -> None:
        """Record the stream's work from here on instead of doing it."""
        self._call("cudaStreamBeginCapture", _POINTER(stream), _CAPTURE_THREAD_LOCAL)

    def end_capture(self, stream: int) -> int:
        """End the recording; a graph ready to launch."""
        graph = self._pointer_last("cudaStreamEndCapture", _POINTER(stream))
        try:
            return self._pointer(
                "cudaGraphInstantiateWithFlags", _POINTER(graph), ctypes.c_ulonglong(0)
            )
        finally:
            self._call("cudaGraphDestroy", _POINTER(graph))

    def launch(self, graph: int, stream: int) -> None:
        """Queue a recorded graph."""
        self._call("cudaGraphLaunch", _POINTER(graph), _POINTER(stream))

    def destroy_graph(self, graph: int) -> None:
        """Destroy a graph that was ready to launch."""
        self._call("cudaGraphExecDestroy", _POINTER(graph))

    def forget_error(self) -> None:
        """Clear the last error, which TensorRT would take for its own."""
        self._library.cudaGetLastError()

    def _pointer(self, name: str, *arguments: Any) -> int:
        """A call whose first argument receives a pointer."""
        result = _POINTER()
        self._call(name, ctypes.byref(result), *arguments)
        return int(result.value or 0)

    def _pointer_last(self, name: str, *arguments: Any) -> int:
        result = _POINTER()
        self._call(name, *arguments, ctypes.byref(result))
        return int(result.value or 0)


def _load() -> ctypes.CDLL:
    reason = f"no CUDA runtime (libcudart) on this machine; {LIBRARY_VARIABLE} may name one"
    for candidate in _candidates():
        try:
            library = ctypes.CDLL(candidate)
        except OSError:
            continue
        missing = [name for name in _SIGNATURES if not hasattr(library, name)]
        if missing:
            reason = f"{candidate}: too old, has no {missing[0]} (CUDA 11.4 or newer is needed)"
            continue
        for name, arguments in _SIGNATURES.items():
            function = getattr(library, name)
            function.argtypes = arguments
            function.restype = _INT
        return library
    raise EngineError(reason)


def _candidates() -> Iterator[str]:
    """Where a libcudart may be, most specific first."""
    chosen = os.environ.get(LIBRARY_VARIABLE)
    if chosen:
        yield chosen
        return
    site = Path(sysconfig.get_paths()["purelib"]) / "nvidia"
    for pattern in ("cuda_runtime/lib/libcudart.so.*", "cu1*/lib/libcudart.so.*"):
        yield from map(str, sorted(site.glob(pattern), reverse=True))
    found = ctypes.util.find_library("cudart")
    if found:
        yield found
    for version in ("13", "12", "11.0"):
        yield f"libcudart.so.{version}"
    toolkits = sorted(Path("/usr/local").glob("cuda*"), key=_version, reverse=True)
    yield from (str(folder / "lib64" / "libcudart.so") for folder in toolkits)


def _version(folder: Path) -> list[int]:
    """Numbers in a name, so that 12.6 comes after 9.0."""
    return [int(number) for number in re.findall(r"\d+", folder.name)]
