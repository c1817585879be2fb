"""The manifest of the model folder: what each file is, and the hash that it must have."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge import limits
from edge.errors import ModelError
from edge.protocol.status import Role

Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Shape = Annotated[tuple[Annotated[int, Meta(ge=1, le=1 << 20)], ...], Meta(max_length=5)]

Side = Annotated[int, Meta(ge=1, le=limits.MAX_FRAME_SIDE)]
Count = Annotated[int, Meta(ge=1, le=2**53)]

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "quantized"
"""The models that come with the software."""


CROWD = "crowd"
"""Stands for the detector with the largest input."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where the published weights come from."""

    registry: str
    package: str
    version: str
    file: str
    sha256: Sha256


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """The picture: shape (1, height, width, 3), colour order and value range.

    A TFLite file may take it as int8, pixel - 128; its back end sees to that.
    """

    shape: tuple[Literal[1], Side, Side, Literal[3]]
    dtype: Literal["uint8"]
    colour: Literal["BGR", "RGB"]
    range: tuple[Literal[0], Literal[255]]


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """An output tensor: its position in the file, and its shape."""

    index: Annotated[int, Meta(ge=0, le=63)]
    shape: Shape


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """The same network in another file, for a processor that does not take the plain one.

    Its input and outputs are the plain file's: the same shapes and dtypes. "edgetpu" is what
    `edgetpu_compiler` makes of the plain file, with its outputs in the same order. "qdq-onnx" names
    its outputs as the manifest does and gives them as real values; TensorRT takes zero points of 0
    only.
    """

    file: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
    sha256: Sha256
    bytes: Annotated[int, Meta(ge=1, le=limits.MAX_MODEL_BYTES)]


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """Between what scores the true one at a false match rate lies, with 95 % confidence."""

    fmr: float
    low: float
    high: float


class Tail(msgspec.Struct, frozen=True, kw_only=True):
    """Scores of different people: at `score[i]`, `fmr[i]` of the comparisons are above.

    Beyond the last measured rate scores fall off exponentially: for a rate rarer by a factor of e
    the score is higher by `scale` (`edge.watchlist.decide.threshold`).

    Attributes:
        people: number of different people probed with.
        comparisons: number of pairs.
        fmr: measured false match rates, falling.
        score: cosines, rising.
        scale: mean excess over the last score, a cosine.
        bounds: the uncertainty, from drawing people again; for people, nothing is derived from it.
    """

    people: Count
    comparisons: Count
    fmr: tuple[float, ...]
    score: tuple[float, ...]
    scale: Annotated[float, Meta(gt=0, le=1)]
    bounds: tuple[Bound, ...] = ()

    def __post_init__(self) -> None:
        falling = all(a > b for a, b in zip(self.fmr, self.fmr[1:], strict=False))
        rising = all(a <= b for a, b in zip(self.score, self.score[1:], strict=False))
        if len(self.fmr) != len(self.score) or len(self.fmr) < 2 or not (falling and rising):
            raise ValueError("impostor_tail: fmr must fall and score rise, two points at least")
        if not (
            self.fmr[-1] > 0 and self.fmr[0] < 1 and -1 <= self.score[0] <= self.score[-1] <= 1
        ):
            raise ValueError("impostor_tail: fmr lies in (0, 1), score in [-1, 1]")


class ImpostorTail(msgspec.Struct, frozen=True, kw_only=True):
    """What thresholds follow from.

    Attributes:
        data: what it was fitted on.
        single: probes of one picture.
        fused: probes that are the mean of several, as a track's template is: strangers are
            nearer to each other there.
    """

    data: str
    single: Tail
    fused: Tail


class _Model(msgspec.Struct, frozen=True, kw_only=True, tag_field="role"):
    file: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
    sha256: Sha256
    bytes: Annotated[int, Meta(ge=1, le=limits.MAX_MODEL_BYTES)]
    licence: str
    origin: str
    source: Source
    input: Input
    outputs: dict[str, Output]
    variants: dict[Literal["edgetpu", "qdq-onnx"], Variant] = {}


class DetectorModel(_Model, frozen=True, kw_only=True, tag="detector"):
    """A face detector.

    Attributes:
        decode: how outputs become boxes.
        strides: pixels per cell of each output level.
        nms_iou: overlap at which the weaker of two boxes is dropped.
        score_threshold: score from which a box is taken for a face.
    """

    decode: Literal["yunet-anchor-free"]
    strides: tuple[int, ...]
    nms_iou: Annotated[float, Meta(gt=0, lt=1)]
    score_threshold: Annotated[float, Meta(gt=0, lt=1)]


class EmbedderModel(_Model, frozen=True, kw_only=True, tag="embedder"):
    """A face embedder.

    Attributes:
        decode: what turns the output into a template.
        embedder_id: templates of different ids are never compared.
        dimension: length of a template.
        alignment: how the face is cut out.
        impostor_tail: what thresholds follow from (`edge.watchlist.decide`).
    """

    decode: Literal["l2-normalise"]
    embedder_id: Annotated[str, Meta(min_length=1, max_length=64)]
    dimension: Annotated[int, Meta(ge=limits.MIN_DIMENSION, le=limits.MAX_DIMENSION)]
    alignment: Literal["arcface-5pt-112"]
    impostor_tail: ImpostorTail


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """The models used when the configuration names none."""

    detector: str
    embedder: str


class _Document(msgspec.Struct, frozen=True, kw_only=True):
    schema: Literal[1]
    defaults: Defaults
    models: dict[str, DetectorModel | EmbedderModel]


class Manifest:
    """A model folder whose manifest has been read and checked. Files are checked when loaded."""

    def __init__(self, folder: Path, document: _Document) -> None:
        self.folder = folder
        self._document = document

    def models(self) -> dict[str, DetectorModel | EmbedderModel]:
        """Return every model by name."""
        return dict(self._document.models)

    def detector(self, name: str = "") -> tuple[str, DetectorModel]:
        """Return a detector by name, or the default one, with its name.

        "crowd" is the one with the largest input, which finds the smallest faces.
        """
        name = name or self._document.defaults.detector
        if name == CROWD:
            name = self._largest_detector()
        model = self._document.models.get(name)
        if not isinstance(model, DetectorModel):
            raise ModelError(f"no detector {name!r} in {self.folder}: {self._names(DetectorModel)}")
        return name, model

    def _largest_detector(self) -> str:
        found = [(n, m) for n, m in self._document.models.items() if isinstance(m, DetectorModel)]
        return max(found, key=lambda each: each[1].input.shape[2], default=(CROWD, None))[0]

    def scout(self, detector: DetectorModel) -> DetectorModel | None:
        """Return the smallest detector that takes at most half the side of another, if any."""
        _, _, width, _ = detector.input.shape
        smaller = [
            model
            for model in self._document.models.values()
            if isinstance(model, DetectorModel) and 2 * model.input.shape[2] <= width
        ]
        return min(smaller, key=lambda model: model.input.shape[2], default=None)

    def embedder(self, name: str = "") -> tuple[str, EmbedderModel]:
        """Return an embedder by name, or the default one, with its name."""
        name = name or self._document.defaults.embedder
        model = self._document.models.get(name)
        if not isinstance(model, EmbedderModel):
            raise ModelError(f"no embedder {name!r} in {self.folder}: {self._names(EmbedderModel)}")
        return name, model

    def networks(
        self, detector: str = "", embedder: str = ""
    ) -> dict[Role, DetectorModel | EmbedderModel]:
        """Return what a device runs, by what it is for; a scout only if there is one."""
        _, finder = self.detector(detector)
        found: dict[Role, DetectorModel | EmbedderModel] = {"detector": finder}
        if scout := self.scout(finder):
            found["scout"] = scout
        found["embedder"] = self.embedder(embedder)[1]
        return found

    def read(self, model: DetectorModel | EmbedderModel | Variant) -> bytes:
        """Return the bytes of a model's file, or of a variant's.

        Raises:
            ModelError: missing, of another size, or its SHA-256 is not the manifest's.
        """
        path = self.folder / model.file
        try:
            size = path.stat().st_size
            if size != model.bytes:
                raise ModelError(f"{path}: {size} bytes, the manifest says {model.bytes}: refused")
            content = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
        digest = hashlib.sha256(content).hexdigest()
        if digest != model.sha256:
            raise ModelError(
                f"{path}: SHA-256 is {digest}, the manifest says {model.sha256}: refused. "
                "Restore the file from the release, or rebuild the models"
            )
        return content

    def _names(self, kind: type) -> str:
        return "there are " + ", ".join(
            sorted(n for n, m in self._document.models.items() if isinstance(m, kind))
        )


def load_manifest(folder: Path | None = None) -> Manifest:
    """Read `manifest.json` of a model folder (the shipped one by default).

    Raises:
        ModelError: it is missing, too large, or not in the documented form.
    """
    folder = folder or SHIPPED
    path = folder / "manifest.json"
    try:
        if path.stat().st_size > limits.MAX_MANIFEST_BYTES:
            raise ModelError(f"{path}: larger than {limits.MAX_MANIFEST_BYTES} bytes")
        document = msgspec.json.decode(path.read_bytes(), type=_Document)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{path}: {error}") from error
    return Manifest(folder, document)
