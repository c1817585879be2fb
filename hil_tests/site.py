"""What stands around the device: broker, list owner, camera's scene, files, and the way between.

All of it listens on the address that the rig's environment names, and ends with the run.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import io
import math
import shlex
import ssl
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import tomli_w
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from demo import scene
from demo.broker import free_port
from edge import limits
from edge.errors import FormatError
from edge.link.session import Link
from edge.protocol import configuration, event, status, topics, update
from edge.protocol.announcement import Announcement
from edge.protocol.command import Answer, Order
from edge.protocol.signing import key_id
from edge.provision.document import CA_FILE, CLIENT, ROOT_FILE, STATE_DIR
from edge.vision.engine import Vision
from firmware.disk import LETHE_ID
from fleet import broker as bringing
from fleet import commands, lists, setup, updates
from fleet.enrol import enrol
from fleet.events import Reader, Received
from fleet.folder import locked
from fleet.ledger import Keys
from fleet.repository import Repository
from hil_tests.access import Access
from hil_tests.device import Device
from hil_tests.proxy import Proxy
from hil_tests.strategy import BOUND_TO_US
from tests.brokers import Shipped
from tests.camera.rtsp_server import PER_RTP, TS_PACKET, RtspServer
from tests.fleet_kit import authorisation

DEVICE, LIST = "camera-1", "gate"
EMPTY, PEOPLE, FPS = 6, slice(100, 200, 5), 2
"""Of the scene: frames without anyone, then both people in view; few, for slow machines."""
WALK_S = 5.0
"""An emulated device takes longer than this for the scene."""
VALID_S = 2 * 86400
DROP_IN = "/run/systemd/system/lethe.service.d"
AS_THE_DEVICE = f"setpriv --reuid {LETHE_ID} --regid {LETHE_ID} --clear-groups"


def write_scene(path: Path, *, times: int = 1) -> int:
    """Write the scene: nobody, then an enrolled person and another; returns its frames."""
    size = (scene.WIDTH, scene.HEIGHT)
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, FPS, size)
    drawn = list(islice(scene.frames(), PEOPLE.stop))
    shown = [*[drawn[0]] * EMPTY, *drawn[PEOPLE]] * times
    for frame in shown:
        writer.write(frame)
    writer.release()
    return len(shown)


@dataclass(frozen=True)
class Heard:
    """An event, and when it came here, seconds since 1970."""

    received: Received
    at: float


class Site:
    """The list's owner with an enrolled person, the broker, and what the device says."""

    def __init__(
        self,
        folder: Path,
        *,
        address: str,
        bind: str,
        source: str = "",
        screen: str = "",
        minutes: float = 15.0,
    ) -> None:
        """Prepare everything; nothing is started.

        Args:
            folder: for all of its files.
            address: of this machine, as the device reaches it.
            bind: where this machine listens for it.
            source: the device's camera; empty: a clip on its disk, of which every frame counts. An
                emulated device is too slow for a live one: it looks less than once in the 0.8 s
                after which a track is lost.
            screen: command that shows a video, again and again, on a screen before that camera.
            minutes: so long the clip lasts at least, before the device starts anew with it.
        """
        self.folder, self.address, self.bind = folder, address, bind
        (folder / "broker").mkdir(parents=True)
        (folder / "files").mkdir()
        self.vision = Vision.open()
        self._fleet = setup.found(folder / "fleet")
        ground = authorisation(not_after=int(time.time()) + VALID_S)
        self.owner = lists.begin(folder / "owner", LIST, ground, fleet=self._fleet)
        self.enrol(scene.ENROLLED.stem, scene.ENROLLED)
        self.broker = Shipped(folder / "broker", addresses=("127.0.0.1", address))
        self.broker.wrapper = BOUND_TO_US
        self.access = Access(self.broker, self._fleet, bind, self._know)
        self.way = Proxy(bind, self.broker.port)
        self._files = functools.partial(_Files, directory=str(folder / "files"))
        self._servers: list[http.server.ThreadingHTTPServer] = []
        self._links: list[Link] = []
        self._events: Link | None = None
        self._device_key: Ed25519PublicKey | None = None
        self._clip = folder / "clip.mp4"
        self.screen = Screen(screen, self._clip) if screen else None
        self.source = source or "/var/lib/lethe/clip.mp4"
        write_scene(self._clip, times=1 if source else math.ceil(60 * minutes / WALK_S))
        stream = folder / "scene.ts"
        frames = write_scene(stream)
        packets = stream.stat().st_size / (TS_PACKET * PER_RTP)
        self.camera = RtspServer(stream, port=free_port(), rate=packets * FPS / frames)
        self.heard: list[Heard] = []
        self.statuses: list[tuple[float, status.Status]] = []
        self.telemetry: list[tuple[float, status.Telemetry]] = []
        self.updates: list[tuple[float, update.Update]] = []
        """What the device says of its version; its signature holds."""
        self.configurations: list[tuple[float, configuration.Reported]] = []
        self._changed = threading.Condition()

    @property
    def entry(self) -> str:
        """Id of the enrolled person's entry, as long as it is on the list."""
        return self.owner.find(scene.ENROLLED.stem).entry.id

    def start(self) -> None:
        self.broker.start()
        self.way.start()
        self.access.door.start()
        self.camera.start()
        if self.screen:
            self.screen.start()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(
            *(self.folder / "broker" / f"broker.{one}" for one in ("pem", "key"))
        )
        self._servers = [
            http.server.ThreadingHTTPServer((self.bind, 0), self._files) for _ in range(2)
        ]
        secure = self._servers[1]
        secure.socket = context.wrap_socket(secure.socket, server_side=True)
        for server in self._servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        self.listen()

    def close(self) -> None:
        for link in (*self._links, *filter(None, [self._events])):
            link.close()
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self.camera.kill()
        if self.screen:
            self.screen.kill()
        self.way.close()
        self.access.door.close()
        self.broker.kill()

    def _know(self, key: Ed25519PublicKey) -> None:
        """Believe what is signed by this key from now on: the device has made it."""
        if key == self._device_key:
            return
        self._device_key = key
        if self._events is not None:
            self._events.close()
        reader = Reader(Keys({DEVICE: key}))

        def take(_topic: str, message: bytes) -> bool:
            received = reader.receive(message, device=DEVICE)
            if received.refusal != "replayed":
                self._take_event(received)
            return True

        config = self.broker.config("reader")
        # Like an archive: what comes before it is back at a broker that was away is kept for it.
        self._events = Link(config, f"rig-events-{key_id(key)[:12]}", lasting=True)
        self._events.subscribe_safely(
            topics.event(config.topic_root, DEVICE), take, limits.MAX_EVENT_BYTES
        )
        self._events.start()

    def listen(self) -> None:
        """Read what devices report beside events, as whoever is allowed to."""
        config = self.broker.config("reader")
        link = Link(config, f"rig-{free_port()}")
        for topic, read, kept in (
            (topics.status(config.topic_root, DEVICE), status.parse, self.statuses),
            (topics.telemetry(config.topic_root, DEVICE), status.parse_telemetry, self.telemetry),
            (topics.update(config.topic_root, DEVICE), self._read_update, self.updates),
            (
                topics.configuration(config.topic_root, DEVICE),
                configuration.decode_reported,
                self.configurations,
            ),
        ):
            link.subscribe(
                topic, functools.partial(self._take, read, kept), limits.MAX_REPORTED_BYTES
            )
        link.start()
        self._links.append(link)

    def _read_update(self, message: bytes) -> update.Update:
        return update.decode(message, DEVICE, [self._device_key] if self._device_key else [])

    def _take_event(self, received: Received) -> None:
        with self._changed:
            self.heard.append(Heard(received, time.time()))
            self._changed.notify_all()

    def _take(self, read: Callable, kept: list, topic: str, message: bytes) -> None:
        try:
            said = read(message)
        except FormatError as error:
            said = error  # a test that looks at it fails by it
        with self._changed:
            kept.append((time.time(), said))
            self._changed.notify_all()

    def until(self, condition: Callable[[], object], timeout: float, what: str) -> float:
        """Wait for something that comes from the device; returns the seconds it took.

        Raises:
            AssertionError: it did not come in time.
        """
        begun = time.monotonic()
        with self._changed:
            while not condition():
                left = begun + timeout - time.monotonic()
                assert left > 0, f"{what}: not within {timeout:.0f} s; last: {self.last()}"
                self._changed.wait(min(left, 1.0))
        return time.monotonic() - begun

    def last(self) -> str:
        """Return the newest status and event, for people."""
        said = self.statuses[-1][1] if self.statuses else "no status"
        return f"{said}, {len(self.heard)} events"

    def configuration(self) -> configuration.Reported | None:
        """Return what the device says of its configuration."""
        return self.configurations[-1][1] if self.configurations else None

    # --- What the device has reported -----------------------------------------------------------

    def now_says(self) -> status.Status | None:
        return self.statuses[-1][1] if self.statuses else None

    def in_force(self) -> int:
        """Version of the list that the device says is in force; 0 if none is."""
        said = self.now_says()
        return said.list.version if said and said.state == "online" and said.list else 0

    def events(self, kind: type, since: int = 0) -> list[Heard]:
        """Trusted events of a kind, from a position in `heard` on."""
        return [
            one for one in self.heard[since:]
            if one.received.trusted and one.received.event
            and isinstance(one.received.event.data, kind)
        ]  # fmt: skip

    def candidates(self, since: int = 0) -> list[Heard]:
        return self.events(event.Candidate, since)

    def await_candidate(self, timeout: float = 900.0) -> float:
        """Wait for the next report of a person of the list; returns the seconds it took."""
        since = len(self.heard)
        return self.until(lambda: self.candidates(since), timeout, "a candidate")

    # --- What the owner does --------------------------------------------------------------------

    def publish(self) -> int:
        """Sign the list as it is and bring it to the broker; returns its version."""
        make = lists.draft(self.owner, lists.known_devices(self.owner, None))
        lists.issue_here(
            self.owner, make, embedder=self.vision.embedder_id, dimension=self.vision.dimension
        )
        self.bring()
        return self.owner.owned.version

    @contextlib.contextmanager
    def signing(self) -> Iterator[Repository]:
        """What the fleet signs in the block is at the broker after it."""
        with locked(self._fleet):
            repository = Repository.existing(self._fleet)
            yield repository
            repository.seal_state()
            repository.save()
        self.bring()

    def bring(self) -> None:
        """Bring all that was signed to the broker."""
        repository = Repository.existing(self._fleet)
        bringing.publish(repository, self.broker.config("fleet"))

    def announce(self, bundle: Path, compatible: str, version: str) -> None:
        """Announce a bundle to the device; it lies on a server of this machine."""
        size, digest = updates.measure(bundle)
        url = self.url(bundle, secure=True)
        with self.signing() as repository:
            updates.announce(repository, Announcement(
                compatible=compatible, version=version, size=size, sha256=digest, urls=(url,),
                conditions=(),
            ))  # fmt: skip

    def command(self, order: Order, key: Ed25519PrivateKey | None = None) -> Answer:
        """Give the device a command, signed by an operator or by another key; return its answer."""
        own, devices = commands.authority(self._fleet, None)
        broker = self.broker.config("operator")
        answers = commands.give(
            order, DEVICE, key or own, devices, broker, lambda _: None, timeout=300
        )
        assert DEVICE in answers, "the device does not answer"
        return answers[DEVICE]

    def enrol(self, label: str, photo: Path) -> None:
        until = self.owner.owned.authorisation.not_after
        self.owner.add(
            label, enrol(self.vision, [photo]),
            embedder=self.vision.embedder_id, not_before=0, not_after=until,
        )  # fmt: skip

    # --- What the device is given ---------------------------------------------------------------

    def url(self, path: Path, *, secure: bool = False) -> str:
        """Offer a file to the device."""
        offered = self.folder / "files" / path.name
        offered.unlink(missing_ok=True)
        offered.symlink_to(path.resolve())
        scheme, port = ("http", "https")[secure], self._servers[secure].server_port
        return f"{scheme}://{self.address}:{port}/{path.name}"

    def settings(self, source: str = "", **vision: str) -> dict[str, dict[str, object]]:
        """Return what an operator decides of the device's configuration.

        Args:
            source: of its camera; the rig's if empty.
            **vision: further settings of that section.
        """
        return {
            "camera": {"source": source or self.source},
            "watchlist": {"id": LIST},
            "broker": {"host": self.address, "port": self.way.port},
            "vision": {"detector": "yunet-2023mar-320x192"} | vision,
            "telemetry": {"period_s": 30},
        }

    def _config(self, source: str, **vision: str) -> bytes:
        """Return the whole of it, with what names the files that lie beside it."""
        whole = self.settings(source, **vision)
        whole["device"] = {"id": DEVICE, "state_dir": STATE_DIR}
        whole["fleet"] = {"root": ROOT_FILE}
        whole["broker"] |= {"ca_file": CA_FILE, "cert_file": CLIENT}
        whole["update"] = {"ca_file": CA_FILE}
        return tomli_w.dumps(whole).encode()

    def configure(self, device: Device) -> None:
        """Give the device its configuration, and access by a request that is carried by hand."""
        files = {
            "lethe.toml": self._config(self.source),
            ROOT_FILE: (self._fleet / "root.json").read_bytes(),
            CA_FILE: (self.folder / "broker/ca.pem").read_bytes(),
        }
        archive = self.folder / "config.tar"
        with tarfile.open(archive, "w") as tar:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        device.fetch(self.url(archive), "/run/config.tar")
        self.bring_clip(device)
        provision = f"cd /run && {AS_THE_DEVICE} lethe provision"
        device.run(
            "systemctl stop lethe.service; cd /etc/lethe && tar -xf /run/config.tar && "
            f"rm /run/config.tar && chgrp {LETHE_ID} * && chmod 640 * && "
            f"{provision} request --config /etc/lethe/lethe.toml --out /var/lib/lethe/request.json",
            timeout=900,
        )
        answer = self.folder / "answer.json"
        answer.write_bytes(
            self.access.sign(device.run("cat /var/lib/lethe/request.json").strip().encode())
        )
        device.fetch(self.url(answer), "/run/answer.json")
        device.run(
            f"chmod 644 /run/answer.json && {provision} install answer.json "
            "--config /etc/lethe/lethe.toml && rm /var/lib/lethe/request.json /run/answer.json && "
            "sync && systemctl reset-failed lethe.service; systemctl start lethe.service",
            timeout=900,
        )

    def reconfigure(self, device: Device, source: str = "", **vision: str) -> None:
        """Give the device another configuration, by hand; arguments as of `settings`."""
        config = self.folder / "lethe.toml"
        config.write_bytes(self._config(source, **vision))
        device.fetch(self.url(config), "/data/config/lethe.toml")
        device.run("sync && systemctl restart lethe.service", timeout=900)

    def bring_clip(self, device: Device) -> None:
        """Put the clip before the device's camera, where a clip is its camera."""
        if not self.screen:
            device.fetch(self.url(self._clip), "/data/lethe/clip.mp4")
            device.run(f"chown {LETHE_ID}:{LETHE_ID} /data/lethe/clip.mp4; sync")

    def keep_looking(self, device: Device) -> None:
        """Let the clip begin anew when it is over; a restart of the device forgets that."""
        lines = "[Unit]\\nStartLimitBurst=99\\n[Service]\\nRestart=always\\n"
        device.run(
            f"test -e {DROP_IN}/clip.conf || {{ mkdir -p {DROP_IN} && "
            f"printf '{lines}' >{DROP_IN}/clip.conf && systemctl daemon-reload; }}; "
            "systemctl start lethe.service",
            timeout=900,
        )

    @contextlib.contextmanager
    def power_of_the_broker_cut(self) -> Iterator[None]:
        """Take the broker away; it comes back with what it had on its disk."""
        self.broker.kill()
        try:
            yield
        finally:
            self.broker.start()


class Screen:
    """Shows the scene to a real camera. Not yet run on hardware."""

    def __init__(self, command: str, scene_file: Path) -> None:
        self._command = [*shlex.split(command), str(scene_file)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen([*BOUND_TO_US, *self._command])

    def kill(self) -> None:
        """End the picture."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


class _Files(http.server.SimpleHTTPRequestHandler):
    """Serves one folder, silently."""

    def log_message(self, *_: object) -> None:
        """Say nothing: what the device fetches is in the tests."""
