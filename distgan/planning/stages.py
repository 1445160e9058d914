"""The needs of every stage of a run, from the source to the report, for any number of series and devices.

Networks are counted (trace.py) and timed by the rates of the devices (step_time.py). What the CPU does beside
them, parsing, copying, comparing, is taken from rates that were measured on one core (`HOST`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from distgan import config, models
from distgan.anonymity.group_size import (
    compute_minimum_group_size,
    compute_target_group_size,
    count_released_numbers,
)
from distgan.data.loader import Batch
from distgan.data.store.latents import count_part_rows
from distgan.data.store.staging import divide_rows
from distgan.models import compute_noise_width
from distgan.models.vae import VAE, Encoder
from distgan.objectives.vae import VariationalAutoencoder
from distgan.planning.devices import Device
from distgan.planning.memory import GIB, LIBRARIES
from distgan.planning.step_time import BOUNDS, LINK_SHARE, Series, Step, estimate_seconds
from distgan.planning.trace import MATRIX, Trace, Work, build_meta_networks, count_labels, make_batch

TRACED = (2, 4)  # series of the two counts between which a pass is interpolated
MOST_SYNTHETIC = 10_000  # synthetic series that a report attacks
HOST_BUFFERS = 512  # MiB that a stage may hold of blocks of series
PER_SERIES = 250  # bytes: its name, owner, split, cluster and weight
SAMPLE_PER_CLUSTER = 64  # points of the sample on which k-means starts (anonymity/clustering.py)


@dataclass(frozen=True)
class HostRates:
    """The rates of one CPU core beside the networks.

    Source: benchmarks/results/chain_cpu-2_202611.md (`benchmarks/chain.py`), one core of a shared Xeon; of
    the search for near copies, one of a shared EPYC.

    Attributes:
        start: seconds until a process has loaded what a stage needs.
        parse: readings/s from a file to the store, by the end of the file's name; other tables as CSV.
        compare: readings/s of the search for near copies; candidates: its seconds for each series beside.
        write: readings/s from scaled series to the synthetic store; export: to a table, by format.
        attributes: readings/s of a pass over the store for locations and scales; member: the bank's seconds
            for each series beside.
        distance: seconds of a distance between two points beside its products.
        score: seconds of the scores and pictures of a report on 1,000 series of 2190 readings of each kind.
        attack: seconds per reading that the attacks read.
        match: seconds per reading and pair of a real and a synthetic series.
    """

    start: float = 3.5
    parse: tuple[tuple[str, float], ...] = ((".npy", 4e7), (".npz", 4e7), (".parquet", 2e7), (".csv", 4e6))
    compare: float = 4e6
    candidates: float = 9e-4
    write: float = 2e7
    export: tuple[tuple[str, float], ...] = (("csv", 2e6), ("parquet", 1e7), ("zarr", math.inf))
    attributes: float = 2e7
    member: float = 5e-4
    distance: float = 8e-10
    score: float = 135.0
    attack: float = 4e-6
    match: float = 1e-9


HOST = HostRates()


@dataclass(frozen=True)
class StageNeed:
    """One stage on given devices.

    Attributes:
        seconds: by the clock.
        memory: GiB of the host that a process holds, beside mapped files.
        disk: GiB that it writes, over all processes.
        sent: GiB that a process sends to others.
        bound: what most of the time goes into.
        shared: whether all processes work on it; the others wait for rank 0.
    """

    name: str
    seconds: float
    memory: float
    disk: float
    sent: float
    bound: str
    shared: bool


@dataclass(frozen=True)
class Load:
    """The amount of work in a run.

    Attributes:
        series: training series, their length and channels.
        whole: series of all splits.
        clusters: groups that clustering makes.
        synthetic: series that are generated.
        compared: series of each kind that are scored; attacked: members and non-members together.
    """

    series: Series
    whole: float
    clusters: int
    synthetic: int
    compared: int
    attacked: float

    @classmethod
    def from_settings(cls, settings: config.Config, series: Series) -> "Load":
        share = settings.data.training_share
        whole = series.count / share
        entities = int(series.count)
        attributes = 2 * len(settings.bank.by)  # as if all were numbers
        released = count_released_numbers(settings.bank.condition_dim, series.channels, attributes)
        fewest = compute_minimum_group_size(settings.bank, released)
        count = settings.clusters.count
        if count is None:
            count = entities // compute_target_group_size(fewest, entities) if entities else 1
        elif count == "auto":
            count = settings.clusters.range[1]
        return cls(
            series,
            whole,
            max(1, int(count)),
            settings.generate.count,
            settings.evaluate.max_series,
            min(whole * (share + settings.data.splits.held_out), 2 * settings.evaluate.max_series),
        )

    @property
    def readings(self) -> float:
        """The readings of one series."""
        return float(self.series.length * self.series.channels)


Passes = dict[str, tuple[Work, Work]]  # of each network over the numbers of series of `TRACED`


def trace_networks(settings: config.Config, series: Series) -> Passes:
    """Count a training step of the VAE, and passes of the encoder and the generator; nothing for a model that
    filters series, which has none of these stages.
    """
    if settings.model.filters:
        return {}
    traces = {"vae": trace_vae, "encoder": trace_encoder, "generator": trace_generator}
    few, more = TRACED
    return {
        name: (trace(settings, series, few), trace(settings, series, more)) for name, trace in traces.items()
    }


def plan_stages(
    settings: config.Config, series: Series, on: tuple[int, Device], step: Step, passes: Passes
) -> list[StageNeed]:
    """Return the needs of each stage of the model on so many devices of a kind.

    Args:
        step: one of the GAN's training.
        passes: of `trace_networks`.
    """
    work = Costs(settings, Load.from_settings(settings, series), *on, passes)
    load = work.load
    latents, labels = load.series.count * 8.0 * settings.encoder.latent_dim, load.series.count * 8.0
    gan = {name: getattr(step, name) * settings.train.steps for name in BOUNDS}
    sent = settings.train.steps * step.sent / GIB
    table: dict[str, Callable[[], tuple[dict[str, float], float, float, bool]]] = {
        "prepare": lambda: (work.estimate_prepare(), work.estimate_stored(load.whole), 0.0, False),
        "encoder": lambda: (work.estimate_encoder(), 0.0, work.estimate_encoder_traffic(), True),
        "encode": lambda: (work.estimate_encode(), latents / GIB, 0.0, True),
        "cluster": lambda: (work.estimate_cluster(), labels / GIB, work.estimate_cluster_traffic(), True),
        "bank": lambda: (work.estimate_bank(), work.estimate_bank_size(), 0.0, False),
        "gan": lambda: (gan, 0.0, sent, True),
        "generate": lambda: (work.estimate_generate(), work.estimate_exported(), 0.0, True),
        "evaluate": lambda: (work.estimate_evaluate(), 0.0, 0.0, False),
    }
    return [work.sum_up(name, *table[name]()) for name in settings.stages]


@dataclass(frozen=True)
class Costs:
    """Seconds of each stage by operation."""

    settings: config.Config
    load: Load
    devices: int
    device: Device
    passes: Passes

    def sum_up(self, name: str, spent: dict[str, float], disk: float, sent: float, shared: bool) -> StageNeed:
        """Return what a stage needs, with the start of its process."""
        parts = {"start": HOST.start, **spent}
        bound = max(parts, key=lambda part: parts[part])
        return StageNeed(name, sum(parts.values()), self.estimate_memory(name), disk, sent, bound, shared)

    def estimate_prepare(self) -> dict[str, float]:
        rows = self.load.whole * self.load.readings * self.settings.data.reduce.factor
        source = self.settings.data.source.lower()
        rate = next((rate for end, rate in HOST.parse if source.endswith(end)), dict(HOST.parse)[".csv"])
        search = self.load.whole * (self.load.readings / HOST.compare + HOST.candidates)
        return {"parsing": rows / rate, "near copies": search}

    def estimate_encoder(self) -> dict[str, float]:
        chosen = self.settings.encoder
        share = math.ceil(chosen.batch_size / self.devices)
        return _scale_parts(self._time_pass("vae", share), chosen.steps) | {
            "messages": self.estimate_encoder_traffic() * GIB / (LINK_SHARE * self._slowest_link)
        }

    def estimate_encode(self) -> dict[str, float]:
        size = self.settings.encoder.batch_size
        most = self._count_busiest(self.load.series.count, count_part_rows(self.load.series.count, size))
        return _scale_parts(self._time_pass("encoder", size), most / size)

    def estimate_cluster(self) -> dict[str, float]:
        count, chosen = self.load.clusters, self.settings.clusters
        sample = min(self.load.series.count, SAMPLE_PER_CLUSTER * count)
        looked = 2 * self.load.series.count / self.devices + 2 * chosen.restarts * sample
        return {
            "distances": looked * count * self._distance,
            "merging": 2 * self.load.series.count * count * self._distance,
        }

    def estimate_bank(self) -> dict[str, float]:
        return {"reading": self.load.series.count * (self.load.readings / HOST.attributes + HOST.member)}

    def estimate_generate(self) -> dict[str, float]:
        size = self.settings.generate.batch_size
        count, shape = self.load.synthetic, (self.load.series.length, self.load.series.channels)
        most = self._count_busiest(count, divide_rows(shape, count, min(size, count)).shard_rows)
        return _scale_parts(self._time_pass("generator", size), most / size) | {
            "writing": most * self.load.readings / HOST.write,
            "export": count * self.load.readings / dict(HOST.export)[self.settings.generate.format],
        }

    def estimate_evaluate(self) -> dict[str, float]:
        synthetic = min(self.load.synthetic, MOST_SYNTHETIC)
        return {
            "scores": HOST.score * self.load.compared * self.load.readings / (1000 * 2190),
            "attacks": self.load.readings
            * (HOST.attack * (self.load.attacked + synthetic) + HOST.match * self.load.attacked * synthetic),
        }

    # -------------------------------------------------------------------------- memory, disk, network

    def estimate_memory(self, name: str) -> float:
        """Return GiB: the libraries, the buffers a stage may hold, and a few bytes for each series."""
        rows = {"prepare": self.load.whole, "generate": self.load.synthetic}.get(name, self.load.series.count)
        buffers = self.load.attacked * self.load.readings * 8 if name == "evaluate" else 0.0
        buffers += self.load.clusters * 4.0 * self.settings.encoder.latent_dim
        buffers += HOST_BUFFERS * 2**20
        return LIBRARIES["cpu"] + (buffers + PER_SERIES * rows) / GIB

    def estimate_stored(self, series: float) -> float:
        wide = 2 if self.settings.data.store.dtype == "float16" else 4
        return series * self.load.readings * wide / GIB

    def estimate_exported(self) -> float:
        readings = self.load.synthetic * self.load.readings
        return readings * (4 + {"csv": 7, "parquet": 3}.get(self.settings.generate.format, 0)) / GIB

    def estimate_bank_size(self) -> float:
        numbers = count_released_numbers(self.settings.bank.condition_dim, self.load.series.channels)
        return self.load.clusters * numbers * 4.0 / GIB

    def estimate_encoder_traffic(self) -> float:
        if self.devices == 1:
            return 0.0
        count = sum(p.numel() for p in build_meta_vae(self.settings, self.load.series).parameters())
        return self.settings.encoder.steps * 2 * (self.devices - 1) / self.devices * 4 * count / GIB

    def estimate_cluster_traffic(self) -> float:
        """Return the GiB of sums and counts of all clusters, in float64, for each pass."""
        if self.devices == 1:
            return 0.0
        numbers = self.load.clusters * (self.settings.bank.condition_dim + 1)
        return self.settings.clusters.iterations * 2 * 8.0 * numbers / GIB

    # ------------------------------------------------------------------------------------------ rates

    def _count_busiest(self, rows: int, part: int) -> int:
        """Return how many of `rows` the process with most parts has: more processes do not help."""
        return min(rows, part * math.ceil(rows / part / self.devices))

    @property
    def _slowest_link(self) -> float:
        return self.device.network if self.devices > self.device.per_machine else self.device.link

    @property
    def _distance(self) -> float:
        """Seconds of one distance."""
        products = 2 * self.settings.bank.condition_dim / (self.device.wide * self.device.shares[MATRIX])
        return products + (HOST.distance if self.device.on_cpu else 8 / self.device.bandwidth)

    def _time_pass(self, name: str, series: int) -> dict[str, float]:
        """Return the seconds of a network's pass over so many series, by operation."""
        few, more = self.passes[name]
        return dict(zip(BOUNDS, estimate_seconds(few.scale_to(series, more), self.device)))


def _scale_parts(parts: dict[str, float], times: float) -> dict[str, float]:
    return {name: times * seconds for name, seconds in parts.items()}


# --------------------------------------------------------------------------------------------- networks


def build_meta_vae(settings: config.Config, series: Series) -> VAE:
    with torch.device("meta"):
        return VAE(series.length, series.channels, settings.encoder)


def trace_vae(settings: config.Config, series: Series, count: int) -> Work:
    """Count a training step of the VAE on `count` series."""
    network = build_meta_vae(settings, series)
    objective = VariationalAutoencoder({"vae": network}, settings.encoder, 0)
    (phase,) = objective.phases
    batch = make_batch(count, series.length, series.channels)
    return _trace_work(lambda: torch.autograd.backward(phase.loss(batch)["loss"]), count)


def trace_encoder(settings: config.Config, series: Series, count: int) -> Work:
    """Count a pass of the encoder over `count` series."""
    with torch.device("meta"):
        network = Encoder(series.length, series.channels, settings.encoder).eval()
    batch: Batch = make_batch(count, series.length, series.channels)

    def embed() -> None:
        with torch.no_grad():
            network(batch.series, batch.mask)

    return _trace_work(embed, count)


def trace_generator(settings: config.Config, series: Series, count: int) -> Work:
    """Count a pass of the generator that makes `count` series."""
    networks = build_meta_networks(settings, series.length, series.channels)
    network = models.join_sampler(settings, networks).eval()
    width = models.compute_condition_width(settings, series.channels, count_labels(settings))
    noise = torch.empty(count, compute_noise_width(network), device="meta")
    condition = torch.empty(count, width, device="meta")

    def generate() -> None:
        with torch.no_grad():
            network(noise, condition)

    return _trace_work(generate, count)


def _trace_work(work: Callable[[], None], series: int) -> Work:
    with Trace() as trace:
        work()
    kinds, half, flops, moved, scores = (np.array(column) for column in zip(*trace.operations))
    return Work(series, kinds, half, flops, moved, scores, np.ones(len(kinds)), trace.peak, {}, {})
