"""What the tests share: the rig's device, its surroundings, and the record of a run."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from labgrid.pytestplugin.hooks import LABGRID_ENV_KEY

from edge.protocol.command import Resume
from firmware.build import Record
from hil_tests import boards
from hil_tests import versions as versions_module
from hil_tests.device import Device
from hil_tests.recorder import Recorder
from hil_tests.site import Site
from ota import keys


def pytest_addoption(parser):
    group = parser.getgroup("hil")
    group.addoption("--report", type=Path, help="where the run's record is written")
    group.addoption(
        "--cuts",
        type=int,
        default=3,
        help="power cuts in an installation; half as many in the start after",
    )
    group.addoption("--soak-minutes", type=float, default=30.0, help="length of the soak")
    group.addoption("--plants", default="", help="faults that the rig is to find")
    group.addoption("--update-keys", type=Path, help="keys that the image trusts")


def pytest_configure(config):
    # Whatever ends a run, what it has started ends with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config.addinivalue_line("markers", "shows(text): the requirement that the test shows")
    config.addinivalue_line("markers", "small: of the part that ./lethe test runs")
    config.pluginmanager.register(Recorder(config), "hil-recorder")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Let the rig say why it cannot do what a test needs; labgrid would only say that it cannot."""
    environment = config.stash[LABGRID_ENV_KEY]
    if environment is None:
        return
    reasons = environment.config.get_target_option("main", "cannot", {})
    have = environment.get_features() | environment.get_target_features()
    for item in items:
        for marker in item.iter_markers("lg_feature"):
            wanted = marker.args[0]
            for feature in [wanted] if isinstance(wanted, str) else wanted:
                if feature not in have:
                    why = reasons.get(feature, "this rig has no such part")
                    item.add_marker(pytest.mark.skip(reason=f"{feature}: {why}"))


@pytest.fixture(scope="session")
def run_folder(env) -> Path:
    return Path(env.config.get_path("run"))


@pytest.fixture(scope="session")
def image() -> Path:
    """Folder of the built image."""
    return Path(os.environ["LG_IMAGE"])


@pytest.fixture(scope="session")
def image_record(image) -> Record:
    return msgspec.json.decode((image / "image.json").read_bytes(), type=Record)


@pytest.fixture(scope="session")
def measure(request) -> Callable[..., None]:
    """Record a measured value: measure("installation", 12.3, "s")."""
    return request.config.pluginmanager.getplugin("hil-recorder").measure


@pytest.fixture(scope="session")
def session_device(strategy, request) -> Iterator[Device]:
    device = Device(strategy)
    request.config.pluginmanager.getplugin("hil-recorder").device = device
    yield device
    device.cut_power()


@pytest.fixture(scope="session")
def site(target, env, run_folder, request) -> Iterator[Site]:
    option = env.config.get_target_option
    soak = any(item.name == "test_soak" for item in request.session.items)
    site = Site(
        run_folder / "site",
        minutes=max(15.0, request.config.getoption("soak_minutes") + 5) if soak else 15.0,
        **{name: option("main", name, "") for name in ("address", "bind", "source", "screen")},
    )
    site.start()
    yield site
    site.close()


@pytest.fixture
def device(session_device) -> Device:
    """The device, running a version that was kept; as the last test left it."""
    session_device.start()
    return session_device


@pytest.fixture
def fresh(session_device) -> Device:
    """A device with a fresh image that has never been started; it is off."""
    session_device.renew()
    return session_device


@pytest.fixture
def looking(device, site) -> Device:
    """The device at its main job: provisioned, a list in force, the scene before its camera."""
    if not device.configured:
        site.configure(device)
        site.publish()
        device.configured = True
    site.keep_looking(device)
    if (said := site.now_says()) and said.stopped:  # by a test that failed half-way
        site.command(Resume())
    version = site.owner.owned.version
    site.until(lambda: site.in_force() == version, 1800, f"version {version} in force")
    return device


@pytest.fixture(scope="session")
def versions(env, image, image_record, run_folder, request):
    signer = request.config.getoption("update_keys")
    if signer is None or not (signer / keys.SIGNER_KEY).exists():
        pytest.skip("no update keys that the image trusts: ./lethe ota keys")
    work = run_folder / "versions"
    always = None
    if env.config.get_target_option("main", "serial-shell", default=False):
        always = functools.partial(boards.add_serial_shell, work=work)
    return versions_module.Versions(image, image_record, signer, work, always)
