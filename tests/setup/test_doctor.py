"""The doctor's checks, each on a made-up machine, and the command."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import doctor as command
from edge.config import DeviceConfig
from edge.health import doctor
from edge.health.finding import Finding
from tests.inference.simulated import SimulatedCoral

NOW = 1_790_000_000.0  # September 2026

CONFIG = """
[device]
id = "gate"
state_dir = "state"
[camera]
source = "clip.mp4"
[broker]
host = "127.0.0.1"
port = {port}
[watchlist]
id = "missing"
[fleet]
root = "root.json"
"""


@pytest.fixture
def listening() -> Iterator[int]:
    """Yield a port on which somebody answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def silent() -> int:
    """Return a port on which nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("version", "state"),
    [((3, 10), "problem"), ((3, 11), "ok"), ((3, 13), "ok"), ((4, 0), "problem")],
)
def test_python(version: tuple[int, int], state: str) -> None:
    assert doctor.check_python(version).state == state


@pytest.mark.parametrize(
    ("machine", "kib", "state"),
    [("aarch64", 900_000, "ok"), ("x86_64", 400_000, "note"), ("armv7l", 900_000, "problem")],
)
def test_machine(tmp_path: Path, machine: str, kib: int, state: str) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemFree: 1 kB\nMemTotal: {kib} kB\n")
    finding = doctor.check_machine(machine, 4, meminfo)
    assert finding.state == state
    assert f"{kib // 1024} MiB" in finding.says


@pytest.mark.parametrize("content", [None, "", "MemTotal:", "MemTotal: many kB"])
def test_unknown_memory_is_left_out(tmp_path: Path, content: str | None) -> None:
    meminfo = tmp_path / "meminfo"
    if content is not None:
        meminfo.write_text(content)
    assert doctor.check_machine("x86_64", 1, meminfo) == Finding("machine", "ok", "x86_64, 1 core")


@pytest.mark.parametrize(
    ("millidegrees", "throttled", "state", "says"),
    [
        (None, None, "ok", "no sensor"),
        ("55000\n", None, "ok", "55 °C"),
        ("85000\n", None, "note", "85 °C"),
        ("unreadable", None, "ok", "no sensor"),
        ("55000\n", "0\n", "ok", "55 °C"),
        ("55000\n", "50005\n", "note", "power supply"),
        ("85000\n", "e0008\n", "note", "too hot"),
        ("55000\n", "50000\n", "ok", "55 °C"),  # it happened, but is over
    ],
)
def test_temperature(
    tmp_path: Path, millidegrees: str | None, throttled: str | None, state: str, says: str
) -> None:
    zone = tmp_path / "class/thermal/thermal_zone0/temp"
    firmware = tmp_path / "devices/platform/soc/soc:firmware/get_throttled"
    for path, content in ((zone, millidegrees), (firmware, throttled)):
        if content is not None:
            path.parent.mkdir(parents=True)
            path.write_text(content)
    finding = doctor.check_temperature(tmp_path)
    assert finding.state == state
    assert says in finding.says


@pytest.mark.parametrize(
    ("now", "vouched", "state", "says"),
    [
        (0, "NTP", "problem", "1970"),
        (NOW, "NTP", "ok", "synchronised"),
        (NOW, "real-time clock rtc0", "note", "by real-time clock rtc0, not synchronised"),
        (NOW, "", "problem", "nobody is looked for"),
    ],
)
def test_clock(now: float, vouched: str, state: str, says: str) -> None:
    finding = doctor.check_clock(now, vouched)
    assert finding.state == state
    assert says in finding.says


def test_what_protects_lists_at_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "whoever reads the disk" in doctor.check_storage_key(tmp_path / "tpmrm0").says
    (tmp_path / "tpmrm0").touch()
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert "sealed by the TPM" in doctor.check_storage_key(tmp_path / "tpmrm0").says
    monkeypatch.setattr(doctor.shutil, "which", lambda _: None)
    assert doctor.check_storage_key(tmp_path / "tpmrm0").state == "note"


def test_position(listening: int, silent: int) -> None:
    worn = {"id": "a", "profile": "body-worn"}
    fixed = DeviceConfig(id="a")
    assert "refused" in doctor.check_position(fixed).says
    assert doctor.check_position(DeviceConfig(id="a", position=(47.0, 8.5))).says == (
        "47.0000, 8.5000"
    )
    for port, state in ((listening, "ok"), (silent, "problem")):
        device = DeviceConfig(**worn, gpsd=f"127.0.0.1:{port}")
        assert doctor.check_position(device).state == state


def test_indicator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LEDS", tmp_path)
    assert doctor.check_indicator(None).state == "ok"
    assert doctor.check_indicator("led:red").state == "problem"
    (tmp_path / "red").mkdir()
    (tmp_path / "red" / "brightness").touch()
    assert doctor.check_indicator("led:red").state == "ok"
    assert doctor.check_indicator(f"file:{tmp_path}/armed").state == "ok"
    assert doctor.check_indicator(f"file:{tmp_path}/nowhere/armed").state == "problem"


def test_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    finding = doctor.check_disk(tmp_path / "not" / "yet")
    assert str(tmp_path) in finding.says
    assert "not" not in finding.says.removeprefix(str(tmp_path))


def test_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.limits, "DOCTOR_DISK_BYTES", 1 << 62)
    assert doctor.check_disk(tmp_path).state == "problem"


def test_runtime_is_named() -> None:
    assert doctor.check_runtime().state == "ok"


def test_missing_models_are_a_problem(tmp_path: Path) -> None:
    finding = doctor.check_models(tmp_path)
    assert finding.state == "problem"
    assert "manifest.json" in finding.says


def accelerators(root: Path, **vision: object) -> list[Finding]:
    section = doctor.configuration.parse_section(vision, doctor.configuration.VisionConfig)
    return list(doctor.check_accelerators(section, root))


def test_without_accelerators_the_cpu_is_chosen_and_it_says_why(tmp_path: Path) -> None:
    found = accelerators(tmp_path)
    assert [f.check for f in found] == ["accelerator", *["back end"] * 3]
    assert {f.state for f in found} == {"ok"}
    for finding, role in zip(found[1:], ("detector", "scout", "embedder"), strict=True):
        assert finding.says.startswith(f"{role} on the CPU; not tensorrt: no NVIDIA GPU found")
        assert "not edgetpu: no Edge TPU found" in finding.says


def test_an_edge_tpu_without_its_library_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/apex_0").touch()
    monkeypatch.setattr("ctypes.util.find_library", lambda _name: None)
    found = accelerators(tmp_path)
    assert found[0].state == "note"
    assert "libedgetpu.so.1 is not installed" in found[0].says
    assert "libedgetpu1-std" in found[0].todo
    assert "not edgetpu: libedgetpu.so.1 is not installed" in found[1].says


def test_what_fits_the_edge_tpu_and_what_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = SimulatedCoral(tmp_path / "coral").models(tmp_path / "models")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/apex_0").touch()
    monkeypatch.setattr("ctypes.util.find_library", lambda _name: "libedgetpu.so.1")
    found = accelerators(tmp_path, models_dir=str(models))
    assert [f.state for f in found] == ["ok"] * 4
    assert found[1].says.startswith("detector on edgetpu")
    assert found[2].says.startswith("scout on edgetpu")
    assert found[3].says.startswith("embedder on the CPU")
    assert "do not fit" in found[3].says


def test_an_accelerator_that_is_named_but_not_there(tmp_path: Path) -> None:
    models = SimulatedCoral(tmp_path / "coral").models(tmp_path / "models")
    found = accelerators(tmp_path, models_dir=str(models), backend="edgetpu")
    assert (found[1].state, found[1].todo) == ("note", "until that is mended, the CPU works")
    assert "no Edge TPU found" in found[1].says


def test_an_accelerator_that_is_named_and_has_no_models(tmp_path: Path) -> None:
    none = SimulatedCoral(tmp_path / "coral").models(tmp_path / "models", "no model at all")
    found = accelerators(tmp_path, models_dir=str(none), backend="edgetpu")
    assert found[-1].state == "problem"
    assert "can run nothing" in found[-1].says


def test_state_folder(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    assert doctor.check_state_dir(folder).says.endswith("will be made")
    folder.mkdir(mode=0o700)
    assert doctor.check_state_dir(folder).state == "ok"
    folder.chmod(0o755)
    assert doctor.check_state_dir(folder).todo == f"chmod 700 {folder}"
    file = tmp_path / "file"
    file.touch()
    assert doctor.check_state_dir(file).state == "problem"


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_state_folder_that_cannot_be_made(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert doctor.check_state_dir(tmp_path / "state").state == "problem"


def test_camera_file(tmp_path: Path) -> None:
    assert doctor.check_camera(str(tmp_path / "none.mp4")).state == "problem"
    assert doctor.check_camera(str(tmp_path)).state == "ok"


def test_camera_address(listening: int, silent: int) -> None:
    assert doctor.check_camera(f"rtsp://127.0.0.1:{listening}/x").state == "ok"
    finding = doctor.check_camera(f"rtsp://user:secret@127.0.0.1:{silent}/x")
    assert finding.state == "problem"
    assert "secret" not in finding.says + finding.todo


@pytest.mark.parametrize(
    "source", ["http://camera/x", "rtsp://camera:99999/x", "rtsp://[::1/x", "rtsp:///x"]
)
def test_camera_address_of_no_use(source: str) -> None:
    assert "rtsp://HOST/PATH" in doctor.check_camera(source).todo


def test_picamera_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda _: None)
    assert doctor.check_camera("picamera2:1").state == "problem"


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("", "ok"),
        ("raise ValueError('numpy.dtype size changed')", "problem"),
        ("import libcamera_is_not_there", "problem"),
    ],
)
def test_picamera2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, state: str) -> None:
    (tmp_path / "picamera2.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "picamera2", raising=False)
    assert doctor.check_picamera2().state == state
    sys.modules.pop("picamera2", None)


def test_broker(listening: int, silent: int) -> None:
    assert doctor.check_broker("127.0.0.1", listening).state == "ok"
    assert doctor.check_broker("127.0.0.1", silent).state == "problem"
    assert doctor.check_broker("a" * 64, 1883).state == "problem"  # no name may be so long


def test_keys_open_to_others(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    (tmp_path / "root.json").touch()
    secret.touch(mode=0o644)
    text = CONFIG.format(port=1).replace("port = 1", 'port = 1\npassword_file = "password"')
    (tmp_path / "lethe.toml").write_text(text)
    config = doctor.configuration.load(tmp_path / "lethe.toml")
    assert doctor.check_keys(config).todo == f"chmod 600 {secret}"
    secret.chmod(0o600)
    assert doctor.check_keys(config).state == "ok"
    (tmp_path / "root.json").unlink()
    assert doctor.check_keys(config).state == "problem"


def test_examine_with_a_configuration(tmp_path: Path, listening: int) -> None:
    (tmp_path / "lethe.toml").write_text(CONFIG.format(port=listening))
    (tmp_path / "root.json").touch()
    (tmp_path / "clip.mp4").touch()
    found = {f.check: f.state for f in doctor.examine(tmp_path / "lethe.toml", NOW)}
    for check in ("configuration", "keys", "state", "camera", "broker"):
        assert found[check] == "ok"


def test_command_reports_a_refused_configuration(tmp_path: Path) -> None:
    file = tmp_path / "lethe.toml"
    file.write_text(CONFIG.format(port=99999))
    result = CliRunner().invoke(command.app, ["--config", str(file), "--json"])
    assert result.exit_code == 1
    last = json.loads(result.stdout)[-1]
    assert (last["check"], last["state"]) == ("configuration", "problem")
    assert "port" in last["says"]


def test_command_exit_code_and_text(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [Finding("disk", "note", "odd [name]", "look")]
    monkeypatch.setattr(doctor, "examine", lambda _: findings)
    result = CliRunner().invoke(command.app)
    assert result.exit_code == 0
    assert "odd [name]" in result.stdout
    assert "→ look" in result.stdout
    findings.append(Finding("disk", "problem", "full", "free some"))
    assert CliRunner().invoke(command.app).exit_code == 1
