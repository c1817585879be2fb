"""Which back end runs which network, and why not another. Policy only: what is there is given.

Rules:
1. The configuration names a back end, or "auto".
2. A network goes to an accelerator only as the variant that the manifest holds for it. The embedder
   itself is never changed: templates of different embedders are never compared.
3. "auto" takes an accelerator that is there and usable: a GPU before an Edge TPU, for it holds all
   networks. A named one is taken whether or not it is there: it may be plugged in later.
4. An Edge TPU takes what fits its memory, the detectors first: they have the most to do.
5. Whatever is left runs on the CPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from edge import limits
from edge.errors import ModelError
from edge.inference.manifest import DetectorModel, EmbedderModel, Variant
from edge.protocol.status import AcceleratorName, Role

Wanted = Literal["auto", "litert", "edgetpu", "tensorrt"]

VARIANTS: Mapping[AcceleratorName, Literal["edgetpu", "qdq-onnx"]] = {
    "edgetpu": "edgetpu",
    "tensorrt": "qdq-onnx",
}
"""Which variant of a model an accelerator takes."""


class Choice(msgspec.Struct, frozen=True):
    """What runs a network.

    Attributes:
        accelerator: its name; None for the CPU.
        refused: why not those that were considered before it.
    """

    accelerator: AcceleratorName | None
    refused: Mapping[AcceleratorName, str]


def choose(
    wanted: Wanted,
    networks: Mapping[Role, DetectorModel | EmbedderModel],
    obstacles: Mapping[AcceleratorName, str],
) -> dict[Role, Choice]:
    """Choose for every network.

    Args:
        wanted: the configuration's `vision.backend`.
        networks: what is to be run, the most important first; `Manifest.networks`.
        obstacles: for each accelerator why it cannot be used; empty if it can. Only for "auto".

    Raises:
        ModelError: the back end that is named can run none of them.
    """
    if wanted == "litert":
        order: Sequence[AcceleratorName] = ()
    else:
        order = ("tensorrt", "edgetpu") if wanted == "auto" else (wanted,)
    room = limits.EDGETPU_MEMORY_BYTES
    choices: dict[Role, Choice] = {}
    for role, model in networks.items():
        taken, refused = None, {}
        for name in order:
            variant = model.variants.get(VARIANTS[name])
            obstacle = obstacles[name] if wanted == "auto" else ""
            if reason := obstacle or _unfit(name, variant, room):
                refused[name] = reason
                continue
            taken = name
            break
        if taken == "edgetpu":
            room -= model.variants["edgetpu"].bytes
        choices[role] = Choice(taken, refused)
    if wanted != "auto" and order and not any(choice.accelerator for choice in choices.values()):
        reasons = "; ".join(f"{role}: {choices[role].refused[order[0]]}" for role in choices)
        raise ModelError(f"vision.backend {wanted!r} can run nothing: {reasons}")
    return choices


def _unfit(name: AcceleratorName, variant: Variant | None, room: int) -> str:
    """Say why an accelerator cannot take a model's variant; empty if it can."""
    if variant is None:
        return f"the manifest has no {VARIANTS[name]} variant of this model"
    if name == "edgetpu" and variant.bytes > room:
        return f"{variant.bytes} bytes do not fit what is left of its memory, {room} bytes"
    return ""
