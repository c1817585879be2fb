"""The process in which an accelerator runs.

A vendor's library may hang in a call that nothing can cancel, or end the process that loaded it
(libedgetpu does, when its USB device is unplugged). So it runs here, where it can be killed without
harm, and under another Python where it needs one.

Started by `edge.inference.isolated` with the descriptors of two pipes and of the shared memory.
Standard library and numpy only, Python 3.9 upwards.
"""

from __future__ import annotations

import ctypes
import importlib
import mmap
import os
import resource
import signal
import sys
from typing import TYPE_CHECKING

from edge import limits
from edge.errors import ModelError
from edge.inference.wire import Kind, decode_job, receive, send

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.inference.base import Network
    from edge.inference.wire import Slot

_BACK_ENDS = {"edgetpu": "edge.inference.edgetpu", "tensorrt": "edge.inference.tensorrt"}
"""Each has `load(content, slot, options) -> Network`."""
_PR_SET_PDEATHSIG = 1


def main(arguments: Sequence[str]) -> int:
    """Serve one device until it lets go.

    Args:
        arguments: descriptors of the pipe of requests, of the pipe of replies and of the shared
            memory; the process id of the device.
    """
    requests, replies, memory, parent = (int(argument) for argument in arguments)
    if not _bind_to(parent):
        sys.stderr.write("the device is gone, or the interpreter is a script that does not exec\n")
        return 1
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries may print; stdout is not theirs
    shared = mmap.mmap(memory, os.fstat(memory).st_size)
    try:
        _serve(requests, replies, shared)
    except (EOFError, BrokenPipeError):
        return 0  # the device has let go
    return 1


def _bind_to(parent: int) -> bool:
    """Tie this process to the device's: that one decides when it ends, and never leaves it behind.

    The pipe's end says so too, but not to a process that hangs in a library.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # sent to the whole group; the device will let go
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold pictures
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    return os.getppid() == parent  # it may have ended before the call


def _serve(requests: int, replies: int, shared: mmap.mmap) -> None:
    """Load what is asked for and run it, until the pipe ends or something fails."""
    sequence = 0
    try:
        order = receive(requests, limits.MAX_REPLY_BYTES)
        back_end, options, slots = decode_job(order.payload)
        module = importlib.import_module(_BACK_ENDS[back_end])
        networks: list[Network] = [
            module.load(receive(requests, limits.MAX_MODEL_BYTES).payload, slot, options)
            for slot in slots
        ]
        send(replies, Kind.READY, sequence, networks[0].runtime.encode())
        while True:
            request = receive(requests, 1)  # RUN: the device sends nothing else from here on
            sequence = request.sequence
            number = request.payload[0]
            _run(networks[number], slots[number], shared)
            send(replies, Kind.DONE, sequence)
    except (EOFError, BrokenPipeError):
        raise
    except Exception as error:  # noqa: BLE001 whatever a vendor's library raises is to be told
        text = f"{type(error).__name__}: {error}".encode()[: limits.MAX_REPLY_BYTES]
        send(replies, Kind.FAILED, sequence, text)


def _run(network: Network, slot: Slot, shared: mmap.mmap) -> None:
    """Run a network on the pixels in the shared memory, and leave the results there."""
    results = network.run(slot.input.view(shared))
    for name, output in slot.outputs.items():
        values = results[name]
        if values.shape != output.shape:
            raise ModelError(f"{slot.file}: output {name} is {values.shape}, not {output.shape}")
        output.view(shared)[...] = values


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
