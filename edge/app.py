"""Wiring and life cycle: what `lethe run` does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from edge import __version__, limits
from edge.audit.diary import Diary, What
from edge.audit.log import AuditLog
from edge.camera.base import Camera
from edge.camera.open import open_camera
from edge.command.open import open_commands, open_preview
from edge.config import Config
from edge.errors import FrameError, StorageUnavailable
from edge.events.outbox import Outbox
from edge.events.publisher import Publisher
from edge.events.reports import Reports
from edge.files import private_folder
from edge.health.clock import Clock, source
from edge.health.governor import Governor
from edge.health.indicator import open_indicator
from edge.health.metrics import Metrics
from edge.health.notify import ServiceManager
from edge.health.position import open_position
from edge.health.telemetry import Monitor
from edge.health.threads import name_threads
from edge.identity import device_key, opening_key, registration
from edge.link.introduction import Introduction
from edge.link.session import Link
from edge.link.status import StatusPublisher
from edge.pipeline import Observer, Pipeline
from edge.protocol import audit, event, topics
from edge.protocol.home_assistant import discovery
from edge.protocol.status import OFFLINE, ListInForce, Status, Telemetry
from edge.report import Report
from edge.settings.effects import Parts, tightening
from edge.settings.keeper import Configuration, Reactions
from edge.settings.layers import fingerprint
from edge.settings.transport import ConfigurationTransport
from edge.settings.trial import Evidence, Verdict, judge
from edge.storage_key import storage_key
from edge.trust.client import Trust, read_root
from edge.update.machine import SYSTEM, Machine
from edge.update.model_store import ModelStore
from edge.update.open import FOLLOWERS, Updates, open_vision
from edge.vision.pace import Intervals
from edge.watchlist.authorisation import Place
from edge.watchlist.gallery import Gallery
from edge.watchlist.store import ListStore
from edge.watchlist.sync import Senses, Watchlists
from edge.watchlist.transport import ListTransport
from edge.watchlist.upkeep import keep_the_order, retire_others

if TYPE_CHECKING:
    from edge.link.enrolment import Renewal

log = logging.getLogger(__name__)

_TOLD: dict[str, What] = {"configuration": "configuration", **dict.fromkeys(FOLLOWERS, "update")}
"""What follows the fleet's state, as the audit log calls what it was told; else it is lists."""


class Device:
    """A device from its configuration: made, run once, closed."""

    def __init__(
        self,
        config: Config | Configuration,
        *,
        observer: Observer | None = None,
        camera: Camera | None = None,
        intervals: Intervals | None = None,
        sys_folder: Path = Path("/sys"),
        now: Callable[[], float] = time.time,
        vouch: Callable[[], str] = source,
        on_restart: Callable[[], None] = lambda: None,
        machine: Machine = SYSTEM,
    ) -> None:
        """Load the models, open the state and prepare everything; nothing is sent yet.

        Args:
            config: from `edge.config.load`; or that together with what the fleet has signed.
            observer: sees every processed frame, in this process only; `lethe run` has none.
            camera: instead of the one that the configuration names.
            intervals: how often faces are looked for, whatever the budget; if None, it says so.
            sys_folder: /sys, or a folder like it.
            now: wall clock, seconds since 1970.
            vouch: what vouches for it.
            on_restart: called when `run` is about to end for the device to be made anew; it may
                hang instead.
            machine: the system it runs on.

        Raises:
            LetheError: the models, keys, folders or the camera cannot be used; the message says
                what to do.
        """
        self._settings = config if isinstance(config, Configuration) else Configuration(config)
        self._config = config = self._settings.config
        self._now = now
        self._stop, self._looking = threading.Event(), threading.Event()
        self._again = self._asked = self._waits = False
        self._on_restart = on_restart
        self._skipped = 0
        self._began = self._last_frame = time.monotonic()
        self._captured = self._fed = 0
        # OpenCV's work is small pictures: its threads would only be in the way
        cv2.setNumThreads(1)
        fleet_root = read_root(Path(config.fleet.root))
        state_dir = private_folder(Path(config.device.state_dir))
        self._key = device_key(state_dir)
        vision_config = config.vision
        self._models = None if vision_config.models_dir else ModelStore(state_dir / "models")
        self._vision = open_vision(vision_config, self._models, state_dir / "engines")
        self._camera = camera or open_camera(config.camera)
        root, device = config.broker.topic_root, config.device.id
        status_topic = topics.status(root, device)
        self._clock = Clock(state_dir / "time.json", wall=now, source=vouch)
        self._audit = self._open_audit(state_dir / "audit")
        self._outbox = Outbox(
            state_dir / "outbox.db", self._sign, now=now, before_commit=self._audit.sync
        )
        self._link = Link(config.broker, f"lethe-{device}", will=(status_topic, OFFLINE))
        self._renewal = self._open_renewal(state_dir)
        self._publisher = Publisher(self._outbox, self._link, topics.event(root, device))
        self._reports = Reports(
            self._outbox, device=device, models=self._vision.models, on_stored=self._publisher.wake
        )
        self._status = StatusPublisher(self._link, status_topic)
        self._telemetry = StatusPublisher(self._link, topics.telemetry(root, device))
        self._introduction = Introduction(
            self._link,
            device,
            discovery(
                root,
                device,
                profile=config.device.profile,
                software=__version__,
                stop_switch=config.home_assistant.stop_switch,
            ),
        )
        self._introduction.set(config.home_assistant)
        self._reported = StatusPublisher(self._link, topics.configuration(root, device))
        self._monitor = Monitor(
            state_dir,
            live=self._camera.live,
            period=config.telemetry.period_s,
            now=now,
            sys_folder=sys_folder,
        )
        self._governor = Governor(config, intervals, sys_folder)
        self._service = ServiceManager()
        self._metrics = Metrics(lambda: self._newest)
        self._newest: tuple[Status, Telemetry | None] = (Status(state="online"), None)
        self._position = open_position(config.device)
        self._indicator = open_indicator(config.device.indicator)
        self._preview = open_preview(config, self._indicator, self._audit)
        self._lists = self._open_lists(private_folder(state_dir / "lists"))
        registration(state_dir, device)
        self._trust = Trust(
            self._link,
            root,
            fleet_root,
            state_dir / "trust",
            on_change=self._report_status,
            on_refusal=self._record_refusal,
        )
        self._list_transport = ListTransport(
            self._lists, list_id=config.watchlist.id, device=device, key=opening_key(state_dir)
        )
        self._trust.follow("configuration", ConfigurationTransport(self._settings, device))
        self._trust.follow("list", self._list_transport)
        self._updates = Updates(
            config,
            machine,
            self._link,
            self._trust,
            key=self._key,
            diary=self._audit,
            clock=self._clock,
            candidate=lambda: self._reports.in_view,
            gallery=self._lists.current,
            embedder=lambda: self._lists.embedder,
            models=self._models,
            restart=self._restart,
            now=now,
        )
        self._commands = open_commands(
            config, self._link, self._trust, self._lists, self._list_transport, self._preview,
            self._audit, self._key, state_dir, time=self._clock.read, restart=self._restart,
        )  # fmt: skip
        self._pipeline = Pipeline(
            self._vision,
            self._list_in_use,
            self._reports.candidate,
            now=self._clock.now,
            on_update=self._reports.update,
            on_end=self._reports.end,
            pictures=config.events.pictures,
            fpir_target=vision_config.fpir_target,
            observer=observer,
            pace=self._governor.pace,
        )
        self._parts = Parts(
            self._pipeline, self._monitor, self._metrics, self._introduction,
            self._lists, self._list_transport, self._trust,
        )  # fmt: skip

    def _open_renewal(self, state_dir: Path) -> Renewal | None:
        broker, device = self._config.broker, self._config.device.id
        if broker.ca_file is None or broker.cert_file is None:
            return None
        from edge.credentials import Credentials
        from edge.link.enrolment import Renewal

        credentials = Credentials(state_dir, device)
        return Renewal(
            credentials, self._link, broker, device, now=self._now, note=self._audit.note
        )

    def _open_audit(self, folder: Path) -> Diary:
        started = audit.Started(
            device=self._config.device.id,
            software=__version__,
            models=self._vision.models,
            configuration=fingerprint(self._config),
        )
        log_file = AuditLog(folder, now=self._now, certain=lambda: self._clock.read().least)
        return Diary(log_file, started, now=self._now)

    def _record_refusal(self, follower: str, reason: str) -> None:
        self._audit.refuse(_TOLD.get(follower, "list"), reason)

    def _list_in_use(self) -> Gallery | None:
        """Return the list to judge the next frame by, once it is recorded that it is used."""
        self._last_frame = time.monotonic()
        return self._audit.look(self._lists.current(), self._lists.stored())

    def _open_lists(self, folder: Path) -> Watchlists:
        device, wanted = self._config.device, self._config.watchlist
        key = storage_key(folder.parent)
        log.info("lists are kept under a key that is held by: %s", key.held_by)
        store = ListStore(folder / wanted.id, wanted.id, key.key)
        keep_the_order(folder, store, key.key)
        retire_others(folder, wanted.id, key.key, self._clock.read(), self._give_receipt)
        return Watchlists(
            Place(
                device=device.id,
                list_id=wanted.id,
                profile=device.profile,
                position=device.position,
                embedder=self._vision.embedder_id,
                dimension=self._vision.dimension,
                tightening=tightening(wanted),
            ),
            store,
            Senses(
                time=self._clock.read,
                where=self._position.fix,
                show=lambda armed: self._indicator.show(armed or self._preview.on),
            ),
            give_receipt=self._give_receipt,
            kind=wanted.index,
            on_change=self._report_status,
        )

    def run(self) -> Report:
        """Watch until the source ends or `stop` is called, then end cleanly."""
        log.info("camera %s, %s", self._camera.name, self._vision.runtime)
        self._metrics.serve(self._config.telemetry.prometheus_port)
        self._settings.attach(
            Reactions(
                apply=self._apply,
                restart=self._restart,
                record=self._audit.note,
                report=self._reported.set,
            )
        )
        self._lists.start()
        self._vision.start(self._report_status)
        health = threading.Thread(target=self._watch_health, name="health", daemon=True)
        health.start()
        self._service.ready()
        try:
            if self._camera.live or self._await_list():
                self._watch()
                self._settings.watch(self._evidence())  # a clip may be shorter than a second
        finally:
            self._stop.set()
            self._looking.set()
            health.join()
            if self._asked or not self._again:
                self._service.stopping()
            self._metrics.close()
            report = self._end()
        return report

    def stop(self) -> None:
        """End `run` soon, and for good; for signal handlers and other threads."""
        self._asked = True
        self._stop.set()

    def _restart(self) -> None:
        self._again = True
        self._on_restart()
        self._stop.set()

    def _apply(self, config: Config) -> None:
        before, self._config = self._config, config
        self._parts.apply(before, config)

    def _await_list(self) -> bool:
        """Wait for a list before a file is begun: unlike a live source it would pass unseen."""
        self._waits, said, pause = True, False, 0.002  # one that is held comes almost at once
        while self._lists.current() is None:
            if not said and self._lists.reasons:
                reasons = "; ".join(self._lists.reasons)
                log.info("%s: waiting for a list before the file is begun", reasons)
                said = True
            if self._stop.wait(pause):
                return False
            pause = min(2 * pause, 0.05)
        self._waits = False
        return True

    def _watch(self) -> None:
        for frame in self._camera.frames():
            if self._stop.is_set():
                return
            self._captured = frame.index + 1
            try:
                self._preview.offer(frame)
                self._pipeline.process(frame)
                if self._pipeline.counters.looks and not self._looking.is_set():
                    log.info("the first frame is judged")
                    self._looking.set()
            except FrameError as error:
                self._skipped += 1
                log.warning("frame %d skipped: %s", frame.index, error)

    def _end(self) -> Report:
        self._pipeline.finish()
        self._vision.close()
        self._reports.save()
        if not self._publisher.flush(limits.FLUSH_S):
            log.warning("%d events wait in the outbox for the next start", len(self._outbox))
        self._commands.close()
        self._updates.close()
        self._trust.close()
        self._lists.close()
        self._audit.close()
        self._publisher.close()
        self._position.close()
        self._save_clock(closing=True)
        self._status.set(Status(state="offline"))
        waiting = len(self._outbox)
        self._link.close()
        self._outbox.close()
        return Report(
            counters=self._pipeline.counters,
            candidates=self._reports.candidates,
            skipped=self._skipped,
            source=self._camera.state,
            sent_bytes=self._link.sent_bytes,
            waiting=waiting,
            again=self._again and not self._asked,
        )

    def _watch_health(self) -> None:
        """Begin to talk, report what changed; end the camera when asked to stop."""
        if self._lists.stored():  # it looks first: what verifies and signs takes long to load
            self._looking.wait(limits.HEALTH_S)
        for part in (self._trust, self._commands, self._link, self._publisher, self._updates):
            part.start()
        self._publish_audit_head()
        while True:
            self._look_after_health()
            if self._stop.wait(limits.HEALTH_S):
                break
        self._camera.close()

    def _look_after_health(self) -> None:
        if time.monotonic() - self._last_frame > limits.CAMERA_STALL_S:
            self._audit.idle("camera")
        if self._audit.hour_is_over():
            self._publish_audit_head()
        self._governor.look()
        name_threads()
        self._reports.save()
        self._save_clock()
        if self._renewal is not None:
            self._renewal.look()
        self._report_status()
        self._report_telemetry()
        evidence = self._evidence()
        self._settings.watch(evidence)
        if judge(evidence) is Verdict.PROVEN:
            self._updates.works()
        self._feed_watchdog()

    def _evidence(self) -> Evidence:
        """Return what a configuration on trial is judged by."""
        counters, armed = self._pipeline.counters, self._lists.current() is not None
        return Evidence(
            elapsed=time.monotonic() - self._began,
            frames=counters.frames,
            judged=counters.looks,
            armed=armed,
            waiting=not self._camera.live and not armed,
            camera=self._camera.state,
        )

    def _publish_audit_head(self) -> None:
        try:
            self._outbox.put(event.AuditHead(head=self._audit.head))
        except StorageUnavailable as error:  # what the log holds is in it all the same
            log.warning("the head of the audit log is not published: %s", error)
        else:
            self._publisher.wake()

    def _save_clock(self, *, closing: bool = False) -> None:
        try:
            self._clock.save(closing=closing)
        except StorageUnavailable as error:
            log.warning("%s", error)

    def _give_receipt(self, receipt: event.Receipt, name: str) -> None:
        self._outbox.put(receipt, once=name)
        self._publisher.wake()

    def _report_status(self) -> None:
        gallery = self._lists.current()
        camera = self._camera.state
        accelerators = tuple(each.status for each in self._vision.accelerators)
        reasons = (
            *self._lists.reasons,
            self._trust.reason,
            f"camera: {camera}" if camera != "ok" else "",
            self._reports.trouble,
            self._audit.trouble,
            self._metrics.trouble,
            self._renewal.reason if self._renewal else "",
            self._governor.reason,
            *(f"{a.back_end}: {a.reason}; the CPU goes on" for a in accelerators if a.reason),
        )
        reasons = tuple(reason for reason in reasons if reason)
        self._audit.watch(gallery, self._lists.stored(), reasons)
        status = Status(
            state="online",
            software=__version__,
            list=ListInForce(
                id=gallery.id,
                version=gallery.version,
                expires=int(gallery.expires),
                index=gallery.index_kind,
            )
            if gallery
            else None,
            stopped=self._lists.stopped,
            accelerators=accelerators,
            reasons=reasons,
        )
        if status != self._newest[0]:
            self._service.status("; ".join(reasons) or "all is well")
        self._newest = (status, self._newest[1])
        self._status.set(status)

    def _report_telemetry(self) -> None:
        ends = int(self._renewal.ends) if self._renewal is not None else None
        telemetry = self._monitor.sample(
            self._captured, len(self._outbox), self._governor.told, ends
        )
        if telemetry is not None:
            self._newest = (self._newest[0], telemetry)
            self._telemetry.set(telemetry)

    def _feed_watchdog(self) -> None:
        """Feed it when frames were processed, or none is to be: what hangs is to be restarted."""
        frames = self._pipeline.counters.frames
        if frames > self._fed or self._waits:
            self._fed = frames
            self._service.alive()

    def _sign(self, data: event.Data, sequence: int) -> bytes:
        return event.encode(
            event.make(
                data,
                device=self._config.device.id,
                sequence=sequence,
                now=self._now(),
                key=self._key,
                head=self._audit.report(data, self._config.device.id, sequence),
            )
        )
