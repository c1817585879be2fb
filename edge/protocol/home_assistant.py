"""What Home Assistant needs to know to show a device: one discovery document, for all its entities.

Device-based MQTT discovery (Home Assistant 2024.11 and later):
https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery. It names topics that are there
anyway and how to read them; it adds nothing that is sent of people.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge.protocol import topics

_KINDS = {
    "lethe.match.candidate.v1": "candidate",
    "lethe.match.updated.v1": "updated",
    "lethe.match.ended.v1": "ended",
}
_EVENT = (
    "{% set kinds = " + repr(_KINDS) + " %}"
    "{% if value_json.type in kinds %}"
    "{{ {'event_type': kinds[value_json.type], 'id': value_json.id,"
    " 'candidate': value_json.data.candidate | default(value_json.id),"
    " 'sequence': value_json.sequence | int, 'time': value_json.time,"
    " 'expirytime': value_json.expirytime, 'entry': value_json.data.entry,"
    " 'score': value_json.data.score | default(none),"
    " 'reason': value_json.data.reason | default(none)} | tojson }}"
    "{% endif %}"
)
"""Other kinds of events render as nothing, which Home Assistant passes over."""
_UPDATE = (
    "{% set s = value_json.software %}"
    "{% set busy = s.state in ['downloading', 'installing', 'restarting', 'trying'] %}"
    "{{ {'installed_version': s.version,"
    " 'latest_version': s.target if s.target and s.state != 'refused' else s.version,"
    " 'in_progress': busy, 'update_percentage': s.percent if busy else none} | tojson }}"
)
"""Keys of Home Assistant's MQTT update entity. There is no command topic: what is installed is
signed by the fleet, and nothing that the broker or Home Assistant says installs anything."""


def discovery_topic(prefix: str, device_id: str) -> str:
    """Device to Home Assistant, QoS 1, retained. Its names may hold no dot.

    The id is a level of its own: a broker's rule for each device by its name can say no less.
    """
    return f"{prefix}/device/lethe/{device_id.replace('.', '-dot-')}/config"


def discovery(
    root: str, device_id: str, *, profile: str, software: str, stop_switch: bool = False
) -> dict[str, Any]:
    """Return the discovery document of a device.

    Args:
        root: first level of the device's topics.
        device_id: its id.
        profile: kind of camera.
        software: version.
        stop_switch: whether Home Assistant may stop the device.
    """
    status, telemetry = topics.status(root, device_id), topics.telemetry(root, device_id)

    def entity(key: str, platform: str, name: str, topic: str, template: str) -> dict[str, Any]:
        return {
            "platform": platform,
            "unique_id": f"lethe_{device_id}_{key}",
            "name": name,
            "state_topic": topic,
            "value_template": template,
        }

    def diagnostic(
        key: str, name: str, topic: str, template: str, **more: object
    ) -> dict[str, Any]:
        shown = entity(key, "sensor", name, topic, template)
        return shown | {"entity_category": "diagnostic"} | more

    return {
        "device": {
            "identifiers": [f"lethe_{device_id}"],
            "name": f"Lethe {device_id}",
            "manufacturer": "Lethe",
            "model": f"{profile} camera",
            "sw_version": software,
        },
        "origin": {"name": "Lethe", "sw_version": software},
        "availability": [{"topic": status, "value_template": "{{ value_json.state }}"}],
        "qos": 1,
        "components": {
            **({"matching": _matching(entity, root, device_id)} if stop_switch else {}),
            "candidate": entity(
                "candidate", "event", "Candidate", topics.event(root, device_id), _EVENT
            )
            | {"event_types": list(_KINDS.values()), "icon": "mdi:account-question"},
            "problem": entity(
                "problem", "binary_sensor", "Problem", status,
                "{{ 'ON' if value_json.reasons else 'OFF' }}",
            )
            | {
                "device_class": "problem",
                "json_attributes_topic": status,
                "json_attributes_template": "{{ {'reasons': value_json.reasons} | tojson }}",
            },
            "list_version": diagnostic(
                "list_version", "List version", status,
                "{{ value_json.list.version if value_json.list else 'None' }}",
            ),
            "list_expires": diagnostic(
                "list_expires", "List expires", status,
                "{{ value_json.list.expires | as_datetime if value_json.list else 'None' }}",
                device_class="timestamp",
            ),
            "update": entity(
                "update", "update", "Software", topics.update(root, device_id), _UPDATE
            )
            | {
                "device_class": "firmware",
                "entity_category": "diagnostic",
                "json_attributes_topic": topics.update(root, device_id),
                "json_attributes_template": "{{ {'state': value_json.software.state,"
                " 'reason': value_json.software.reason,"
                " 'models': value_json.models.state} | tojson }}",
            },
            "frames": diagnostic(
                "frames", "Frames", telemetry, "{{ value_json.frames }}",
                device_class="enum", options=["ok", "few", "none", "unknown"],
            ),
            "temperature": diagnostic(
                "temperature", "Temperature class", telemetry, "{{ value_json.temperature }}",
                device_class="enum", options=["normal", "warm", "hot", "unknown"],
            ),
            "events_waiting": diagnostic(
                "events_waiting", "Events waiting", telemetry, "{{ value_json.events_waiting }}",
                state_class="measurement",
            ),
        },
    }  # fmt: skip


def _matching(
    entity: Callable[[str, str, str, str, str], dict[str, Any]], root: str, device_id: str
) -> dict[str, Any]:
    """Return the switch: OFF stops; ON is refused, for only a person can sign."""
    status = topics.status(root, device_id)
    shows = "{{ 'OFF' if value_json.stopped else 'ON' }}"
    return entity("matching", "switch", "Matching", status, shows) | {
        "command_topic": topics.switch(root, device_id),
        "payload_on": "ON",
        "payload_off": "OFF",
        "retain": False,
        "optimistic": False,
        "icon": "mdi:eye-off",
    }
