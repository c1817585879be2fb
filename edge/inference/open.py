"""From the manifest and the configuration to loaded networks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import msgspec

from edge import limits
from edge.inference.base import Network
from edge.inference.choice import VARIANTS, Wanted, choose
from edge.inference.guarded import Accelerator, GuardedNetwork, Job, known_results
from edge.inference.litert import LiteRtNetwork
from edge.inference.manifest import DetectorModel, EmbedderModel, Manifest
from edge.inference.presence import find_edgetpus, find_gpu
from edge.protocol.status import AcceleratorName, Role


class BackEnds(msgspec.Struct, frozen=True):
    """What may run the networks; the CPU unless told otherwise.

    Attributes:
        wanted: "auto", or one by name.
        python: interpreter of the accelerator's process; our own if empty.
        edgetpu_device: which Edge TPU, as libedgetpu knows it; any if empty.
        cache: private folder for TensorRT's engines; none are kept if empty.
    """

    wanted: Wanted = "litert"
    python: str = ""
    edgetpu_device: str = ""
    cache: str = ""


class Opened(msgspec.Struct, frozen=True):
    """Loaded networks by name, and the accelerators behind them, not yet started."""

    networks: Mapping[Role, Network]
    accelerators: tuple[Accelerator, ...]


def find_obstacles(python: str = "", root: Path = Path("/")) -> dict[AcceleratorName, str]:
    """Return for each accelerator why it cannot be used here; empty if it can.

    Args:
        python: interpreter of the accelerator's process; our own if empty.
        root: the file system's root, or a folder like it.
    """
    tpus, gpu = find_edgetpus(root), find_gpu(python, root)
    usable = any(not tpu.obstacle for tpu in tpus)
    return {
        "edgetpu": "" if usable else tpus[0].obstacle if tpus else "no Edge TPU found",
        "tensorrt": gpu.obstacle if gpu else "no NVIDIA GPU found",
    }


def open_networks(
    manifest: Manifest,
    models: Mapping[Role, DetectorModel | EmbedderModel],
    *,
    threads: int,
    back_ends: BackEnds,
) -> Opened:
    """Load the models.

    Args:
        manifest: the model folder.
        models: what is to be run, from it.
        threads: CPU threads.
        back_ends: what may run them.

    Raises:
        ModelError: a file is missing, altered or not what the manifest says, or the back end that
            is named can run nothing.
    """
    networks: dict[Role, Network] = {
        name: LiteRtNetwork(manifest.read(model), model, threads=threads)
        for name, model in models.items()
    }
    jobs: dict[AcceleratorName, list[Job]] = {}
    obstacles = find_obstacles(back_ends.python) if back_ends.wanted == "auto" else {}
    for name, choice in choose(back_ends.wanted, models, obstacles).items():
        if choice.accelerator is None:
            continue
        model = models[name]
        read = partial(manifest.read, model.variants[VARIANTS[choice.accelerator]])
        read()  # an altered file is refused now, not in the middle of a video
        known = known_results(networks[name], model)
        jobs.setdefault(choice.accelerator, []).append(Job(name, model, read, known))
    accelerators = []
    for back_end, of_one in jobs.items():
        accelerator = Accelerator(
            back_end,
            of_one,
            options={"device": back_ends.edgetpu_device, "cache": back_ends.cache},
            python=back_ends.python,
            start_s=limits.TENSORRT_BUILD_S if back_end == "tensorrt" else None,
        )
        accelerators.append(accelerator)
        for number, job in enumerate(of_one):
            networks[job.name] = GuardedNetwork(networks[job.name], accelerator, number)
    return Opened(networks, tuple(accelerators))
