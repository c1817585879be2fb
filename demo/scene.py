"""A short clip with two people in it, made from two stills: synthetic motion, and said to be.

Portraits move through a corridor with changing size, light, blur and noise. The clip is written
as an ordinary video file and read back by the device like any other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

ASSETS = Path(__file__).resolve().parent / "assets"
ENROLLED = ASSETS / "eileen-collins.png"
"""Eileen Collins; NASA, public domain."""
BYSTANDER = ASSETS / "grace-hopper.jpg"
"""Grace Hopper; US Navy, public domain."""

WIDTH, HEIGHT, FPS, FRAMES = 640, 360, 25, 250
NOTE = "synthetic motion of two stills (NASA, US Navy; public domain), not a recording"


@dataclass(frozen=True)
class Actor:
    """A portrait and its way through the scene.

    Attributes:
        portrait: picture file.
        head: centre x, y and half axes of the head and shoulders cut out of it, in its pixels.
        face: width of the face in the portrait, in its pixels.
        way: points (frame, x, y, width of the face in the frame), joined smoothly.
    """

    portrait: Path
    head: tuple[float, float, float, float]
    face: float
    way: tuple[tuple[float, float, float, float], ...]


ACTORS = (
    Actor(
        BYSTANDER,
        (267, 230, 165, 225),
        170,
        ((0, -70, 150, 26), (70, 150, 165, 46), (150, 300, 160, 70), (210, 520, 170, 60),
         (250, 730, 180, 56)),
    ),
    Actor(
        ENROLLED,
        (223, 125, 125, 170),
        90,
        ((45, 730, 150, 30), (110, 500, 165, 44), (170, 140, 190, 84), (225, 90, 180, 90),
         (250, 60, 190, 96)),
    ),
)  # fmt: skip


def frames() -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of the scene, (360, 640, 3) uint8, BGR; the same at every call."""
    random = np.random.default_rng(2026)
    background = _corridor(random)
    portraits = [_cut_out(actor) for actor in ACTORS]
    for index in range(FRAMES):
        scene = background.copy()
        for actor, portrait in zip(ACTORS, portraits, strict=True):
            _place(scene, actor, portrait, index)
        yield _camera(scene, index, random)


def write(path: Path) -> None:
    """Write the scene as a video file (MPEG-4 part 2).

    Raises:
        OSError: the file cannot be written.
    """
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
    if not writer.isOpened():
        raise OSError(
            f"{path}: the video cannot be written; is there room, and may you write there?"
        )
    for frame in frames():
        writer.write(frame)
    writer.release()


def _corridor(random: np.random.Generator) -> NDArray[np.float32]:
    """Paint a wall, a floor and doors, with the unevenness of real surfaces."""
    wall = np.linspace(150, 105, HEIGHT, dtype=np.float32)[:, None, None]
    scene = np.broadcast_to(wall * np.array([0.95, 1.0, 1.04], np.float32), (HEIGHT, WIDTH, 3))
    scene = scene.copy()
    scene[290:] *= 0.55
    for left in (60, 250, 450):
        cv2.rectangle(scene, (left, 70), (left + 90, 290), (70, 84, 98), -1)
        cv2.rectangle(scene, (left, 70), (left + 90, 290), (52, 60, 70), 3)
        cv2.circle(scene, (left + 80, 190), 4, (150, 160, 165), -1)
    texture = random.normal(0, 5, (HEIGHT // 8, WIDTH // 8, 1)).astype(np.float32)
    return scene + cv2.resize(texture, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)[..., None]


def _cut_out(actor: Actor) -> NDArray[np.uint8]:
    """Return the portrait with a soft mask of head and shoulders, (h, w, 4) uint8, BGRA."""
    picture = cv2.imread(str(actor.portrait), cv2.IMREAD_COLOR)
    if picture is None:
        raise OSError(f"{actor.portrait}: cannot be read; restore it from the release")
    x, y, half_width, half_height = actor.head
    mask = np.zeros(picture.shape[:2], np.uint8)
    cv2.ellipse(mask, ((x, y), (2 * half_width, 2 * half_height), 0), 255, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), actor.face / 14).astype(np.uint8)
    return np.dstack([picture, mask]).astype(np.uint8)


def _place(
    scene: NDArray[np.float32], actor: Actor, portrait: NDArray[np.uint8], index: int
) -> None:
    """Draw an actor into the scene where the way has led to, nodding and swaying a little."""
    way = np.array(actor.way)
    if not way[0, 0] <= index <= way[-1, 0]:
        return
    x, y, face = (float(np.interp(index, way[:, 0], way[:, i])) for i in (1, 2, 3))
    y += 3.0 * math.sin(index / 3.0)
    scale = face / actor.face
    turn = cv2.getRotationMatrix2D(actor.head[:2], 5.0 * math.sin(index / 11.0), scale)
    turn[0, 2] += x - actor.head[0]
    turn[1, 2] += y - actor.head[1]
    blurred = cv2.GaussianBlur(portrait, (0, 0), 0.4 / min(1.0, scale))  # the lens, for a far face
    drawn = cv2.warpAffine(blurred, turn, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
    reach = 1.2 * scale * max(actor.head[2:])
    across = slice(max(0, int(x - reach)), max(0, int(x + reach)))
    part, place = drawn[:, across], scene[:, across]
    place += (part[..., :3] - place) * (part[..., 3:] / np.float32(255))


def _camera(
    scene: NDArray[np.float32], index: int, random: np.random.Generator
) -> NDArray[np.uint8]:
    """Take the picture: lamps, exposure, shake, noise."""
    across = np.linspace(-1, 1, WIDTH, dtype=np.float32)[None, :, None]
    light = 0.85 + 0.25 * np.sin(index / 37.0) + 0.18 * across * np.cos(index / 23.0)
    picture = scene * light.astype(np.float32)
    if index % 60 < 12:  # a shake of the hand every few seconds
        picture = np.asarray(cv2.blur(picture, (5, 1)), np.float32)
    picture += 5.0 * random.standard_normal(picture.shape, np.float32)
    return np.asarray(np.clip(picture, 0, 255), np.uint8)
