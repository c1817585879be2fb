"""Pictures made worse, as cameras make them: turned, dark, small, blurred, glaring, compressed."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from models.build.datasets import fraction

Image = NDArray[np.uint8]
GREY = (110, 110, 110)


def turned(image: Image, degrees: float) -> Image:
    """Turn in the plane of the picture, about its middle."""
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(image, turn, (width, height), borderValue=GREY), np.uint8)


def lit(image: Image, gain: float, seed: int = 0) -> Image:
    """Multiply the light by `gain`; a dark sensor also shows noise of three grey levels."""
    noise = np.random.default_rng(seed).normal(0, 3.0 if gain < 1 else 0.0, image.shape)
    return np.asarray(np.clip(np.rint(image * gain + noise), 0, 255), np.uint8)


def small(image: Image, factor: float) -> Image:
    """Shrink to `factor` and put it in the middle of a grey picture of the old size."""
    height, width = image.shape[:2]
    w, h = max(1, round(width * factor)), max(1, round(height * factor))
    canvas = np.full_like(image, GREY[0])
    x, y = (width - w) // 2, (height - h) // 2
    canvas[y : y + h, x : x + w] = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA)
    return canvas


def blurred(image: Image, sigma: float) -> Image:
    """Blur with a Gaussian of `sigma` pixels."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def compressed(image: Image, quality: int) -> Image:
    """Write and read it as JPEG."""
    _, content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8)


def hard(image: Image, name: str) -> Image:
    """Make a picture worse in one or two ways, from hardly to beyond use; the name decides."""
    rng = np.random.default_rng(int(fraction(name, "hard") * 2**48))
    ways: list[Callable[[Image], Image]] = [
        lambda i: turned(i, rng.uniform(-45, 45)),
        lambda i: lit(i, float(rng.uniform(0.04, 0.6)), int(rng.integers(2**31))),
        lambda i: lit(i, float(rng.uniform(1.3, 4.0))),
        lambda i: small(i, float(rng.uniform(0.1, 0.6))),
        lambda i: blurred(i, float(rng.uniform(1.0, 7.0))),
        lambda i: compressed(i, int(rng.integers(4, 40))),
    ]
    for at in rng.permutation(len(ways))[: rng.integers(1, 3)]:
        image = ways[at](image)
    return image
