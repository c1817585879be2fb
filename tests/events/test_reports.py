"""From a sighting to signed events: in order, referring to each other, whatever the disk does."""

from types import SimpleNamespace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from msgspec import UNSET

from edge import limits
from edge.errors import KeyRefused, StorageUnavailable
from edge.events.outbox import Outbox
from edge.events.reports import Reports
from edge.pipeline import Match
from edge.protocol import event
from edge.protocol.sealed_picture import unseal
from edge.vision.faces import Face
from edge.vision.quality import Quality
from edge.watchlist.decide import Decision
from edge.watchlist.sightings import Sighting

KEY, REVIEWERS = Ed25519PrivateKey.generate(), X25519PrivateKey.generate()
ENTRY = "0123456789abcdef" * 2
PUBLIC = REVIEWERS.public_key().public_bytes_raw()


def sign(data, sequence):
    return event.encode(event.make(data, device="camera-1", sequence=sequence, now=1e9, key=KEY))


def match(sighting=1, score=0.6, *, picture=None, reviewers=PUBLIC):
    authorisation = SimpleNamespace(
        reference="court 1", purpose="court-order", reviewers=reviewers, fpir_target=0.001
    )
    return Match(
        sighting=sighting,
        decision=Decision(ENTRY, score, 0.4, 2, 2),
        gallery=SimpleNamespace(id="gate", version=3, authorisation=authorisation),
        fpir_target=0.001,
        face=Face((10.0, 10.0, 60.0, 70.0), np.zeros((5, 2), np.float32), 0.9),
        quality=Quality(30.0, 30.0, 0.6, 0.5, 0.4, 0.8, 0.9),
        picture=picture,
        frame_size=(640, 360),
        first_frame=3,
        last_frame=9,
    )


def sighting(number=1, last_frame=40):
    return Sighting(number, ENTRY, last_frame, 1.0, 0.6, 3, 0.0)


class Desk:
    def __init__(self, folder):
        self.folder = folder
        self.open()

    def open(self):
        self.outbox = Outbox(self.folder / "outbox.db", sign, now=lambda: 1e9)
        self.reports = Reports(
            self.outbox, device="camera-1", models={"m": "0" * 16}, on_stored=lambda: None
        )

    def told(self):
        rows = self.outbox._run("SELECT message FROM event ORDER BY sequence")
        return [event.parse(row[0]) for row in rows]

    def said(self):
        return [type(each.data).__name__ for each in self.told()]


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.outbox.close()


def full(*_):
    raise StorageUnavailable("full")


def test_updates_and_the_end_refer_to_the_candidate(desk):
    desk.reports.candidate(match())
    desk.reports.update(match(score=0.7))
    desk.reports.end(sighting(), "left")
    first, second, third = desk.told()
    assert second.data.candidate == third.data.candidate == first.envelope.id
    assert [e.envelope.subject for e in (first, second, third)] == [ENTRY] * 3
    assert (first.data.score, second.data.score, third.data.last_frame) == (0.6, 0.7, 40)
    assert third.data.reason == "left"


def test_a_disk_that_was_full_gets_everything_in_order_later(desk, monkeypatch):
    monkeypatch.setattr(desk.outbox, "_store", full)
    desk.reports.candidate(match())
    desk.reports.update(match(score=0.7))
    desk.reports.end(sighting(), "left")
    assert "disk full" in desk.reports.trouble
    assert desk.said() == []
    monkeypatch.undo()
    desk.reports.save()
    assert desk.reports.trouble == ""
    assert desk.said() == ["Candidate", "Updated", "Ended"]


def test_memory_is_bounded_while_the_disk_takes_nothing_and_the_loss_is_told(desk, monkeypatch):
    monkeypatch.setattr(limits, "UNSAVED_MAX", 4)
    store = desk.outbox._store
    monkeypatch.setattr(desk.outbox, "_store", full)
    for number in range(1, 7):
        desk.reports.candidate(match(number))
    desk.reports.end(sighting(1), "left")
    assert len(desk.reports._waiting) == 4
    monkeypatch.setattr(desk.outbox, "_store", store)
    desk.reports.save()
    gap, *rest = desk.told()
    # Candidates 1 to 3 are lost; the end of the first refers to nothing, and is counted, too.
    assert (gap.data.lost, gap.data.pictures) == (3, 0)
    assert [type(e.data).__name__ for e in rest] == ["Candidate"] * 3 + ["Gap"]
    assert rest[-1].data.lost == 1


def test_a_candidate_in_view_when_the_process_died_is_ended_by_the_next(desk):
    desk.reports.candidate(match(1))
    desk.reports.candidate(match(2))
    desk.reports.end(sighting(1), "left")
    in_view = desk.told()[1].envelope.id
    desk.outbox.close()
    desk.open()
    desk.reports.save()
    ended = desk.told()[-1].data
    assert (ended.candidate, ended.reason, ended.last_frame) == (in_view, "restarted", UNSET)
    desk.outbox.close()
    desk.open()
    desk.reports.save()
    assert desk.said() == ["Candidate", "Candidate", "Ended", "Ended"], "told once"


PICTURE = np.random.default_rng(3).integers(0, 255, (256, 256, 3), np.uint8)


def test_a_picture_opens_for_the_reviewers_of_this_candidate_and_nobody_else(desk):
    desk.reports.candidate(match(picture=PICTURE))
    candidate, picture = desk.told()
    jpeg = unseal(picture.data, REVIEWERS)
    assert jpeg[:2] == b"\xff\xd8"
    assert len(jpeg) <= limits.PICTURE_MAX_BYTES
    assert picture.data.candidate == candidate.envelope.id
    assert len(event.encode(picture.document)) <= limits.MAX_EVENT_BYTES
    with pytest.raises(KeyRefused):
        unseal(picture.data, X25519PrivateKey.generate())
    other = event.Picture(
        candidate=event.event_id("camera-1", 99), entry=ENTRY,
        recipient=picture.data.recipient, sealed=picture.data.sealed,
    )  # fmt: skip
    with pytest.raises(KeyRefused, match="does not open"):
        unseal(other, REVIEWERS)


@pytest.mark.parametrize("reviewers", [None, bytes(32)], ids=["none", "low order"])
def test_without_a_usable_key_the_candidate_goes_without_a_picture(desk, reviewers):
    desk.reports.candidate(match(picture=PICTURE, reviewers=reviewers))
    desk.reports.end(sighting(), "left")
    assert desk.said() == ["Candidate", "Ended"]
