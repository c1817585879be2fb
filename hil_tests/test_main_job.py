"""The device in its image does its main job: a list from a real broker, a clip, one candidate.

.venv/bin/python -m pytest -s hil_tests -k main_job
"""

import os
import subprocess
import time
from itertools import islice
from pathlib import Path

import cv2
import pytest

from demo import scene
from edge.config import BrokerConfig
from edge.identity import load_public_key
from edge.protocol import event
from edge.vision.engine import Vision
from firmware.disk import LETHE_ID
from fleet.events import Received, listen
from fleet.ledger import Keys
from tests import kit
from tests.conftest import Mosquitto

START = float(os.environ.get("LETHE_START_S", "1500"))
FRAMES = slice(110, 190)
"""Of the demonstration's scene: both people are in view."""
CONFIG = """[device]
id = "camera-1"
state_dir = "/var/lib/lethe/state"
[camera]
source = "/var/lib/lethe/clip.mp4"
[fleet]
root = "root.json"
[watchlist]
id = "gate"
[broker]
host = "10.0.2.2"
port = {port}
[vision]
detector = "yunet-2023mar-320x192"
"""
pytestmark = [pytest.mark.timeout(2 * 3600)]


def clip(path: Path) -> None:
    size = (scene.WIDTH, scene.HEIGHT)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), scene.FPS, size)
    for frame in islice(scene.frames(), FRAMES.start, FRAMES.stop, 2):
        writer.write(frame)
    writer.release()


def test_main_job(machine, tmp_path):
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    broker = Mosquitto(folder)
    broker.start()
    try:
        run(machine, broker.port, tmp_path)
    finally:
        broker.kill()


def run(machine, port, tmp_path):
    disk = tmp_path / "disk"
    state = disk / "lethe" / "state"
    state.mkdir(parents=True)
    owner = kit.make_owner(tmp_path / "owner", Vision.open(), scene.ENROLLED, state=state)
    kit.publish(owner, port)
    clip(disk / "lethe" / "clip.mp4")
    (disk / "config").mkdir()
    (disk / "config/lethe.toml").write_text(CONFIG.format(port=port))
    (disk / "config/root.json").write_bytes(Path(f"{owner.owned.fleet}/root.json").read_bytes())
    image = tmp_path / "disk.ext4"
    with image.open("wb") as file:
        file.truncate(64 * 2**20)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", disk, image], check=True)
    one = machine(disks=[image])
    begun = time.monotonic()
    one.start()
    one.await_shell(START)
    print(f"shell after {time.monotonic() - begun:.0f} s")
    one.await_command("systemctl -q is-active lethe-good.service", START)
    print(f"kept, waiting for its configuration, after {time.monotonic() - begun:.0f} s")
    one.run(
        "mount -o ro /dev/vdb /mnt && cp -a /mnt/config/. /data/config/ && "
        f"cp -a /mnt/lethe/. /data/lethe/ && chown -R {LETHE_ID}:{LETHE_ID} /data/lethe && "
        f"chgrp -R {LETHE_ID} /data/config && chmod 640 /data/config/* && umount /mnt"
    )
    received: list[Received] = []
    keys = Keys({"camera-1": load_public_key(state / "device.pub")})
    link = listen(BrokerConfig(port=port), received.append, keys=keys)
    try:
        started = time.monotonic()
        one.run("systemctl start lethe.service", timeout=600)
        print(f"lethe.service ready after {time.monotonic() - started:.0f} s")
        until = time.monotonic() + START
        while not candidates(received) and time.monotonic() < until:
            time.sleep(1)
        print(f"first candidate at the broker {time.monotonic() - started:.0f} s after its start")
    finally:
        link.close()
    print(
        one.run("systemctl status --no-pager lethe.service; journalctl -u lethe --no-pager | tail")
    )
    # And from a cold start, now that it has its configuration.
    one.cut_power()
    one.start()
    one.await_shell(START)
    judged = one.await_command(
        "journalctl -o short-monotonic -u lethe --no-pager | grep 'first frame is judged'", START
    )
    print(f"from a cold start: {judged}")
    print(one.run("systemd-analyze critical-chain --no-pager lethe.service"))
    one.await_kept(START)
    print(one.run("systemd-analyze; systemd-analyze blame --no-pager | head -n 8"))
    assert len(candidates(received)) == 1
    assert all(one.trusted for one in received)


def candidates(received):
    """Return the trusted reports of a person of the list."""
    return [
        one for one in received
        if one.trusted and one.event and isinstance(one.event.data, event.Candidate)
    ]  # fmt: skip
