"""What becomes of a command on a device: obeyed, recorded, answered, remembered."""

import threading
import time
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge import limits
from edge.command import commands as module
from edge.command.commands import SWITCH, Commands, Deed, Outcome
from edge.command.rules import Operators, refusal
from edge.errors import ConfigError, StorageUnavailable
from edge.protocol import command
from edge.protocol.command import Aim, Identify, Restart, Resume, SelfTest, Stop
from tests.command.test_rules import FORMER, NOW, OPERATOR, OPERATORS
from tests.command.test_rules import time as at

DEVICE = Ed25519PrivateKey.from_private_bytes(bytes([7] * 32))


class Stage:
    """Commands on a device that only writes down what it is to do."""

    def __init__(self, file, **deeds):
        self.file, self.done, self.notes, self.refused, self.sent = file, [], [], [], []
        self.connected, self.stopped, self.clock = True, False, at()
        self.changed = threading.Condition()
        self.asked = {
            kind: Deed(self.does(kind), aside=kind in (SelfTest, Identify, Aim))
            for kind in (Stop, Resume, SelfTest, Restart, Identify, Aim)
        } | {kind: Deed(do, aside=kind is not Stop) for kind, do in deeds.get("does", {}).items()}
        self.begin()

    def begin(self):
        self.commands = Commands(
            "gate-3", DEVICE, self.file, self, self, self.send,
            time=lambda: self.clock, stopped=lambda: self.stopped,
        )  # fmt: skip
        self.named(OPERATORS)
        self.commands.start()

    def named(self, operators):
        """The fleet's signatures have come."""
        self.commands.follow(
            SimpleNamespace(keys=lambda _role: operators.keys, until=lambda: operators.until)
        )

    def does(self, kind):
        def do(order, by):
            self.done.append((order, by))
            if kind is Stop:
                self.stopped = True
            return Outcome("well", later=kind is Restart)

        return do

    @property
    def table(self):
        return self.asked

    def close(self):
        pass

    def note(self, entry):
        self.notes.append((entry.command, entry.by))

    def refuse(self, what, reason):
        assert what == "command"
        self.refused.append(reason)

    def send(self, message):
        if not self.connected:
            return False
        answer, document = command.parse_answer(message)
        command.verify_answer(document, DEVICE.public_key())
        with self.changed:
            self.sent.append(answer)
            self.changed.notify_all()
        return True

    def give(self, order, *, number=1, now=NOW, key=OPERATOR, device="gate-3"):
        message = command.make(order, device=device, identifier=f"{number:032x}", now=now, key=key)
        self.commands.take("topic", message)
        return message

    def answers(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.sent) >= count, 60)
        return [(each.order, each.state) for each in self.sent]


@pytest.fixture
def stage(tmp_path):
    made = Stage(tmp_path / "commands.json")
    yield made
    made.commands.close()


def test_a_command_is_obeyed_recorded_and_answered(stage):
    stage.give(Stop(reason="a visitor asked"))
    assert stage.answers(1) == [("stop", "done")]
    assert stage.done == [(Stop(reason="a visitor asked"), "operator 4f1d")]
    assert stage.notes == [(f"stop (reason a visitor asked) {1:032x}", "operator 4f1d")]
    assert (stage.sent[0].id, stage.sent[0].device) == (f"{1:032x}", "gate-3")


def test_what_takes_its_time_is_answered_twice_and_holds_up_no_stop(tmp_path):
    busy, go = threading.Event(), threading.Event()

    def slow(_order, _by):
        busy.set()
        go.wait(60)
        return Outcome("passed")

    stage = Stage(tmp_path / "c.json", does={SelfTest: slow})
    stage.give(SelfTest())
    assert busy.wait(60)
    stage.give(SelfTest(), number=2, now=NOW + 1)
    stage.give(Stop(), number=3, now=NOW + 2)
    assert stage.answers(3) == [("self-test", "accepted"), ("self-test", "refused"),
                                ("stop", "done")]  # fmt: skip
    assert stage.sent[1].refusal == "busy"
    go.set()
    assert stage.answers(4)[-1] == ("self-test", "done")
    stage.commands.close()


def test_the_preview_is_ended_while_it_is_being_opened(tmp_path):
    opening, ended, again, done = *(threading.Event() for _ in range(3)), []

    def aim(order, _by):
        done.append(order)
        if order.minutes:
            opening.set()
            assert ended.wait(60)
            return Outcome("ended before it had begun", done=False)
        (again if ended.is_set() else ended).set()
        return Outcome("off")

    stage = Stage(tmp_path / "c.json", does={Aim: aim})
    stage.give(Aim(minutes=5))
    assert opening.wait(60)
    stage.give(Aim(minutes=5), number=2, now=NOW + 1)
    stage.answers(2)
    assert stage.sent[1].refusal == "busy"
    stage.give(Aim(minutes=0), number=3, now=NOW + 2)
    stage.answers(5)
    ends = {each.id: each.state for each in stage.sent if each.state in ("done", "failed")}
    assert ends == {f"{1:032x}": "failed", f"{3:032x}": "done"}
    assert again.wait(60), "once more: the first may have come too early"
    assert done == [Aim(minutes=5), Aim(minutes=0), Aim(minutes=0)]
    stage.commands.close()


@pytest.mark.parametrize(
    ("error", "state", "name"),
    [
        (ConfigError("no lamp"), "failed", None),
        (refusal("not-configured", "no lamp"), "refused", "not-configured"),
        (ZeroDivisionError(), "failed", None),
    ],
)
def test_what_fails_is_said(tmp_path, error, state, name):
    def fails(_order, _by):
        raise error

    stage = Stage(tmp_path / "c.json", does={Identify: fails})
    stage.give(Identify(seconds=1))
    assert stage.answers(2)[-1] == ("identify", state)
    assert stage.sent[-1].says
    if name:
        assert stage.sent[-1].refusal == name
    stage.commands.close()


def test_each_refusal_is_recorded_and_answered_by_name(stage):
    message = stage.give(Resume(), number=1)
    stage.commands.take("topic", message)
    stage.give(Resume(), number=2, now=NOW - 1)
    stage.give(Resume(), number=3, key=FORMER)
    stage.give(Resume(), number=4, device="gate-4")
    stage.give(Resume(), number=5, now=NOW - 500)
    stage.commands.take("topic", b"{}")
    stage.answers(7)
    names = [each.refusal for each in stage.sent[1:]]
    assert names == ["replayed", "reordered", "not-an-operator", "another-device", "expired",
                     "malformed"]  # fmt: skip
    assert [reason.split(":")[0] for reason in stage.refused] == names
    assert len(stage.done) == len(stage.notes) == 1
    assert stage.sent[-1].id == ""


def test_a_replay_after_a_restart_is_refused(stage):
    message = stage.give(Resume())
    stage.answers(1)
    stage.commands.close()
    stage.begin()
    stage.commands.take("topic", message)
    assert stage.answers(2)[-1] == ("resume", "refused")
    assert stage.sent[-1].refusal == "replayed"


@pytest.mark.parametrize("damage", [b"", b"{", b"x" * (limits.MAX_COMMAND_MEMORY_BYTES + 1)])
def test_what_was_remembered_and_is_damaged_lets_nothing_older_pass(stage, damage):
    message = stage.give(Resume())
    stage.answers(1)
    stage.commands.close()
    stage.file.write_bytes(damage)
    stage.begin()
    stage.commands.take("topic", message)
    stage.answers(2)
    assert stage.sent[-1].refusal == "reordered"
    stage.clock = at(NOW + 5)
    stage.give(Resume(), number=2, now=NOW + 5)
    assert stage.answers(3)[-1] == ("resume", "done")


def test_on_a_full_disk_what_looks_less_is_obeyed_and_nothing_else(stage, monkeypatch):
    def full(*_args, **_options):
        raise StorageUnavailable("disk full")

    monkeypatch.setattr(module, "write_atomically", full)
    stage.give(Restart())
    stage.give(Stop(), number=2)
    stage.give(Stop(), number=2)
    stage.answers(3)
    assert [each.refusal for each in (stage.sent[0], stage.sent[2])] == ["storage", "replayed"]
    stage.give(Aim(minutes=0), number=3)
    stage.give(Aim(minutes=5), number=4)
    stage.answers(6)
    assert sorted((each.order, each.state) for each in stage.sent[3:]) == [
        ("aim", "accepted"), ("aim", "done"), ("aim", "refused")
    ]  # fmt: skip
    assert [order for order, _ in stage.done] == [Stop(), Aim(minutes=0)]


def test_a_restart_is_answered_when_it_has_started_again(stage):
    stage.give(Restart())
    assert stage.answers(1) == [("restart", "accepted")]
    stage.commands.close()
    stage.connected = False
    stage.begin()
    stage.connected = True
    stage.commands.connected()
    assert stage.answers(2)[-1] == ("restart", "done")
    assert stage.sent[-1].id == f"{1:032x}"
    stage.commands.close()
    stage.begin()
    stage.give(Stop(), number=2)
    assert stage.answers(3)[-1] == ("stop", "done"), "it is said once"


def test_what_comes_before_it_is_known_who_may_command_waits_for_it(stage):
    stage.commands.close()
    stage.named = lambda _operators: None
    stage.begin()
    del stage.named
    stage.give(Stop())
    stage.commands.take_switch("topic", b"on")
    assert stage.answers(1) == [("", "refused")], "what is before it was looked at"
    assert not stage.done
    stage.named(OPERATORS)
    assert stage.answers(2)[-1] == ("stop", "done")


def test_where_the_fleet_has_named_no_operators_none_is_believed(stage):
    stage.named(Operators())
    stage.give(Stop())
    stage.answers(1)
    assert stage.sent[0].refusal == "no-operators"


def test_the_switch_stops_and_does_not_resume(stage):
    stage.commands.take_switch("topic", b"OFF")
    assert stage.answers(1) == [("stop", "done")]
    stage.commands.take_switch("topic", b"OFF")
    stage.commands.take_switch("topic", b"ON")
    stage.commands.take_switch("topic", b"on")
    assert stage.answers(3)[1:] == [("resume", "refused"), ("", "refused")]
    assert [each.refusal for each in stage.sent[1:]] == ["unsigned", "malformed"]
    assert "lethe command resume" in stage.sent[1].says
    assert stage.notes == [("stop", SWITCH)]
    assert stage.stopped


def test_a_flood_is_answered_and_checked_at_a_bounded_rate_and_a_stop_gets_through(
    stage, monkeypatch
):
    checked, real = [], command.verify

    def counted(read, trusted):
        checked.append(read)
        return real(read, trusted)

    monkeypatch.setattr(command, "verify", counted)
    monkeypatch.setattr(module.time, "monotonic", lambda: 1000.0)
    forged = command.make(Resume(), device="gate-3", identifier="f" * 32, now=NOW, key=FORMER)
    for _ in range(5000):
        stage.commands.take("topic", forged)
    patience = time.perf_counter() + 60
    while not stage.commands._queue.empty() and time.perf_counter() < patience:
        time.sleep(0.01)
    stage.give(Stop())
    with stage.changed:
        assert stage.changed.wait_for(lambda: stage.done, 60)
    assert len(checked) <= limits.COMMAND_CHECKS + 1
    assert sum(each.state == "refused" for each in stage.sent) <= limits.COMMAND_ANSWERS
