"""From photos to templates, or a refusal that names the measure and the limit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edge import limits
from edge.errors import EnrolmentRefused, FrameError
from edge.vision.faces import Face
from edge.vision.pictures import read_picture
from edge.vision.quality import ENROL, Quality, shortcoming

HINTS = {
    "distance between the eyes in pixels": "use a larger picture of the face",
    "frontality": "look into the camera",
    "sharpness": "hold the camera still, focus on the face",
    "brightness": "change the light",
    "contrast": "use even, full light",
}
"""What to do about a shortcoming."""


class Eye(Protocol):
    """What enrolment needs of `edge.vision.engine.Vision`."""

    def detect(self, image: NDArray[np.uint8], min_score: float | None = None) -> list[Face]:
        """Find faces, strongest first."""

    def quality(self, image: NDArray[np.uint8], face: Face) -> Quality:
        """Measure a view of a face."""

    def embed(self, image: NDArray[np.uint8], face: Face) -> NDArray[np.float32]:
        """Return the template of a face, of length 1."""


def enrol(eye: Eye, photos: Sequence[Path], *, largest: bool = False) -> list[NDArray[np.float32]]:
    """Return one embedding a photo, all of one person.

    Args:
        eye: detector and embedder.
        photos: at least one, at most `limits.MAX_TEMPLATES_PER_ENTRY`.
        largest: take the largest face of a photo where others are much smaller.

    Returns:
        (dimension,) float32 of length 1 each, in the order of the photos.

    Raises:
        EnrolmentRefused: a photo shows no face, several, or too poor a one, or not the same person
            as the others; the message names the photo, the measure and the limit.
    """
    if not 1 <= len(photos) <= limits.MAX_TEMPLATES_PER_ENTRY:
        raise EnrolmentRefused(
            f"{len(photos)} photos given; between 1 and {limits.MAX_TEMPLATES_PER_ENTRY} are taken"
        )
    embeddings = [_embed(eye, photo, largest) for photo in photos]
    _check_alike(photos, embeddings)
    return embeddings


def _embed(eye: Eye, photo: Path, largest: bool) -> NDArray[np.float32]:
    try:
        image = read_picture(photo)
        image, faces = _find(eye, image)
    except FrameError as error:
        raise EnrolmentRefused(str(error)) from error
    if not faces:
        raise EnrolmentRefused(f"{photo}: no face found; take a frontal photo in good light")
    face = max(faces, key=lambda f: f.width * f.height)
    others = [f for f in faces if f is not face]
    small = all(f.width < limits.ENROL_SMALL_FACE * face.width for f in others)
    if others and not (largest and small):
        hint = "use --largest to take the large one" if small else "crop it to one person"
        raise EnrolmentRefused(f"{photo}: {len(faces)} faces, exactly 1 is taken; {hint}")
    _check_quality(photo, eye.quality(image, face))
    return eye.embed(image, face)


def _find(eye: Eye, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], list[Face]]:
    """Find faces, with a border added where a face fills the picture."""
    faces = eye.detect(image)
    if faces:
        return image, faces
    border = max(image.shape[:2]) // 2
    if max(image.shape[:2]) + 2 * border > limits.MAX_FRAME_SIDE:
        return image, []
    framed = np.asarray(
        cv2.copyMakeBorder(
            image, border, border, border, border, cv2.BORDER_CONSTANT, value=(127, 127, 127)
        ),
        np.uint8,
    )
    return framed, eye.detect(framed)


def _check_quality(photo: Path, quality: Quality) -> None:
    """Refuse the first measure that is out of its range, saying what to do."""
    short = shortcoming(quality, ENROL)
    if short:
        raise EnrolmentRefused(f"{photo}: {short}; {HINTS[short.measure]}")


def _check_alike(photos: Sequence[Path], embeddings: Sequence[NDArray[np.float32]]) -> None:
    """Refuse the photo that resembles the others least, if it does not look like one person."""
    if len(photos) < 2:
        return
    cosines = np.stack(embeddings) @ np.stack(embeddings).T
    np.fill_diagonal(cosines, np.nan)
    mean = np.nanmean(cosines, axis=1)
    odd = int(np.argmin(mean))
    if mean[odd] < limits.ENROL_MIN_COSINE:
        raise EnrolmentRefused(
            f"{photos[odd]}: likeness to the other photos is {mean[odd]:.2f}, at least "
            f"{limits.ENROL_MIN_COSINE:g} is needed; is it the same person?"
        )
