"""Faults that are planted on purpose, to see that the rig finds them: `./lethe hil --plant NAME`.

A fault is edited into a copy of the image, or into the new version of an update; never into the
project.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hil_tests.versions import CODE, change


@dataclass(frozen=True)
class Plant:
    """A fault.

    Attributes:
        about: what is wrong then.
        file: where it is planted.
        old: text there.
        new: instead of it.
        found_by: the test that must fail.
        in_update: planted in the new version, not in the image.
    """

    about: str
    file: str
    old: str
    new: str
    found_by: str
    in_update: bool = False

    def into(self, image: Path | str, work: Path) -> None:
        """Plant it in a root file system."""
        change(image, self.file, self._edit, work)

    def _edit(self, text: str) -> str:
        assert text.count(self.old) == 1, f"{self.file} has changed: the plant no longer fits"
        return text.replace(self.old, self.new)


PLANTS = {
    "unmarked-update": Plant(
        "an update that does not mark itself good",
        f"{CODE}/ota/good", "rauc status mark-good\n", ": planted: not marked\n",
        "test_update_keeps_what_is_on_the_data_partition", in_update=True,
    ),
    "forgetful-outbox": Plant(
        "an outbox that forgets what was not sent when the power goes",
        f"{CODE}/edge/events/outbox.py", "        self._make = make\n",
        '        for name in ("", "-wal", "-shm"):  # planted\n'
        "            path.with_name(path.name + name).unlink(missing_ok=True)\n"
        "        self._make = make\n",
        "test_events_outlive_a_power_cut",
    ),
    "immortal-list": Plant(
        "a list that survives its expiry",
        f"{CODE}/edge/watchlist/timekeeping.py",
        "return self.least >= moment or (not self.doubt and self.now >= moment)",
        "return moment < 0  # planted",
        "test_an_expired_list_ends",
    ),
}  # fmt: skip


def planted_image(image: Path, plants: Iterable[Plant], folder: Path) -> Path:
    """Return a folder with a copy of a built image that has faults in slot A."""
    folder.mkdir(parents=True)
    for path in image.iterdir():
        if path.suffix == ".img":
            subprocess.run(["cp", "--sparse=always", path, folder / path.name], check=True)
            start = slot_offset(folder / path.name)
            for plant in plants:
                if not plant.in_update:
                    plant.into(f"{folder / path.name}?offset={start}", folder)
        elif path.is_file():
            (folder / path.name).symlink_to(path.resolve())
    return folder


def slot_offset(disk: Path) -> int:
    """Return where slot A begins, in bytes."""
    told = subprocess.run(["sfdisk", "--json", disk], capture_output=True, text=True, check=True)
    table = json.loads(told.stdout)["partitiontable"]
    (slot,) = [part for part in table["partitions"] if part["name"] == "lethe-a"]
    return int(slot["start"]) * int(table["sectorsize"])
