"""CUDA's runtime as cuda-python gives it: errors are returned, never raised.

https://nvidia.github.io/cuda-python/cuda-bindings/latest/module/runtime.html. A stream does nothing
before it is synchronised: who reads a result too early reads what was there before.
"""

import ctypes
import enum
from types import SimpleNamespace

import lethe_simulation as simulation


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorNoDevice = 100
    cudaErrorLaunchFailure = 719


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaStream_t:
    def __init__(self):
        self.work = []

    def __int__(self):
        return id(self)


buffers: dict[int, ctypes.Array] = {}
streams: dict[int, cudaStream_t] = {}


def _status():
    there = simulation.plugged()
    return cudaError_t.cudaSuccess if there else cudaError_t.cudaErrorNoDevice


def cudaGetDeviceProperties(device):
    if _status():
        return _status(), None
    said = simulation.settings()
    major, minor = said["compute"]
    return _status(), SimpleNamespace(name=said["gpu"].encode(), major=major, minor=minor)


def cudaMalloc(size):
    buffer = ctypes.create_string_buffer(size)
    buffers[ctypes.addressof(buffer)] = buffer
    return _status(), ctypes.addressof(buffer)


def cudaStreamCreate():
    stream = cudaStream_t()
    streams[int(stream)] = stream
    return _status(), stream


def cudaMemcpyAsync(dst, src, count, kind, stream):
    device = dst if kind == cudaMemcpyKind.cudaMemcpyHostToDevice else src
    if count > len(buffers[device]):
        return (cudaError_t.cudaErrorInvalidValue,)
    stream.work.append(lambda: ctypes.memmove(dst, src, count))
    return (_status(),)


def cudaStreamSynchronize(stream):
    work, stream.work = stream.work, []
    for step in work:
        step()
    if simulation.due("error"):
        return (cudaError_t.cudaErrorLaunchFailure,)
    return (_status(),)
