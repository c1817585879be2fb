"""The eye as a whole: models loaded from a manifest, faces found, measured and embedded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge import limits
from edge.inference.manifest import EmbedderModel, load_manifest
from edge.inference.open import BackEnds, Opened, open_networks
from edge.vision import quality as quality_module
from edge.vision.align import align
from edge.vision.detect import Detector
from edge.vision.embed import Embedder
from edge.vision.faces import Face, Region, around
from edge.vision.quality import Quality


class Vision:
    """Detectors and embedder together. Not for use by two threads at once.

    Attributes:
        detector_name: the detector's name in the manifest.
        embedder_name: the embedder's name in the manifest.
        embedder_model: the embedder's entry in the manifest (impostor tail, dimension).
        models: what an event says of the models: name to the first 16 hex digits of the hash.
        accelerators: those that may run them; none unless asked for.
    """

    def __init__(
        self,
        detector: Detector,
        embedder: Embedder,
        *,
        detector_name: str,
        embedder_name: str,
        embedder_model: EmbedderModel,
        models: dict[str, str],
        opened: Opened,
        scout: Detector | None = None,
    ) -> None:
        self._detector = detector
        self._scout = scout
        self._embedder = embedder
        self.detector_name = detector_name
        self.embedder_name = embedder_name
        self.embedder_model = embedder_model
        self.models = models
        self._networks = opened.networks
        self.accelerators = opened.accelerators
        self.embedder_id = embedder.embedder_id
        self.dimension = embedder.dimension

    @classmethod
    def open(
        cls,
        models_dir: Path | None = None,
        detector: str = "",
        embedder: str = "",
        threads: int = 2,
        back_ends: BackEnds | None = None,
    ) -> Vision:
        """Load the models.

        Args:
            models_dir: folder with manifest.json; the shipped one if None.
            detector: name in the manifest; its default if empty.
            embedder: name in the manifest; its default if empty.
            threads: CPU threads for inference.
            back_ends: what may run them beside the CPU; nothing if None. Accelerators are used
                after `start`.

        Raises:
            ModelError: a file is missing, altered, or not what the manifest says; or the back end
                that is named can run nothing.
        """
        manifest = load_manifest(models_dir)
        detector, detector_model = manifest.detector(detector)
        scout_model = manifest.scout(detector_model)
        embedder, embedder_model = manifest.embedder(embedder)
        opened = open_networks(
            manifest,
            manifest.networks(detector, embedder),
            threads=threads,
            back_ends=back_ends or BackEnds(),
        )
        scout = Detector(opened.networks["scout"], scout_model) if scout_model else None
        return cls(
            Detector(opened.networks["detector"], detector_model),
            Embedder(opened.networks["embedder"], embedder_model),
            detector_name=detector,
            embedder_name=embedder,
            embedder_model=embedder_model,
            models={detector: detector_model.sha256[:16], embedder: embedder_model.sha256[:16]},
            opened=opened,
            scout=scout,
        )

    def start(self, on_change: Callable[[], None] = lambda: None) -> None:
        """Begin to make the accelerators ready; until they are, and without any, the CPU works.

        Args:
            on_change: called when one works or fails, by any thread.
        """
        for accelerator in self.accelerators:
            accelerator.start(on_change)

    def close(self) -> None:
        """Let go of the accelerators."""
        for accelerator in self.accelerators:
            accelerator.close()

    @property
    def runtime(self) -> str:
        """What runs the models now, for people."""
        return "; ".join(f"{name}: {net.runtime}" for name, net in self._networks.items())

    @property
    def detail(self) -> int:
        """Width in pixels of the picture that the detector looks at."""
        return self._detector.width

    @property
    def strong_score(self) -> float:
        """The score from which a detection is taken for a face."""
        return self._detector.strong_score

    def detect(self, image: NDArray[np.uint8], min_score: float | None = None) -> list[Face]:
        """Find faces; see `Detector.detect`."""
        return self._detector.detect(image, min_score)

    def glance(self, image: NDArray[np.uint8]) -> list[Face] | None:
        """Look at a whole frame coarsely; None where there is no detector for it.

        Returns:
            The faintest signs of faces, as `Detector.detect`.

        Raises:
            FrameError: not a usable picture.
        """
        return self._scout.detect(image, limits.SENSED_SCORE) if self._scout else None

    def detect_near(
        self, image: NDArray[np.uint8], places: Sequence[Region], min_score: float
    ) -> list[Face] | None:
        """Find the faces around some places, in the detail of `detect` or enough, for less work.

        Args:
            image: (height, width, 3) uint8, BGR.
            places: where faces are expected; at least one.
            min_score: weakest face returned.

        Returns:
            As `detect`; None where the places lie too far apart for that.
        """
        if self._scout is None:
            return None
        full = self._detector.scale(image)
        smallest = min(right - left for left, _, right, _ in places)
        scales = min(full, limits.NEAR_FACE_PIXELS / smallest), full
        return self._scout.detect_within(image, around(places), scales, min_score)

    def align(self, image: NDArray[np.uint8], face: Face) -> NDArray[np.uint8]:
        """Cut out a face upright: (112, 112, 3) uint8, BGR."""
        return align(image, face.landmarks)

    def quality(self, image: NDArray[np.uint8], face: Face) -> Quality:
        """Measure a view of a face; see `edge.vision.quality`."""
        return quality_module.measure(face, self.align(image, face))

    def embed(self, image: NDArray[np.uint8], face: Face) -> NDArray[np.float32]:
        """Return the template of a face in a frame: (dimension,) float32 of length 1."""
        return self._embedder.embed(self.align(image, face))

    def embed_aligned(self, aligned: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the template of an aligned face: (dimension,) float32 of length 1."""
        return self._embedder.embed(aligned)
