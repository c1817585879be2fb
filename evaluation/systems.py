"""What is measured: the shipped int8 models as the device runs them, and their float originals.

Float files have the names of the int8 ones and lie in one folder; they differ from them in nothing
but their numbers, so the manifest's entries describe both.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge import limits
from edge.errors import EvaluationError
from edge.inference.base import Network
from edge.inference.choice import Wanted
from edge.inference.guarded import Accelerator
from edge.inference.litert import LiteRtNetwork
from edge.inference.manifest import DetectorModel, EmbedderModel, load_manifest
from edge.inference.open import BackEnds, open_networks
from edge.vision.align import align
from edge.vision.detect import Detector
from edge.vision.embed import Embedder
from edge.vision.faces import Face
from edge.vision.quality import Quality, measure
from models.build.runtime import Trial

Image = NDArray[np.uint8]
Vector = NDArray[np.float32]

INT8, FLOAT = "int8", "float"
FLOAT_FOLDER = Path(__file__).resolve().parents[1] / "models" / "float"
NO_FLOAT = (
    "no float models in {folder}: measured without; to compare: "
    "./lethe models build --float models/float"
)


@dataclass(frozen=True, slots=True)
class Capture:
    """What a system made of the one face of a picture.

    Attributes:
        face: where it was found.
        quality: how good the view is.
        template: (dimension,) float32 of length 1.
    """

    face: Face
    quality: Quality
    template: Vector


class System:
    """A detector and an embedder. Not for use by two threads at once.

    Attributes:
        name: "int8" or "float".
        key: hash of both models and of the runtime: what results depend on.
        detector: finds faces.
        embedder: makes templates.
        detector_model: its manifest entry.
        embedder_model: its manifest entry, with the impostor tail.
        detector_network: what the detector runs.
        embedder_network: what the embedder runs.
        runtime: what runs them, for people.
    """

    def __init__(
        self,
        name: str,
        detector: tuple[Network, bytes, DetectorModel],
        embedder: tuple[Network, bytes, EmbedderModel],
        accelerators: Sequence[Accelerator] = (),
    ) -> None:
        self.name = name
        self.detector_network, self.embedder_network = detector[0], embedder[0]
        self.runtime = detector[0].runtime
        self.detector_model, self.embedder_model = detector[2], embedder[2]
        self.detector = Detector(detector[0], detector[2])
        self.embedder = Embedder(embedder[0], embedder[2])
        parts = [detector[1], embedder[1], self.runtime.split(",")[0].encode()]
        parts += [accelerator.back_end.encode() for accelerator in accelerators]
        self.key = hashlib.sha256(b"".join(hashlib.sha256(p).digest() for p in parts)).hexdigest()
        self._accelerators = accelerators
        self._failures: list[str] = []
        self._settled = threading.Event()
        for accelerator in accelerators:
            accelerator.start(self._note)
        if accelerators:
            self._settled.wait(limits.TENSORRT_BUILD_S)
            if self._failures or any(a.status.state != "working" for a in accelerators):
                self._stop()
                reason = self._failures[0] if self._failures else "not ready in time"
                raise EvaluationError(f"an accelerator does not work: {reason}")

    def _note(self) -> None:
        """Remember that an accelerator failed: the CPU took its place, and nobody saw it."""
        states = [accelerator.status for accelerator in self._accelerators]
        self._failures += [f"{s.back_end}: {s.reason}" for s in states if s.state == "failed"]
        if self._failures or all(s.state == "working" for s in states):
            self._settled.set()

    def _stop(self) -> None:
        for accelerator in self._accelerators:
            accelerator.close()

    def close(self) -> None:
        """Let go of accelerators.

        Raises:
            EvaluationError: one failed meanwhile, so that part of what was measured is the CPU's.
        """
        self._stop()
        if self._failures:
            raise EvaluationError(
                f"failed while it was measured, and the CPU took its place: {self._failures[0]}"
            )

    def capture(self, image: Image) -> Capture | None:
        """Find, align and embed the person whom a picture is of; None where no face is found.

        That is the largest of the faces that cover the picture's middle, or where none does, the
        largest of all.
        """
        face = subject(self.detector.detect(image), image)
        if face is None:
            return None
        aligned = align(image, face.landmarks)
        return Capture(face, measure(face, aligned), self.embedder.embed(aligned))


def subject(faces: Sequence[Face], image: Image) -> Face | None:
    """Return the face that a portrait is of; see `System.capture`."""
    x, y = image.shape[1] / 2, image.shape[0] / 2
    middle = [f for f in faces if f.box[0] <= x <= f.box[2] and f.box[1] <= y <= f.box[3]]
    return max(middle or faces, key=lambda f: f.width * f.height, default=None)


@dataclass(frozen=True)
class Choice:
    """Which models to measure.

    Attributes:
        models: folder with manifest.json; the shipped one if None.
        detector: name in the manifest; its default if empty.
        embedder: name in the manifest; its default if empty.
        float_folder: where the float models lie.
        threads: of one system.
        back_end: what runs int8; float always runs on the CPU.
        python: interpreter of an accelerator's process; our own if empty.
    """

    models: Path | None = None
    detector: str = ""
    embedder: str = ""
    float_folder: Path = FLOAT_FOLDER
    threads: int = 1
    back_end: Wanted = "litert"
    python: str = ""

    def names(self) -> list[str]:
        """Return the systems that can be opened: int8, and float where its files are."""
        manifest = load_manifest(self.models)
        files = (manifest.detector(self.detector)[1].file, manifest.embedder(self.embedder)[1].file)
        there = all((self.float_folder / file).is_file() for file in files)
        return [INT8, FLOAT] if there else [INT8]

    def open(self, name: str) -> System:
        """Open a system.

        Raises:
            ModelError: a file is missing, altered, or the runtime refuses it; or the back end can
                run neither network.
            EvaluationError: the accelerator does not work.
        """
        manifest = load_manifest(self.models)
        _, detector = manifest.detector(self.detector)
        _, embedder = manifest.embedder(self.embedder)

        if name == INT8 and self.back_end != "litert":
            opened = open_networks(
                manifest,
                {"detector": detector, "embedder": embedder},
                threads=self.threads,
                back_ends=BackEnds(self.back_end, self.python),
            )
            return System(
                name,
                (opened.networks["detector"], manifest.read(detector), detector),
                (opened.networks["embedder"], manifest.read(embedder), embedder),
                opened.accelerators,
            )

        def load(model: Any) -> tuple[Network, bytes, Any]:  # noqa: ANN401 (either model)
            if name == INT8:
                content = manifest.read(model)
                return LiteRtNetwork(content, model, threads=self.threads), content, model
            content = (self.float_folder / model.file).read_bytes()
            return Trial(content, list(model.outputs), threads=self.threads), content, model

        return System(name, load(detector), load(embedder))
