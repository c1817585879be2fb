"""Print the licence of every package of requirements/device.txt, as a Markdown table.

Run it with the environment that the lock was installed into:

    .venv/bin/python requirements/licences.py
"""

import re
import sys
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path

LOCK = Path(__file__).with_name("device.txt")


def licence(about: PackageMetadata) -> str:
    """Return what the package declares: SPDX expression, classifier, or free text."""
    classifiers = about.get_all("Classifier") or []
    named = [c.rsplit(" :: ", 1)[1] for c in classifiers if c.startswith("License :: ")]
    text = (about.get("License") or "").strip()
    return about.get("License-Expression") or ", ".join(named) or text.split("\n")[0] or "none said"


def main() -> None:
    """Write the table to standard output."""
    rows = ["| package | version | licence |", "|---|---|---|"]
    for name in re.findall(r"^([a-z0-9-]+)==", LOCK.read_text("utf-8"), re.MULTILINE):
        try:
            about = metadata(name)
        except PackageNotFoundError:  # locked for another Python or system
            continue
        row = f"| {about['Name']} | {about['Version']} | {licence(about)} |"
        if row not in rows:
            rows.append(row)
    sys.stdout.write("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
