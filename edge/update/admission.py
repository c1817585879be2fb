"""What models that are delivered may change, and what they may not. Pure.

The role `models` is the vendor's alone; a list is its owners', several of whom must sign. So what a
list was issued for may not become laxer by other models:

* an embedder whose id the software knows is the software's: the same files, the same processing.
  Its impostor tail may be another that asks for at least the same score at every rate.
* an embedder that it does not know carries the digest of what it computes, and of its tail, in its
  id. Who signs a list signs the embedder's id, and so for these weights and this tail alone.
* a detector keeps no weaker faces, and no more boxes of one face, than those of the software do.

What is not in the manifest is not the vendor's to change: the least score of a match, the quality
of a view, how many views must agree (`edge.limits`).
"""

from __future__ import annotations

import base64
import hashlib

import msgspec

from edge.errors import ModelError
from edge.inference.manifest import DetectorModel, EmbedderModel, Manifest, Tail
from edge.protocol.signing import canonical
from edge.watchlist.decide import score_at

_ABOUT = ("embedder_id", "licence", "origin", "source")
"""What an entry says of a network beyond what it computes."""


def check(delivered: Manifest, own: Manifest) -> None:
    """Refuse models that would have the device do more than its software does.

    Args:
        delivered: the manifest of a bundle.
        own: that of the software.

    Raises:
        ModelError: naming the model, and what is laxer.
    """
    ours = own.models().values()
    known = {model.embedder_id: model for model in ours if isinstance(model, EmbedderModel)}
    detectors = [model for model in ours if isinstance(model, DetectorModel)]
    for name, model in delivered.models().items():
        if isinstance(model, DetectorModel):
            _check_detector(name, model, detectors)
        elif model.embedder_id in known:
            _check_known(name, model, known[model.embedder_id])
        elif not model.embedder_id.endswith(f"-{digest(model)}"):
            raise ModelError(
                f"{name}: the software does not know {model.embedder_id!r}, so its id has to end "
                f"in '-{digest(model)}', which is what it computes: a list is signed for that"
            )


def digest(model: EmbedderModel) -> str:
    """Return what an embedder computes, and what thresholds follow from, in 32 characters.

    The first 160 bits of the SHA-256 of its entry (RFC 8785 form), in base32, lower case.
    """
    said = msgspec.to_builtins(model)
    for name in _ABOUT:
        del said[name]
    return base64.b32encode(hashlib.sha256(canonical(said)).digest()[:20]).decode().lower()


def laxer(tail: Tail, than: Tail) -> float | None:
    """Return a false match rate at which a tail asks for a lower score than another; None: nowhere.

    Between measured rates both are straight over the logarithm of the rate, above the highest they
    are level, and below the lowest they rise by their scale: so the measured ones, and the two
    scales, say it of every rate.
    """
    rates = sorted({*tail.fmr, *than.fmr}, reverse=True)
    for rate in rates:
        if score_at(tail, rate) < score_at(than, rate):
            return rate
    return rates[-1] if tail.scale < than.scale else None


def _check_known(name: str, model: EmbedderModel, own: EmbedderModel) -> None:
    """Refuse an embedder that passes for one of the software's."""
    foreign = [kind for kind, file in model.variants.items() if own.variants.get(kind) != file]
    same = msgspec.structs.replace(model, impostor_tail=own.impostor_tail, variants=own.variants)
    if foreign or digest(same) != digest(own):
        raise ModelError(
            f"{name}: {own.embedder_id!r} is an embedder of the software, and this is another "
            "network: it needs an id of its own, and lists that are issued for it"
        )
    for kind in ("single", "fused"):
        tail, ours = getattr(model.impostor_tail, kind), getattr(own.impostor_tail, kind)
        if (rate := laxer(tail, ours)) is not None:
            raise ModelError(
                f"{name}: its impostor scores ({kind}) are lower than the software's at a false "
                f"match rate of {rate:g}: thresholds would be laxer"
            )


def _check_detector(name: str, model: DetectorModel, own: list[DetectorModel]) -> None:
    least = min(each.score_threshold for each in own)
    most = max(each.nms_iou for each in own)
    if model.score_threshold < least:
        raise ModelError(
            f"{name}: takes a score of {model.score_threshold:g} for a face; the software asks for "
            f"{least:g}"
        )
    if model.nms_iou > most:
        raise ModelError(
            f"{name}: keeps boxes that overlap by {model.nms_iou:g}; the software's by {most:g} at "
            "most"
        )
