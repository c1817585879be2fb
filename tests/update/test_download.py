"""A bundle comes over HTTPS from servers that lie, break off, crawl, and lead astray."""

import itertools
import os
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge import limits
from edge.errors import AlterationRefused, ConfigError, NoLongerWanted, StorageUnavailable
from edge.update.download import BUNDLE as NAME
from edge.update.download import Downloader, DownloadUnavailable, trusted
from tests.update.kit import BUNDLE, announced, serve


class Desk:
    def __init__(self, folder, server):
        self.folder = folder
        self.server = server
        self.progress = []

    def downloader(self, **options):
        return Downloader(
            self.folder,
            trusted(str(self.server.ca)),
            on_progress=self.progress.append,
            **options,
        )

    def fetch(self, made=None, **options):
        made = made or announced(urls=(self.server.url(),))
        return self.downloader(**options).fetch(made)

    def part(self, made=None):
        return self.folder / f"{(made or announced()).sha256}.part"


@pytest.fixture
def desk(tmp_path, server):
    return Desk(tmp_path / "update", server)


def breaks_off(after, then=None):
    """A server that sends so much of the whole and closes the connection; then another."""
    answers = itertools.chain([after], itertools.repeat(None))

    def answer(request):
        so_much = next(answers)
        if so_much is None:
            (then or serve(BUNDLE))(request)
            return
        request.send_response(200)
        request.send_header("Content-Length", str(len(BUNDLE)))
        request.end_headers()
        request.wfile.write(BUNDLE[:so_much])

    return answer


def headers(status, body=b"", **fields):
    def answer(request):
        request.send_response(status)
        for name, value in fields.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return answer


def test_it_comes_whole(desk):
    bundle = desk.fetch()
    assert bundle == desk.folder / NAME
    assert bundle.read_bytes() == BUNDLE
    assert desk.folder.stat().st_mode & 0o077 == 0
    assert desk.progress[-1] == 100
    assert not desk.part().exists()


def test_what_is_there_is_not_fetched_again(desk):
    desk.fetch()
    desk.fetch()
    assert len(desk.server.requests) == 1


def test_a_broken_download_goes_on_where_it_broke_off(desk):
    desk.server.answer = breaks_off(700_000)
    with pytest.raises(DownloadUnavailable, match="broke off"):
        desk.fetch()
    assert 0 < desk.part().stat().st_size <= 700_000
    have = desk.part().stat().st_size
    assert desk.fetch().read_bytes() == BUNDLE
    assert desk.server.requests[1] == ("/lethe.raucb", f"bytes={have}-")


def test_a_server_without_ranges_begins_anew(desk):
    desk.server.answer = breaks_off(700_000, serve(BUNDLE, ranges=False))
    with pytest.raises(DownloadUnavailable):
        desk.fetch()
    assert desk.fetch().read_bytes() == BUNDLE


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=5000), st.booleans())
def test_whatever_lies_there_the_bundle_is_the_signed_one(desk, left, ranges):
    """A part of something else, a part that is too long: at most one more try is lost."""
    shutil.rmtree(desk.folder, ignore_errors=True)
    desk.server.answer = serve(BUNDLE[:4000], ranges=ranges)
    made = announced(BUNDLE[:4000], urls=(desk.server.url(),))
    desk.downloader()
    desk.part(made).write_bytes(left)
    try:
        bundle = desk.fetch(made)
    except AlterationRefused:
        bundle = desk.fetch(made)
    assert bundle.read_bytes() == BUNDLE[:4000]


@pytest.mark.parametrize(
    "answer",
    [serve(BUNDLE[:-1]), serve(BUNDLE + b"x"), serve(b""), serve(BUNDLE[::-1]), headers(416)],
    ids=["shorter", "longer", "empty", "another", "no such range"],
)
def test_another_file_is_refused_by_name_and_leaves_nothing(desk, answer):
    desk.server.answer = answer
    with pytest.raises(AlterationRefused, match="another file than was announced"):
        desk.fetch()
    assert not (desk.folder / NAME).exists()


def test_of_a_server_that_goes_on_for_ever_only_the_signed_length_is_read(desk):
    desk.server.answer = headers(200, BUNDLE + BUNDLE)
    assert desk.fetch().read_bytes() == BUNDLE


@pytest.mark.parametrize(
    "range_told", ["bytes 0-1048575/1048576", "bytes 7-8/9", "bytes x", "items 1-2/3", ""]
)
def test_another_range_than_was_asked_for_is_refused(desk, range_told):
    desk.downloader()
    desk.part().write_bytes(BUNDLE[:1000])
    desk.server.answer = headers(206, BUNDLE[1000:], Content_Range=range_told)
    with pytest.raises(AlterationRefused, match="another file than was announced"):
        desk.fetch()


def test_a_part_that_was_altered_on_the_disk_is_not_built_on(desk):
    desk.downloader()
    desk.part().write_bytes(b"x" + BUNDLE[1:1000])
    with pytest.raises(AlterationRefused, match="SHA-256"):
        desk.fetch()
    assert not desk.part().exists()
    assert desk.fetch().read_bytes() == BUNDLE


def test_a_bundle_that_was_altered_on_the_disk_is_fetched_again(desk):
    desk.fetch().write_bytes(b"x" + BUNDLE[1:])
    assert desk.fetch().read_bytes() == BUNDLE


@pytest.mark.parametrize("status", [403, 404, 500, 503, 304, 204])
def test_a_server_that_has_it_not_is_asked_again_later(desk, status):
    desk.server.answer = headers(status, Content_Length="0")
    with pytest.raises(DownloadUnavailable, match=str(status)):
        desk.fetch()


def test_the_next_address_is_tried(desk):
    good = serve(BUNDLE)
    desk.server.answer = lambda r: (good if r.path == "/b" else headers(404))(r)
    made = announced(urls=(desk.server.url("a"), desk.server.url("b")))
    assert desk.fetch(made).read_bytes() == BUNDLE
    assert [path for path, _ in desk.server.requests] == ["/a", "/b"]


def test_redirections_are_followed_within_https(desk):
    good = serve(BUNDLE)

    def answer(request):
        if request.path == "/lethe.raucb":
            headers(302, Location="/elsewhere", Content_Length="0")(request)
        else:
            good(request)

    desk.server.answer = answer
    assert desk.fetch().read_bytes() == BUNDLE


@pytest.mark.parametrize("to", ["http://127.0.0.1/x", "file:///etc/passwd", "ftp://x/y"])
def test_nobody_leads_out_of_https(desk, to):
    desk.server.answer = headers(302, Location=to, Content_Length="0")
    with pytest.raises(AlterationRefused, match="not https"):
        desk.fetch()


def test_redirections_in_a_circle_end(desk):
    desk.server.answer = headers(301, Location="/lethe.raucb", Content_Length="0")
    with pytest.raises(DownloadUnavailable, match="redirections"):
        desk.fetch()
    assert len(desk.server.requests) == limits.UPDATE_REDIRECTS + 1


def test_a_server_of_another_authority_is_not_believed(desk, tmp_path):
    made = announced(urls=(desk.server.url(),))
    with pytest.raises(DownloadUnavailable, match="certificate verify failed"):
        Downloader(desk.folder, trusted(None)).fetch(made)


def test_nobody_is_there(desk):
    desk.server.close()
    desk.server.close = lambda: None
    with pytest.raises(DownloadUnavailable, match="cannot be reached"):
        desk.fetch()


def test_a_server_that_falls_silent_is_given_up(desk, monkeypatch):
    monkeypatch.setattr(limits, "UPDATE_READ_S", 0.2)

    def answer(request):
        request.send_response(200)
        request.send_header("Content-Length", str(len(BUNDLE)))
        request.end_headers()
        request.wfile.write(BUNDLE[:1000])
        request.wfile.flush()
        request.rfile.read(1)  # until the client goes away

    desk.server.answer = answer
    with pytest.raises(DownloadUnavailable, match="broke off"):
        desk.fetch()
    assert desk.part().stat().st_size == 1000


def test_a_server_that_crawls_is_given_up(desk):
    """By a clock on which a minute passes with every look at it."""

    def answer(request):
        request.send_response(200)
        request.send_header("Content-Length", str(len(BUNDLE)))
        request.end_headers()
        request.wfile.write(bytes(10))
        request.wfile.flush()
        request.rfile.read(1)  # until the client goes away

    desk.server.answer = answer
    seconds = itertools.count(step=limits.UPDATE_SLOW_S)
    with pytest.raises(DownloadUnavailable, match="too slow"):
        desk.fetch(steady=lambda: next(seconds))


def test_a_full_disk_is_refused_before_anything_is_fetched(desk, monkeypatch):
    usage = shutil.disk_usage(desk.server.ca)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10 * 2**20))
    with pytest.raises(StorageUnavailable, match="no room for the update: 10 MiB are free"):
        desk.fetch()
    assert not desk.server.requests


def test_a_disk_that_fills_up_meanwhile_gets_its_room_back(desk, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageUnavailable, match="No space left"):
        desk.fetch()
    assert not desk.part().exists()


def test_what_is_no_longer_wanted_is_not_fetched_to_its_end(desk):
    with pytest.raises(NoLongerWanted):
        desk.fetch(wanted=lambda: False)
    assert not (desk.folder / NAME).exists()


def test_it_is_asked_by_the_clock_whether_it_is_wanted_not_at_every_record(desk):
    """Asking reads files; a record of TLS is 16 KiB, a bundle has thousands."""
    asked = []
    desk.fetch(wanted=lambda: asked.append(None) or True, steady=lambda: 0.0)
    assert len(asked) == 1


def test_what_came_before_it_was_no_longer_wanted_is_kept(desk):
    seconds = itertools.count(step=limits.UPDATE_ASK_S)
    answers = iter([True, True, False])
    with pytest.raises(NoLongerWanted):
        desk.fetch(wanted=lambda: next(answers), steady=lambda: next(seconds))
    have = desk.part().stat().st_size
    assert 0 < have < len(BUNDLE)
    assert desk.fetch().read_bytes() == BUNDLE
    assert desk.server.requests[1] == ("/lethe.raucb", f"bytes={have}-")


def test_parts_of_other_bundles_are_removed(desk):
    desk.downloader()
    other = desk.folder / f"{'0' * 64}.part"
    other.write_bytes(b"x")
    desk.fetch()
    assert not other.exists()
    desk.downloader().clear()
    assert not list(desk.folder.iterdir())


def test_an_authority_that_is_none_is_a_wrong_configuration(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    for file in ("ca.pem", "missing.pem"):
        with pytest.raises(ConfigError, match=r"update\.ca_file"):
            trusted(str(tmp_path / file))
