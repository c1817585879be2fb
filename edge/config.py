"""The device's configuration: typed, bounded, refused whole when one value is wrong.

The file is TOML; `docs/configuration.md` lists every field. Safety limits of the signed list can
be tightened here, never loosened.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from edge import limits
from edge.errors import ConfigError
from edge.files import read_toml
from edge.protocol.watchlist import Name, Purpose

Section = TypeVar("Section", bound=msgspec.Struct)
_SHOWS = r"^(led:[A-Za-z0-9:._-]{1,64}|file:.{1,1024})$"
_MOST_HOURS = limits.MAX_VALIDITY_FIXED_S / 3600


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class DeviceConfig(_Section):
    """Who and where this device is.

    Attributes:
        id: name of the device in topics and events; must be unique at the broker.
        profile: rules for the kind of camera: "fixed" or "body-worn".
        state_dir: folder for the device's key, outbox and version floors; made with mode 0700.
        position: latitude and longitude in degrees of a fixed camera; lists bound to an area are
            refused without it. A body-worn camera has none: it asks gpsd.
        gpsd: host and port of gpsd, for a body-worn camera.
        identify: what blinks at the command `identify`, named like an indicator; another one.
        indicator: what shows people that the camera is looking: "led:<name>", a lamp of
            /sys/class/leds, or "file:<path>", a file that holds 1 or 0 for a program that shows
            it. A body-worn camera must have one. If it does not obey, nothing is looked for.
    """

    id: Name
    profile: Literal["fixed", "body-worn"] = "fixed"
    state_dir: str = "state"
    position: (
        tuple[Annotated[float, Meta(ge=-90, le=90)], Annotated[float, Meta(ge=-180, le=180)]] | None
    ) = None
    gpsd: Annotated[str, Meta(pattern=r"^[A-Za-z0-9.:\[\]-]{1,255}:[0-9]{1,5}$")] = (
        limits.DEFAULT_GPSD
    )
    indicator: Annotated[str, Meta(pattern=_SHOWS)] | None = None

    identify: Annotated[str, Meta(pattern=_SHOWS)] | None = None

    @property
    def gpsd_address(self) -> tuple[str, int]:
        """Host and port of gpsd."""
        host, _, port = self.gpsd.rpartition(":")
        return host.strip("[]"), int(port)


class CameraConfig(_Section):
    """Where frames come from.

    Attributes:
        source: path of a video file, folder of pictures, /dev/videoN, rtsp:// address, or
            "picamera2" (also "picamera2:1" for the second camera).
        width: wanted width in pixels of V4L2 and Picamera2 sources.
        height: wanted height in pixels of V4L2 and Picamera2 sources.
        fps: wanted frames a second of V4L2 and Picamera2 sources.
    """

    source: Annotated[str, Meta(min_length=1, max_length=1024)]
    width: Annotated[int, Meta(ge=160, le=limits.MAX_FRAME_SIDE)] = 1280
    height: Annotated[int, Meta(ge=120, le=limits.MAX_FRAME_SIDE)] = 720
    fps: Annotated[int, Meta(ge=1, le=120)] = 25


class BrokerConfig(_Section):
    """The MQTT broker.

    Attributes:
        host: name or address.
        port: TCP port.
        topic_root: first level of every topic.
        username: MQTT user name, if the broker asks for one.
        password_file: file (0600) holding the password.
        ca_file: PEM file of the authority that signed the broker's certificate; turns TLS on.
        cert_file: the device's client certificate, PEM; with its key in it: 0600. Renewed by
            the device itself if it is `tls/client.pem` of the state folder.
        key_file: the private key of it, PEM, 0600, if that is another file.
    """

    host: Annotated[str, Meta(min_length=1, max_length=255)] = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    topic_root: Name = limits.DEFAULT_TOPIC_ROOT
    username: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


class FleetConfig(_Section):
    """Who signs what this device obeys.

    Attributes:
        root: file with the fleet's root metadata (root.json), brought here on another way than
            the broker's.
    """

    root: Annotated[str, Meta(min_length=1, max_length=1024)]


class WatchlistConfig(_Section):
    """Which list this device obeys.

    Attributes:
        id: the list's id.
        index: "exact"; "hnsw": a graph is tried on any list; "auto": on very long ones. It serves
            only if it misses nobody and is faster (`edge.watchlist.hnsw`).
        purposes: those that this device serves; lists for others are refused.
        max_entries: lists with more people are refused, whoever signed them.
        max_hours: lists that are valid for longer are refused.
    """

    id: Name
    index: Literal["auto", "exact", "hnsw"] = "auto"
    purposes: Annotated[frozenset[Purpose], Meta(min_length=1)] = frozenset(Purpose)
    max_entries: Annotated[int, Meta(ge=1, le=limits.MAX_LIST_SIZE)] = limits.MAX_LIST_SIZE
    max_hours: Annotated[float, Meta(gt=0, le=_MOST_HOURS)] = _MOST_HOURS


class VisionConfig(_Section):
    """How faces are found and judged.

    Attributes:
        models_dir: folder with manifest.json; empty means the one shipped with the software.
        detector: name in the manifest; "crowd" means the one with the largest input, for small
            faces; empty means the manifest's default.
        embedder: name in the manifest; empty means its default.
        threads: CPU threads for inference.
        backend: what runs the networks: "litert" (the CPU), "edgetpu", "tensorrt", or "auto": an
            accelerator that is found at the start, else the CPU. The CPU goes on where one fails.
        edgetpu_device: which Edge TPU: "usb", "pci", ":N", "usb:N" or "pci:N"; any if empty.
        accelerator_python: Python that an accelerator's libraries are installed for; our own if
            empty.
        effort: "saving": look less often, as in heat; "full"; "auto": saving where the camera is
            body-worn. Heat and a low battery are followed in any case (`edge.health.budget`).
        fpir_target: wanted false positive identification rate of a track against the whole list.
            The stricter of this and the signed list's is used.
    """

    models_dir: str = ""
    detector: str = ""
    embedder: str = ""
    threads: Annotated[int, Meta(ge=1, le=16)] = 2
    backend: Literal["auto", "litert", "edgetpu", "tensorrt"] = "auto"
    edgetpu_device: Annotated[str, Meta(pattern=r"^(usb|pci|(usb|pci)?:[0-9]{1,2})?$")] = ""
    accelerator_python: Annotated[str, Meta(max_length=1024)] = ""
    effort: Literal["auto", "full", "saving"] = "auto"
    fpir_target: Annotated[float, Meta(gt=0, le=limits.FPIR_TARGET_LAXEST)] = (
        limits.FPIR_TARGET_DEFAULT
    )


class EventsConfig(_Section):
    """What is reported of candidates.

    Attributes:
        pictures: send the face of a candidate, sealed to the reviewers; only where the signed list
            names their key too.
    """

    pictures: bool = False


class TelemetryConfig(_Section):
    """What is told of the device's health.

    Attributes:
        period_s: seconds between two messages.
        prometheus_port: serves the same on http://127.0.0.1:<port>/metrics; 0: not at all.
    """

    period_s: Annotated[int, Meta(ge=limits.TELEMETRY_LEAST_S, le=3600)] = (
        limits.TELEMETRY_DEFAULT_S
    )
    prometheus_port: Annotated[int, Meta(ge=0, le=65535)] = 0


class UpdateConfig(_Section):
    """How new versions come.

    Attributes:
        ca_file: PEM file of the authority that certifies the servers which hold bundles; those of
            the system if none is given.
        models: channel that models come from; of no effect where vision.models_dir is set.
    """

    ca_file: str | None = None
    models: Name = "default"


class HomeAssistantConfig(_Section):
    """Whether the device introduces itself to Home Assistant.

    Attributes:
        discovery: publish the discovery document, retained.
        prefix: Home Assistant's discovery prefix.
        stop_switch: let Home Assistant, which cannot sign, stop the device. Only a signed command
            resumes it.
    """

    discovery: bool = False
    prefix: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$", max_length=64)] = (
        limits.DEFAULT_DISCOVERY_PREFIX
    )
    stop_switch: bool = False


class AimConfig(_Section):
    """The preview for whoever installs the camera.

    Attributes:
        interface: network interface that it is served on, for instance "eth0"; without one there is
            no preview.
        port: TCP port; 0: any that is free.
    """

    interface: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,15}$")] | None = None
    port: Annotated[int, Meta(ge=0, le=65535)] = limits.AIM_PORT


class Config(_Section):
    """The whole file.

    Attributes:
        log_level: how much is said on stderr, which a journal keeps.
    """

    device: DeviceConfig
    camera: CameraConfig
    fleet: FleetConfig
    watchlist: WatchlistConfig
    broker: BrokerConfig = BrokerConfig()
    vision: VisionConfig = VisionConfig()
    events: EventsConfig = EventsConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    update: UpdateConfig = UpdateConfig()
    home_assistant: HomeAssistantConfig = HomeAssistantConfig()
    aim: AimConfig = AimConfig()
    log_level: Literal["debug", "info", "warning", "error"] = "info"


def parse(document: dict[str, Any]) -> Config:
    """Turn a decoded document into a `Config`.

    Raises:
        ConfigError: naming the field and what it may hold.
    """
    config = parse_section(document, Config)
    device = config.device
    if device.profile == "body-worn" and device.position is not None:
        raise ConfigError(
            "configuration refused: device.position is for fixed cameras; a body-worn one asks gpsd"
        )
    if device.profile == "body-worn" and device.indicator is None:
        raise ConfigError(
            'configuration refused: device.indicator: a body-worn camera needs one, "led:<name>" '
            'or "file:<path>": it looks for people only where they can see that it does'
        )
    if device.identify is not None and device.identify == device.indicator:
        raise ConfigError(
            "configuration refused: device.identify is device.indicator: what blinks must not pass "
            "for the lamp that says the camera is looking"
        )
    return config


def parse_section(values: dict[str, Any], section: type[Section]) -> Section:
    """Turn decoded values into one section.

    Raises:
        ConfigError: naming the field and what it may hold.
    """
    try:
        return msgspec.convert(values, section)
    except msgspec.ValidationError as error:
        raise ConfigError(f"configuration refused: {error}") from error


def load(path: Path, *, source: str | None = None) -> Config:
    """Read a TOML file; relative paths in it are taken from the file's own folder.

    Args:
        path: the file.
        source: replaces camera.source; a relative path is taken from the present folder.

    Raises:
        ConfigError: the file is missing, too large, no TOML, or holds a wrong value.
    """
    document = read_toml(path, limits.MAX_CONFIG_BYTES)
    try:
        config = parse(document)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    config = _anchor(config, path.resolve().parent)
    if source is None:
        return config
    camera = parse_section({**msgspec.to_builtins(config.camera), "source": source}, CameraConfig)
    return msgspec.structs.replace(config, camera=camera)


def _anchor(config: Config, base: Path) -> Config:
    """Make the relative paths of a configuration relative to the folder it came from."""

    def absolute(value: str) -> str:
        return str(base / value) if value else value

    def optional(value: str | None) -> str | None:
        return absolute(value) if value else value

    source = config.camera.source
    if "://" not in source and not source.startswith("picamera2"):
        source = absolute(source)

    def shown(setting: str | None) -> str | None:
        if setting is None or not setting.startswith("file:"):
            return setting
        return "file:" + absolute(setting.removeprefix("file:"))

    replace = msgspec.structs.replace
    return replace(
        config,
        device=replace(
            config.device,
            state_dir=absolute(config.device.state_dir),
            indicator=shown(config.device.indicator),
            identify=shown(config.device.identify),
        ),
        camera=replace(config.camera, source=source),
        broker=replace(
            config.broker,
            password_file=optional(config.broker.password_file),
            ca_file=optional(config.broker.ca_file),
            cert_file=optional(config.broker.cert_file),
            key_file=optional(config.broker.key_file),
        ),
        update=replace(config.update, ca_file=optional(config.update.ca_file)),
        fleet=replace(config.fleet, root=absolute(config.fleet.root)),
        vision=replace(
            config.vision,
            models_dir=absolute(config.vision.models_dir),
            accelerator_python=absolute(config.vision.accelerator_python),
        ),
    )
