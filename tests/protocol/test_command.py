"""Commands and answers: their form and their signatures."""

import json
from datetime import UTC, datetime

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge import limits
from edge.errors import BadInput, FormatError, SignatureRefused
from edge.protocol import command
from edge.protocol.command import Aim, Answer, Identify, Restart, Resume, SelfTest, Stop

KEY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([n] * 32)) for n in (1, 2))
NOW = 1_800_000_000.0
ID = "0123456789abcdef" * 2
MESSAGE = command.make(Stop(reason="x"), device="gate-3", identifier=ID, now=NOW, key=KEY)

orders = st.one_of(
    st.builds(Stop, reason=st.text(max_size=limits.COMMAND_TEXT_CHARS)),
    st.sampled_from([Resume(), SelfTest(), Restart()]),
    st.builds(Identify, seconds=st.integers(1, limits.IDENTIFY_MOST_S)),
    st.builds(Aim, minutes=st.integers(0, limits.AIM_MOST_MIN)),
)


def changed(**changes):
    return json.dumps(json.loads(MESSAGE) | changes).encode()


@given(
    orders, st.sampled_from(["gate-3", "*"]),
    st.floats(1, limits.COMMAND_LIFETIME_MOST_S), st.floats(0, 4e9),
)  # fmt: skip
def test_what_is_made_is_read_and_its_signature_holds(order, device, lifetime, now):
    message = command.make(order, device=device, identifier=ID, now=now, key=KEY, lifetime=lifetime)
    read = command.parse(message)
    assert (read.command.order, read.command.device, read.command.id) == (order, device, ID)
    assert abs(read.command.issued.timestamp() - now) < 0.001
    command.verify(read, [KEY.public_key()])
    with pytest.raises(SignatureRefused):
        command.verify(read, [OTHER.public_key()])


@given(st.binary(max_size=3000) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_anything_is_read_or_refused(message):
    for parse in (command.parse, command.parse_answer):
        with pytest.raises(FormatError):
            parse(message)


@given(st.integers(0, len(MESSAGE) - 1), st.binary(max_size=4), st.integers(0, 4))
def test_whatever_is_altered_it_is_no_command_of_ours(at, bytes_, cut):
    message = MESSAGE[:at] + bytes_ + MESSAGE[at + cut :]
    try:
        read = command.parse(message)
        command.verify(read, [KEY.public_key()])
    except BadInput:
        return
    assert read.document == json.loads(MESSAGE)


@pytest.mark.parametrize(
    "message",
    [
        b"", b"[]", b"null", b"\xff", b"[" * 2000, MESSAGE + b" " * limits.MAX_COMMAND_BYTES,
        changed(id="x"), changed(id=ID.upper()), changed(device="a/b"), changed(device=""),
        changed(order={"do": "stop", "reason": "x" * 201}), changed(order={"do": "identify"} | {
            "seconds": 301}), changed(order={"do": "aim", "minutes": 31}),
        changed(order={"do": "aim", "minutes": -1}), changed(order={"do": "shoot"}),
        changed(order={"do": "stop", "more": 1}), changed(order="stop"), changed(more=1),
        changed(issued="2027-01-15T08:00:00"), changed(expires="yesterday"),
        changed(expires="2027-01-15T08:00:00Z"), changed(expires="2027-01-15T08:10:01Z"),
        changed(expires="2027-01-15T07:59:00Z"), changed(issued=1e400),
    ],
)  # fmt: skip
def test_what_is_not_in_the_documented_form_is_refused(message):
    with pytest.raises(FormatError):
        command.parse(message)


def test_an_event_or_an_answer_does_not_pass_for_a_command():
    document = json.loads(MESSAGE)
    for typ in ("lethe-event+jws", command.ANSWER_TYP):
        signed = command.signing.sign_document(document, typ=typ, key=KEY)
        read = command.parse(msgspec.json.encode(signed))
        with pytest.raises(SignatureRefused, match="signed as"):
            command.verify(read, [KEY.public_key()])


@pytest.mark.parametrize("identifier", ["", ID])
def test_an_answer_is_read_and_its_signature_holds(identifier):
    answer = Answer(
        id=identifier, device="gate-3", order="stop", state="refused", refusal="replayed",
        says="it has come before", time=datetime.fromtimestamp(NOW, UTC),
    )  # fmt: skip
    read, document = command.parse_answer(command.encode_answer(answer, KEY))
    assert msgspec.structs.replace(read, signature=msgspec.UNSET) == answer
    command.verify_answer(document, KEY.public_key())
    with pytest.raises(SignatureRefused):
        command.verify_answer(document | {"state": "done"}, KEY.public_key())
    with pytest.raises(SignatureRefused):
        command.verify_answer(document, OTHER.public_key())
