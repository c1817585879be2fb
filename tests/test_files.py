"""Small files: the old one or the new one, never half, and secrets only for their owner."""

import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import files, limits
from edge.errors import ConfigError, StorageUnavailable
from edge.files import private_folder, read_secret, read_small, read_toml, write_atomically


@given(old=st.binary(max_size=99), new=st.binary(max_size=99))
def test_what_is_written_last_is_read(tmp_path_factory, old, new):
    path = tmp_path_factory.mktemp("files") / "file"
    write_atomically(path, old)
    write_atomically(path, new)
    assert path.read_bytes() == new


@pytest.mark.parametrize(
    "content", [b"a = " + b"1" * 5000, b"a = " + b"[" * 5000, b"\xff", b"a = 1 1", b"["]
)
def test_what_is_no_toml_is_said_so(tmp_path, content):
    path = tmp_path / "file.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"file\.toml: not TOML: "):
        read_toml(path, 10_000)


def test_toml_is_read_if_it_is_small_enough(tmp_path):
    path = tmp_path / "file.toml"
    with pytest.raises(ConfigError, match=r"cannot be read: No such file"):
        read_toml(path, 6)
    path.write_bytes(b"a = 12")
    assert read_toml(path, 6) == {"a": 12}
    with pytest.raises(ConfigError, match=r"cannot be read: larger than 5 bytes"):
        read_toml(path, 5)


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_file_has_its_mode_whatever_the_old_one_had(tmp_path, mode):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o666)
    write_atomically(path, b"new", mode=mode)
    assert path.stat().st_mode & 0o777 == mode


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StorageUnavailable, match="cannot be written"):
            write_atomically(path, b"new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "fchmod"])
def test_a_disk_that_fails_at_the_last_moment_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, call, fail)
    with pytest.raises(StorageUnavailable, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("path", ["/proc/file", "/dev/null/file"])
def test_a_place_that_cannot_be_written_is_said(path):
    with pytest.raises(StorageUnavailable, match="cannot be written"):
        write_atomically(Path(path), b"x")


def test_a_folder_is_its_owners_alone(tmp_path):
    folder = private_folder(tmp_path / "a" / "b")
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    assert private_folder(folder).stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageUnavailable, match="cannot be made"):
        private_folder(tmp_path / "file" / "b")


def test_a_file_is_read_up_to_its_limit_and_not_beyond(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    assert read_small(path, 10) == b"x" * 10
    with pytest.raises(OSError, match="larger than 9 bytes"):
        read_small(path, 9)
    with pytest.raises(OSError, match="larger than 9 bytes"):
        read_small(Path("/dev/zero"), 9)


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o604, 0o601, 0o644, 0o777])
def test_a_secret_that_others_may_touch_is_refused(tmp_path, mode):
    path = tmp_path / "secret"
    path.write_bytes(b"open sesame")
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {path}") as refusal:
        read_secret(path)
    assert "sesame" not in str(refusal.value)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_secret_of_its_owner_is_read(tmp_path, mode):
    path = tmp_path / "secret"
    path.write_bytes(b"open sesame")
    path.chmod(mode)
    assert read_secret(path) == b"open sesame"


def test_an_oversize_or_missing_secret_is_an_error_of_the_file(tmp_path):
    path = tmp_path / "secret"
    with pytest.raises(FileNotFoundError):
        read_secret(path)
    write_atomically(path, b"x" * (limits.MAX_KEY_FILE_BYTES + 1))
    with pytest.raises(OSError, match="larger than"):
        read_secret(path)
