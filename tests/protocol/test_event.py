import base64
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge import limits
from edge.errors import FormatError, SignatureRefused
from edge.protocol import command, configuration, event, signing, status, topics, update
from edge.settings import layers
from fleet import schemas

NOW = 1_800_000_000.25
KEY = Ed25519PrivateKey.generate()
PUBLIC = [KEY.public_key()]

CANDIDATE = event.Candidate(
    entry="0123456789abcdef" * 2,
    score=0.55,
    threshold=0.41,
    fpir_target=0.001,
    views=3,
    agreeing=2,
    list=event.ListVersion(id="gate", version=4),
    authorisation="court 12/2026",
    purpose="court-order",
    models={"detector": "0" * 16},
    quality=event.Quality(
        eye_distance=31.5, sharpness=0.5, brightness=0.5, contrast=0.5, frontality=0.9
    ),
    box=event.Box(x=-3.0, y=4.0, width=50.0, height=60.0, frame_width=640, frame_height=360),
    first_frame=3,
    last_frame=9,
)


def made(data=CANDIDATE, sequence=1, now=NOW, key=KEY):
    return event.make(data, device="camera-1", sequence=sequence, now=now, key=key, head=HEAD.head)


def read(document):
    return event.parse(event.encode(document))


def test_what_is_made_is_read_and_its_signature_holds():
    received = read(made())
    assert msgspec.to_builtins(received.data) == msgspec.to_builtins(CANDIDATE)
    assert received.device == "camera-1"
    assert event.verify(received, trusted=PUBLIC, now=NOW) == signing.key_id(KEY)
    envelope = received.envelope
    assert envelope.subject == CANDIDATE.entry
    assert envelope.sequence == "0" * 19 + "1"
    assert envelope.time.timestamp() == pytest.approx(NOW, abs=0.001)


RECEIPT = event.Receipt(
    list=event.ListVersion(id="gate", version=7),
    digest="ab" * 32,
    reason=event.Ending.EXPIRED,
    ended=datetime.fromtimestamp(NOW - 1, UTC),
    destroyed=datetime.fromtimestamp(NOW, UTC),
)


ID = "camera-1-" + "0" * 19 + "7"
UPDATED = event.Updated(
    candidate=ID,
    **{f: getattr(CANDIDATE, f) for f in event.Updated.__struct_fields__ if f != "candidate"},
)
ENDED = event.Ended(candidate=ID, entry=CANDIDATE.entry, reason="left", last_frame=99)
RESTARTED = event.Ended(candidate=ID, entry=CANDIDATE.entry, reason="restarted")
PICTURE = event.Picture(
    candidate=ID, entry=CANDIDATE.entry, recipient="0" * 16, sealed=bytes(limits.PICTURE_MAX_BYTES)
)
GAP = event.Gap(lost=3, reason="disk")
HEAD = event.AuditHead(head="0" * 20 + "-" + "0" * 64)


@pytest.mark.parametrize("data", [GAP, RECEIPT, UPDATED, ENDED, RESTARTED, PICTURE, HEAD])
def test_the_other_kinds_are_read_too(data):
    received = read(made(data))
    assert received.data == data
    event.verify(received, trusted=PUBLIC, now=NOW)


def test_it_says_candidate_and_nothing_of_who_it_is():
    document = made()
    assert document["data"]["status"] == "candidate"
    assert document["data"]["review"] == "human-before-action"
    words = json.dumps(document).lower()
    for never in ("identified", "name", "age", "gender", "emotion", "ethnic", "image", "embedding"):
        assert never not in words


@pytest.mark.parametrize("field", ["source", "time", "sequence", "expirytime", "subject"])
def test_an_altered_envelope_is_refused(field):
    document, other = made(), made(sequence=2, now=NOW + 5)
    document[field] = other[field]
    if field == "subject":
        document["subject"] = document["data"]["entry"] = "f" * 32
    elif field == "sequence":
        document["id"] = other["id"]
    elif field == "source":
        document |= {"source": "/lethe/device/camera-2", "id": f"camera-2-{0:019d}1"}
    with pytest.raises(SignatureRefused, match="does not hold"):
        event.verify(read(document), trusted=PUBLIC, now=NOW)


def test_an_altered_score_another_key_and_no_signature_are_refused():
    document = made()
    document["data"]["score"] = 0.56
    with pytest.raises(SignatureRefused, match="does not hold"):
        event.verify(read(document), trusted=PUBLIC, now=NOW)
    with pytest.raises(SignatureRefused, match="not trusted"):
        event.verify(read(made(key=Ed25519PrivateKey.generate())), trusted=PUBLIC, now=NOW)
    with pytest.raises(SignatureRefused, match="not trusted"):
        event.verify(read(made()), trusted=[], now=NOW)
    document = made()
    del document["signature"]
    with pytest.raises(SignatureRefused, match="unsigned"):
        event.verify(read(document), trusted=PUBLIC, now=NOW)


def test_a_signature_made_for_another_kind_of_message_is_refused():
    body = {k: v for k, v in made().items() if k != "signature"}
    document = signing.sign_document(body, typ="lethe-watchlist+jws", key=KEY)
    with pytest.raises(SignatureRefused, match="signed as"):
        event.verify(read(document), trusted=PUBLIC, now=NOW)


def test_who_has_seen_an_event_cannot_make_another_of_it():
    seen = made(event.Gap(lost=1, reason="real"))
    header, _, signature = seen["signature"].split(".")
    body = signing.canonical({k: v for k, v in seen.items() if k != "signature"})
    payload = base64.urlsafe_b64encode(body).rstrip(b"=").decode()
    forged = made(event.Gap(lost=9, reason="forged"), sequence=99, key=Ed25519PrivateKey.generate())
    forged["signature"] = f"{header}.{payload}.{signature}"
    with pytest.raises(SignatureRefused, match="detached"):
        event.verify(read(forged), trusted=PUBLIC, now=NOW)


def test_a_replay_after_its_time_does_nothing():
    received = read(made())
    event.verify(received, trusted=PUBLIC, now=NOW + limits.EVENT_EXPIRY_S - 1)
    with pytest.raises(FormatError, match="expired"):
        event.verify(received, trusted=PUBLIC, now=NOW + limits.EVENT_EXPIRY_S)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("specversion", "0.3"),
        ("type", "lethe.match.identified.v1"),
        ("source", "/elsewhere"),
        ("sequence", "1"),
        ("time", "yesterday"),
        ("time", "2026-05-04T10:15:30"),
        ("expirytime", "0001-01-01T00:00:00"),
        ("data", None),
        ("unknown", 1),
        ("id", "camera-1-" + "0" * 18 + "99"),
        ("type", "lethe.match.candidate.v2"),
        ("audithead", "1"),
        ("subject", "f" * 32),
        ("datacontenttype", "text/html"),
    ],
)
def test_an_envelope_of_the_wrong_form_is_refused(field, value):
    with pytest.raises(FormatError):
        read(made() | {field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", "identified"),
        ("entry", "anna"),
        ("score", 1.5),
        ("fpir_target", 0),
        ("views", 0),
        ("purpose", "curiosity"),
        ("first_frame", -1),
        ("photo", "AAAA"),
    ],
)
def test_data_of_the_wrong_form_is_refused(field, value):
    document = made()
    document["data"][field] = value
    with pytest.raises(FormatError):
        read(document)


def test_an_oversize_event_is_not_parsed():
    with pytest.raises(FormatError, match="at most"):
        event.parse(b" " * (limits.MAX_EVENT_BYTES + 1))


@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_refused_in_words(message):
    with pytest.raises(FormatError):
        event.parse(message)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from([*made()]), st.sampled_from([*made()["data"]]), JSON, st.booleans())
def test_any_value_in_any_field_is_refused_in_words(field, inner, value, deep):
    document = made()
    if deep:
        document["data"][inner] = value
    else:
        document[field] = value
    try:
        event.verify(event.parse(json.dumps(document).encode()), trusted=PUBLIC, now=NOW)
    except (FormatError, SignatureRefused):
        return
    assert document == made(), "only what was signed is taken"


@pytest.mark.parametrize("name", schemas.SCHEMAS)
def test_the_published_schema_is_that_of_the_code(name):
    path = Path(__file__).resolve().parents[2] / "docs" / "schemas" / name
    assert json.loads(path.read_text("utf-8")) == schemas.schema(name), (
        "run: python -m fleet.schemas docs/schemas"
    )


REFERENCE = (Path(__file__).resolve().parents[2] / "docs" / "mqtt.md").read_text("utf-8")
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", REFERENCE, re.DOTALL)]


def test_the_examples_of_the_reference_are_in_the_form_it_documents():
    example, shown, told, ordered, answered, updating, desired, reported = EXAMPLES
    received = read(example)
    assert received.device == "gate-3"
    assert received.envelope.id == f"gate-3-{received.envelope.sequence}"
    times = received.envelope.expirytime - received.envelope.time
    assert times.total_seconds() == limits.EVENT_EXPIRY_S
    assert set(example) == set(made())
    assert set(example["data"]) == set(made()["data"])
    msgspec.convert(shown, status.Status)
    assert set(shown) == set(status.Status.__struct_fields__)
    msgspec.convert(ordered, command.Command)
    msgspec.convert(answered, command.Answer)
    msgspec.convert(told, status.Telemetry)
    assert set(told) == set(status.Telemetry.__struct_fields__)
    assert set(updating) == set(update.Update.__struct_fields__)
    msgspec.convert(updating, update.Update)
    layers.checked(configuration.decode(msgspec.json.encode(desired)).settings)
    configuration.decode_reported(msgspec.json.encode(reported))
    assert set(reported) == set(configuration.Reported.__struct_fields__)


def test_the_reference_names_every_topic():
    paths = (
        topics.TIMESTAMP,
        topics.SENTINEL,
        topics.target("<folder>/<name>", "<sha256>"),
        topics.piece("<list>", "<sha256>"),
        topics.list_key("<list>", "<key>", "<id>"),
    )
    named = [topics.trust("<root>", path) for path in paths]
    own = (
        topics.event, topics.status, topics.telemetry, topics.update, topics.configuration,
        topics.command, topics.answer, topics.switch,
    )  # fmt: skip
    assert f"`{topics.command_to_all('<root>')}`" in REFERENCE
    for topic in (*named, *(each("<root>", "<id>") for each in own)):
        assert f"`{topic}`" in REFERENCE
