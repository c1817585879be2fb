"""Real embeddings, and more people than there are photos of: what the searches are measured on.

The people of LFW are embedded by the shipped models. A longer list needs people who resemble each
other exactly as much as those do. They are drawn from the normal distribution that has the mean
and the covariance of the real templates. Mixing real templates, the other way that was tried, makes
near relatives: two mixtures of six that share a parent reach 0.76 where strangers do not exceed
0.48 (docs/adr/0016). `Faces.likeness` shows both distributions, so that a reader can judge.

A probe of someone listed is another photo of them. For drawn people it is made from a real pair
of photos: the angle between the two is kept, the direction turned from the one person to the other.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from edge.protocol.watchlist import Authorisation, Entry, Purpose, Watchlist, quantise
from edge.vision.engine import Vision
from edge.vision.pictures import read_picture
from models.build import datasets

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Faces:
    """Templates of real people.

    Attributes:
        people: (p, dimension) float32 of length 1, one photo each.
        pairs: (q, 2, dimension) float32 of length 1, two photos of one person each.
    """

    people: Vectors
    pairs: Vectors

    @classmethod
    def embed(cls, data: Path, cache: Path | None = None) -> Faces:
        """Embed LFW's development images: about a minute.

        Args:
            data: the research data.
            cache: where the templates are kept between runs; never part of the project.
        """
        if cache and cache.exists():
            kept = np.load(cache)
            return cls(kept["people"], kept["pairs"])
        vision = Vision.open()
        photos: dict[str, list[Vectors]] = defaultdict(list)
        for name, path in track(datasets.lfw_images(data), "embedding"):
            aligned = datasets.portrait(read_picture(path), vision)
            if aligned is not None:
                photos[name].append(vision.embed_aligned(aligned))
        people = np.stack([found[0] for found in photos.values()])
        pairs = np.stack([np.stack(found[:2]) for found in photos.values() if len(found) > 1])
        if cache:
            np.savez(cache, people=people, pairs=pairs)
        return cls(people, pairs)

    def enlarge(self, count: int, random: np.random.Generator) -> Vectors:
        """Return (count, dimension) people: the real ones first, then drawn ones."""
        drawn = self.strangers(max(0, count - len(self.people)), random)
        return np.concatenate([self.people, drawn])[:count]

    def strangers(self, count: int, random: np.random.Generator) -> Vectors:
        """Return (count, dimension) people drawn anew."""
        covariance = np.linalg.cholesky(np.cov(self.people.T))
        normal = random.normal(size=(count, self.people.shape[1]))
        return _unit(self.people.mean(axis=0) + normal @ covariance.T)

    def probes(self, listed: Vectors, random: np.random.Generator) -> Vectors:
        """Return another photo of each of some people, (len(listed), dimension) float32."""
        first, second = self.pairs[random.integers(0, len(self.pairs), len(listed))].swapaxes(0, 1)
        cosine = np.einsum("ij,ij->i", first, second)[:, None]
        aside = second - cosine * first
        turned = _unit(aside - np.einsum("ij,ij->i", aside, listed)[:, None] * listed)
        return _unit(cosine * listed + np.sqrt(1 - cosine**2) * turned)

    def likeness(self, drawn: Vectors) -> dict[str, NDArray[np.float64]]:
        """Return mean, deviation and tail of the scores of strangers, real and drawn."""
        return {
            "real": _scores(self.people),
            "drawn": _scores(drawn[: len(self.people)]),
        }


def listing(templates: Vectors, embedder: str = "benchmark") -> Watchlist:
    """Return a list of one template each, valid for an hour; ids are their numbers."""
    now = int(time.time())
    return Watchlist(
        id="benchmark", version=1, issued=now, expires=now + 3600, embedder=embedder,
        dimension=templates.shape[1],
        authorisation=Authorisation(
            reference="benchmark", purpose=Purpose.CONSENTED_ACCESS, not_before=now - 1,
            not_after=now + 3600, area=None, devices=["camera-1"], profile="fixed",
            max_entries=len(templates), fpir_target=0.001,
        ),
        entries=[
            Entry(id=f"{i:032x}", not_before=0, not_after=now + 3600, templates=[quantise(vector)])
            for i, vector in enumerate(templates)
        ],
    )  # fmt: skip


def _scores(templates: Vectors) -> NDArray[np.float64]:
    scores = (templates @ templates.T)[np.triu_indices(len(templates), 1)]
    tail = np.quantile(scores, (0.99, 0.999, 0.9999, 0.99999))
    return np.concatenate([[scores.mean(), scores.std()], tail])


def _unit(vectors: NDArray[np.floating]) -> Vectors:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
