"""Bundles made and judged by the real RAUC: what is signed passes, everything else is named."""

import datetime
import shutil
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge.errors import BadInput
from firmware.errors import BuildFailed
from ota import bundle, keys

from .conftest import NOW


def test_a_bundle_says_what_it_is_for(signed, owner):
    told = bundle.examine(signed, owner)
    assert (told["compatible"], told["version"]) == ("lethe-test", "1.2.3")
    assert told["images"][0]["rootfs"]["size"] == 1024 * 1024


def test_another_authority_is_refused(signed, tmp_path):
    keys.make_authority(tmp_path / "other", "Other", now=NOW)
    with pytest.raises(BuildFailed, match="signature verification failed"):
        bundle.examine(signed, tmp_path / "other")


@pytest.mark.parametrize("keep", [0.0, 0.2, 0.9, 0.999])
def test_a_truncated_bundle_is_refused(signed, owner, tmp_path, keep):
    part = tmp_path / "part.raucb"
    content = signed.read_bytes()
    part.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(BuildFailed, match=r"rauc ended with 1"):
        bundle.examine(part, owner)


def test_an_altered_manifest_is_refused(signed, owner, tmp_path):
    altered = tmp_path / "altered.raucb"
    content = signed.read_bytes()
    assert content.count(b"version=1.2.3") == 1
    altered.write_bytes(content.replace(b"version=1.2.3", b"version=9.2.3"))
    with pytest.raises(BuildFailed, match="signature verification failed"):
        bundle.examine(altered, owner)


def test_altered_content_is_refused_by_its_hash_tree(signed, owner, tmp_path):
    altered = tmp_path / "altered.raucb"
    content = bytearray(signed.read_bytes())
    content[4000] ^= 1
    altered.write_bytes(content)
    config = tmp_path / "system.conf"
    authority = owner / keys.AUTHORITY_CERT
    config.write_text(bundle.HOST_CONFIG.format(authority=authority))
    for name, path, passes in (("good", signed, True), ("altered", altered, False)):
        done = subprocess.run(
            ["rauc", "--conf", config, "extract", path, tmp_path / name],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode == 0) is passes, done.stderr
    assert "payload is corrupted" in done.stderr


def test_an_expired_signer_is_refused(owner, rauc, rootfs, tmp_path):
    expired = shutil.copytree(owner, tmp_path / "keys")
    keys.make_signer(expired, "Late", now=NOW - datetime.timedelta(days=10), days=9)
    with pytest.raises(BuildFailed, match="certificate has expired"):
        bundle.make(
            {"rootfs": rootfs}, bundle.Content("lethe-test", "1.0.0"), expired, tmp_path / "b.raucb"
        )
    assert not (tmp_path / "b.raucb").exists()


def test_a_signer_not_certified_for_code_is_refused(owner, rauc, rootfs, tmp_path):
    """A certificate of the same authority for something else, such as a server."""
    folder = shutil.copytree(owner, tmp_path / "keys")
    authority = x509.load_pem_x509_certificate((folder / keys.AUTHORITY_CERT).read_bytes())
    authority_key = serialization.load_pem_private_key(
        (folder / keys.AUTHORITY_KEY).read_bytes(), None
    )
    key = ec.generate_private_key(ec.SECP256R1())
    server = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server")]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW)
        .not_valid_after(NOW + datetime.timedelta(days=1))
        .add_extension(
            x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / keys.SIGNER_CERT).write_bytes(server.public_bytes(pem))
    (folder / keys.SIGNER_KEY).write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    with pytest.raises(BuildFailed, match="purpose"):
        bundle.make(
            {"rootfs": rootfs}, bundle.Content("lethe-test", "1.0.0"), folder, tmp_path / "b.raucb"
        )


def test_the_plain_format_is_refused(owner, rauc, rootfs, tmp_path):
    """It is checked only once, before it is used; ours is checked at every read."""
    tree = tmp_path / "tree"
    tree.mkdir()
    shutil.copy(rootfs, tree / "rootfs.ext4")
    (tree / "manifest.raucm").write_text(
        "[update]\ncompatible=lethe-test\nversion=1.0.0\n[image.rootfs]\nfilename=rootfs.ext4\n"
    )
    plain = tmp_path / "plain.raucb"
    subprocess.run(
        ["rauc", "--cert", owner / keys.SIGNER_CERT, "--key", owner / keys.SIGNER_KEY,
         "bundle", tree, plain],
        capture_output=True, check=True,
    )  # fmt: skip
    with pytest.raises(BuildFailed, match="plain"):
        bundle.examine(plain, owner)


def test_an_authority_is_never_overwritten(owner):
    before = (owner / keys.AUTHORITY_KEY).read_bytes()
    with pytest.raises(keys.KeysExist):
        keys.make_authority(owner, "Again", now=NOW)
    assert (owner / keys.AUTHORITY_KEY).read_bytes() == before


def test_keys_are_private_and_the_authority_may_have_a_passphrase(tmp_path):
    keys.make_authority(tmp_path / "k", "Test", now=NOW, passphrase=b"correct horse")
    for secret in (b"wrong", None):
        with pytest.raises(BadInput, match="cannot be used"):
            keys.make_signer(tmp_path / "k", "s", now=NOW, passphrase=secret)
    keys.make_signer(tmp_path / "k", "s", now=NOW, passphrase=b"correct horse")
    for name in (keys.AUTHORITY_KEY, keys.SIGNER_KEY):
        assert (tmp_path / "k" / name).stat().st_mode & 0o777 == 0o600
