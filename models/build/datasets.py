"""The research pictures that calibration and measurement read, split by person and by picture.

Everything is chosen by a hash of a name, so that a split never depends on the order of a folder:
people and pictures used to calibrate are never those that are measured on. No picture is ever
copied into the project.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.vision.align import align
from edge.vision.detect import Detector
from edge.vision.pictures import read_picture

Image = NDArray[np.uint8]

CALIBRATION_SHARE = 0.4


def fraction(name: str, salt: str = "split") -> float:
    """Return a number in [0, 1) that depends on a name alone."""
    digest = hashlib.sha256(f"{salt}:{name}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def for_calibration(name: str) -> bool:
    """Whether a person or a picture belongs to the calibration part."""
    return fraction(name) < CALIBRATION_SHARE


def lfw_images(data: Path) -> list[tuple[str, Path]]:
    """Return person and path of every picture of lfw_dev, in order of name."""
    found = sorted((data / "lfw_dev" / "images").rglob("*.jpg"))
    return [(path.stem.rsplit("_", 1)[0], path) for path in found]


def lfw_pairs(data: Path) -> list[tuple[str, str, bool]]:
    """Return the development pairs: two picture stems, and whether they show one person."""
    pairs = []
    for path in sorted((data / "lfw_dev").glob("pairsDev*.txt")):
        for line in path.read_text("utf-8").splitlines()[1:]:
            parts = line.split()
            if len(parts) == 3:
                name, first, second = parts
                pairs.append((f"{name}_{int(first):04d}", f"{name}_{int(second):04d}", True))
            elif len(parts) == 4:
                one, first, two, second = parts
                pairs.append((f"{one}_{int(first):04d}", f"{two}_{int(second):04d}", False))
    return pairs


def wider_images(data: Path) -> list[Path]:
    """Return the path of every picture of wider_dev, in order of name."""
    return sorted((data / "wider_dev" / "images").rglob("*.jpg"))


def portrait(image: Image, detector: Detector) -> Image | None:
    """Return the aligned face nearest the middle, (112, 112, 3) uint8 BGR; None without a face."""
    faces = detector.detect(image)
    if not faces:
        return None
    middle = np.array([image.shape[1], image.shape[0]]) / 2

    def distance(box: tuple[float, float, float, float]) -> float:
        return float(np.hypot(*(np.array([box[0] + box[2], box[1] + box[3]]) / 2 - middle)))

    return align(image, min(faces, key=lambda f: distance(f.box)).landmarks)


def crowd_crops(path: Path, detector: Detector, smallest: float = 20.0) -> Iterator[Image]:
    """Yield the aligned faces of a crowd photograph: every pose, much blur, few pixels."""
    image = read_picture(path)
    for face in detector.detect(image):
        if face.height >= smallest:
            yield align(image, face.landmarks)


def letterboxed(image: Image, width: int, height: int) -> Image:
    """Return a picture scaled to fit, top left, black beside it."""
    factor = min(height / image.shape[0], width / image.shape[1])
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    canvas = np.zeros((height, width, 3), np.uint8)
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    canvas[: size[1], : size[0]] = cv2.resize(image, size, interpolation=method)
    return canvas


def _level(pixels: Image, rng: np.random.Generator) -> Image:
    """Make it darker or brighter, with another contrast."""
    gamma, gain = rng.uniform(0.6, 2.2), rng.uniform(0.25, 1.15)
    table = np.clip(255.0 * gain * (np.arange(256) / 255.0) ** gamma, 0, 255)
    return np.asarray(np.rint(table).astype(np.uint8)[pixels])


def _blur(pixels: Image, rng: np.random.Generator) -> Image:
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.6, 2.5)), np.uint8)


def _small(pixels: Image, rng: np.random.Generator) -> Image:
    """Make it look as a face of 20 to 60 pixels does when scaled up."""
    side = int(rng.integers(20, 60))
    little = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(little, (112, 112), interpolation=cv2.INTER_LINEAR), np.uint8)


def _turn(pixels: Image, rng: np.random.Generator) -> Image:
    """Put landmarks a little off, as on hard poses; sometimes squeeze like a half profile."""
    turn = np.asarray(
        cv2.getRotationMatrix2D((56, 60), rng.uniform(-15, 15), rng.uniform(0.88, 1.15)), np.float64
    )
    turn[:, 0] *= rng.choice([1.0, rng.uniform(0.7, 1.0)])
    turn[:, 2] += rng.uniform(-5, 5, 2)
    return np.asarray(cv2.warpAffine(pixels, turn, (112, 112)), np.uint8)


def _noise(pixels: Image, rng: np.random.Generator) -> Image:
    noisy = pixels + rng.normal(0, rng.uniform(2, 14), pixels.shape)
    return np.asarray(np.clip(np.rint(noisy), 0, 255), np.uint8)


def worsen(pixels: Image, seed: str) -> Image:
    """Return a harder version of a crop: one to three of darkness, blur, few pixels, turn, noise.

    Args:
        pixels: (112, 112, 3) uint8.
        seed: name that decides what happens.
    """
    rng = np.random.default_rng(int(fraction(seed, "worsen") * 2**48))
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1].copy()
    ways = [_level, _blur, _small, _turn, _noise]
    for at in rng.permutation(len(ways))[: rng.integers(1, 4)]:
        pixels = ways[at](pixels, rng)
    return pixels
