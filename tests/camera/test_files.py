"""Clips and folders: every frame counts, damage is skipped, counted and said."""

import struct
import subprocess
import sys
import zlib
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import limits
from edge.camera import folder
from edge.camera.base import Frame
from edge.camera.file import VideoFile
from edge.camera.folder import Folder
from edge.errors import CameraUnavailable, FrameError
from edge.vision.pictures import decode_picture, read_picture


def picture(number, width=160, height=120):
    """A picture that says its number: the grey level of its left half."""
    image = np.full((height, width, 3), 200, np.uint8)
    image[:, : width // 2] = number
    return image


def number(image):
    return round(float(image[20:-20, 10 : image.shape[1] // 2 - 10].mean()))


def kept(camera):
    """A copy of every frame: the next one is written over it."""
    return [Frame(f.image.copy(), f.index, f.seconds) for f in camera.frames()]


def write(path, numbers, codec="MJPG", fps=20.0):
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), fps, (160, 120)
    )
    assert writer.isOpened()
    for each in numbers:
        writer.write(picture(each))
    writer.release()
    return path


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.mkv", "MJPG")]
)
def test_every_frame_in_order_with_its_time(tmp_path, name, codec):
    camera = VideoFile(write(tmp_path / name, range(40, 100, 2), codec))
    frames = kept(camera)
    assert not camera.live
    assert (camera.state, camera.corrupt, camera.declared) == ("ok", 0, 30)
    assert [f.index for f in frames] == list(range(30))
    assert [number(f.image) for f in frames] == pytest.approx(list(range(40, 100, 2)), abs=6)
    times = [f.seconds for f in frames]
    assert times == sorted(times)
    assert times[-1] == pytest.approx(29 / 20, abs=0.06)
    assert frames[0].image.flags.c_contiguous


def test_frames_that_are_damaged_leave_a_gap_and_the_rest_comes(tmp_path, caplog):
    path = write(tmp_path / "a.avi", range(40, 100, 2))
    content = bytearray(path.read_bytes())
    # Each MJPG frame is a chunk "00dc", length, JPEG: two of them are overwritten with zeros.
    chunks = [i for i in range(len(content)) if content[i : i + 4] == b"00dc"][:30]
    for chunk in chunks[10:12]:
        length = int.from_bytes(content[chunk + 4 : chunk + 8], "little")
        content[chunk + 8 : chunk + 8 + length] = bytes(length)
    path.write_bytes(content)
    camera = VideoFile(path)
    frames = kept(camera)
    assert [f.index for f in frames] == [*range(9), *range(11, 30)]
    assert [f.seconds * 20 for f in frames] == pytest.approx([f.index for f in frames])
    assert camera.corrupt == 2
    assert "2 frames could not be decoded" in caplog.text
    assert camera.state == "ok"
    assert number(frames[10].image) == pytest.approx(64, abs=3)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.mkv", "MJPG"), ("b.mkv", "mp4v")]
)
def test_zeros_in_the_middle_cost_frames_but_never_the_rest_or_the_order(
    tmp_path, caplog, name, codec
):
    path = write(tmp_path / name, range(40, 100, 2), codec)
    content = bytearray(path.read_bytes())
    third, length = len(content) // 3, len(content) // 10
    content[third : third + length] = bytes(length)
    path.write_bytes(content)
    camera = VideoFile(path)
    frames = kept(camera)
    assert 15 <= len(frames) < 30
    for earlier, later in pairwise(frames):
        assert earlier.index < later.index
        assert earlier.seconds < later.seconds
    # What comes after the damage has its place in time, even where the container lost count.
    assert frames[-1].seconds >= (len(frames) - 1) / 20 - 0.001
    assert camera.corrupt or "could be decoded" in camera.state
    assert "could" in caplog.text


@pytest.mark.parametrize("name", ["a.avi", "a.mkv"])
def test_a_clip_cut_short_gives_what_it_has_and_says_what_is_missing(tmp_path, caplog, name):
    path = write(tmp_path / name, range(40, 100, 2))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    camera = VideoFile(path)
    frames = kept(camera)
    assert 5 < len(frames) < 25
    assert [f.index for f in frames] == list(range(len(frames)))
    assert camera.state == f"cut short or damaged: {len(frames)} of 30 frames could be decoded"
    assert f"{name}: {camera.state}" in caplog.messages


@pytest.mark.parametrize("content", [b"", b"no video", b"\0" * 5000, "half an mp4"])
def test_what_is_no_video_is_refused_with_what_to_do(tmp_path, content):
    path = tmp_path / "a.mp4"
    if isinstance(content, str):  # the index of an mp4 is at its end: without it nothing is left
        content = write(path, range(40, 60), "mp4v").read_bytes()[:2000]
    path.write_bytes(content)
    with pytest.raises(CameraUnavailable, match="is it whole"):
        VideoFile(path)


def test_a_picture_that_is_read_too_late_is_refused_and_not_another(tmp_path):
    first, second = list(VideoFile(write(tmp_path / "a.avi", (40, 90))).frames())
    for frame in (first, second):
        with pytest.raises(FrameError, match="when the next one had been taken"):
            frame.reduced(64)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "nowhere.mp4", tmp_path):
        with pytest.raises(CameraUnavailable, match="no such file"):
            VideoFile(path)


def test_closed_it_ends_after_the_present_frame(tmp_path):
    camera = VideoFile(write(tmp_path / "a.avi", range(40, 100, 2)))
    for frame in camera.frames():
        if frame.index == 3:
            camera.close()
    assert frame.index == 3


def test_pictures_of_a_folder_come_in_natural_order(tmp_path):
    for name, value in (("p10.png", 100), ("p2.jpg", 60), ("P1.bmp", 40), ("p3.webp", 80)):
        cv2.imwrite(str(tmp_path / name), picture(value))
    (tmp_path / "notes.txt").write_text("no picture")
    camera = Folder(tmp_path)
    frames = kept(camera)
    assert [number(f.image) for f in frames] == pytest.approx([40, 60, 80, 100], abs=3)
    assert [f.seconds for f in frames] == [i / limits.FOLDER_FPS for i in range(4)]


def test_a_damaged_picture_is_named_and_leaves_a_gap(tmp_path, caplog):
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), picture(50))
    (tmp_path / "1.png").write_bytes(b"damaged")
    camera = Folder(tmp_path)
    assert [f.index for f in camera.frames()] == [0, 2]
    assert camera.corrupt == 1
    assert "1.png" in caplog.text


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(CameraUnavailable, match="no picture in it"):
        Folder(tmp_path)
    with pytest.raises(CameraUnavailable, match="cannot be read"):
        Folder(tmp_path / "nowhere")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(CameraUnavailable, match="not a single picture"):
        list(Folder(tmp_path).frames())


def png_claiming(width, height):
    """A PNG of a few bytes whose header claims any size."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("width", "height"), [(60_000, 60_000), (2**31 - 1, 1), (9_000, 9_000), (0, 5), (8_192, 8_192)]
)
def test_a_header_that_claims_too_much_is_refused(tmp_path, caplog, width, height):
    (tmp_path / "x.png").write_bytes(png_claiming(width, height))
    cv2.imwrite(str(tmp_path / "y.png"), picture(5))
    assert [f.index for f in Folder(tmp_path).frames()] == [1]
    assert "x.png" in caplog.text


@pytest.mark.parametrize("first", ["edge.app", "fleet.enrol", "demo.device", "cli.main"])
def test_whatever_is_imported_first_a_hostile_size_is_refused_before_memory_is_asked_for(first):
    code = (
        f"import {first}, sys; from edge.vision.pictures import decode_picture as decode\n"
        "decode(sys.stdin.buffer.read(), 'x.png')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], input=png_claiming(9_000, 9_000), capture_output=True,
        check=False,
    )  # fmt: skip
    assert b"FrameError: x.png: cannot be decoded: pixels <= CV_IO_MAX_IMAGE_PIXELS" in ended.stderr


# A damaged header may claim a large picture that is still allowed: no deadline.
@settings(deadline=None, max_examples=30)
@given(st.binary(max_size=300), st.integers(0, 5000), st.integers(0, 400))
def test_damaged_bytes_are_a_picture_or_refused_by_name(noise, place, cut):
    for suffix in (".png", ".jpg", ".bmp", ".webp"):
        whole = cv2.imencode(suffix, picture(50, 40, 30))[1].tobytes()
        place %= len(whole)
        for content in (noise, whole[:place] + noise + whole[place + len(noise) :], whole[:cut]):
            try:
                image = decode_picture(content, "x.y")
            except FrameError as error:
                assert "x.y" in str(error)  # noqa: PT017
            else:
                assert image.ndim == 3
                assert image.dtype == np.uint8


@given(st.lists(st.integers(0, 10**30), unique=True, max_size=9))
def test_numbers_in_names_are_counted_not_spelled(numbers):
    paths = [Path(f"{n}.png") for n in numbers] + [Path(f"shot{n}b.png") for n in numbers]
    ordered = sorted(paths, key=folder._natural)
    assert [p.name for p in ordered[: len(numbers)]] == [f"{n}.png" for n in sorted(numbers)]
    assert [p.name for p in ordered[len(numbers) :]] == [f"shot{n}b.png" for n in sorted(numbers)]


def test_a_picture_longer_than_the_limit_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(limits, "MAX_FRAME_SIDE", 100)
    cv2.imwrite(str(tmp_path / "a.png"), picture(5))
    with pytest.raises(FrameError, match="160×120 pixels; at most 100"):
        read_picture(tmp_path / "a.png")


def test_a_file_larger_than_the_limit_is_not_read(monkeypatch, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), picture(5))
    monkeypatch.setattr(limits, "MAX_PHOTO_BYTES", 10)
    with pytest.raises(FrameError, match="larger than 10 bytes"):
        read_picture(tmp_path / "a.png")


def test_a_photo_is_turned_upright_as_its_exif_says(tmp_path):
    image = picture(40)
    _, jpeg = cv2.imencode(".jpg", image)
    # An APP1 segment with one EXIF tag: orientation (0x0112) 6, "turn right by 90 degrees".
    tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    (tmp_path / "a.jpg").write_bytes(jpeg.tobytes()[:2] + segment + jpeg.tobytes()[2:])
    upright = read_picture(tmp_path / "a.jpg")
    assert upright.shape == (160, 120, 3)
    assert upright[:60].mean() == pytest.approx(40, abs=3)
