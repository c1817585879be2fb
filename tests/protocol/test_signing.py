"""Signatures: what was signed is taken, for what it was signed, from whom it may come."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import FormatError, SignatureRefused
from edge.protocol import signing

KEY = Ed25519PrivateKey.generate()
OTHER = Ed25519PrivateKey.generate()
TRUSTED = [KEY.public_key()]
TYP = "lethe-test+jws"
KID = signing.key_id(KEY)


def letters(content):
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def by_hand(header, key=KEY):
    """A document signed without the library under test (RFC 7515, section 5.1, appendix F)."""
    head = letters(json.dumps(header).encode())
    signature = letters(key.sign(head + b"." + letters(b'{"a":1}')))
    return {"a": 1, "signature": f"{head.decode()}..{signature.decode()}"}


def verify(document, trusted=TRUSTED):
    return signing.verify_document(document, typ=TYP, trusted=trusted)


def test_a_key_is_named_as_in_the_example_of_rfc_8037():
    secret = base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    key = Ed25519PrivateKey.from_private_bytes(secret)
    thumbprint = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert signing.key_id(key) == signing.key_id(key.public_key()) == thumbprint


def test_the_canonical_form_is_that_of_the_example_of_rfc_8785():
    document = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": '\u20ac$\u000f\nA\'B"\\\\"/',
        "literals": [None, True, False],
    }
    assert signing.canonical(document).decode() == (
        '{"literals":[null,true,false],'
        '"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


def test_a_message_is_what_any_other_implementation_would_make():
    header = {"alg": "Ed25519", "typ": TYP, "kid": KID}
    assert verify(by_hand(header)) == KID
    document = signing.sign_document({"b": 1, "a": 2}, typ=TYP, key=KEY)
    head, nothing, signature = document["signature"].encode().split(b".")
    assert nothing == b""
    KEY.public_key().verify(
        base64.urlsafe_b64decode(signature + b"=="), head + b"." + letters(b'{"a":2,"b":1}')
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"alg": "none"}, "only Ed25519"),
        ({"alg": "EdDSA"}, "only Ed25519"),
        ({"alg": "HS256"}, "only Ed25519"),
        ({"alg": ["Ed25519"]}, "only Ed25519"),
        ({"typ": "lethe-other+jws"}, "expected 'lethe-test"),
        ({"typ": None}, "expected 'lethe-test"),
        ({"kid": signing.key_id(OTHER)}, "not trusted"),
        ({"kid": [KID]}, "not trusted"),
        ({"crit": ["exp"]}, "crit|does not hold"),
        ({"b64": False, "crit": ["b64"]}, "crit"),
    ],
)
def test_a_header_that_asks_for_anything_else_is_refused(changes, says):
    header = {"alg": "Ed25519", "typ": TYP, "kid": KID} | changes
    with pytest.raises(SignatureRefused, match=says):
        verify(by_hand(header))


@pytest.mark.parametrize("missing", ["alg", "typ", "kid"])
def test_a_header_that_lacks_something_is_refused(missing):
    header = {"alg": "Ed25519", "typ": TYP, "kid": KID}
    del header[missing]
    with pytest.raises(SignatureRefused):
        verify(by_hand(header))


def test_a_key_that_is_offered_in_the_header_is_not_used():
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": letters(OTHER.public_key().public_bytes_raw())}
    header = {"alg": "Ed25519", "typ": TYP, "kid": KID, "jwk": jwk | {"x": jwk["x"].decode()}}
    with pytest.raises(SignatureRefused):
        verify(by_hand(header, key=OTHER))


def test_anothers_signature_under_our_name_is_refused():
    header = {"alg": "Ed25519", "typ": TYP, "kid": KID}
    with pytest.raises(SignatureRefused, match="does not hold"):
        verify(by_hand(header, key=OTHER))


def test_without_trusted_keys_nothing_is_taken():
    with pytest.raises(SignatureRefused, match="not trusted"):
        verify(signing.sign_document({"a": 1}, typ=TYP, key=KEY), trusted=[])


def test_a_long_header_is_not_parsed():
    with pytest.raises(FormatError, match="header longer"):
        verify({"a": 1, "signature": "a" * 1025 + ".."})


@given(
    st.text(max_size=200)
    | st.tuples(st.binary(max_size=40), st.binary(max_size=40)).map(
        lambda parts: "..".join(letters(part).decode() for part in parts)
    )
)
def test_any_text_is_no_signature(signature):
    with pytest.raises((FormatError, SignatureRefused)):
        verify({"a": 1, "signature": signature})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(JSON)
def test_any_header_is_refused_in_words(header):
    with pytest.raises((FormatError, SignatureRefused)):
        verify(by_hand(header))


@given(st.integers(0, 400), st.integers(1, 127))
def test_a_flipped_bit_anywhere_breaks_the_signature(at, flip):
    document = signing.sign_document({"a": 1}, typ=TYP, key=KEY)
    original = document["signature"]
    at %= len(original)
    changed = original[:at] + chr(ord(original[at]) ^ flip) + original[at + 1 :]
    try:
        verify(document | {"signature": changed})
    except (FormatError, SignatureRefused):
        return
    # Base64 leaves bits unused in its last letter: the same bytes may be spelled in two ways.
    assert changed[:-1] == original[:-1]


def test_a_document_stays_readable_and_may_be_written_in_any_order():
    document = signing.sign_document({"b": 1.0, "a": [True, None, "ä"]}, typ=TYP, key=KEY)
    assert document["a"] == [True, None, "ä"]
    again = json.loads(json.dumps(dict(reversed(document.items())), indent=3))
    assert verify(again) == KID


def test_signing_again_replaces_the_signature():
    first = signing.sign_document({"a": 1}, typ=TYP, key=OTHER)
    assert verify(signing.sign_document(first, typ=TYP, key=KEY)) == KID


@pytest.mark.parametrize("signature", [None, 1, "", "a.b", "a.b.c.d", "..", "\ud800..", "é..é"])
def test_a_document_whose_signature_is_none_is_refused(signature):
    with pytest.raises((SignatureRefused, FormatError)):
        verify({"a": 1, "signature": signature})


def test_a_signature_that_brings_its_own_payload_does_not_cover_the_document():
    document = signing.sign_document({"a": 1}, typ=TYP, key=KEY)
    header, _, signature = document["signature"].split(".")
    payload = letters(signing.canonical({"a": 1})).decode()
    for a in (1, 2):  # the bytes were signed, in this form or that; what is around them was not
        forged = {"a": a, "signature": f"{header}.{payload}.{signature}"}
        with pytest.raises(SignatureRefused, match="detached"):
            verify(forged)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 2**53, -(2**60), b"bytes", "\ud800", {1: 2}]
)
def test_what_json_cannot_carry_is_neither_signed_nor_verified(value):
    with pytest.raises(FormatError):
        signing.sign_document({"a": value}, typ=TYP, key=KEY)
    signature = signing.sign_document({"a": 1}, typ=TYP, key=KEY)["signature"]
    with pytest.raises(FormatError):
        verify({"a": value, "signature": signature})


@given(st.dictionaries(st.text(), JSON, max_size=4), st.text(), JSON)
def test_a_changed_document_is_refused(document, field, value):
    document.pop("signature", None)
    try:
        signed = signing.sign_document(document, typ=TYP, key=KEY)
    except FormatError:
        return
    assert verify(signed) == KID
    if field == "signature":
        return
    try:
        before, after = signing.canonical(document), signing.canonical(document | {field: value})
    except FormatError:
        return
    if before != after:
        with pytest.raises(SignatureRefused):
            verify(signed | {field: value})
