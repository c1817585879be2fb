"""Accelerators found on made-up machines."""

import os
import sys

import pytest

from edge.inference.open import find_obstacles
from edge.inference.presence import find_edgetpus, find_gpu
from tests.inference.simulated import SimulatedGpu


def usb(root, vendor, product):
    device = root / "sys/bus/usb/devices/1-2"
    device.mkdir(parents=True)
    files = {"idVendor": vendor, "idProduct": product, "busnum": "1", "devnum": "7"}
    for name, value in files.items():
        (device / name).write_text(value + "\n")
    node = root / "dev/bus/usb/001/007"
    node.parent.mkdir(parents=True)
    node.touch()
    return node


@pytest.mark.parametrize(("vendor", "product"), [("1a6e", "089a"), ("18d1", "9302")])
def test_coral_on_usb_before_and_after_its_firmware_is_loaded(tmp_path, vendor, product):
    usb(tmp_path, vendor, product)
    (found,) = find_edgetpus(tmp_path, library=True)
    assert found.name == "Edge TPU on USB (1-2)"
    assert not found.obstacle


def test_another_usb_device_is_none(tmp_path):
    usb(tmp_path, "18d1", "4ee7")
    assert find_edgetpus(tmp_path, library=True) == []


def test_coral_on_pcie(tmp_path):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/apex_0").touch()
    (found,) = find_edgetpus(tmp_path, library=True)
    assert found.name == "Edge TPU on PCIe (apex_0)"


def test_without_its_library_it_cannot_be_used(tmp_path):
    usb(tmp_path, "1a6e", "089a")
    (found,) = find_edgetpus(tmp_path, library=False)
    assert found.obstacle == "libedgetpu.so.1 is not installed"
    assert "libedgetpu1-std" in found.todo


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_without_permission_it_cannot_be_used(tmp_path):
    usb(tmp_path, "1a6e", "089a").chmod(0)
    (found,) = find_edgetpus(tmp_path, library=True)
    assert "plugdev" in found.todo


def test_without_its_node_it_cannot_be_used(tmp_path):
    usb(tmp_path, "1a6e", "089a").unlink()
    (found,) = find_edgetpus(tmp_path, library=True)
    assert found.obstacle == "not accessible"


def test_nothing_is_there(tmp_path):
    assert find_edgetpus(tmp_path) == []
    assert find_gpu(root=tmp_path) is None
    assert find_obstacles(root=tmp_path) == {
        "edgetpu": "no Edge TPU found",
        "tensorrt": "no NVIDIA GPU found",
    }


def jetson(root):
    (root / "proc/device-tree").mkdir(parents=True)
    (root / "proc/device-tree/model").write_bytes(b"NVIDIA Jetson Orin Nano Developer Kit\0")


def test_a_jetson_without_tensorrt(tmp_path):
    jetson(tmp_path)
    for python in ("", sys.executable):
        found = find_gpu(python, tmp_path)
        assert found.name == "NVIDIA Jetson Orin Nano Developer Kit"
        assert "tensorrt and cuda not installed" in found.obstacle


def test_a_jetson_whose_tensorrt_is_installed_for_another_python(tmp_path):
    jetson(tmp_path)
    python = str(SimulatedGpu(tmp_path / "gpu").python)
    assert find_gpu(python, tmp_path).obstacle == ""
    assert find_obstacles(python, tmp_path)["tensorrt"] == ""
    assert find_obstacles("", tmp_path)["tensorrt"]


def test_an_interpreter_that_is_not_there_has_nothing(tmp_path):
    jetson(tmp_path)
    assert find_gpu(str(tmp_path / "python"), tmp_path).obstacle


def test_a_raspberry_pi_is_no_jetson(tmp_path):
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\0")
    assert find_gpu(root=tmp_path) is None


def test_a_card_in_a_pc(tmp_path):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()
    assert find_gpu(root=tmp_path).name == "NVIDIA GPU"
