"""A device from the announcement to the version that is kept, or gone back from.

RAUC and systemd are programs that write down how they were called; root's part is the script that
runs on devices. The machine starts anew by hand.
"""

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge import limits
from edge.errors import FormatError, StorageUnavailable
from edge.health.selftest import Verdict
from edge.protocol import announcement, audit, update
from edge.protocol.announcement import Rollout, Window
from edge.trust.target import Target
from edge.update import updater
from edge.update.download import Downloader, trusted
from edge.update.machine import Machine
from edge.update.reporter import Reporter
from edge.update.updater import Senses, Updater
from tests.update.kit import BUNDLE, announced, serve

INSTALL = Path(__file__).resolve().parents[2] / "ota" / "device" / "install"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


class Wire:
    """A session with nobody at the other end; what is said is kept."""

    def __init__(self):
        self.said = []

    def on_connected(self, callback):
        callback()

    def publish(self, topic, payload, *, retain):
        assert topic == "lethe/device/gate-3/update"
        assert retain
        self.said.append(update.decode(payload, "gate-3", [KEY.public_key()]))


class View:
    """A state of what is signed: what it says under the device's own target."""

    def __init__(self, content):
        self.content = content

    def find(self, path, role):
        assert (path, role) == ("firmware/lethe-test", "firmware")
        if self.content is None:
            return None
        return Target(path, role, 1, len(self.content), "", {}, (), 1)

    def read(self, _target):
        return self.content


class Device:
    """The updater of gate-3, run by hand."""

    def __init__(self, system, server):
        self.system, self.server = system, server
        self.now = 1000.0
        self.so = SimpleNamespace(minute=150, candidate=False, armed=True)
        self.notes, self.refused, self.wire = [], [], Wire()
        self.announcement, self.environment = None, {}
        self.start()

    def start(self):
        """The device's process starts, also with the machine."""
        machine = Machine(self.system.root)
        reporter = Reporter(
            self.wire, "lethe/device/gate-3/update", "gate-3", KEY,
            update.Software(
                state="current", version=machine.release("VERSION_ID"), compatible="lethe-test"
            ),
            now=lambda: 1_800_000_000.0,
        )  # fmt: skip
        downloader = Downloader(
            machine.folder,
            trusted(str(self.server.ca)),
            on_progress=lambda percent: self.updater.on_progress(percent),
            wanted=lambda: self.updater.wanted(),
            steady=lambda: self.now,
        )
        self.updater = Updater(
            "gate-3", machine, downloader, reporter,
            Senses(
                minute=lambda: self.so.minute,
                candidate=lambda: self.so.candidate,
                armed=lambda: self.so.armed,
            ),
            note=self.notes.append, refuse=self.refused.append, steady=lambda: self.now,
        )  # fmt: skip
        if self.announcement is not None:
            self.announce(self.announcement)

    def announce(self, made):
        self.announcement = made
        self.updater.follow(View(made and announcement.encode(made)))

    def root(self):
        """Root's unit runs, if it was asked to."""
        if not (self.system.root / "var/lib/lethe/update/request").exists():
            return None
        return subprocess.run(
            [INSTALL],
            env={
                "PATH": f"{self.system.programs}:{os.environ['PATH']}",
                "LETHE_UPDATES": str(self.system.root / "var/lib/lethe/update"),
                "LETHE_RUN": str(self.system.root / "run/lethe-install"),
                **self.environment,
            },
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def go(self, steps=3):
        for _ in range(steps):
            self.updater.step()
            self.root()
        return self.state

    def boots(self, version):
        self.system.start(version)
        self.start()

    @property
    def told(self):
        return self.wire.said[-1].software

    @property
    def state(self):
        return self.told.state, self.told.reason

    def states(self):
        seen = [said.software.state for said in self.wire.said]
        return [a for a, b in zip(seen, [*seen[1:], ""], strict=True) if a != b]


@pytest.fixture
def device(system, server):
    return Device(system, server)


@pytest.fixture
def good(device):
    return announced(urls=(device.server.url(),))


def test_from_the_announcement_to_the_new_version(device, good):
    device.announce(good)
    assert device.go() == ("restarting", "")
    bundle = device.system.root / "var/lib/lethe/update/bundle.raucb"
    assert device.system.called() == [f"rauc install {bundle}", "systemctl --no-block reboot"]
    assert bundle.read_bytes() == BUNDLE
    device.boots("1.1.0")
    assert device.go(1) == ("trying", "")
    assert (device.told.version, device.told.target) == ("1.1.0", "1.1.0")
    device.system.kept()
    device.go(2)
    assert device.state == ("current", "")
    assert device.notes == [audit.Updated(before="1.0.0", version="1.1.0", sha256=good.sha256)]
    assert not bundle.exists()
    assert device.states() == [
        "current", "downloading", "installing", "restarting", "current", "trying", "current",
    ]  # fmt: skip


def test_nothing_is_announced_or_what_runs(device, good):
    assert device.go() == ("current", "")
    device.announce(announced(version="1.0.0", urls=good.urls))
    assert device.go() == ("current", "")
    assert not device.server.requests


def test_a_version_that_is_not_kept_is_reported_with_what_it_said(device, good):
    device.announce(good)
    device.go()
    device.boots("1.1.0")
    device.go()
    device.system.put(
        "data/ota/failed", "version=1.1.0\nbuild=b\nreason=the device did not start\n"
    )
    device.boots("1.0.0")
    assert device.go() == ("gone-back", "the device did not start")
    assert device.notes == [
        audit.NotUpdated(
            version="1.1.0", sha256=good.sha256, reason="the device did not start"
        )
    ]  # fmt: skip
    device.start()  # and it is not tried again, also not after a restart
    assert device.go() == ("gone-back", "the device did not start")
    device.announce(announced(urls=good.urls, attempt=2))
    assert device.go() == ("restarting", "")


BLIND = Verdict("1.1.0", False, ["the enrolled person was not recognised"], [], 0.0, 1.0)


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (msgspec.json.encode(BLIND).decode(), "self-test: the enrolled person was not recognised"),
        ('{"version":"1.1.0","rea', 'self-test: {"version":"1.1.0","rea'),
    ],
    ids=["whole", "cut off"],
)
def test_a_version_that_cannot_match_leaves_its_verdict(device, good, verdict, reason):
    device.announce(good)
    device.go()
    device.system.put("data/ota/failed", f"version=1.1.0\nbuild=b\nverdict={verdict}\n")
    device.boots("1.0.0")
    assert device.go() == ("gone-back", reason)


def test_a_version_that_never_spoke_went_back(device, good):
    device.system.put("data/ota/failed", "version=0.9.9\nreason=long ago\n")
    device.announce(good)
    device.go()
    device.boots("1.0.0")
    state, reason = device.go()
    assert state == "gone-back"
    assert "did not get as far" in reason


def test_rauc_refuses(device, good):
    device.system.rauc_says(
        " 20% Checking bundle\nLastError: signature verification failed: wrong key\n"
        "Installing `/x` failed\n", 1,
    )  # fmt: skip
    device.announce(good)
    assert device.go() == ("failed", "RAUC: signature verification failed: wrong key")
    assert device.system.called()[1:] == []
    assert device.notes[0].reason == "RAUC: signature verification failed: wrong key"


def test_what_rauc_says_of_its_progress_is_told(device, good):
    device.announce(good)
    device.updater.step()
    device.system.put(
        "run/lethe-install/output", "installing\n  0% Installing\n 47% Copying image\n"
    )
    (device.system.root / "var/lib/lethe/update/request").unlink()
    device.updater.step()
    assert (device.told.state, device.told.percent) == ("installing", 45)


def test_an_installation_that_never_ends_has_failed(device, good):
    device.announce(good)
    device.updater.step()
    device.now += limits.UPDATE_INSTALL_S + 1
    device.updater.step()
    assert device.state == ("failed", "the installation gave no result")


@pytest.mark.parametrize("request_", ["", "remove everything", "install\nrestart", "../x"])
def test_root_knows_a_few_words_and_no_others(device, request_):
    (device.system.root / "var/lib/lethe/update/request").write_text(request_)
    done = device.root()
    assert done.returncode == 1
    assert "not a request" in done.stderr
    assert device.system.called() == []
    assert device.root() is None, "it is asked once"


def test_a_link_or_a_pipe_is_no_request(device, tmp_path):
    request = device.system.root / "var/lib/lethe/update/request"
    (tmp_path / "elsewhere").write_text("install\n")
    request.symlink_to(tmp_path / "elsewhere")
    assert device.root().returncode == 1
    os.mkfifo(request)
    assert device.root().returncode == 1
    assert device.system.called() == []
    assert not request.exists()


def test_root_restarts_into_what_was_installed_only(device):
    (device.system.root / "var/lib/lethe/update/request").write_text("restart\n")
    assert device.root().returncode == 1
    assert device.system.called() == []


def test_down_only_where_it_was_signed_for(device, good):
    older = announced(version="0.9.0", urls=good.urls)
    device.announce(older)
    state, reason = device.go()
    assert state == "refused"
    assert "older: 0.9.0 is announced, 1.0.0 runs" in reason
    assert device.refused == [f"version 0.9.0: {reason}"]
    assert not device.server.requests
    device.announce(announced(version="0.9.0", urls=good.urls, allow_downgrade=True))
    assert device.go() == ("restarting", "")
    assert "--ignore-version-limit" in device.system.called()[0]


def test_another_devices_announcement_is_refused(device, good):
    device.announce(announced(compatible="lethe-other", urls=good.urls))
    assert device.go()[0] == "refused"
    assert not device.server.requests


@pytest.mark.parametrize(
    ("changes", "so", "fetched"),
    [
        ({"rollout": Rollout(percent=0)}, {}, False),
        ({"rollout": Rollout(halted="2 devices failed")}, {}, False),
        ({"window": Window(begin="01:00", end="02:00")}, {}, False),
        ({"window": Window(begin="01:00", end="04:00")}, {"minute": None}, False),
        ({}, {"candidate": True}, True),
        ({"conditions": ("not-armed",)}, {}, True),
    ],
)
def test_it_waits_and_says_what_for(device, good, changes, so, fetched):
    vars(device.so).update(so)
    device.announce(announced(urls=good.urls, **changes))
    state, reason = device.go()
    assert state == "waiting"
    assert reason
    assert bool(device.server.requests) == fetched
    assert device.system.called() == []


def test_it_goes_on_when_nobody_is_in_view_any_more(device, good):
    device.so.candidate = True
    device.announce(good)
    device.go()
    device.so.candidate = False
    assert device.go() == ("restarting", "")
    assert len(device.server.requests) == 1


def test_a_restart_is_asked_for_once(device, good):
    """A machine may go down for longer than it is until the next look."""
    device.announce(good)
    assert device.go(2) == ("restarting", "")
    request = device.system.root / "var/lib/lethe/update/request"
    device.updater.step()
    assert request.read_text() == "restart\n"
    device.root()
    device.updater.step()
    assert not request.exists()
    device.now += limits.UPDATE_INSTALL_S
    device.updater.step()
    assert request.read_text() == "restart\n"


def test_it_restarts_when_nobody_is_in_view(device, good):
    device.announce(good)
    device.updater.step()
    device.so.candidate = True
    device.root()
    assert device.go() == ("restarting", "a candidate is in view")
    assert "systemctl --no-block reboot" not in device.system.called()
    device.so.candidate = False
    device.go()
    assert device.system.called()[-1] == "systemctl --no-block reboot"


@pytest.mark.parametrize("how", ["halted", "withdrawn", "another"])
def test_what_is_halted_after_it_was_installed_is_not_started(device, good, how):
    device.announce(good)
    device.updater.step()
    device.so.candidate = True
    device.root()
    device.go()
    if how == "halted":
        device.announce(announced(urls=good.urls, rollout=Rollout(halted="2 devices failed")))
    elif how == "withdrawn":
        device.announce(None)
    else:
        device.announce(announced(b"another", version="1.2.0", urls=good.urls))
    device.go(1)
    assert device.system.called()[-1] == "rauc status mark-active booted"
    device.so.candidate = False
    device.go()
    assert "systemctl --no-block reboot" not in device.system.called()


@pytest.fixture
def stuck(device, good):
    """Installed, then withdrawn; and RAUC cannot take it back."""
    device.announce(good)
    device.updater.step()
    device.root()
    device.so.candidate = True
    device.go(1)
    device.so.candidate = False
    device.system.rauc_cannot_mark("rauc mark: failed to activate slot A: no space left\n")
    device.announce(None)
    device.go(2)
    return device


CANCEL = "rauc status mark-active booted"
SAYS = "withdrawn, but would start with any restart: rauc mark: failed to activate slot A: no space"


def test_what_cannot_be_taken_back_is_said_and_tried_again_and_never_started(stuck):
    assert stuck.state == ("failed", f"{SAYS} left")
    assert stuck.refused == [f"version 1.1.0: {SAYS} left"]
    called = stuck.system.called()
    assert called[1:] == [CANCEL]
    stuck.go()
    assert stuck.system.called() == called, "in a while"
    stuck.now += limits.UPDATE_RETRY_FIRST_S
    stuck.go()
    assert stuck.system.called() == [*called, CANCEL]
    assert stuck.refused == [f"version 1.1.0: {SAYS} left"], "recorded once"
    (stuck.system.root / "var/lib/lethe/update/request").write_text("restart\n")
    assert stuck.root().returncode == 1
    stuck.system.rauc_cannot_mark("")
    stuck.now += 2 * limits.UPDATE_RETRY_FIRST_S
    assert stuck.go() == ("current", "")
    assert "systemctl --no-block reboot" not in stuck.system.called()


def test_nothing_else_is_installed_before_it_is_taken_back(stuck, good):
    another = announced(version="1.2.0", urls=good.urls)
    stuck.announce(another)
    stuck.go()
    assert stuck.state == ("failed", f"{SAYS} left")
    stuck.system.rauc_cannot_mark("")
    stuck.now += 4 * limits.UPDATE_RETRY_FIRST_S
    assert stuck.go(6) == ("restarting", "")
    assert stuck.updater._record.version == "1.2.0"


def test_it_is_taken_back_after_a_start_of_the_device_or_of_the_machine_too(stuck):
    stuck.start()
    assert stuck.told.state == "restarting"
    stuck.go()
    assert stuck.state == ("failed", f"{SAYS} left")
    stuck.boots("1.0.0")
    stuck.system.rauc_cannot_mark("")
    called = len(stuck.system.called())
    assert stuck.go() == ("current", "")
    assert stuck.system.called()[called:] == [CANCEL]


def test_what_started_before_it_was_taken_back_is_said(stuck):
    stuck.boots("1.1.0")
    assert stuck.go()[0] == "trying"
    assert stuck.refused[-1] == "version 1.1.0: withdrawn, and started before it was taken back"


def test_a_device_that_starts_anew_in_the_middle_goes_on(device, good):
    device.announce(good)
    device.updater.step()
    device.start()
    device.root()
    assert device.go(1) == ("restarting", "")
    device.start()
    assert device.go(1) == ("restarting", "")
    assert device.system.called()[-1] == "systemctl --no-block reboot"


def test_a_power_cut_while_installing_installs_again(device, good):
    device.announce(good)
    device.updater.step()
    (device.system.root / "var/lib/lethe/update/request").unlink()  # root had taken it up
    device.boots("1.0.0")
    assert device.go() == ("restarting", "")
    assert len(device.server.requests) == 1, "what was fetched is still there"


def test_a_machine_that_goes_down_with_each_installation_has_failed(device, good):
    device.announce(good)
    for _ in range(limits.UPDATE_INSTALL_CUTS):
        device.updater.step()
        assert device.updater._record.phase == "installing"
        (device.system.root / "var/lib/lethe/update/request").unlink()
        device.boots("1.0.0")
    state, reason = device.go()
    assert (state, reason) == ("failed", "the machine went down in 3 installations")
    device.boots("1.0.0")
    assert device.go()[0] == "failed", "and is not tried again"
    assert device.system.called() == []


def test_a_power_cut_after_the_installation_starts_the_new_version(device, good):
    device.announce(good)
    device.updater.step()
    device.boots("1.1.0")
    assert device.go(1)[0] == "trying"


def test_a_download_that_broke_off_is_tried_again_later(device, good):
    device.server.answer = lambda request: request.send_error(503)
    device.announce(good)
    state, reason = device.go()
    assert state == "waiting"
    assert "HTTP status 503" in reason
    assert len(device.server.requests) == 1, "with a pause"
    device.server.answer = serve(BUNDLE)
    device.now += limits.UPDATE_RETRY_FIRST_S
    assert device.go() == ("restarting", "")


def test_another_file_than_was_announced_has_failed_by_name(device, good):
    device.server.answer = serve(BUNDLE[::-1])
    device.announce(good)
    state, reason = device.go()
    assert state == "failed"
    assert "another file than was announced" in reason
    assert len(device.refused) == 1
    assert device.system.called() == []


def test_a_download_that_is_halted_ends(device, good):
    """In the middle: the server waits until the roll-out was halted."""

    def answer(request):
        device.announce(announced(urls=good.urls, rollout=Rollout(halted="stop")))
        serve(BUNDLE)(request)

    device.server.answer = answer
    device.announce(good)
    device.updater.step()
    assert not (device.system.root / "var/lib/lethe/update/bundle.raucb").exists()
    assert device.go() == ("waiting", "halted: stop")


def test_an_announcement_that_is_none_leaves_the_one_before(device, good):
    device.announce(good)
    with pytest.raises(FormatError):
        device.updater.follow(View(b"{}"))
    assert device.go() == ("restarting", "")


def test_another_attempt_does_not_take_the_last_answer_for_its_own(device, good):
    device.system.rauc_says("LastError: no\n", 1)
    device.announce(good)
    device.go()
    device.announce(announced(urls=good.urls, attempt=2))
    device.updater.step()
    device.updater.step()
    assert device.state == ("installing", "")
    device.system.rauc_says()
    device.root()
    assert device.go(1) == ("restarting", "")


def test_a_full_disk_at_the_start_ends_nothing(device, good, monkeypatch):
    device.announce(good)
    device.go()

    def full(*_, **__):
        raise StorageUnavailable("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(updater, "write_atomically", full)
        device.boots("1.0.0")
    device.start()
    assert device.go()[0] == "gone-back"


def test_a_record_that_is_damaged_begins_anew(device, good):
    device.announce(good)
    device.go()
    (device.system.root / "var/lib/lethe/update/update.json").write_bytes(b"\0" * 50)
    device.boots("1.1.0")
    assert device.go() == ("current", "")


@pytest.mark.parametrize(
    ("supplies", "powered"),
    [
        ({}, True),
        ({"AC": {"type": "Mains", "online": "1"}, "BAT": {"type": "Battery"}}, True),
        ({"AC": {"type": "Mains", "online": "0"}}, False),
        ({"BAT": {"type": "Battery", "status": "Discharging"}}, False),
        ({"BAT": {"type": "Battery", "status": "Full"}}, True),
        ({"BAT": {"type": "Battery", "status": "Unknown"}}, None),
        ({"BAT": {"type": "Battery"}}, None),
        ({"mouse": {"type": "Battery", "scope": "Device", "status": "Discharging"}}, True),
        (
            {
                "BAT": {"type": "Battery", "status": "Full"},
                "mouse": {"type": "Battery", "scope": "Device", "status": "Unknown"},
            },
            True,
        ),
        (
            {
                "pen": {"type": "USB", "scope": "Device", "online": "1"},
                "BAT": {"type": "Battery", "status": "Discharging"},
            },
            False,
        ),
    ],
)
def test_what_powers_it(system, supplies, powered):
    for name, fields in supplies.items():
        for field, value in fields.items():
            system.put(f"sys/class/power_supply/{name}/{field}", f"{value}\n")
    assert Machine(system.root).powered is powered


def test_a_system_without_slots(tmp_path):
    machine = Machine(tmp_path)
    assert (machine.compatible, machine.release("VERSION_ID"), machine.kept) == ("", "", False)
