"""Recipes: those that are shipped, and those that are wrong."""

import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from firmware import base, recipe
from firmware.errors import RecipeError
from firmware.rootfs import fill

TARGETS = sorted(recipe.HERE.glob("*/*.toml"))
ARCHIVE = base.Archive("http://mirror.example/debian", "http://mirror.example/security")


@pytest.mark.parametrize("target", TARGETS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_shipped_recipes_are_valid(target):
    loaded = recipe.load(target)
    assert loaded.compatible.startswith("lethe-")
    assert len(base.sources(loaded, ARCHIVE)) >= 3


def test_every_target_says_another_compatible():
    names = [recipe.load(target).compatible for target in TARGETS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("target", TARGETS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_templates_are_filled_completely(target):
    loaded = recipe.load(target)
    for path in (recipe.HERE / "common").rglob("*"):
        if path.is_file() and path.suffix in (".cmd", ".conf"):
            filled = fill(path.read_text("utf-8"), loaded, "1.0.0")
            assert not re.search("@[A-Z_]+@", filled), path


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (("slot_mib = 1024", "slot_mib = 1"), "slot_mib"),
        (('"lethe-qemu-arm64"', '"other"'), "compatible"),
        (('"libubootenv-tool"', '"a; rm -rf /"'), "packages"),
        (("[boot]", "[boots]"), "boots"),
        (('backend = "uboot"', 'backend = "grub"'), "backend"),
    ],
)
def test_a_wrong_field_is_named(tmp_path, change, field):
    text = (recipe.HERE / "qemu" / "recipe.toml").read_text("utf-8")
    assert change[0] in text
    (tmp_path / "recipe.toml").write_text(text.replace(*change))
    with pytest.raises(RecipeError, match=field):
        recipe.load(tmp_path / "recipe.toml")


def test_the_base_is_made_anew_when_anything_it_is_made_from_changes():
    loaded = recipe.load(recipe.HERE / "qemu/recipe.toml")
    name = base.fingerprint(loaded, ARCHIVE)
    assert name == base.fingerprint(loaded, ARCHIVE)
    assert name != base.fingerprint(loaded, base.Archive("http://other", ARCHIVE.security))
    changed = msgspec.structs.replace(loaded, packages=["linux-image-cloud-arm64"])
    assert name != base.fingerprint(changed, ARCHIVE)


def test_shell_scripts_of_the_device():
    """Those without a suffix are not found by the check of *.sh."""
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    scripts = sorted((Path(__file__).parents[2] / "ota" / "device").iterdir())
    assert scripts
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
