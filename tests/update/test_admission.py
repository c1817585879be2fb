"""What a bundle of models may change: a table of bundles, and a property of tails."""

import json
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import ModelError
from edge.inference.manifest import SHIPPED, ImpostorTail, Tail, load_manifest
from edge.update import admission
from edge.watchlist.decide import score_at, threshold
from tests.update.kit import DETECTOR, EMBEDDER, name_anew

OWN = load_manifest()
TAIL = OWN.embedder(EMBEDDER)[1].impostor_tail


def delivered(folder, change):
    """The software's own manifest with something changed."""
    manifest = json.loads((SHIPPED / "manifest.json").read_text())
    change(manifest["models"])
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return load_manifest(folder)


def tail(models):
    return models[EMBEDDER]["impostor_tail"]


def without_variants(models):
    for model in models.values():
        model.pop("variants", None)


def test_the_softwares_own_may_come_again_and_stricter_ones_too(tmp_path):
    for change in (
        lambda models: None,
        lambda models: tail(models)["fused"].update(scale=0.05),
        lambda models: tail(models)["fused"].update(score=[0.3, 0.35, 0.4, 0.45, 0.5]),
        lambda models: models[DETECTOR].update(score_threshold=0.7, nms_iou=0.2),
        lambda models: models[EMBEDDER].update(licence="MIT"),
        lambda models: models.pop("sface-2021dec"),
        without_variants,
    ):
        admission.check(delivered(tmp_path, change), OWN)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: tail(m)["fused"].update(scale=0.0348), "fused.*would be laxer"),
        (lambda m: tail(m)["single"].update(scale=0.01), "single.*would be laxer"),
        (
            lambda m: tail(m)["fused"].update(score=[0.2018, 0.2901, 0.35, 0.4125, 0.4595]),
            "lower than the software's at a false match rate of 0.01",
        ),
        (
            lambda m: tail(m)["fused"].update(fmr=[0.1, 1e-9], score=[0.2018, 0.4595]),
            "would be laxer",
        ),
        (lambda m: m[EMBEDDER].update(sha256="0" * 64), "this is another network"),
        (lambda m: m[EMBEDDER]["input"].update(colour="BGR"), "this is another network"),
        (
            lambda m: m[EMBEDDER].update(
                variants={"edgetpu": {"file": "x.tflite", "sha256": "0" * 64, "bytes": 9}}
            ),
            "this is another network",
        ),
        (lambda m: m[EMBEDDER].update(embedder_id="mine"), "has to end in '-"),
        (
            lambda m: m[EMBEDDER].update(embedder_id=m["sface-2021dec"]["embedder_id"]),
            "this is another network",
        ),
        (lambda m: m[DETECTOR].update(score_threshold=0.59), "takes a score of 0.59 for a face"),
        (lambda m: m[DETECTOR].update(nms_iou=0.31), "boxes that overlap by 0.31"),
    ],
)
def test_what_is_laxer_or_passes_for_what_it_is_not_is_refused(tmp_path, change, reason):
    with pytest.raises(ModelError, match=reason):
        admission.check(delivered(tmp_path, change), OWN)


def anew(change):
    """An embedder of the vendor's own, named by what it was; then changed."""

    def changed(models):
        models[EMBEDDER]["sha256"] = "7" * 64
        name_anew(models[EMBEDDER])
        change(models[EMBEDDER])

    return changed


def test_an_embedder_that_the_software_does_not_know_is_named_by_what_it_computes(tmp_path):
    for change in (lambda _: None, lambda model: model.update(origin="somebody else's")):
        manifest = delivered(tmp_path, anew(change))
        admission.check(manifest, OWN)
        assert len(manifest.embedder(EMBEDDER)[1].embedder_id) <= 64, "lists have room for it"


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.update(sha256="8" * 64),
        lambda model: model["impostor_tail"]["fused"].update(scale=0.0347),
        lambda model: model["impostor_tail"]["single"].update(people=9),
        lambda model: model["input"].update(colour="BGR"),
        lambda model: model.update(
            variants={"edgetpu": {"file": "x.tflite", "sha256": "0" * 64, "bytes": 9}}
        ),
    ],
)
def test_a_list_that_was_issued_for_one_embedder_is_never_judged_by_another(tmp_path, change):
    with pytest.raises(ModelError, match="a list is signed for that"):
        admission.check(delivered(tmp_path, anew(change)), OWN)


@st.composite
def tails(draw):
    count = draw(st.integers(2, 6))
    exponents = draw(st.lists(st.integers(1, 60), min_size=count, max_size=count, unique=True))
    scores = draw(st.lists(st.floats(-0.2, 0.9), min_size=count, max_size=count))
    return Tail(
        people=500, comparisons=10**5, scale=draw(st.floats(1e-4, 0.2)),
        fmr=tuple(10 ** (-each / 10) for each in sorted(exponents)), score=tuple(sorted(scores)),
    )  # fmt: skip


def lifted(one, by):
    """A tail that is stricter everywhere."""
    score = tuple(min(1.0, each + by) for each in one.score)
    return msgspec.structs.replace(one, score=score)


@given(
    tails(), tails(), st.floats(0, 0.05), st.booleans(),
    st.integers(1, 100_000), st.floats(1e-6, 0.01),
)  # fmt: skip
def test_no_threshold_falls_by_what_is_admitted_whatever_list_and_target(
    own, other, by, related, entries, target
):
    new = lifted(own, by) if related else other
    rate = admission.laxer(new, own)
    if rate is None:
        ours, theirs = (ImpostorTail(data="", single=each, fused=each) for each in (own, new))
        assert threshold(theirs, entries, target) >= threshold(ours, entries, target) - 1e-9
    else:
        rarer = [rate * math.exp(-n) for n in (0, 1, 10, 100, 500)]
        assert any(score_at(new, each) < score_at(own, each) for each in rarer)


def test_nothing_is_laxer_than_itself():
    for one in (TAIL.single, TAIL.fused):
        assert admission.laxer(one, one) is None
