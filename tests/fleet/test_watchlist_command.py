"""The owner's commands, as they are typed."""

import pytest
from typer.testing import CliRunner

from cli.watchlist import app
from demo import scene
from edge.errors import ConfigError
from fleet.owner import Owner
from tests.fleet.test_owner import unit
from tests.kit import authorisation


def lethe(*arguments, answer=None):
    result = CliRunner().invoke(app, [str(a) for a in arguments], input=answer)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def folder(tmp_path):
    Owner.init(tmp_path / "list", "gate", authorisation())
    return tmp_path / "list"


def add(folder, label):
    Owner(folder).add(label, [unit(1)], embedder="e", not_before=1, not_after=2)


BASIS = (
    "--list-id", "gate", "--reference", "court 12/2026", "--purpose", "court-order",
    "--device", "camera-1", "--device", "camera-2",
)  # fmt: skip


def test_init_says_what_it_made_and_that_the_key_is_not_encrypted(tmp_path):
    said = lethe("init", tmp_path / "list", *BASIS, "--area", "47.37,8.54,300").output
    assert "owner.key" in said
    assert "not encrypted" in said
    made = Owner(tmp_path / "list").owned.authorisation
    assert made.devices == ["camera-1", "camera-2"]
    assert (made.area.latitude, made.area.longitude, made.area.radius_m) == (47.37, 8.54, 300)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--profile", "worn"), "it is fixed or body-worn"),
        (("--profile", "body-worn", "--valid-hours", "25"), "more than 24 for body-worn"),
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
    said = lethe("publish", folder, "--dry-run").output
    for part in ("would publish 'gate': version 1", "1 entries", " bytes", "until 2"):
        assert part in said
    assert Owner(folder).owned.version == 0


def test_a_dry_run_refuses_what_publishing_would(tmp_path):
    Owner.init(tmp_path / "list", "gate", authorisation(not_after=1))
    add(tmp_path / "list", "anna")
    with pytest.raises(ConfigError, match="is over"):
        lethe("publish", tmp_path / "list", "--dry-run")
