import datetime
import shutil

import numpy as np
import pytest

from ota import bundle, keys

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture(scope="session")
def rauc():
    """RAUC on this machine, with which owners make bundles and devices judge them."""
    if shutil.which("rauc") is None or shutil.which("mksquashfs") is None:
        pytest.skip("rauc and squashfs-tools are not installed (apt-get install them)")


@pytest.fixture(scope="session")
def owner(tmp_path_factory):
    """An owner's update keys."""
    folder = tmp_path_factory.mktemp("keys")
    keys.make_authority(folder, "Test", now=NOW)
    keys.make_signer(folder, "Test signer", now=NOW)
    return folder


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory):
    """Not a root file system, but as hard to compress as the compressed parts of one."""
    path = tmp_path_factory.mktemp("rootfs") / "rootfs.ext4"
    path.write_bytes(np.random.default_rng(1).bytes(1024 * 1024))
    return path


@pytest.fixture(scope="session")
def signed(rauc, owner, rootfs, tmp_path_factory):
    """A good bundle."""
    path = tmp_path_factory.mktemp("bundle") / "good.raucb"
    bundle.make({"rootfs": rootfs}, bundle.Content("lethe-test", "1.2.3"), owner, path)
    return path
