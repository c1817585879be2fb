"""The reader's command, with a broker that anybody may write to."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.event_text import plain
from demo.broker import running_broker
from edge.config import BrokerConfig
from edge.identity import write_public_key
from edge.link.session import Link
from edge.protocol import event, topics
from edge.protocol.event import Gap
from fleet.events import Reader
from fleet.ledger import Keys

ROOT = Path(__file__).resolve().parents[2]
KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


def made(reason, *, sequence=1, device="camera-1", key=KEY):
    gap = Gap(lost=sequence, reason=reason)
    return event.encode(event.make(gap, device=device, sequence=sequence, now=time.time(), key=key))


@pytest.fixture(scope="module")
def port():
    with running_broker() as port:
        yield port


@pytest.fixture
def send(port):
    link = Link(BrokerConfig(port=port), "sender")
    link.start()
    while not link.connected:
        time.sleep(0.01)
    yield lambda message: link.publish(topics.event("lethe", "camera-1"), message)
    link.close()


@pytest.fixture
def watch(port, tmp_path):
    """Run the command as a process."""
    write_public_key(tmp_path / "device.pub", KEY.public_key())

    @contextlib.contextmanager
    def watch(*options):
        command = [sys.executable, "-m", "cli.main", "events", "watch"]
        command += ["--broker", f"127.0.0.1:{port}", *options]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    return watch


def send_once_it_listens(send, process, messages):
    """Send when the command has said that it left out what is no event: then it listens."""
    seen = threading.Event()

    def repeat():
        while not seen.is_set():
            send(b"not an event")
            seen.wait(0.1)

    thread = threading.Thread(target=repeat)
    thread.start()
    line = process.stderr.readline()
    seen.set()
    thread.join()
    assert "left out" in line
    for message in messages:
        send(message)


def test_events_are_shown_and_nothing_in_them_reaches_the_terminal(watch, send, tmp_path):
    key = str(tmp_path / "device.pub")
    with watch("--device-key", key, "--count", "3", "--timeout", "60") as process:
        send_once_it_listens(
            send, process,
            [made("disk [/bold] \x1b[2J"), made("forged", sequence=2, key=OTHER),
             made("disk", sequence=3)],
        )  # fmt: skip
        shown, _ = process.communicate(timeout=60)
        assert process.returncode == 0
    assert "\x1b[2J" not in shown
    assert "disk [/bold] \ufffd[2J" in shown
    first, second, third = shown.splitlines()
    assert "signature holds" in first
    assert "signature holds" in third
    assert "not trusted" in second


def test_with_a_key_only_trusted_events_come_out_as_json(watch, send, tmp_path):
    key = str(tmp_path / "device.pub")
    spread = json.dumps(json.loads(made("spread", sequence=2)), indent=1).encode()
    with watch("--device-key", key, "--json", "--count", "2", "--timeout", "60") as process:
        send_once_it_listens(
            send, process, [made("forged", key=OTHER), made("disk"), made("disk"), spread]
        )
        lines = process.communicate(timeout=60)[0].splitlines()
    assert [json.loads(line)["data"]["reason"] for line in lines] == ["disk", "spread"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_when_asked_to(watch, send, number):
    with watch() as process:
        send_once_it_listens(send, process, [])
        process.send_signal(number)
        shown, rest = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "Traceback" not in rest
        assert shown == ""


def test_without_a_key_it_says_that_nothing_was_checked():
    received = Reader(Keys()).receive(made("disk"))
    assert received.refusal == "unchecked"
    assert "not checked" in received.problem


def test_an_event_on_the_topic_of_another_device_is_not_trusted():
    keys = Keys(any=[KEY.public_key()])
    received = Reader(keys).receive(made("disk"), device="camera-2")
    assert received.refusal == "another-device"
    assert "topic of device camera-2" in received.problem
    assert Reader(keys).receive(made("disk"), device="camera-1").trusted


@pytest.mark.parametrize("hostile", ["\x1b[31m", "\x9b31m", "\u202e", "a\nb", "\x07", "\r"])
def test_control_characters_are_taken_out(hostile):
    assert plain(hostile).replace("\\", "").isprintable()
