"""What tests of updates share: an announcement, a server that misbehaves, a system with slots."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge.inference.manifest import SHIPPED, DetectorModel, EmbedderModel
from edge.protocol.announcement import Announcement
from edge.update import admission

BUNDLE = bytes(range(256)) * 4096
"""A megabyte."""
DETECTOR, EMBEDDER = "yunet-2023mar-320x192", "mobilefacenet-192"
"""The smallest of the shipped models."""


def announced(content: bytes = BUNDLE, **changes: object) -> Announcement:
    fields: dict[str, object] = {
        "compatible": "lethe-test",
        "version": "1.1.0",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "urls": ("https://example.org/lethe.raucb",),
    }
    return Announcement(**(fields | changes))


def shipped(*, tamper=None, drop=(), extra=None, embedder=EMBEDDER, defaults=None):
    """The two smallest of the shipped models, as a bundle's files; with something wrong."""
    manifest = json.loads((SHIPPED / "manifest.json").read_text())
    names = [DETECTOR, embedder]
    manifest["models"] = {name: manifest["models"][name] for name in names}
    manifest["defaults"] = defaults or {"detector": DETECTOR, "embedder": embedder}
    files = {m["file"]: (SHIPPED / m["file"]).read_bytes() for m in manifest["models"].values()}
    for name in drop:
        del files[name]
    if tamper:
        tamper(manifest, files)
    return {"manifest.json": json.dumps(manifest).encode(), **files, **(extra or {})}


def name_anew(entry: dict[str, object]) -> None:
    """Name an embedder by what it computes, as one that the software does not know must be."""
    model = msgspec.convert(entry, DetectorModel | EmbedderModel)
    assert isinstance(model, EmbedderModel)
    entry["embedder_id"] = f"another-{admission.digest(model)}"


class Server:
    """HTTPS on loopback, with a certificate of its own; `answer` decides what it does.

    Attributes:
        ca: PEM file of its authority.
        requests: path and Range of each request.
    """

    def __init__(self, folder: Path, address: str = "127.0.0.1") -> None:
        """Serve on loopback, certified as `address`."""
        self.ca = folder / "ca.pem"
        self._address = address
        self.requests: list[tuple[str, str | None]] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] = serve(BUNDLE)
        _certify(folder, address)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.requests.append((self.path, self.headers.get("Range")))
                self.close_connection = True
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:  # clients that go away are the point
                pass

        self._server = Quiet(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem")
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def url(self, name: str = "lethe.raucb") -> str:
        return f"https://{self._address}:{self._server.server_port}/{name}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def serve(content: bytes, *, ranges: bool = True) -> Callable[[BaseHTTPRequestHandler], None]:
    """A good server, with or without ranges (RFC 9110, section 14)."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        begin = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and ranges else 0
        request.send_response(206 if begin else 200)
        if begin:
            request.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(content) - begin))
        request.end_headers()
        request.wfile.write(content[begin:])

    return answer


def _certify(folder: Path, address: str) -> None:
    """Make an authority, and a server's certificate by it."""
    now = datetime.datetime.now(datetime.UTC)

    def certificate(name: str, issuer: str, key: ec.EllipticCurvePrivateKey, ca: bool):
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),
                critical=False,
            )
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not ca, key_cert_sign=ca, crl_sign=ca,
                    content_commitment=False, key_encipherment=False, data_encipherment=False,
                    key_agreement=False, encipher_only=False, decipher_only=False,
                ),
                critical=True,
            )
        )  # fmt: skip
        if not ca:
            names = [x509.IPAddress(ipaddress.ip_address(address))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(authority, hashes.SHA256())

    authority = ec.generate_private_key(ec.SECP256R1())
    server = ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    root = certificate("authority", "authority", authority, True).public_bytes(pem)
    (folder / "ca.pem").write_bytes(root)
    (folder / "server.pem").write_bytes(
        server.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate("server", "authority", server, False).public_bytes(pem)
    )  # fmt: skip


RAUC = """#!/bin/sh
echo "rauc $*" >>{log}
case "$1" in
install) cat {folder}/says; exit "$(cat {folder}/code)" ;;
status) cat {folder}/marked; [ ! -s {folder}/marked ] ;;
esac
"""
SYSTEMCTL = '#!/bin/sh\necho "systemctl $*" >>{log}\n'


class System:
    """A file system with slots, and root's part of it, played with a fake RAUC.

    Attributes:
        root: of the file system.
        log: what was called.
    """

    def __init__(self, folder: Path, *, version: str = "1.0.0", compatible: str = "lethe-test"):
        self.root = folder / "system"
        self.log = folder / "log"
        self.log.write_text("")
        self.programs = folder / "bin"
        self.programs.mkdir()
        for name, script in (("rauc", RAUC), ("systemctl", SYSTEMCTL)):
            (self.programs / name).write_text(script.format(log=self.log, folder=folder))
            (self.programs / name).chmod(0o755)
        self._folder = folder
        self.rauc_says()
        self.rauc_cannot_mark("")
        self.put("etc/rauc/system.conf", f"[system]\ncompatible={compatible}\n")
        (self.root / "run/lethe-install").mkdir(parents=True)
        self.starts = 0
        self.start(version)
        self.kept()

    def put(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def start(self, version: str) -> None:
        """The machine starts, in this version: what lies below /run is gone."""
        self.starts += 1
        self.put(
            "usr/lib/os-release", f'NAME="Lethe"\nVERSION_ID={version}\nBUILD_ID=b-{version}\n'
        )
        self.put("proc/sys/kernel/random/boot_id", f"{self.starts}\n")
        for path in (self.root / "run/lethe-install").iterdir():
            path.unlink()
        self.version = version

    def kept(self) -> None:
        """What runs was marked good."""
        self.put("data/ota/kept", f"b-{self.version}\n")

    def rauc_says(self, said: str = "installing\n100% Installing done.\n", code: int = 0) -> None:
        (self._folder / "says").write_text(said)
        (self._folder / "code").write_text(f"{code}\n")

    def rauc_cannot_mark(self, why: str) -> None:
        """It cannot say which slot is next; it can where there is no reason."""
        (self._folder / "marked").write_text(why)

    def called(self) -> list[str]:
        return self.log.read_text().splitlines()
