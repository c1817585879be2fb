"""The configuration as a whole: what belongs together, and what cannot be loosened."""

import pytest

from edge import config, limits
from edge.errors import ConfigError
from edge.protocol.watchlist import Purpose


def document(device=None, watchlist=None):
    return {
        "device": {"id": "camera-1", **(device or {})},
        "camera": {"source": "clip.mp4"},
        "fleet": {"root": "root.json"},
        "watchlist": {"id": "gate", **(watchlist or {})},
    }


def test_unless_told_otherwise_nothing_is_tightened():
    read = config.parse(document()).watchlist
    assert read.purposes == frozenset(Purpose)
    assert (read.max_entries, read.max_hours) == (limits.MAX_LIST_SIZE, 720)


def test_rules_can_be_tightened():
    read = config.parse(
        document(watchlist={"purposes": ["missing-person"], "max_entries": 5, "max_hours": 1.5})
    ).watchlist
    assert read.purposes == {Purpose.MISSING_PERSON}
    assert (read.max_entries, read.max_hours) == (5, 1.5)


@pytest.mark.parametrize(
    ("watchlist", "field"),
    [
        ({"purposes": []}, "purposes"),
        ({"purposes": ["public-order"]}, "purposes"),
        ({"max_entries": 0}, "max_entries"),
        ({"max_entries": limits.MAX_LIST_SIZE + 1}, "max_entries"),
        ({"max_hours": 721}, "max_hours"),
        ({"max_hours": 0}, "max_hours"),
    ],
)
def test_they_cannot_be_loosened(watchlist, field):
    with pytest.raises(ConfigError, match=field):
        config.parse(document(watchlist=watchlist))


WORN = {"profile": "body-worn", "indicator": "led:red:status"}


def test_a_body_worn_camera_shows_what_it_does_and_asks_where_it_is():
    assert config.parse(document(WORN)).device.gpsd == limits.DEFAULT_GPSD
    with pytest.raises(ConfigError, match=r"device\.indicator: a body-worn camera needs one"):
        config.parse(document({"profile": "body-worn"}))
    with pytest.raises(ConfigError, match=r"device\.position is for fixed cameras"):
        config.parse(document({**WORN, "position": [47.0, 8.0]}))


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "a b", "a+", "#", "x" * 65, "gate\n"]
)
def test_a_name_is_also_that_of_a_folder_and_part_of_a_topic(name):
    """A list called ".." would have the device's state swept as if it were a list's."""
    for broken in (document({"id": name}), document(watchlist={"id": name})):
        with pytest.raises(ConfigError, match="id"):
            config.parse(broken)


@pytest.mark.parametrize(
    "indicator", ["", "red", "led:", "led:../../etc", "led:a/b", "file:", "gpio:4"]
)
def test_an_indicator_is_a_lamp_or_a_file(indicator):
    with pytest.raises(ConfigError, match="indicator"):
        config.parse(document({"indicator": indicator}))


@pytest.mark.parametrize("gpsd", ["", "host", "host:", ":2947", "host:x", "a b:2947"])
def test_gpsd_is_a_host_and_a_port(gpsd):
    with pytest.raises(ConfigError, match="gpsd"):
        config.parse(document({"gpsd": gpsd}))


def test_the_hooks_path_is_taken_from_the_files_folder(tmp_path):
    path = tmp_path / "lethe.toml"
    path.write_text(
        '[device]\nid = "a"\nindicator = "file:armed"\n[camera]\nsource = "x.mp4"\n'
        '[fleet]\nroot = "root.json"\n[watchlist]\nid = "gate"\n'
    )
    assert config.load(path).device.indicator == f"file:{tmp_path}/armed"
    path.write_text(path.read_text().replace("file:armed", "led:red"))
    assert config.load(path).device.indicator == "led:red"


def test_a_number_that_no_program_reads_is_said(tmp_path):
    path = tmp_path / "lethe.toml"
    path.write_text("a = " + "1" * 5000)
    with pytest.raises(ConfigError, match="not TOML"):
        config.load(path)
