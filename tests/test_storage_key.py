"""The storage key: made once, sealed by a TPM where there is one, replaced where it is lost."""

import contextlib
import shutil
import socket
import subprocess
import time

import pytest

from demo.broker import free_port
from edge import storage_key as keys
from edge.errors import ConfigError
from edge.storage_key import PLAIN, SEALED, storage_key

NO_TPM = "/dev/there-is-none"
TOOLS = ("swtpm", "systemd-creds", "tpm2")  # the last comes with the libraries


def test_without_a_tpm_it_is_a_file_for_its_owner_only(tmp_path):
    first = storage_key(tmp_path, NO_TPM)
    assert first.held_by == "file"
    assert len(first.key) == 32
    assert (tmp_path / PLAIN).stat().st_mode & 0o777 == 0o600
    assert storage_key(tmp_path, NO_TPM) == first
    assert str(first.key) not in repr(first)


def test_two_devices_have_two_keys(tmp_path):
    one, two = (storage_key(tmp_path / n, NO_TPM) for n in ("a", "b") if not (tmp_path / n).mkdir())
    assert one.key != two.key


@pytest.mark.parametrize("content", [b"", b"short", b"!" * 44, b"A" * 10**5])
def test_a_damaged_file_is_replaced(tmp_path, content, caplog):
    first = storage_key(tmp_path, NO_TPM)
    (tmp_path / PLAIN).write_bytes(content)
    second = storage_key(tmp_path, NO_TPM)
    assert second.key != first.key
    assert "made anew" in caplog.text
    assert storage_key(tmp_path, NO_TPM) == second


def test_a_file_that_others_may_read_is_refused(tmp_path):
    storage_key(tmp_path, NO_TPM)
    (tmp_path / PLAIN).chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        storage_key(tmp_path, NO_TPM)


def test_a_tool_that_is_missing_leaves_the_file(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert storage_key(tmp_path, "swtpm:port=1").held_by == "file"
    assert "TPM seals no storage key" in caplog.text


def adjacent_ports():
    """Two free ports in a row: swtpm's clients expect its control channel on the second."""
    while True:
        port = free_port()
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port + 1)):
            return port


@pytest.fixture(scope="module")
def bare_tpm(tmp_path_factory):
    """A TPM 2.0 in software, spoken to by the same systemd-creds as one of silicon."""
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    folder, port = tmp_path_factory.mktemp("tpm"), adjacent_ports()
    process = subprocess.Popen(
        ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder}",
         "--server", f"type=tcp,port={port},bindaddr=127.0.0.1",
         "--ctrl", f"type=tcp,port={port + 1},bindaddr=127.0.0.1",
         "--flags", "not-need-init,startup-clear"],
    )  # fmt: skip
    patience = time.monotonic() + 60
    while time.monotonic() < patience:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port + 1)):
            break
        time.sleep(0.01)
    yield f"swtpm:host=127.0.0.1,port={port}"
    process.kill()
    process.wait()


@pytest.fixture
def tpm(bare_tpm, monkeypatch):
    """As the kernel's /dev/tpmrm0 shows one: what a program leaves in it is flushed."""
    creds = keys._creds

    def managed(*arguments):
        try:
            return creds(*arguments)
        finally:
            for kind in ("--loaded-session", "--transient-object"):
                subprocess.run(["tpm2_flushcontext", kind, "-T", bare_tpm], check=True)

    monkeypatch.setattr(keys, "_creds", managed)
    return bare_tpm


def test_with_a_tpm_it_is_sealed_and_opened_by_it_alone(tmp_path, tpm):
    first = storage_key(tmp_path, tpm)
    assert first.held_by == "TPM 2.0"
    assert {p.name for p in tmp_path.iterdir()} == {SEALED}
    assert keys.base64.b64encode(first.key) not in (tmp_path / SEALED).read_bytes()
    assert storage_key(tmp_path, tpm) == first


def test_without_its_tpm_nothing_falls_back_to_a_file(tmp_path, tpm, caplog):
    """The disk in another device, or a TPM that is late at the start."""
    first = storage_key(tmp_path, tpm)
    away = storage_key(tmp_path, NO_TPM)
    assert (away.held_by, away.key != first.key) == ("memory", True)
    assert storage_key(tmp_path, NO_TPM).key != away.key
    assert "cannot be opened by the TPM" in caplog.text
    assert {p.name for p in tmp_path.iterdir()} == {SEALED}
    assert storage_key(tmp_path, tpm) == first, "it is back"


def test_a_tpm_that_comes_later_takes_over(tmp_path, tpm):
    in_file = storage_key(tmp_path, NO_TPM)
    sealed = storage_key(tmp_path, tpm)
    assert (sealed.held_by, sealed.key != in_file.key) == ("TPM 2.0", True)
    assert {p.name for p in tmp_path.iterdir()} == {SEALED}


@pytest.mark.parametrize("content", [b"", b"\0" * 600, b"QUJD" * 100])
def test_a_damaged_credential_is_replaced(tmp_path, tpm, content):
    first = storage_key(tmp_path, tpm)
    (tmp_path / SEALED).write_bytes(content)
    second = storage_key(tmp_path, tpm)
    assert (second.held_by, second.key != first.key) == ("TPM 2.0", True)
