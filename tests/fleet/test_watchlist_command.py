"""The owner's commands, as they are typed."""

import pytest
from typer.testing import CliRunner

from cli.watchlist import app
from demo import scene
from edge.errors import ConfigError
from edge.files import private_folder
from edge.identity import registration
from fleet import devices
from fleet.owner import Owner
from tests.fleet.test_owner import begin, unit


def lethe(*arguments, answer=None):
    result = CliRunner().invoke(app, [str(a) for a in arguments], input=answer)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def folder(tmp_path):
    begin(tmp_path / "list")
    return tmp_path / "list"


def add(folder, label):
    Owner(folder).add(label, [unit(1)], embedder="e", not_before=1, not_after=2)


def REGISTERED(folder):
    """A devices.json with the one device of the list."""
    file = folder.parent / "devices.json"
    state = private_folder(folder.parent / "state")
    file.write_bytes(devices.encode({"camera-1": registration(state, "camera-1")}))
    return ("--devices", file)


BASIS = (
    "--list-id", "gate", "--reference", "court 12/2026", "--purpose", "court-order",
    "--device", "camera-1", "--device", "camera-2",
)  # fmt: skip


def test_init_says_who_signs_and_that_the_keys_are_not_encrypted(tmp_path):
    said = lethe("init", tmp_path / "list", *BASIS, "--area", "47.37,8.54,300").output
    assert "2 of gate-1, gate-2, gate-3 sign it" in said
    assert "not encrypted" in said
    assert "fleet list add FLEET gate" in said
    made = Owner(tmp_path / "list").owned.authorisation
    assert made.devices == ["camera-1", "camera-2"]
    assert (made.area.latitude, made.area.longitude, made.area.radius_m) == (47.37, 8.54, 300)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--profile", "worn"), "it is fixed or body-worn"),
        (("--profile", "body-worn"), "--area is missing"),
        (
            ("--profile", "body-worn", "--area", "47.3,8.5,300", "--valid-hours", "25"),
            "more than 24 for body-worn",
        ),
        (("--valid-hours", "inf"), "more than 720"),
        (("--area", "here"), "LAT,LON,METRES"),
        (("--area", "nan,8.54,300"), "latitude"),
        (("--max-entries", "100001"), "max_entries"),
    ],
)
def test_init_refuses_what_every_device_would_refuse(tmp_path, options, says):
    with pytest.raises(ConfigError, match=says):
        lethe("init", tmp_path / "list", *BASIS, *options)
    assert not (tmp_path / "list").exists()


@pytest.mark.parametrize(
    "options", [("--purpose", "public-order"), ("--fpir-target", "0.02"), ("--valid-hours", "nan")]
)
def test_what_cannot_be_typed_is_a_usage_error(tmp_path, options):
    assert lethe("init", tmp_path / "list", *BASIS, *options).exit_code == 2
    assert not (tmp_path / "list").exists()


def test_enrolled_is_listed_by_the_name_of_its_file_until_the_list_ends(folder):
    lethe("enrol", folder, scene.BYSTANDER, "--valid-days", "inf")
    owner = Owner(folder)
    (item,) = owner.owned.entries
    assert item.entry.not_after == owner.owned.authorisation.not_after
    said = lethe("list", folder).output
    assert item.entry.id in said
    assert scene.BYSTANDER.stem in said


@pytest.mark.parametrize("label", ["anna [old]", "a [/b]", "[red]", ":smile:"])
def test_a_label_is_shown_as_it_is(folder, label):
    add(folder, label)
    assert label in lethe("list", folder).output


def test_revoke_asks_and_removes_only_then(folder):
    add(folder, "anna")
    assert "would remove" in lethe("revoke", folder, "anna", "--dry-run").output
    assert lethe("revoke", folder, "anna", answer="n\n").exit_code == 1
    assert list(Owner(folder).labels.values()) == ["anna"]
    lethe("revoke", folder, "anna", answer="y\n")
    assert not Owner(folder).labels
    add(folder, "ben")
    lethe("revoke", folder, "ben", "--yes")
    assert not Owner(folder).labels


def test_a_dry_run_says_version_size_and_end_and_changes_nothing(folder):
    add(folder, "anna")
    said = lethe("publish", folder, "--dry-run", *REGISTERED(folder)).output
    for part in ("'gate': version 1", "1 entries", " bytes", "until 2", "gate-1, gate-2: 2 of 2"):
        assert part in said
    assert Owner(folder).owned.version == 0


def test_a_dry_run_refuses_what_publishing_would(tmp_path):
    folder = tmp_path / "list"
    begin(folder, not_after=1)
    add(folder, "anna")
    with pytest.raises(ConfigError, match="is over"):
        lethe("publish", folder, "--dry-run", *REGISTERED(folder))
