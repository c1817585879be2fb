"""The folders that are measured on: pictures of people, lists of pairs, labelled crowds."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.errors import EvaluationError
from models.build.datasets import for_calibration

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
MAX_TEXT_BYTES = 64 * 1024 * 1024
RESEARCH = "lfw_dev"
"""The folder whose people calibration and the impostor tail share between them."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of one person.

    Attributes:
        name: path below the folder of people, with slashes; unique.
        person: first part of the name.
        path: where it lies.
    """

    name: str
    person: str
    path: Path


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures, by name, and whether they show one person."""

    first: str
    second: str
    same: bool


@dataclass(frozen=True)
class People:
    """A folder of `person/picture`.

    Attributes:
        root: the folder of people.
        pictures: in order of name.
        pairs_file: the list of pairs found beside it, if any.
    """

    root: Path
    pictures: list[Picture]
    pairs_file: Path | None

    def unseen(self, person: str) -> bool:
        """Whether a person took no part in fitting the impostor tail.

        Of the research data the tail has the people that calibration left: those of calibration
        are the ones it has not seen. Nobody of another folder was ever seen.
        """
        return for_calibration(person) if self.root.parent.name == RESEARCH else True


def open_people(data: Path) -> People:
    """Find the people below a folder.

    Args:
        data: a folder that holds `lfw_dev/`, or `images/`, or the people themselves, one folder
            each; pictures may lie deeper.

    Raises:
        EvaluationError: no such pictures.
    """
    base = data / RESEARCH if (data / RESEARCH).is_dir() else data
    root = base / "images" if (base / "images").is_dir() else base
    found = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    pictures = [
        Picture(path.relative_to(root).as_posix(), path.relative_to(root).parts[0], path)
        for path in found
        if len(path.relative_to(root).parts) > 1
    ]
    if not pictures:
        raise EvaluationError(
            f"{data}: no pictures as person/picture ({', '.join(sorted(SUFFIXES))}) found below it"
        )
    lists = sorted(p for pattern in ("pairs*.txt", "pairs*.csv") for p in base.glob(pattern))
    return People(root, pictures, lists[0] if lists else None)


def read_pairs(path: Path, people: People) -> list[Pair]:
    """Read a list of pairs.

    Three forms are told apart line by line; empty lines and lines that begin with # are skipped,
    and so is a first line of one or two numbers (LFW) or a header (CSV):

        name 1 3                    pictures 1 and 3 of a person (LFW)
        name 1 other 2              picture 1 of a person, 2 of another (LFW)
        a/x.jpg,b/y.jpg,0           two names below the folder, 1 for the same person (CSV, or
                                    separated by tabs or blanks)

    Picture n of a name is `name/name_000n.*`, as in LFW.

    Raises:
        EvaluationError: a line of no such form, or a picture that is not there.
    """
    known = {p.name: p.name for p in people.pictures}
    known |= {p.name.rpartition(".")[0]: p.name for p in people.pictures}
    pairs: list[Pair] = []
    for number, fields in _lines(path):
        try:
            pair = _pair(fields, known)
        except (KeyError, ValueError) as error:
            if not pairs and not any(f.lower() in known for f in fields) and number == 1:
                continue  # a header
            raise EvaluationError(
                f"{path}, line {number}: {_why(error)}; see docs/evaluation.md for the forms"
            ) from error
        if pair:
            pairs.append(pair)
    if not pairs:
        raise EvaluationError(f"{path}: holds no pairs")
    return pairs


def _why(error: Exception) -> str:
    return f"no picture {error}" if isinstance(error, KeyError) else str(error)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise EvaluationError(f"{path}: larger than {MAX_TEXT_BYTES} bytes")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{path}: cannot be read: {error}") from error
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        fields = next(csv.reader([line])) if "," in line else re.split(r"\t|\s+", line.strip())
        yield number, [field.strip() for field in fields]


def _pair(fields: list[str], known: dict[str, str]) -> Pair | None:
    if all(field.isdecimal() for field in fields) and len(fields) <= 2:
        return None  # LFW's first line: folds and pairs
    if len(fields) == 3 and fields[1].isdecimal() and fields[2].isdecimal():
        name, first, second = fields
        return Pair(known[_lfw(name, first)], known[_lfw(name, second)], True)
    if len(fields) == 4 and fields[1].isdecimal() and fields[3].isdecimal():
        one, first, two, second = fields
        return Pair(known[_lfw(one, first)], known[_lfw(two, second)], False)
    if len(fields) == 3 and fields[2] in ("0", "1"):
        return Pair(known[fields[0]], known[fields[1]], fields[2] == "1")
    raise ValueError(f"{len(fields)} fields in a form that is not known")


def _lfw(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}"


@dataclass(frozen=True)
class Scene:
    """A labelled picture of many faces.

    Attributes:
        path: where it lies.
        width: of the picture as it was labelled.
        height: the same.
        boxes: (n, 4) float64: left, top, right, bottom, pixels.
    """

    path: Path
    width: int
    height: int
    boxes: NDArray[np.float64]


def open_scenes(data: Path) -> list[Scene]:
    """Read the labelled pictures below a folder.

    Args:
        data: a folder that holds `wider_dev/`, or `labels.txt` and `images/`. In labels.txt a line
            `# file width height` begins a picture, and a line `x1 y1 x2 y2` is a face of it.

    Raises:
        EvaluationError: no labels, or a line of another form.
    """
    base = data / "wider_dev" if (data / "wider_dev").is_dir() else data
    labels = base / "labels.txt"
    scenes: list[tuple[Path, int, int, list[list[float]]]] = []
    try:
        if labels.stat().st_size > MAX_TEXT_BYTES:
            raise EvaluationError(f"{labels}: larger than {MAX_TEXT_BYTES} bytes")
        lines = labels.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{labels}: cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        try:
            if line.startswith("#"):
                name, width, height = line[1:].rsplit(maxsplit=2)
                scenes.append((base / "images" / name.strip(), int(width), int(height), []))
            elif line.strip():
                left, top, right, bottom = (float(v) for v in line.split())
                scenes[-1][3].append([left, top, right, bottom])
        except (ValueError, IndexError) as error:
            raise EvaluationError(
                f"{labels}, line {number}: neither '# file width height' nor 'x1 y1 x2 y2'"
            ) from error
    if not scenes:
        raise EvaluationError(f"{labels}: holds no pictures")
    return [
        Scene(path, width, height, np.array(boxes, np.float64).reshape(-1, 4))
        for path, width, height, boxes in scenes
    ]
