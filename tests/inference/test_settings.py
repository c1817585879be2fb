"""The configuration of back ends, from the file to the networks."""

from pathlib import Path

import pytest

from edge import config
from edge.config import VisionConfig, parse_section
from edge.errors import ConfigError

FILE = """
[device]
id = "gate"
[camera]
source = "clip.mp4"
[fleet]
root = "root.json"
[watchlist]
id = "missing"
[vision]
backend = "edgetpu"
accelerator_python = "{python}"
"""


@pytest.mark.parametrize("device", ["", "usb", "pci", ":0", "usb:1", "pci:12"])
def test_an_edge_tpu_by_its_name(device):
    assert parse_section({"edgetpu_device": device}, VisionConfig).edgetpu_device == device


@pytest.mark.parametrize("device", ["usb:", "usb:-1", "usb:123", "pci:0 ", "/dev/apex_0", "any"])
def test_a_name_that_libedgetpu_does_not_know(device):
    with pytest.raises(ConfigError, match="edgetpu_device"):
        parse_section({"edgetpu_device": device}, VisionConfig)


def test_a_back_end_that_there_is_not():
    with pytest.raises(ConfigError, match="backend"):
        parse_section({"backend": "cuda"}, VisionConfig)


@pytest.mark.parametrize(
    ("python", "expected"),
    [("", ""), ("/usr/bin/python3", "/usr/bin/python3"), ("coral/python", "{}/coral/python")],
)
def test_the_interpreter_is_looked_for_beside_the_file(tmp_path, python, expected):
    path = tmp_path / "lethe.toml"
    path.write_text(FILE.format(python=python), "utf-8")
    found = config.load(path).vision.accelerator_python
    assert found == expected.format(Path(tmp_path).resolve())
