"""The part of TensorRT 10 that Lethe uses; an engine computes on the CPU when its stream runs.

https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/python-api/index.html
"""

import enum
import json

import lethe_simulation as simulation
import numpy as np
from cuda.bindings import runtime as cudart

__version__ = simulation.settings()["version"]
_real = simulation.cpu_runtime()


class Logger:
    WARNING = 2

    def __init__(self, severity):
        self.severity = severity


class NetworkDefinitionCreationFlag(enum.IntEnum):
    EXPLICIT_BATCH = 0
    STRONGLY_TYPED = 1


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class DataType(enum.Enum):
    FLOAT = np.float32
    UINT8 = np.uint8


def nptype(dtype):
    return dtype.value


class Network:
    onnx = None


class Config:
    def set_memory_pool_limit(self, pool, size):
        assert pool is MemoryPoolType.WORKSPACE
        assert size > 0


class OnnxParser:
    def __init__(self, network, logger):
        self._network = network
        self.num_errors = 0

    def parse(self, model):
        if model.startswith(simulation.ONNX):
            self._network.onnx = model
            return True
        self.num_errors = 1
        return False

    def get_error(self, index):
        class Error:
            def desc(self):
                return "Failed to parse the ONNX model"

        return Error()


class Builder:
    def __init__(self, logger):
        pass

    def create_network(self, flags=0):
        assert flags & 1 << int(NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        return Network()

    def create_builder_config(self):
        return Config()

    def build_serialized_network(self, network, config):
        simulation.note("built")
        head = json.dumps({"version": __version__}).encode() + b"\n"
        return memoryview(head + network.onnx[len(simulation.ONNX) :])


class Runtime:
    def __init__(self, logger):
        pass

    def deserialize_cuda_engine(self, plan):
        simulation.note("deserialised")
        head, spec, tflite = plan.split(b"\n", 2)
        if json.loads(head)["version"] != __version__:
            return None
        return Engine(json.loads(spec), tflite)


class Engine:
    def __init__(self, spec, tflite):
        self._input, self._outputs = spec["input"], spec["outputs"]
        if simulation.due("shape"):
            name = next(iter(self._outputs))
            self._outputs[name] = [2, *self._outputs[name][1:]]
        self._names = ["pixels", *self._outputs]
        self.num_io_tensors = len(self._names)
        self.interpreter = _real.Interpreter(model_content=tflite, num_threads=2)
        self.interpreter.allocate_tensors()

    def get_tensor_name(self, index):
        return self._names[index]

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name == "pixels" else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name):
        return self._input if name == "pixels" else self._outputs[name]

    def get_tensor_dtype(self, name):
        return DataType.UINT8 if name == "pixels" else DataType.FLOAT

    def create_execution_context(self):
        return Context(self)


class Context:
    def __init__(self, engine):
        self._engine, self._addresses = engine, {}

    def set_tensor_address(self, name, memory):
        self._addresses[name] = memory
        return memory in cudart.buffers

    def execute_async_v3(self, stream_handle):
        if simulation.due("refuse"):
            return False
        cudart.streams[stream_handle].work.append(self._compute)
        return True

    def _tensor(self, name):
        dtype = nptype(self._engine.get_tensor_dtype(name))
        shape = self._engine.get_tensor_shape(name)
        return np.frombuffer(cudart.buffers[self._addresses[name]], dtype).reshape(shape)

    def _compute(self):
        interpreter, shape = self._engine.interpreter, self._engine.get_tensor_shape("pixels")
        simulation.suffer(shape)
        (detail,), pixels = interpreter.get_input_details(), self._tensor("pixels")
        # The plain file may take pixel - 128; an ONNX file takes pixels.
        stored = pixels if detail["dtype"] == np.uint8 else np.int8(pixels.astype(np.int16) - 128)
        interpreter.set_tensor(detail["index"], stored)
        interpreter.invoke()
        details = interpreter.get_output_details()
        names = [name for name in self._addresses if name != "pixels"]
        values = []
        for detail in details:
            tensor = interpreter.get_tensor(detail["index"]).astype(np.float32)
            scale, zero = detail["quantization"]
            tensor -= np.float32(zero)
            tensor *= np.float32(scale or 1.0)
            values.append(tensor)
        for name, value in zip(names, simulation.spoil(values, shape), strict=True):
            self._tensor(name)[...] = value
