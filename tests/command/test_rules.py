"""Which commands are obeyed, and by what name others are refused."""

import json

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge import limits
from edge.command.rules import Bucket, Memory, Operators, Seen, check, remember
from edge.errors import CommandRefused
from edge.protocol import command
from edge.protocol.command import Aim, Resume, SelfTest, Stop
from edge.watchlist.timekeeping import Time

NOW = 1_800_000_000.0
OPERATOR, FORMER = (Ed25519PrivateKey.from_private_bytes(bytes([n] * 32)) for n in (1, 2))
OPERATORS = Operators({"4f1d": OPERATOR.public_key()}, NOW + 7 * 86400)
DOUBT = "it has jumped"


def time(now=NOW, least=0.0, doubt=""):
    return Time(now=max(now, least), least=least, running=0.0, doubt=doubt)


def given_command(order, *, device="gate-3", number=1, at=NOW, key=OPERATOR, lifetime=120.0):
    return command.parse(
        command.make(
            order, device=device, identifier=f"{number:032x}", now=at, key=key, lifetime=lifetime
        )
    )


def judge(read, *, operators=OPERATORS, memory=Memory(), at=None):  # noqa: B008
    """Return who gave the command, or the name of its refusal."""
    try:
        return check(read, device="gate-3", operators=operators, memory=memory, time=at or time())
    except CommandRefused as error:
        return error.name if str(error) else "no reason"


def altered(read, **changes):
    message = json.dumps(msgspec.to_builtins(read.document) | changes).encode()
    return command.parse(message)


@pytest.mark.parametrize("order", [Stop(), Resume(), SelfTest(), Aim(minutes=3), Aim(minutes=0)])
@pytest.mark.parametrize("device", ["gate-3", "*"])
def test_a_command_by_an_operator_is_obeyed(order, device):
    assert judge(given_command(order, device=device)) == "4f1d"


RESUME = given_command(Resume())
UNSIGNED = {name: value for name, value in RESUME.document.items() if name != "signature"}


@pytest.mark.parametrize(
    ("name", "read", "others"),
    [
        ("another-device", given_command(Resume(), device="gate-4"), {}),
        ("no-operators", RESUME, {"operators": Operators()}),
        ("unsigned", command.parse(json.dumps(UNSIGNED).encode()), {}),
        ("not-an-operator", given_command(Resume(), key=FORMER), {}),
        ("altered", altered(RESUME, device="*"), {}),
        ("altered", altered(RESUME, id="0" * 32), {}),
        ("altered", altered(RESUME, signature="a.b.c"), {}),
        ("expired", RESUME, {"at": time(NOW + 120)}),
        ("expired", RESUME, {"at": time(NOW, least=NOW + 120, doubt=DOUBT)}),
        ("clock", RESUME, {"at": time(doubt=DOUBT)}),
        ("early", RESUME, {"at": time(NOW - limits.CLOCK_SKEW_S - 1)}),
        ("replayed", RESUME, {"memory": remember(Memory(), RESUME.command, time())}),
        ("reordered", RESUME, {"memory": Memory(newest=NOW)}),
        ("frozen", RESUME, {"operators": Operators(OPERATORS.keys, NOW)}),
        ("busy", RESUME, {"memory": Memory(seen=tuple(
            Seen(f"{n:032x}", NOW + 1) for n in range(9, 9 + limits.COMMANDS_REMEMBERED)))}),
    ],
)  # fmt: skip
def test_each_refusal_has_its_name(name, read, others):
    assert judge(read, **others) == name


@pytest.mark.parametrize("order", [Stop(), Aim(minutes=0)])
def test_what_makes_the_device_look_less_is_obeyed_in_doubt(order):
    read = given_command(order)
    full = tuple(Seen(f"{n:032x}", NOW + 1) for n in range(9, 9 + limits.COMMANDS_REMEMBERED))
    for others in (
        {"at": time(NOW - 86400, doubt=DOUBT)},
        {"at": time(NOW + 86400, doubt=DOUBT)},
        {"at": time(NOW - 3600)},
        {"memory": Memory(newest=NOW + 5)},
        {"memory": Memory(seen=full)},
        {"operators": Operators(OPERATORS.keys, NOW - 1)},
    ):
        assert judge(read, **others) == "4f1d"


@pytest.mark.parametrize("order", [Stop(), Aim(minutes=0)])
def test_but_not_a_forged_replayed_or_void_one(order):
    read = given_command(order)
    assert judge(given_command(order, key=FORMER)) == "not-an-operator"
    assert judge(read, memory=remember(Memory(), read.command, time())) == "replayed"
    assert judge(read, at=time(NOW + 121)) == "expired"
    assert judge(given_command(order, device="gate-4")) == "another-device"


def test_a_resume_that_was_held_back_does_not_lift_a_later_stop():
    stop = given_command(Stop(), number=2, at=NOW + 10)
    memory = remember(Memory(), stop.command, time(NOW + 10))
    at = time(NOW + 11)
    assert judge(RESUME, memory=memory, at=at) == "reordered"
    assert judge(given_command(Resume(), number=3, at=NOW + 11), memory=memory, at=at) == "4f1d"


def test_a_stop_from_a_clock_that_is_years_ahead_does_not_hold_up_what_follows():
    stop = given_command(Stop(), number=2, at=NOW + 10 * 365 * 86400)
    memory = remember(Memory(), stop.command, time())
    assert judge(RESUME, memory=memory) == "reordered", "signed before it came"
    after = given_command(Resume(), number=3, at=NOW + 1)
    assert judge(after, memory=memory, at=time(NOW + 1)) == "4f1d"


def test_a_stop_while_the_clock_is_in_doubt_counts_as_signed_when_it_says():
    stop = given_command(Stop(), number=2, at=NOW + 10)
    memory = remember(Memory(), stop.command, time(NOW - 86400, doubt=DOUBT))
    assert judge(RESUME, memory=memory, at=time(NOW + 11)) == "reordered"


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 400)), max_size=60))
def test_nothing_is_obeyed_twice_and_memory_is_bounded(deliveries):
    """A broker delivers what was signed at each of some seconds in any order, late and again."""
    memory, obeyed, now = Memory(), [], NOW
    for number, later in sorted(deliveries, key=lambda each: each[1]):
        now = NOW + later
        order = Stop() if number % 3 == 0 else SelfTest()
        read = given_command(order, number=number, at=NOW + number)
        if judge(read, memory=memory, at=time(now)) == "4f1d":
            obeyed.append(number)
            memory = remember(memory, read.command, time(now))
    assert len(obeyed) == len(set(obeyed))
    others = [number for number in obeyed if number % 3]
    assert others == sorted(others), "what is no stop is obeyed in the order of signing"
    assert len(memory.seen) <= limits.COMMANDS_REMEMBERED


def test_commands_beyond_what_is_remembered_are_bounded():
    memory = Memory()
    for number in range(2 * limits.COMMANDS_REMEMBERED):
        read = given_command(Stop(), number=number)
        memory = remember(memory, read.command, time())
    assert len(memory.seen) == limits.COMMANDS_REMEMBERED
    assert len(msgspec.json.encode(memory)) < limits.MAX_COMMAND_MEMORY_BYTES
    assert len(remember(memory, RESUME.command, time(NOW + 121)).seen) == 1


def test_a_bucket_gives_so_many_at_once_and_so_many_a_second():
    bucket = Bucket(3, 2.0)
    assert [bucket.take(100.0) for _ in range(5)] == [True, True, True, False, False]
    assert [bucket.take(100.5), bucket.take(100.6)] == [True, False]
    assert sum(bucket.take(1000.0) for _ in range(9)) == 3
