"""What differs between targets: one TOML file a target, read whole and refused whole."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from firmware.errors import RecipeError

HERE = Path(__file__).resolve().parent
MIB = 1024 * 1024
Package = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9+.-]+(/[a-z-]+)?$")]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Source(_Section, frozen=True, kw_only=True):
    """A Debian archive besides the main one.

    Attributes:
        name: file name of its list.
        suite: of the archive, such as "trixie-backports".
        components: of the suite.
        mirror: address; the main mirror's if empty.
        key: file on the building machine with its public keys; Debian's own if empty.
    """

    name: Annotated[str, Meta(pattern=r"^[a-z-]+$")]
    suite: str
    components: list[str]
    mirror: str = ""
    key: str = ""


class Boot(_Section, frozen=True, kw_only=True):
    """How the target starts.

    Attributes:
        backend: "uboot" counts tries in U-Boot's script; "tryboot" is the Raspberry Pi firmware's
            one-shot try.
        packages: Debian packages whose files go onto the boot partition; not installed.
        files: folder with further files for it, such as config.txt; relative to `firmware/`.
        console: kernel's serial console.
        arguments: further words of the kernel's command line.
        kernel_address: where U-Boot loads the kernel, hexadecimal.
        initrd_address: where U-Boot loads the initramfs, hexadecimal.
        scratch_address: 16 KiB of memory for the boot state, hexadecimal.
        fdt: U-Boot's variable that holds the address of the device tree.
        tree: file name of the board's device tree; empty where the machine brings its own.
    """

    backend: Literal["uboot", "tryboot"]
    packages: Annotated[list[Package], Meta(min_length=1)]
    files: str = ""
    console: str
    arguments: list[str] = []
    kernel_address: str = ""
    initrd_address: str = ""
    scratch_address: str = ""
    fdt: str = ""
    tree: str = ""


class CameraStack(_Section, frozen=True, kw_only=True):
    """Kernel and libraries for the board's own camera, from its maker's archive.

    Attributes:
        packages: added.
        replaces: packages of the recipe that are left out instead.
        source: the archive.
    """

    packages: list[Package]
    replaces: list[Package]
    source: Source


class Recipe(_Section, frozen=True, kw_only=True):
    """One target.

    Attributes:
        name: of the target.
        compatible: what a bundle must be made for; part of the device's identity for ever.
        suite: Debian's.
        packages: added to `common/packages.txt`: kernel, firmware, camera stack.
        sources: further archives.
        overlays: folders laid over the root file system, relative to `firmware/`.
        boot: how it starts.
        csi: for the board's own camera; None where there is none.
        boot_mib: size of a boot partition, MiB.
        slot_mib: size of a slot, MiB.
        data_mib: size of the data partition in the image, MiB; it grows at the first boot.
        not_run: what of this recipe has never run; empty when all of it has.
    """

    name: Annotated[str, Meta(pattern=r"^[a-z0-9-]+$")]
    compatible: Annotated[str, Meta(pattern=r"^lethe-[a-z0-9-]+$")]
    suite: str
    packages: list[Package]
    sources: list[Source] = []
    overlays: list[str] = []
    boot: Boot
    csi: CameraStack | None = None
    boot_mib: Annotated[int, Meta(ge=16, le=1024)]
    slot_mib: Annotated[int, Meta(ge=256, le=8192)]
    data_mib: Annotated[int, Meta(ge=16, le=65536)]
    not_run: str = ""


def load(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        RecipeError: there is none, or a field is wrong; names file and field.
    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), Recipe)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise RecipeError(f"{path}: {error}") from error


def with_csi(recipe: Recipe, mirror: str) -> Recipe:
    """Return a recipe whose kernel and camera stack come from the board's maker.

    Args:
        recipe: of a board with a camera connector.
        mirror: of the maker's archive; its own address if empty.

    Raises:
        RecipeError: the target has no such camera.
    """
    if recipe.csi is None:
        raise RecipeError(f"{recipe.name}: has no camera connector of its own")
    source = recipe.csi.source
    if mirror:
        source = msgspec.structs.replace(source, mirror=mirror)
    kept = [name for name in recipe.packages if name not in recipe.csi.replaces]
    return msgspec.structs.replace(
        recipe, packages=[*kept, *recipe.csi.packages], sources=[*recipe.sources, source]
    )


def common_packages() -> list[str]:
    """Return the packages of every image."""
    lines = (HERE / "common" / "packages.txt").read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]
