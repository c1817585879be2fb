"""A lamp that shows what the device does, or says that it does not."""

import pytest

from edge.errors import IndicatorUnavailable
from edge.health import indicator
from edge.health.indicator import HookFile, Led, NoIndicator, open_indicator


@pytest.fixture
def lamp(tmp_path):
    """Files as the kernel's LED class shows them."""
    folder = tmp_path / "red:status"
    folder.mkdir()
    (folder / "trigger").write_text("none [heartbeat] timer\n")
    (folder / "brightness").write_text("0\n")
    (folder / "max_brightness").write_text("255\n")
    return folder


def test_the_lamp_is_taken_over_lit_and_put_out(lamp):
    led = Led(lamp)
    led.show(True)
    assert (lamp / "trigger").read_text() == "none"
    assert (lamp / "brightness").read_text() == "255"
    (lamp / "trigger").write_text("[none] heartbeat timer\n")
    led.show(False)
    assert (lamp / "brightness").read_text() == "0"
    assert (lamp / "trigger").read_text() == "[none] heartbeat timer\n"


def test_a_lamp_that_somebody_else_puts_out_is_lit_again(lamp):
    led = Led(lamp)
    led.show(True)
    (lamp / "brightness").write_text("0\n")
    led.show(True)
    assert (lamp / "brightness").read_text() == "255"


@pytest.mark.parametrize("missing", ["trigger", "brightness", "max_brightness"])
def test_a_lamp_that_is_not_there_is_said(lamp, missing):
    (lamp / missing).unlink()
    (lamp / missing).mkdir()
    with pytest.raises(IndicatorUnavailable, match="lamp red:status"):
        Led(lamp).show(True)


def test_a_kernel_without_triggers_has_lamps_too(lamp):
    (lamp / "trigger").unlink()
    Led(lamp).show(True)
    assert (lamp / "brightness").read_text() == "255"


def test_a_lamp_that_does_not_obey_is_said(lamp, monkeypatch):
    write = indicator.Path.write_text
    monkeypatch.setattr(
        indicator.Path, "write_text",
        lambda path, text, *a: None if path.name == "brightness" else write(path, text, *a),
    )  # fmt: skip
    with pytest.raises(IndicatorUnavailable, match="stays at 0 of 255"):
        Led(lamp).show(True)
    Led(lamp).show(False)


def test_a_lamp_that_cannot_shine_is_none(lamp):
    (lamp / "max_brightness").write_text("0\n")
    with pytest.raises(IndicatorUnavailable, match="stays at 0 of 0"):
        Led(lamp).show(True)


def test_the_hook_holds_what_the_device_does(tmp_path):
    hook = HookFile(tmp_path / "armed")
    hook.show(True)
    assert (tmp_path / "armed").read_text() == "1\n"
    before = (tmp_path / "armed").stat().st_mtime_ns
    hook.show(True)
    assert (tmp_path / "armed").stat().st_mtime_ns == before
    hook.show(False)
    assert (tmp_path / "armed").read_text() == "0\n"


def test_a_hook_without_its_folder_is_said(tmp_path):
    with pytest.raises(IndicatorUnavailable, match="armed"):
        HookFile(tmp_path / "nowhere" / "armed").show(True)


def test_the_setting_says_which(tmp_path, monkeypatch, lamp):
    monkeypatch.setattr(indicator, "LEDS", lamp.parent)
    assert isinstance(open_indicator(None), NoIndicator)
    open_indicator("led:red:status").show(True)
    assert (lamp / "brightness").read_text() == "255"
    open_indicator(f"file:{tmp_path}/armed").show(True)
    assert (tmp_path / "armed").read_text() == "1\n"
    open_indicator(None).show(True)
