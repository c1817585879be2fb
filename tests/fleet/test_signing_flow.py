"""Several people on several machines sign one list, by the commands they would type."""

import json
import shutil
import time

import pytest
from typer.testing import CliRunner

from cli.fleet import app as fleet_app
from cli.watchlist import app as watchlist_app
from edge.errors import ConfigError, FormatError, KeyRefused, SignatureRefused
from edge.files import private_folder
from edge.identity import registration
from edge.inference.manifest import load_manifest
from fleet import release
from fleet.keys import read_opening_key, read_party
from fleet.owner import Owner
from fleet.repository import Repository
from tests.fleet.test_owner import unit
from tests.fleet_kit import Follower


def run(app, *arguments, answer=None):
    result = CliRunner().invoke(app, [str(a) for a in arguments], input=answer)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def watchlist(*arguments, **options):
    return run(watchlist_app, *arguments, **options)


def fleet(*arguments, **options):
    return run(fleet_app, *arguments, **options)


class World:
    """The operator, the owner, and two others who sign: each with a folder of their own."""

    def __init__(self, base):
        self.base = base
        self.fleet, self.list = base / "operator" / "fleet", base / "owner" / "list"
        state = private_folder(base / "camera-1")
        registration(state, "camera-1")
        fleet("init", self.fleet)
        fleet("device", "add", self.fleet, state / "device.json")
        for name in ("anna", "ben", "carla"):
            watchlist("signer", base / name / name)
        self.signers = [base / name / name for name in ("anna", "ben", "carla")]
        told = [f"--signer={folder / 'signer.json'}" for folder in self.signers]
        watchlist(
            "init", self.list, "--list-id", "gate", "--reference", "court 12/2026",
            "--purpose", "court-order", "--device", "camera-1", *told,
        )  # fmt: skip
        fleet("list", "add", self.fleet, "gate", *told)
        self.devices = base / "owner" / "devices.json"
        shutil.copy(self.fleet / "devices.json", self.devices)
        self.request = base / "gate.request"

    def enrol(self, label, seed):
        until = int(time.time()) + 3600
        return Owner(self.list).add(
            label, [unit(seed)], embedder="e", not_before=0, not_after=until
        )

    def ask(self, *options):
        return watchlist(
            "request", self.list, self.request, "--devices", self.devices, *options
        ).output

    def sign(self, number, answer="y\n"):
        folder = self.signers[number]
        out = self.base / f"{folder.name}.sig"
        result = watchlist("sign", self.request, "--signer", folder, "--out", out, answer=answer)
        return out, result

    def publish(self, port, *signatures):
        told = [f"--signature={file}" for file in signatures]
        out = self.base / "gate.release"
        watchlist("publish", self.list, *told, "--out", out)
        return fleet("release", self.fleet, out, "--broker", f"127.0.0.1:{port}").output


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world")).base


@pytest.fixture
def world(made, tmp_path):
    shutil.copytree(made, tmp_path / "world")
    world = World.__new__(World)
    world.base = base = tmp_path / "world"
    world.fleet, world.list = base / "operator" / "fleet", base / "owner" / "list"
    world.signers = [base / name / name for name in ("anna", "ben", "carla")]
    world.devices, world.request = base / "owner" / "devices.json", base / "gate.request"
    return world


def test_two_of_three_sign_elsewhere_and_the_device_has_the_list(world, mosquitto):
    entry = world.enrol("max", 1)
    said = world.ask()
    assert "0 of 2" in said
    first, result = world.sign(0)
    for part in (
        "court-order", "court 12/2026", "camera-1 (fixed)", f"+ {entry}  max", "0 of 2",
        "people     1 of at most 100", "embedder   e, not of this software",
    ):  # fmt: skip
        assert part in result.output, result.output
    with pytest.raises(SignatureRefused, match="signed by 1 of 2: nothing was published"):
        world.publish(mosquitto.port, first)
    second, _ = world.sign(2)
    assert "messages" in world.publish(mosquitto.port, first, second)

    class Fleet:
        folder, root = world.fleet, (world.fleet / "root.json").read_bytes()

        def state(self, name):
            return world.base / name

        def opening_key(self, name):
            from edge.identity import opening_key

            return opening_key(world.base / name)

    with Follower(Fleet(), mosquitto.port) as device:
        device.wait_for_version(1)
    said = watchlist("inspect", world.list).output
    assert "signed by  anna, carla: 2 of 2" in said
    shown = json.loads(
        watchlist(
            "inspect", world.list, "--json", "--at-broker", "--fleet", world.fleet,
            "--broker", f"127.0.0.1:{mosquitto.port}",
        ).output
    )  # fmt: skip
    assert shown["broker"]["watchlist/gate"]["version"] == shown["version"] == 1
    assert shown["broker"]["watchlist/gate/urgent"] is None


def test_a_signer_sees_what_has_changed_since_they_signed(world):
    world.enrol("max", 1)
    world.ask()
    world.sign(0)
    moritz = world.enrol("moritz", 2)
    Owner(world.list).revoke("max")
    world.ask()
    _, result = world.sign(0)
    assert f"+ {moritz}  moritz" in result.output
    assert result.output.count("\n- ") == 1


def test_who_says_no_signs_nothing(world):
    world.ask()
    out, result = world.sign(0, answer="n\n")
    assert result.exit_code == 1
    assert not out.exists()


def test_nobody_else_can_open_a_request(world):
    world.enrol("max", 1)
    world.ask()
    content = world.request.read_bytes()
    for secret in (b"max", b"court 12/2026", Owner(world.list).owned.key):
        assert secret not in content
    asked = release.read_request(world.request)
    with pytest.raises(KeyRefused):
        release.open_request(asked, "ben", read_opening_key(world.signers[0], None))
    with pytest.raises(ConfigError, match="for anna, ben, carla, not for dora"):
        release.open_request(asked, "dora", read_opening_key(world.signers[0], None))


def test_an_altered_request_is_refused(world):
    world.ask()
    asked = release.read_request(world.request)
    altered = bytearray(asked.sealed)
    altered[50] ^= 1
    release.write(world.request, release.msgspec.structs.replace(asked, sealed=bytes(altered)))
    with pytest.raises(FormatError, match="was altered"):
        world.sign(0)
    for junk in (b"", b"{}", b"\xff" * 99):
        world.request.write_bytes(junk)
        with pytest.raises(FormatError, match="documented form"):
            world.sign(0)


def test_a_signer_is_not_shown_one_list_and_made_to_sign_another(world):
    """The owner's machine is in other hands: metadata of one draft, contents of another."""
    world.enrol("max", 1)
    world.ask()
    shown = release.open_request(
        release.read_request(world.request), "anna", read_opening_key(world.signers[0], None)
    )
    world.enrol("moritz", 2)
    world.ask()
    other = release.open_request(
        release.read_request(world.request), "anna", read_opening_key(world.signers[0], None)
    )
    mixed = release.msgspec.structs.replace(shown.release, metadata=other.release.metadata)
    people = [read_party(folder / "signer.json") for folder in world.signers]
    for bad, key in ((mixed, shown.key), (shown.release, b"\1" * 32)):
        release.write(
            world.request,
            release.make_request(bad, key, {}, signers=people, threshold=2),
        )
        with pytest.raises(FormatError, match="metadata"):
            world.sign(0)


def test_a_signature_for_another_draft_or_by_a_stranger_is_refused(world, tmp_path):
    world.ask()
    old, _ = world.sign(0)
    world.ask()
    with pytest.raises(SignatureRefused, match=r"signed version 1 .* and not this draft"):
        watchlist("publish", world.list, "--signature", old)
    new, _ = world.sign(0)
    found = release.read_signature(new)
    replace = release.msgspec.structs.replace
    release.write(new, replace(found, keyid="0" * 64))
    with pytest.raises(SignatureRefused, match="may not sign"):
        watchlist("publish", world.list, "--signature", new)
    release.write(new, replace(found, signature="00" * 64))
    with pytest.raises(SignatureRefused, match="does not hold"):
        watchlist("publish", world.list, "--signature", new)


def test_a_signature_without_a_request_is_refused(world, tmp_path):
    world.ask()
    signature, _ = world.sign(0)
    (world.list / "pending.release").unlink()
    with pytest.raises(ConfigError, match="nothing waits for signatures"):
        watchlist("publish", world.list, "--signature", signature)


def test_diff_shows_people_and_ground(world, mosquitto):
    anna = world.enrol("anna", 1)
    world.ask()
    world.publish(mosquitto.port, world.sign(0)[0], world.sign(1)[0])
    assert "nobody comes or goes" in watchlist("diff", world.list).output
    ben = world.enrol("ben", 2)
    Owner(world.list).revoke("anna")
    watchlist("authorise", world.list, "--reference", "court 19/2026", "--valid-hours", "2")
    said = watchlist("diff", world.list).output
    assert f"+ {ben}  ben" in said
    assert f"- {anna}" in said
    assert "reference: court 12/2026 → court 19/2026" in said
    assert "embedder: " not in said
    Owner(world.list).revoke("ben")
    shipped = load_manifest().embedder()[1].embedder_id
    Owner(world.list).add(
        "dora", [unit(3)], embedder=shipped, not_before=0, not_after=int(time.time()) + 3600
    )
    assert f"embedder: e → {shipped}" in watchlist("diff", world.list).output
    world.ask()
    _, result = world.sign(0)
    assert f"embedder   {shipped}\n" in result.output, "nothing is said against it"


def test_to_withdraw_a_list_needs_as_many(world, mosquitto):
    world.enrol("anna", 1)
    world.ask()
    world.publish(mosquitto.port, world.sign(0)[0], world.sign(1)[0])
    said = watchlist("expire", world.list, "--dry-run").output
    assert "would be: list gate: withdrawn from camera-1" in said
    world.ask("--withdraw")
    first, result = world.sign(0)
    assert "WITHDRAWN" in result.output
    world.publish(mosquitto.port, first, world.sign(1)[0])
    md = Repository.existing(world.fleet).roles["watchlist/gate"]
    assert (md.signed.version, md.signed.targets) == (2, {})
    assert "withdrawn by version 2" in watchlist("inspect", world.list).output


def test_an_urgent_one_says_so_and_needs_one(world, mosquitto):
    world.enrol("anna", 1)
    world.ask("--urgent")
    first, result = world.sign(0)
    assert "URGENT: your signature alone puts it in force, for 24 hours" in result.output
    world.publish(mosquitto.port, first)
    assert "watchlist/gate/urgent" in Repository.existing(world.fleet).roles
    assert "URGENT" in watchlist("inspect", world.list).output
