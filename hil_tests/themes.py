"""What a run covers of what the project promises, theme by theme; and what shows the rest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Theme:
    """Requirements that belong together.

    Attributes:
        title: what they are about.
        modules: files of tests here, without "test_" and ".py".
        elsewhere: what of it a whole device cannot show, and what does.
    """

    title: str
    modules: tuple[str, ...]
    elsewhere: str


THEMES = (
    Theme(
        "Recognition", ("main_job",),
        "how often it errs, whole-number against float models, quality: ./lethe evaluate",
    ),
    Theme(
        "Lists and their trust", ("lists",),
        "forged and replayed lists, purposes and areas, the index: tests/trust, tests/watchlist",
    ),
    Theme(
        "Events", ("network",),
        "order and identity under 100 kills, replays, sealed pictures: tests/events",
    ),
    Theme(
        "Broker access and first boot", ("provisioning",),
        "each topic and role, renewal, revocation: tests/link, tests/provision",
    ),
    Theme(
        "Configuration and commands", ("configuration", "commands"),
        "every field's bounds, each refusal by name, the preview: tests/settings, tests/command",
    ),
    Theme(
        "Health: camera, clock, disk, heat, accelerators", ("surroundings", "peripherals"),
        "each fault alone, with a clock of its own: tests/health, tests/inference, tests/camera",
    ),
    Theme(
        "Speed and memory", ("soak",),
        "against its peers, in one run, as ratios: ./lethe bench",
    ),
    Theme(
        "The image", ("boot",),
        "its recipes, units and boot loaders: tests/firmware",
    ),
    Theme(
        "Updates and power cuts", ("update", "power"),
        "roll-out, announcements, the boot back ends' contracts: tests/ota, tests/update",
    ),
    Theme(
        "The rig itself", ("rig",),
        "that it leaves nothing behind, and finds planted faults: tests/rig, ./lethe hil --plant",
    ),
)  # fmt: skip


def theme_of(module: str) -> str:
    """Return the title of the theme that a file of tests belongs to.

    Args:
        module: its name, such as "test_lists.py".
    """
    name = module.removeprefix("test_").removesuffix(".py")
    return next(theme.title for theme in THEMES if name in theme.modules)
