"""Who may set which field: every refusal names the field, the value and what it may hold."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import config, limits
from edge.errors import BadInput, ConfigError
from edge.protocol import configuration
from edge.protocol.watchlist import Purpose
from edge.settings import layers
from edge.settings.fields import describe, plain, value_of
from tests.test_config import document

LOCAL = config.parse(document())


def local(**sections):
    return config.parse(document() | sections)


def test_what_is_not_named_stays_as_the_file_has_it():
    own = local(telemetry={"period_s": 45}, log_level="warning")
    made = layers.merged(own, {"telemetry": {"prometheus_port": 9100}})
    assert made.telemetry == config.TelemetryConfig(period_s=45, prometheus_port=9100)
    assert made.log_level == "warning"
    assert layers.merged(own, {}) == own


def test_the_last_who_says_anything_is_named():
    own = local(telemetry={"period_s": 45})
    settings = {"log_level": "debug", "camera": {"source": "/dev/video1"}}
    pinned = frozenset({"camera.source"})

    def source(path):
        return layers.source(path, own, settings, pinned)

    assert source("log_level") == "fleet"
    assert source("telemetry.period_s") == "file"
    assert source("telemetry.prometheus_port") == "default"
    assert source("watchlist.id") == "file"
    assert source("camera.source") == "command line"
    made = layers.merged(own, settings, pinned)
    assert (made.camera.source, made.log_level) == ("clip.mp4", "debug")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"telemetry": {"period_s": 5}}, r"telemetry\.period_s = 5 .* number from 30 to 3600"),
        ({"telemetry": {"period_s": "60"}}, r'telemetry\.period_s = "60" .* from 30 to 3600'),
        ({"telemetry": {"period_s": True}}, r"telemetry\.period_s = true .* from 30 to 3600"),
        ({"log_level": "loud"}, r'log_level = "loud" .*"debug", "error", "info" or "warning"'),
        ({"vision": {"fpir_target": 0.5}}, r"vision\.fpir_target = 0\.5 .* at most 0\.01"),
        ({"watchlist": {"purposes": ["public-order"]}}, r"purposes = .*public-order.*court-order"),
        ({"watchlist": {"purposes": []}}, r"watchlist\.purposes = \[\] .* one or more of"),
        ({"watchlist": {"id": "../x"}}, r"watchlist\.id = \"\.\./x\" .* matches"),
        ({"camera": {"source": "rtsp:///1"}}, r"camera\.source refused: not an address"),
        ({"camera": {"source": "rtsp://host:99999/1"}}, r"camera\.source refused: not an address"),
        ({"camera": {"source": "rtsp://u:pw@host/1"}}, r"camera\.source refused: .* in clear"),
        ({"camera": {"source": "rtsp://host/1?token=2"}}, r"camera\.source refused: .* in clear"),
        ({"camera": {"source": "rtsp://[/"}}, r"camera\.source refused: not an address"),
        ({"telemetry": 5}, "telemetry is no field"),
        ({"telemetry": {"period": 5}}, r"telemetry\.period is no field"),
        ({"telemetry.period_s": 60}, r"telemetry\.period_s\" is no field"),
        ({"log_level": {"x": 1}}, r"log_level\.x is no field"),
        ({"nonsense": {}}, "nonsense is no field"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_may_hold(settings, said):
    with pytest.raises(ConfigError, match=said) as refusal:
        layers.merged(LOCAL, settings)
    assert "pw" not in str(refusal.value)


@pytest.mark.parametrize(
    "source",
    [
        "/dev/video0", "/dev/video12", "picamera2", "picamera2:1", "rtsp://host/1",
        "rtsps://[2001:db8::1]:322/a/b", "/dev/v4l/by-id/usb-046d_C920-video-index0",
        "/dev/v4l/by-path/pci-0000:00:14.0-usb-0:2:1.0-video-index0",
    ],
)  # fmt: skip
def test_a_source_from_the_fleet_is_a_camera(source):
    assert layers.merged(LOCAL, {"camera": {"source": source}}).camera.source == source


@pytest.mark.parametrize(
    "source",
    [
        "clip.mp4", "/data/clip.mp4", "/etc", "/dev/shm/clip.mp4", "/dev/video", "/dev/video0/..",
        "/dev/../etc/shadow", "/dev/v4l/by-id/..", "/dev/v4l/by-id/../../sda", "/dev/video0\n",
        "/dev/video٣", "picamera2x/clip.mp4", "picamera2:", "file:///etc/passwd", "http://host/1",
        "RTSP://host/1", "rtsp://ho st/1", "rtsp://host/1\n", "concat:rtsp://host/1",
    ],
)  # fmt: skip
def test_no_file_is_opened_or_looked_for_because_the_fleet_says_so(source):
    with pytest.raises(ConfigError, match=r"camera\.source refused: a source .* is a camera"):
        layers.merged(LOCAL, {"camera": {"source": source}})


HERE = {"id": "camera-1", "position": [47.0, 8.0]}
WORN = {"id": "camera-1", "profile": "body-worn", "indicator": "led:red"}


@pytest.mark.parametrize("device", [HERE, WORN])
@pytest.mark.parametrize(
    ("own", "source"),
    [
        ("/dev/video0", "rtsp://host/1"),
        ("rtsp://host/1", "rtsp://host/2"),
        ("rtsp://host/1", "/dev/video0"),
    ],
)
def test_a_camera_that_may_be_elsewhere_is_not_judged_by_the_position_of_this_one(
    device, own, source
):
    placed = local(device=device, camera={"source": own})
    with pytest.raises(ConfigError, match="may hang elsewhere"):
        layers.merged(placed, {"camera": {"source": source}})
    assert layers.merged(placed, {"camera": {"source": own}}) == placed
    pinned = layers.merged(placed, {"camera": {"source": source}}, frozenset({"camera.source"}))
    assert pinned == placed, "what does not count is no move"
    nowhere = local(camera={"source": own})
    assert layers.merged(nowhere, {"camera": {"source": source}}).camera.source == source


def test_another_camera_at_the_same_machine_is_where_it_is():
    placed = local(device=HERE, camera={"source": "/dev/video0"})
    assert layers.merged(placed, {"camera": {"source": "picamera2"}}).device == placed.device


@pytest.mark.parametrize("path", sorted(set(describe()) - set(layers.RULES)))
def test_what_is_a_matter_of_the_installation_is_the_files_alone(path):
    """Identity, state, whom it trusts, broker, and paths to what is run."""
    assert path.startswith(("device.", "fleet.", "broker.", "update.", "aim.")) or path in (
        "vision.models_dir", "vision.accelerator_python", "home_assistant.stop_switch"
    )  # fmt: skip
    section, _, name = path.partition(".")
    with pytest.raises(ConfigError, match="in the device's own file only"):
        layers.merged(LOCAL, {section: {name: plain(value_of(LOCAL, path))}})


@pytest.mark.parametrize(
    ("path", "own", "strict", "lax"),
    [
        ("watchlist.max_entries", 50, 49, 51),
        ("watchlist.max_hours", 24, 1.5, 24.5),
        ("vision.fpir_target", 0.001, 0.0001, 0.002),
        ("watchlist.purposes", ["missing-person", "court-order"], ["court-order"],
         ["court-order", "self-exclusion"]),
        ("events.pictures", True, False, None),
        ("events.pictures", False, False, True),
    ],
)  # fmt: skip
def test_a_limit_can_be_made_stricter_and_not_laxer(path, own, strict, lax):
    section, _, name = path.partition(".")
    ours = document()
    ours[section] = ours.get(section, {}) | {name: own}
    ours = config.parse(ours)
    for value in (own, strict):
        assert plain(value_of(layers.merged(ours, {section: {name: value}}), path)) == (
            sorted(value) if isinstance(value, list) else value
        )
    if lax is not None:
        with pytest.raises(ConfigError, match=rf"{path} = .* only be made stricter"):
            layers.merged(ours, {section: {name: lax}})


def test_every_limit_has_its_rule():
    """A new field is the file's alone until somebody decides; what limits says so."""
    assert set(layers.RULES) <= set(describe())
    limited = {path for path, rule in layers.RULES.items() if rule.stricter}
    assert limited == {
        "watchlist.purposes", "watchlist.max_entries", "watchlist.max_hours",
        "vision.fpir_target", "events.pictures",
    }  # fmt: skip


def test_one_wrong_value_keeps_all_others_out():
    with pytest.raises(ConfigError):
        layers.merged(LOCAL, {"log_level": "debug", "telemetry": {"period_s": 5}})


def test_a_fingerprint_is_of_the_values():
    assert layers.fingerprint(local(watchlist={"id": "gate"})) == layers.fingerprint(LOCAL)
    other = layers.merged(LOCAL, {"watchlist": {"purposes": [*map(str, Purpose)][1:]}})
    assert layers.fingerprint(other) != layers.fingerprint(LOCAL)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)
names = st.sampled_from([*config.Config.__struct_fields__, "x"])
inner_names = st.sampled_from([path.rpartition(".")[2] for path in describe()])
anything = st.dictionaries(names, values | st.dictionaries(inner_names, values))


@given(anything)
def test_whatever_comes_is_refused_in_words_or_no_laxer_than_the_file(settings):
    own = local(watchlist={"id": "gate", "max_entries": 50, "purposes": ["court-order"]})
    try:
        made = layers.merged(own, settings)
    except ConfigError:
        return
    assert made.device == own.device
    assert made.broker == own.broker
    assert made.watchlist.max_entries <= 50
    assert made.watchlist.purposes == own.watchlist.purposes
    assert 0 < made.vision.fpir_target <= own.vision.fpir_target
    assert not made.events.pictures
    assert math.isfinite(made.watchlist.max_hours)
    assert config.parse(msgspec.to_builtins(made)) == made, "what is in force is a configuration"


@given(st.binary(max_size=200) | anything.map(repr).map(str.encode))
def test_what_is_no_document_is_refused_in_words(content):
    with pytest.raises(BadInput):
        configuration.decode(content)


def test_a_document_that_is_too_large_is_not_parsed():
    with pytest.raises(BadInput, match="at most"):
        configuration.decode(b"{" * (limits.MAX_DESIRED_BYTES + 1))
