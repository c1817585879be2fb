"""What can be told about this machine before anything goes wrong: one small check per question.

Every check is a function of what it is given (a path, a clock reading, a configuration) and returns
a `Finding`; none of them raises, changes anything, or opens the camera. `examine` runs them all.
"""

from __future__ import annotations

import datetime
import importlib
import importlib.util
import os
import platform
import shutil
import socket
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from edge import config as configuration
from edge import limits
from edge.errors import ConfigError, LetheError
from edge.health import broker, clock
from edge.health.certificate import check_broker_tls, check_certificate
from edge.health.finding import Finding
from edge.health.indicator import LEDS
from edge.health.sensors import hottest, throttled
from edge.health.threads import running
from edge.storage_key import TPM

MIB = 1024 * 1024
_ANEW = "delete .venv and run ./lethe again"


def examine(config_file: Path | None, now: float | None = None) -> Iterator[Finding]:
    """Yield the findings about this machine, and about a configuration if one is given.

    Args:
        config_file: the TOML file of the device, or None.
        now: seconds since 1970; the system's clock if None.
    """
    yield check_python(sys.version_info[:2])
    yield check_machine(platform.machine(), os.cpu_count() or 1, Path("/proc/meminfo"))
    yield check_temperature(Path("/sys"))
    yield check_running(Path("/proc"))
    yield check_clock(time.time() if now is None else now, clock.source())
    yield check_runtime()
    yield check_index()
    yield check_picamera2()
    if config_file is None:
        yield check_models(None)
        yield from check_accelerators(None)
        yield check_disk(Path.cwd())
        return
    try:
        config = configuration.load(config_file)
    except ConfigError as error:
        yield Finding("configuration", "problem", str(error), "correct it")
        return
    yield Finding("configuration", "ok", f"{config_file} is valid")
    yield check_models(Path(config.vision.models_dir) if config.vision.models_dir else None)
    yield from check_accelerators(config.vision)
    yield check_keys(config)
    yield check_state_dir(Path(config.device.state_dir))
    yield check_storage_key(Path(TPM))
    yield check_disk(Path(config.device.state_dir))
    yield check_position(config.device)
    yield check_indicator(config.device.indicator)
    yield check_camera(config.camera.source)
    answers = check_broker(config.broker.host, config.broker.port)
    yield answers
    yield check_certificate(config, time.time() if now is None else now)
    if answers.state == "ok":
        if config.broker.ca_file is not None:
            yield check_broker_tls(config)
        yield from broker.examine(config)


# --- The machine ---------------------------------------------------------------------------------


def check_python(version: tuple[int, int]) -> Finding:
    """Check that the packages are locked for this Python (major, minor)."""
    says = f"{version[0]}.{version[1]}"
    if (3, 11) <= version <= (3, 13):
        return Finding("python", "ok", says)
    return Finding("python", "problem", says, "use Python 3.11, 3.12 or 3.13")


def check_machine(machine: str, cores: int, meminfo: Path) -> Finding:
    """Check that there are packages for this processor, and that memory suffices.

    Args:
        machine: as `uname -m` says it.
        cores: number of CPU cores.
        meminfo: /proc/meminfo, or a file like it.
    """
    says = f"{machine}, {cores} core{'s' if cores > 1 else ''}"
    memory = _total_memory(meminfo)
    if memory is not None:
        says += f", {memory // MIB} MiB of memory"
    if machine not in ("x86_64", "aarch64"):
        todo = "use a 64-bit system (x86-64 or ARM64): there are no packages for this one"
        return Finding("machine", "problem", says, todo)
    if memory is not None and memory < limits.DOCTOR_MEMORY_BYTES:
        least = limits.DOCTOR_MEMORY_BYTES // MIB
        return Finding("machine", "note", says, f"below {least} MiB large lists may not fit")
    return Finding("machine", "ok", says)


def _total_memory(meminfo: Path) -> int | None:
    try:
        for line in meminfo.read_text("ascii").splitlines():
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None
    return None


def check_temperature(sys_folder: Path) -> Finding:
    """Check how hot the processor is, and whether a Raspberry Pi's firmware slows it down.

    Args:
        sys_folder: /sys, or a folder like it.
    """
    reasons = throttled(sys_folder)
    if reasons:
        weak = "under-voltage" in reasons
        says = (
            "the Raspberry Pi slows itself down: "
            f"{'its power supply is too weak' if weak else 'it is too hot'}"
        )
        return Finding(
            "temperature", "note", says,
            "use a stronger power supply" if weak else "cool it better",
        )  # fmt: skip
    degrees = hottest(sys_folder)
    if degrees is None:
        return Finding("temperature", "ok", "no sensor on this machine")
    says = f"{degrees:.0f} °C"
    if degrees >= limits.TEMPERATURE_HOT_C:
        return Finding("temperature", "note", says, "cool it better, or it will slow itself down")
    return Finding("temperature", "ok", says)


def check_running(proc: Path) -> Finding:
    """Tell whether a device runs here, its threads, and what each has taken of the processor.

    Args:
        proc: /proc, or a folder like it.
    """
    devices = running(proc)
    if not devices:
        return Finding("running", "ok", "no device runs here now")
    says = (
        f"process {number}: " + ", ".join(f"{t.name} {t.seconds:.1f} s" for t in threads)
        for number, threads in sorted(devices.items())
    )
    return Finding("running", "ok", "; ".join(says))


def check_clock(now: float, vouched: str) -> Finding:
    """Check that the clock can be trusted with the validity of a list.

    Args:
        now: seconds since 1970.
        vouched: what vouches for it (`edge.health.clock.source`); empty if nothing does.
    """
    moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
    says = f"{moment:%Y-%m-%d %H:%M} UTC"
    if moment.year < limits.DOCTOR_FIRST_YEAR:
        return Finding("clock", "problem", says, "set the clock: no list is valid at this time")
    todo = "let the system synchronise it (timedatectl set-ntp true): lists expire by this clock"
    if not vouched:
        says = f"{says}, which nothing vouches for: nobody is looked for until something does"
        return Finding("clock", "problem", says, todo)
    if vouched != "NTP":
        return Finding("clock", "note", f"{says}, by {vouched}, not synchronised", todo)
    return Finding("clock", "ok", f"{says}, synchronised")


def check_disk(folder: Path) -> Finding:
    """Check that there is room for lists, and for events that wait for the broker."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    says = f"{free // MIB} MiB free at {folder}"
    if free < limits.DOCTOR_DISK_BYTES:
        todo = f"free some: at least {limits.DOCTOR_DISK_BYTES // MIB} MiB"
        return Finding("disk", "problem", says, todo)
    return Finding("disk", "ok", says)


# --- What is installed ---------------------------------------------------------------------------


def check_runtime() -> Finding:
    """Check that there is a library to run the models."""
    from edge.inference.litert import find_runtime  # numpy: not needed for `--help`

    try:
        return Finding("runtime", "ok", find_runtime()[1])
    except (LetheError, ImportError) as error:
        return Finding("runtime", "problem", str(error), _ANEW)


def check_models(folder: Path | None) -> Finding:
    """Check that every model is there and has the hash of the manifest.

    Args:
        folder: holds manifest.json; None means the models shipped with the software.
    """
    from edge.inference.manifest import load_manifest

    try:
        manifest = load_manifest(folder)
        models = manifest.models()
        for model in models.values():
            manifest.read(model)
    except LetheError as error:
        return Finding("models", "problem", str(error), "restore the models from the release")
    return Finding("models", "ok", f"{', '.join(models)}: as in the manifest")


def check_accelerators(
    vision: configuration.VisionConfig | None, root: Path = Path("/")
) -> Iterator[Finding]:
    """Say which accelerators there are, which back end runs which network, and why not another.

    Args:
        vision: the device's configuration; its defaults if None.
        root: the file system's root, or a folder like it.
    """
    from edge.inference.choice import choose
    from edge.inference.manifest import load_manifest
    from edge.inference.open import find_obstacles
    from edge.inference.presence import find_edgetpus, find_gpu

    vision = vision or configuration.VisionConfig()
    gpu = find_gpu(vision.accelerator_python, root)
    found = [*find_edgetpus(root), *([gpu] if gpu else [])]
    for each in found:
        says = f"{each.name}: {each.obstacle}" if each.obstacle else each.name
        yield Finding("accelerator", "note" if each.obstacle else "ok", says, each.todo)
    if not found:
        yield Finding("accelerator", "ok", "none found")
    try:
        manifest = load_manifest(Path(vision.models_dir) if vision.models_dir else None)
        networks = manifest.networks(vision.detector, vision.embedder)
        obstacles = find_obstacles(vision.accelerator_python, root)
        choices = choose(vision.backend, networks, obstacles)
    except LetheError as error:
        yield Finding("back end", "problem", str(error), "correct vision, or restore the models")
        return
    for role, choice in choices.items():
        says = f"{role} on {choice.accelerator or 'the CPU'}"
        reasons = [f"not {name}: {why}" for name, why in choice.refused.items()]
        if choice.accelerator and (obstacle := obstacles[choice.accelerator]):
            todo = "until that is mended, the CPU works"
            yield Finding("back end", "note", f"{says}, as configured; {obstacle}", todo)
        else:
            yield Finding("back end", "ok", "; ".join([says, *reasons]))


def check_index() -> Finding:
    """Say how lists are searched here."""
    from edge.watchlist.packed import usable

    graph = (
        f"hnswlib is tried from {limits.HNSW_FROM_TEMPLATES:,} templates on"
        if importlib.util.find_spec("hnswlib")
        else "no hnswlib (no C++ compiler at set-up), which only far longer lists could use"
    )
    if usable():
        return Finding("index", "ok", f"exact, int8 by numkong; {graph}")
    says = f"exact, by numpy: numkong cannot be used, so a search takes four times as long; {graph}"
    return Finding("index", "note", says, _ANEW)


def check_picamera2() -> Finding:
    """Say whether the camera of a Raspberry Pi could be used. Importing opens no camera."""
    try:
        importlib.import_module("picamera2")
    except (ImportError, ValueError, OSError) as error:
        if isinstance(error, ImportError) and error.name == "picamera2":
            says = "not installed: only a Raspberry Pi's own camera needs it"
            return Finding("picamera2", "ok", says)
        # "numpy.dtype size changed": https://github.com/raspberrypi/picamera2/issues/1088
        todo = "on Raspberry Pi OS 12 (bookworm) use LETHE_LOCK=tflite-runtime: docs/install.md"
        return Finding("picamera2", "problem", f"cannot be imported: {error}", todo)
    return Finding("picamera2", "ok", "installed")


# --- What the configuration names ----------------------------------------------------------------


def check_keys(config: configuration.Config) -> Finding:
    """Check that keys and certificates are there, and that the secret ones are private."""
    broker = config.broker
    secret = [name for name in (broker.password_file, broker.key_file) if name]
    public = [name for name in (broker.ca_file, broker.cert_file) if name]
    for name in [config.fleet.root, *public, *secret]:
        if not os.access(name, os.R_OK):
            return Finding("keys", "problem", f"{name} cannot be read", "put it there")
    for name in secret:
        if Path(name).stat().st_mode & 0o077:
            return Finding("keys", "problem", f"{name} is open to others", f"chmod 600 {name}")
    return Finding("keys", "ok", f"{config.fleet.root} is readable, secrets are private")


def check_state_dir(folder: Path) -> Finding:
    """Check that state can be kept, and that only we can read it."""
    if not folder.exists():
        parent = next(p for p in folder.parents if p.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            return Finding("state", "ok", f"{folder} will be made")
        return Finding("state", "problem", f"{parent} cannot be written", "change its owner")
    mode = folder.stat().st_mode
    if not stat.S_ISDIR(mode):
        return Finding("state", "problem", f"{folder} is not a folder", "name another")
    if mode & 0o077:
        return Finding("state", "problem", f"{folder} is open to others", f"chmod 700 {folder}")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return Finding("state", "problem", f"{folder} cannot be written", "change its owner")
    return Finding("state", "ok", f"{folder} is private and writable")


def check_storage_key(tpm: Path) -> Finding:
    """Say what protects the lists at rest.

    Args:
        tpm: the TPM's device.
    """
    if not tpm.exists():
        says = "no TPM 2.0: the key of lists at rest is a file; whoever reads the disk reads both"
        return Finding("at rest", "ok", says)
    if shutil.which("systemd-creds") is None:
        return Finding("at rest", "note", "systemd-creds is missing: the TPM is not used",
                       "install systemd 250 or later")  # fmt: skip
    return Finding("at rest", "ok", "the key of lists at rest is sealed by the TPM 2.0")


def check_position(device: configuration.DeviceConfig) -> Finding:
    """Check that the place can be known, for lists that are bound to an area."""
    if device.profile == "body-worn":
        return _connect("position", *device.gpsd_address)
    if device.position is None:
        return Finding("position", "ok", "not set: lists that are bound to an area are refused")
    return Finding("position", "ok", "{:.4f}, {:.4f}".format(*device.position))


def check_indicator(setting: str | None) -> Finding:
    """Check that what shows people that the camera looks is there. Nothing is lit."""
    if setting is None:
        return Finding("indicator", "ok", "none: a fixed camera, about which signs tell")
    kind, _, name = setting.partition(":")
    path = LEDS / name / "brightness" if kind == "led" else Path(name).parent
    if not os.access(path, os.W_OK):
        todo = "correct device.indicator, or let this user write there: nobody is looked for"
        return Finding("indicator", "problem", f"{path} is not there, or not writable", todo)
    return Finding("indicator", "ok", setting)


def check_camera(source: str) -> Finding:
    """Check that the source is there. It is not opened: a camera in use stays undisturbed."""
    if source.split(":")[0] == "picamera2":
        if importlib.util.find_spec("picamera2"):
            return Finding("camera", "ok", "picamera2 is installed")
        todo = "sudo apt-get install python3-picamera2, delete .venv, run ./lethe again"
        return Finding("camera", "problem", "picamera2 is not installed", todo)
    if "://" in source:
        try:
            address = urlsplit(source)
            port = address.port or limits.RTSP_PORTS[address.scheme]
        except (ValueError, KeyError):
            address, port = urlsplit(""), 0
        if not address.hostname:
            todo = "use rtsp://HOST/PATH or rtsps://HOST/PATH"
            return Finding("camera", "problem", "the source is not an address", todo)
        return _connect("camera", address.hostname, port)
    if not Path(source).exists():
        return Finding("camera", "problem", f"{source} does not exist", "connect or correct it")
    if not os.access(source, os.R_OK):
        todo = "add the user to the group video" if source.startswith("/dev/") else "chmod it"
        return Finding("camera", "problem", f"{source} cannot be read", todo)
    return Finding("camera", "ok", f"{source} is there")


def check_broker(host: str, port: int) -> Finding:
    """Check that something answers at the broker's address."""
    return _connect("broker", host, port)


def _connect(check: str, host: str, port: int) -> Finding:
    """Connect by TCP and close. Names host and port only: an address may hold a password."""
    try:
        socket.create_connection((host, port), limits.DOCTOR_CONNECT_S).close()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        says = f"{host}:{port} does not answer: {reason}"
        return Finding(check, "problem", says, "start it, or correct the address or firewall")
    return Finding(check, "ok", f"{host}:{port} answers")
