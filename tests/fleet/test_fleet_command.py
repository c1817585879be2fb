"""The operator's commands, as they are typed."""

import json
from datetime import UTC, datetime

import pytest

from cli.fleet_publish import changing
from cli.identity import app as identity_app
from edge import limits
from edge.errors import ConfigError
from edge.files import private_folder
from edge.identity import registration
from fleet import configuration, setup
from fleet.owner import Owner
from fleet.repository import Repository
from tests.fleet.test_owner import unit
from tests.fleet.test_signing_flow import fleet, run, watchlist
from tests.fleet_kit import Fleet, Follower


@pytest.fixture
def made(tmp_path):
    return Fleet(tmp_path / "base")


def status(folder):
    return json.loads(fleet("status", folder, "--json").output)


def roles(folder):
    return {row["role"]: row for row in status(folder)["roles"]}


def test_the_short_way_of_one_person(tmp_path, mosquitto):
    """What README.md shows: a fleet, a device, a list, on the device."""
    config = tmp_path / "lethe.toml"
    config.write_text(
        '[device]\nid = "gate-3"\n[camera]\nsource = "clip.mp4"\n[fleet]\nroot = "root.json"\n'
        '[watchlist]\nid = "gate"\n'
    )
    said = run(identity_app, "--config", config).output
    assert "device add" in said
    place, mine = tmp_path / "fleet", tmp_path / "list"
    broker = f"127.0.0.1:{mosquitto.port}"
    assert "2 of 3 keys must sign" in fleet("init", place).output
    fleet("device", "add", place, tmp_path / "state" / "device.json")
    watchlist(
        "init", mine, "--fleet", place, "--list-id", "gate", "--reference", "consent 17/2026",
        "--purpose", "consented-access", "--device", "gate-3", "--valid-hours", "72",
    )  # fmt: skip
    Owner(mine).add("anna", [unit(1)], embedder="e", not_before=0, not_after=2**31)
    said = watchlist("publish", mine, "--broker", broker).output
    assert "signed by  gate-1, gate-2: 2 of 2" in said
    assert "messages" in said

    class Device(Fleet):
        def __init__(self):
            self.folder = place

        def state(self, _device="gate-3"):
            return tmp_path / "state"

    with Follower(Device(), mosquitto.port, device="gate-3") as device:
        device.wait_for_version(1)
        watchlist("revoke", mine, "anna", "--yes")
        watchlist("device", mine, "--add", "gate-3")
        watchlist("publish", mine, "--broker", broker)
        device.wait_for_version(2)
        assert not device.keeper.deliveries[-1].watchlist.entries
        fleet("device", "remove", place, "gate-3", "--yes")
        fleet("publish", place, "--broker", broker)
        device.wait(lambda: device.keeper.withdrawn)


def test_a_device_that_is_taken_off_a_list_makes_a_new_key(tmp_path, made):
    mine = tmp_path / "list"
    watchlist(
        "init", mine, "--fleet", made.folder, "--list-id", "third", "--reference", "r",
        "--purpose", "court-order", "--device", "camera-1", "--device", "camera-2",
    )  # fmt: skip
    key = Owner(mine).owned.key
    said = watchlist("device", mine, "--remove", "camera-2", "--dry-run").output
    assert "would be: devices camera-1; a new key" in said
    assert Owner(mine).owned.key == key
    watchlist("device", mine, "--remove", "camera-2")
    assert Owner(mine).owned.authorisation.devices == ["camera-1"]
    assert Owner(mine).owned.key != key
    with pytest.raises(ConfigError, match="not on the list: camera-9"):
        watchlist("device", mine, "--remove", "camera-9")
    key = Owner(mine).owned.key
    watchlist("rekey", mine)
    assert Owner(mine).owned.key != key


def test_a_device_is_removed_after_a_yes_only(made):
    assert "would be" in fleet("device", "remove", made.folder, "camera-2", "--dry-run").output
    assert fleet("device", "remove", made.folder, "camera-2", answer="n\n").exit_code == 1
    assert status(made.folder)["devices"] == ["camera-1", "camera-2"]
    said = fleet("device", "remove", made.folder, "camera-2", answer="y\n").output
    assert "watchlist device LIST --remove camera-2" in said
    assert status(made.folder)["devices"] == ["camera-1"]
    assert status(made.folder)["removed"] == ["camera-2"]
    with pytest.raises(ConfigError, match="'camera-2' is not registered"):
        fleet("device", "remove", made.folder, "camera-2", "--yes")
    fleet("device", "add", made.folder, made.state("camera-2") / "device.json")
    assert status(made.folder)["removed"] == []


def test_root_is_rotated_after_a_yes_only(made):
    before = roles(made.folder)["root"]
    present = set((made.folder / "keys").iterdir())
    said = fleet("root", "rotate", made.folder, "--dry-run").output
    assert "would be: all 3 keys of root replaced" in said
    assert fleet("root", "rotate", made.folder, answer="n\n").exit_code == 1
    assert roles(made.folder)["root"] == before
    assert set((made.folder / "keys").iterdir()) == present
    said = fleet("root", "rotate", made.folder, "--yes").output
    assert "root version 2, keys root-2-1, root-2-2, root-2-3" in said
    after = roles(made.folder)["root"]
    assert not set(before["keys"]) & set(after["keys"])
    assert (after["version"], after["threshold"]) == (2, 2)


def test_the_signers_of_a_list_are_replaced_after_a_yes_only(made, tmp_path):
    for name in ("dora", "emil"):
        watchlist("signer", tmp_path / name)
    files = [tmp_path / name / "signer.json" for name in ("dora", "emil")]
    told = ("--signer", files[0], "--signer", files[1])
    before = roles(made.folder)
    said = fleet("list", "add", made.folder, "gate", *told, "--dry-run").output
    assert "would be: gate: 2 of 2 sign it instead of those so far" in said
    assert fleet("list", "add", made.folder, "gate", *told, answer="n\n").exit_code == 1
    assert roles(made.folder) == before
    said = fleet("list", "add", made.folder, "gate", *told, answer="y\n").output
    assert "must be published anew, signed by them" in said
    after = roles(made.folder)["watchlist/gate"]["keys"]
    assert not set(before["watchlist/gate"]["keys"]) & set(after)
    said = fleet("list", "add", made.folder, "door", *told, "--dry-run").output
    assert "would be: door: 2 of 2 sign it\n" in said
    assert "watchlist/door" not in roles(made.folder)
    assert "anew" not in fleet("list", "add", made.folder, "door", *told).output, "it replaces none"
    assert roles(made.folder)["watchlist/door"]["keys"] == after


def test_a_key_is_revoked_with_or_without_another_in_its_place(made, tmp_path):
    (old,) = roles(made.folder)["timestamp"]["keys"]
    assert "would be" in fleet("key", "revoke", made.folder, "timestamp", old, "--dry-run").output
    with pytest.raises(ConfigError, match="0 keys would be left, 1 must sign; give another"):
        fleet("key", "revoke", made.folder, "timestamp", old, "--yes")
    fleet("key", "revoke", made.folder, "timestamp", old, "--make", "--yes")
    (new,) = roles(made.folder)["timestamp"]["keys"]
    assert new != old
    one = roles(made.folder)["targets"]["keys"][0]
    fleet("key", "revoke", made.folder, "targets", one, "--yes")
    assert len(roles(made.folder)["targets"]["keys"]) == 2
    watchlist("signer", tmp_path / "dora")
    left = roles(made.folder)["watchlist/gate"]["keys"][0]
    fleet(
        "key", "revoke", made.folder, "watchlist/gate", left, "--yes",
        "--new", tmp_path / "dora" / "signer.json",
    )  # fmt: skip
    assert left not in roles(made.folder)["watchlist/gate"]["keys"]
    present = set((made.folder / "keys").iterdir())
    for wrong in ("", "none"):
        with pytest.raises(ConfigError, match="keys begin with"):
            fleet("key", "revoke", made.folder, "snapshot", wrong, "--make", "--yes")
    assert set((made.folder / "keys").iterdir()) == present
    with pytest.raises(ConfigError, match="nothing is delegated to 'nobody'"):
        fleet("key", "revoke", made.folder, "nobody", "00", "--yes")


def test_a_list_may_be_allowed_more(made):
    fleet("list", "ceiling", made.folder, "gate", "20000")
    assert status(made.folder)["ceilings"] == {"gate": 20000}
    fleet("list", "ceiling", made.folder, "gate", "0")
    assert status(made.folder)["ceilings"] == {}


def test_models_and_announcements_are_signed(made, tmp_path):
    file = tmp_path / "content"
    file.write_text("{}")
    for target in ("models/embedder", "firmware/raspberrypi"):
        assert "2 bytes, signed" in fleet("put", made.folder, target, file).output
        assert roles(made.folder)[target.split("/")[0]]["targets"] == [target]
    with pytest.raises(ConfigError, match="it begins with models, firmware, config"):
        fleet("put", made.folder, "watchlist/gate/list", file)
    with pytest.raises(ConfigError, match="cannot be read"):
        fleet("put", made.folder, "models/embedder", tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="models may not sign 'models/a/b'"):
        fleet("put", made.folder, "models/a/b", file)
    with pytest.raises(ConfigError, match="`lethe config set`"):
        fleet("put", made.folder, "config/gate-3.json", file)


def test_refresh_signs_anew_and_announce_sends_everything(made, mosquitto):
    broker = ("--broker", f"127.0.0.1:{mosquitto.port}")
    fleet("publish", made.folder, *broker)
    before = roles(made.folder)
    fleet("refresh", made.folder, *broker)
    after = roles(made.folder)
    assert after["timestamp"]["version"] == before["timestamp"]["version"] + 1
    assert after["snapshot"]["version"] == before["snapshot"]["version"] + 1
    assert after["targets"] == before["targets"]
    count = len(Repository.existing(made.folder).paths())
    assert f"{count + 1} messages" in fleet("announce", made.folder, *broker).output


@pytest.fixture
def half_over(made, monkeypatch):
    """A fleet that set a configuration 200 days ago, and nothing since."""
    monkeypatch.setattr(limits, "ROLE_LIFETIME_S", 165 * 24 * 3600)
    with changing(made.folder, None) as repository:
        configuration.put(repository, "camera-1", {"log_level": "debug"})
        for role in ("models", "firmware"):
            with repository.edit_targets(role):
                pass
    monkeypatch.undo()
    return made.folder


def days_left(folder):
    repository = Repository.existing(folder)
    names = ("models", "firmware", "config", *repository.bins("config").get_roles(), "targets")
    ends = {name: repository.roles[name].signed.expires for name in names}
    return {name: (at - datetime.now(UTC)).days for name, at in ends.items()}


def test_refresh_signs_anew_what_would_end_though_nothing_changes(half_over, mosquitto):
    broker = ("--broker", f"127.0.0.1:{mosquitto.port}")
    before = days_left(half_over)
    assert before.pop("targets") == 364
    assert (len(before), set(before.values())) == (3 + 64, {164})
    fleet("refresh", half_over, *broker)
    assert set(days_left(half_over).values()) == {364}
    versions = {name: role["version"] for name, role in roles(half_over).items()}
    fleet("refresh", half_over, *broker)
    again = {name: role["version"] for name, role in roles(half_over).items()}
    assert {name for name in again if again[name] != versions[name]} == {"snapshot", "timestamp"}


def test_refresh_says_what_it_has_no_key_to_renew(half_over, mosquitto):
    for file in (half_over / "keys").glob("config-1*"):
        file.unlink()
    said = fleet("refresh", half_over, "--broker", f"127.0.0.1:{mosquitto.port}").stderr
    assert "config ends 20" in said
    assert "1 of its 1 keys must sign" in said
    days = days_left(half_over)
    assert (days["models"], days["config"]) == (364, 164)


def test_status_is_for_people_too(made):
    said = fleet("status", made.folder).output
    assert "watchlist/gate" in said
    assert "camera-1, camera-2" in said


def test_a_signer_folder_is_made_once(tmp_path):
    watchlist("signer", tmp_path / "anna")
    with pytest.raises(ConfigError, match="holds a signer already"):
        watchlist("signer", tmp_path / "anna")


def test_a_token_without_support_says_what_to_install(tmp_path, monkeypatch):
    pytest.importorskip("securesystemslib")
    from securesystemslib.signer import _hsm_signer

    if _hsm_signer.PKCS11_IMPORT_ERROR is None:
        pytest.skip("python-pkcs11 is installed")
    with pytest.raises(ConfigError, match="pip install python-pkcs11"):
        fleet("key", "token", tmp_path / "targets-4")


def test_several_devices_are_registered_at_once(tmp_path):
    place = tmp_path / "fleet"
    repository = setup.init(place)
    repository.seal_state()
    repository.save()
    files = []
    for name in ("a", "b", "c"):
        state = private_folder(tmp_path / name)
        registration(state, name)
        files.append(state / "device.json")
    fleet("device", "add", place, *files)
    assert status(place)["devices"] == ["a", "b", "c"]
