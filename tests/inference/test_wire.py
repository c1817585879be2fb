"""Frames through a pipe, whole, broken, late; tensors in shared memory."""

import mmap
import os
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import limits
from edge.errors import FormatError
from edge.inference.manifest import load_manifest
from edge.inference.wire import Frame, Kind, decode_job, encode_job, plan, receive, send


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@given(
    kind=st.sampled_from(Kind),
    sequence=st.integers(0, 2**32 - 1),
    payload=st.binary(max_size=3000),
)
def test_a_frame_arrives_as_it_was_sent(kind, sequence, payload):
    read, write = os.pipe()
    try:
        send(write, kind, sequence, payload)
        assert receive(read, 3000) == Frame(kind, sequence, payload)
    finally:
        os.close(read)
        os.close(write)


@given(st.binary(min_size=12, max_size=60))
def test_what_is_no_frame_is_refused(content):
    read, write = os.pipe()
    try:
        os.write(write, content)
        with pytest.raises((FormatError, TimeoutError)):
            receive(read, limits.MAX_REPLY_BYTES, until=time.monotonic())
    finally:
        os.close(read)
        os.close(write)


def test_a_frame_longer_than_allowed_is_refused_before_it_is_read(pipe):
    read, write = pipe
    send(write, Kind.FAILED, 1, b"too long")
    with pytest.raises(FormatError, match="at most 7 bytes"):
        receive(read, 7)


def test_nothing_in_time(pipe):
    with pytest.raises(TimeoutError):
        receive(pipe[0], 10, until=time.monotonic())


def test_what_has_come_counts_however_late_it_is_looked_at(pipe):
    send(pipe[1], Kind.DONE, 4)
    assert receive(pipe[0], 10, until=time.monotonic() - 100) == Frame(Kind.DONE, 4, b"")


def test_nobody_takes_it_in_time(pipe):
    os.set_blocking(pipe[1], False)
    with pytest.raises(TimeoutError):
        send(pipe[1], Kind.MODEL, 0, bytes(1 << 20), until=time.monotonic())


def test_the_other_side_is_gone():
    read, write = os.pipe()
    os.close(write)
    with pytest.raises(EOFError):
        receive(read, 10)
    os.close(read)
    read, write = os.pipe()
    os.close(read)
    with pytest.raises(BrokenPipeError):
        send(write, Kind.RUN, 0)
    os.close(write)


def test_no_tensor_touches_another():
    """Every byte of the memory belongs to one tensor at most."""
    models = list(load_manifest().models().values())
    slots, size = plan(models)
    memory = mmap.mmap(-1, size)
    tensors = [t for slot in slots for t in (slot.input, *slot.outputs.values())]
    for number, tensor in enumerate(tensors):
        tensor.view(memory)[...] = number
    for number, tensor in enumerate(tensors):
        view = tensor.view(memory)
        assert (view == number).all()
        assert view.flags.c_contiguous
        assert view.ctypes.data % 64 == 0
    for slot, model in zip(slots, models, strict=True):
        assert slot.input.shape == model.input.shape
        assert {n: (o.shape, o.index) for n, o in slot.outputs.items()} == {
            n: (o.shape, o.index) for n, o in model.outputs.items()
        }
        assert {o.dtype for o in slot.outputs.values()} == {np.dtype(np.float32).name}


def test_a_job_arrives_as_it_was_sent():
    slots, _ = plan(load_manifest().models().values())
    job = encode_job("edgetpu", {"device": "usb:1"}, slots)
    assert len(job) < limits.MAX_REPLY_BYTES
    assert decode_job(job) == ("edgetpu", {"device": "usb:1"}, slots)
