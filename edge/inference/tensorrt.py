"""NVIDIA GPU: an engine that TensorRT builds on the device from a quantised ONNX file.

TensorRT 10 or later (https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/
python-api-docs.html) and cuda-python. The ONNX file carries its own quantisation
(QuantizeLinear, DequantizeLinear), so the network is strongly typed. Its input and outputs are
those of the plain model: the same shapes, the outputs under the manifest's names.

Runs in the accelerator's process (`edge.inference.worker`) only: standard library and numpy,
Python 3.9 upwards.
"""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge import limits
from edge.errors import ModelError, StorageUnavailable
from edge.files import private_folder, read_small, write_atomically
from edge.inference.base import check_pixels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edge.inference.base import ModelSpec

Vendor = Any
"""An object of tensorrt or cuda-python, which are imported when they are chosen, without types."""


def load(content: bytes, model: ModelSpec, options: Mapping[str, str]) -> TensorRtNetwork:
    """Load a model: from the cache if its engine is there, else built, which takes minutes.

    Args:
        content: the ONNX file, checked against the manifest's hash.
        model: what its tensors must be.
        options: "cache": folder for engines; none is kept if absent or empty.

    Raises:
        ModelError: no TensorRT, no GPU, or the model is not for it.
    """
    trt, cudart = _libraries()
    cuda = _Cuda(cudart)
    device = cuda("cudaGetDeviceProperties", 0)
    gpu = f"{device.name.decode(errors='replace')} (compute {device.major}.{device.minor})"
    runtime = f"TensorRT {trt.__version__}, {gpu}"
    cache = None
    if options.get("cache"):
        key = hashlib.sha256(f"{runtime}\0{hashlib.sha256(content).hexdigest()}".encode())
        cache = EngineCache(Path(options["cache"]), Path(model.file).stem, key.digest())
    logger = trt.Logger(trt.Logger.WARNING)
    loader = trt.Runtime(logger)
    plan = cache.read() if cache else None
    engine = loader.deserialize_cuda_engine(plan) if plan else None
    if engine is None:  # not built yet, or this TensorRT takes it no more
        plan = _build(trt, logger, content, model.file)
        engine = loader.deserialize_cuda_engine(plan)
        if engine is None:
            raise ModelError(f"{model.file}: {runtime} does not take the engine it has built")
        if cache:
            cache.write(plan)
    return TensorRtNetwork(trt, cuda, engine, model, runtime=runtime, keep=(logger, loader))


def _libraries() -> tuple[Vendor, Vendor]:
    """Import TensorRT and CUDA's runtime, whichever name the latter has in this cuda-python."""
    try:
        trt = importlib.import_module("tensorrt")
        try:
            cudart = importlib.import_module("cuda.bindings.runtime")
        except ModuleNotFoundError:
            cudart = importlib.import_module("cuda.cudart")
    except ImportError as error:
        raise ModelError(f"TensorRT and cuda-python are needed: {error}") from error
    if int(trt.__version__.partition(".")[0]) < limits.TENSORRT_MIN_MAJOR:
        raise ModelError(
            f"TensorRT {trt.__version__}: {limits.TENSORRT_MIN_MAJOR} or later is needed"
        )
    return trt, cudart


def _build(trt: Vendor, logger: Vendor, content: bytes, file: str) -> bytes:
    """Have TensorRT build an engine for this GPU."""
    builder = trt.Builder(logger)
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(content):
        errors = "; ".join(str(parser.get_error(i).desc()) for i in range(parser.num_errors))
        raise ModelError(f"{file}: TensorRT does not take it: {errors}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, limits.TENSORRT_WORKSPACE_BYTES)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ModelError(f"{file}: TensorRT could not build an engine; its log says why")
    return bytes(plan)


class EngineCache:
    """The engine of one model for one GPU and one TensorRT, in one file.

    The file holds SHA-256(key, engine) and the engine. That shows damage, and an engine that was
    built for something else; it does not stop who can write into this folder, which only the device
    itself may enter: an engine is code.
    """

    def __init__(self, folder: Path, stem: str, key: bytes) -> None:
        """Name a place.

        Args:
            folder: private to the device.
            stem: the model's name.
            key: SHA-256 of what the engine is bound to: GPU, compute capability, TensorRT's
                version, the model's hash.
        """
        self._folder, self._stem, self._key = folder, stem, key
        self._path = folder / f"{stem}-{key.hex()[:16]}.engine"

    def read(self) -> bytes | None:
        """Return the engine; None if there is none, or it is not the one that was written."""
        try:
            content = read_small(self._path, limits.MAX_ENGINE_BYTES)
        except OSError:
            return None  # there is none, or not to be had: it is built again
        plan = content[hashlib.sha256().digest_size :]
        return plan if content == self._sealed(plan) else None

    def write(self, plan: bytes) -> None:
        """Keep an engine, and drop those of the same model for another GPU or TensorRT."""
        try:
            private_folder(self._folder)
            for old in self._folder.glob(f"{self._stem}-*.engine"):
                if old != self._path:
                    old.unlink()
            write_atomically(self._path, self._sealed(plan))
        except (StorageUnavailable, OSError) as error:
            print(f"{error}; the engine will be built again at the next start")  # noqa: T201

    def _sealed(self, plan: bytes) -> bytes:
        return hashlib.sha256(self._key + plan).digest() + plan


class _Cuda:
    """Calls of CUDA's runtime. cuda-python returns (error, result…) and raises nothing itself."""

    def __init__(self, cudart: Vendor) -> None:
        self._cudart = cudart
        self.to_device = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        self.to_host = cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost

    def __call__(self, name: str, *arguments: Vendor) -> Vendor:
        """Call a function and return its result.

        Raises:
            ModelError: it failed.
        """
        error, *results = getattr(self._cudart, name)(*arguments)
        if error != self._cudart.cudaError_t.cudaSuccess:
            raise ModelError(f"{name}: {error!r}")
        return results[0] if results else None


class TensorRtNetwork:
    """An engine with its buffers on the GPU; meets `edge.inference.base.Network`.

    The buffers are never freed: they go with the process.
    """

    def __init__(
        self,
        trt: Vendor,
        cuda: _Cuda,
        engine: Vendor,
        model: ModelSpec,
        *,
        runtime: str,
        keep: tuple[Vendor, ...],
    ) -> None:
        """Give every tensor of an engine its buffer.

        Args:
            trt: the module.
            cuda: CUDA's runtime.
            engine: a deserialised engine.
            model: what its tensors must be.
            runtime: what runs it, for people.
            keep: what must outlive the engine.

        Raises:
            ModelError: its tensors are not the manifest's, or the GPU has no room.
        """
        self.runtime = runtime
        self._model, self._cuda = model, cuda
        self._engine = engine  # must outlive the context
        self._keep = keep
        self._context = engine.create_execution_context()
        if self._context is None:
            raise ModelError(f"{model.file}: no room on the GPU")
        self._stream = cuda("cudaStreamCreate")
        self._inputs: list[tuple[NDArray[Any], int]] = []
        self._outputs: dict[str, tuple[NDArray[Any], int]] = {}
        for name in (engine.get_tensor_name(i) for i in range(engine.num_io_tensors)):
            shape = tuple(engine.get_tensor_shape(name))
            host = np.zeros(shape, trt.nptype(engine.get_tensor_dtype(name)))
            buffer = cuda("cudaMalloc", host.nbytes)
            if not self._context.set_tensor_address(name, int(buffer)):
                raise ModelError(f"{model.file}: TensorRT refuses the buffer of {name}")
            if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
                self._inputs.append((host, buffer))
            else:
                self._outputs[name] = (host, buffer)
        found = [(host.shape, host.dtype.name) for host, _ in self._inputs]
        if found != [(tuple(model.input.shape), model.input.dtype)]:
            raise ModelError(f"{model.file}: inputs are {found}, the manifest says {model.input}")
        for name, spec in model.outputs.items():
            if name not in self._outputs or self._outputs[name][0].shape != tuple(spec.shape):
                raise ModelError(f"{model.file}: output {name} is not {tuple(spec.shape)}")

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Run the model once; see `Network.run`."""
        check_pixels(self._model, pixels)
        cuda, stream = self._cuda, self._stream
        ((_, buffer),) = self._inputs
        cuda("cudaMemcpyAsync", buffer, pixels.ctypes.data, pixels.nbytes, cuda.to_device, stream)
        if not self._context.execute_async_v3(int(stream)):
            raise ModelError(f"{self._model.file}: TensorRT refuses to run it")
        for host, buffer in self._outputs.values():
            cuda("cudaMemcpyAsync", host.ctypes.data, buffer, host.nbytes, cuda.to_host, stream)
        cuda("cudaStreamSynchronize", stream)
        return {name: self._outputs[name][0].astype(np.float32) for name in self._model.outputs}
