"""Keys in files: made once, private, and refused when they are not."""

import tempfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import ConfigError, StorageUnavailable
from edge.files import write_atomically
from edge.identity import device_key, load_public_key, write_public_key
from edge.protocol.signing import key_id

PEM = serialization.Encoding.PEM


def test_the_key_is_made_once_and_is_private(tmp_path):
    key = device_key(tmp_path)
    assert key_id(device_key(tmp_path)) == key_id(key)
    assert (tmp_path / "device.key").stat().st_mode & 0o777 == 0o600
    assert key_id(load_public_key(tmp_path / "device.pub")) == key_id(key)


def test_a_key_that_others_may_read_is_refused(tmp_path):
    device_key(tmp_path)
    (tmp_path / "device.key").chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        device_key(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_a_file_without_a_key_is_refused(tmp_path, content):
    for name in ("device.key", "x.pub"):
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    with pytest.raises(ConfigError, match="no private key"):
        device_key(tmp_path)
    with pytest.raises(ConfigError, match="no public key"):
        load_public_key(tmp_path / "x.pub")


def test_another_kind_of_key_is_refused(tmp_path):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_atomically(tmp_path / "device.key", private)
    with pytest.raises(ConfigError, match="not an Ed25519 key"):
        device_key(tmp_path)
    public = key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "x.pub").write_bytes(public)
    with pytest.raises(ConfigError, match="not an Ed25519 public key"):
        load_public_key(tmp_path / "x.pub")


def test_an_oversize_or_missing_file_is_refused(tmp_path):
    (tmp_path / "x.pub").write_bytes(b"x" * 100_000)
    with pytest.raises(ConfigError, match="larger than"):
        load_public_key(tmp_path / "x.pub")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_public_key(tmp_path / "nowhere.pub")


def test_a_folder_that_cannot_be_written_is_said():
    with pytest.raises(StorageUnavailable, match="cannot be written"):
        device_key(Path("/proc"))


def test_a_key_file_that_is_none_is_said(tmp_path):
    (tmp_path / "device.key").mkdir(mode=0o700)
    with pytest.raises(StorageUnavailable, match="cannot be read"):
        device_key(tmp_path)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_as_a_key(content):
    with tempfile.TemporaryDirectory() as folder:
        for name in ("device.key", "x.pub"):
            write_atomically(Path(folder) / name, content)
        with pytest.raises(ConfigError):
            device_key(Path(folder))
        with pytest.raises(ConfigError):
            load_public_key(Path(folder) / "x.pub")


def test_a_public_key_is_written_only_when_it_changed(tmp_path):
    key = Ed25519PrivateKey.generate().public_key()
    path = tmp_path / "x.pub"
    write_public_key(path, key)
    before = path.stat().st_ino
    write_public_key(path, key)
    assert path.stat().st_ino == before
