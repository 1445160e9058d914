"""The checks of `gpu.py`: each group yields rows, and an error inside a row is a failed row."""

import importlib.util
import json
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import common
import numpy as np
import torch
from steps import Stepper
from torch import Tensor

from distgan import config, models, rng
from distgan.data.loader import Batch, Batching, Loader
from distgan.data.scaling import Scaler
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.reader import Store
from distgan.data.store.writer import StoreWriter
from distgan.engine import trainer, training
from distgan.objectives.adversarial import Arithmetic, Conditions
from distgan.objectives.base import Objective
from distgan.parallel.optimized_network import Adam, OptimizedNetwork
from distgan.parallel.preparation import prepare_network
from distgan.parallel.processes import Parallel, supports_fp16
from distgan.planning import devices, memory, report
from distgan.planning.trace import ATTENTION, CONVOLUTION, MATRIX, trace_step
from distgan.run import Run

GIB = 2**30
OK, FAILED, SKIPPED = "ok", "failed", "skipped"
PRECISIONS = ("fp32", "bf16", "fp16")
FAMILIES = {  # trained by gradients: settings that make them small
    "multiscale": ["generator.width=16", "generator.noise_dim=6", "discriminator.width=16"],
    "cascade": [
        "generator.width=16",
        "generator.noise_dim=6",
        "discriminator.width=16",
        "patch=4",
        "upsampler={width: 8, depth: 2, solver_steps: 2}",
    ],
    "tts_gan_fork": ["depth=1", "discriminator_depth=1"],
    "mlp_gan": ["noise_dim=4", "width=16", "discriminator_width=16"],
    "tts_gan": ["depth=1", "discriminator_depth=1", "noise_dim=6"],
    "tts_cgan": ["depth=1", "discriminator_depth=1", "noise_dim=6", "label_width=3"],
    "timegan": ["width=6", "layers=2", "embedding_steps=1", "supervised_steps=0"],
    "crnn_gan": ["width=6", "layers=2", "pretraining_steps=1"],
    "nr_gan": ["frame=16", "width=4"],
    "rectified_flow": ["patch=8", "width=16", "depth=1", "solver_steps=2"],
    "timevae": ["widths=[4,6]", "latent_dim=3", "trend_degree=2"],
}
LABELS, LENGTH, CHANNELS, BATCH, STEPS = 2, 48, 2, 8, 3
BIG_CONFIG = Path(common.ROOT) / "configs" / "big.yaml"
BIG = [
    "engine.zero=0",
    "train.batch_size=32",
    "engine.micro_batch=32",
    "engine.checkpoint_activations=false",
]
RESUMED = {"cpu": 0.0, "cuda": 1e-2}  # largest difference of weights: kernels on a GPU add in any order


@dataclass(frozen=True)
class Row:
    """One check: its figures, and why it failed or was skipped."""

    group: str
    name: str
    outcome: str
    seconds: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Place:
    """Where checks run: the device, whether all is tiny, and a folder for their files."""

    device: str
    tiny: bool
    folder: Path

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"


class SkipError(Exception):
    """A check that this machine or `--tiny` leaves out, and why."""


Work = Callable[[], dict[str, Any]]


def attempt(group: str, name: str, work: Work) -> Row:
    """Run one check; whatever it raises is its row."""
    started = time.perf_counter()
    try:
        found, outcome, note = work(), OK, ""
    except SkipError as skipped:
        found, outcome, note = {}, SKIPPED, str(skipped)
    except Exception as error:
        traceback.print_exc()
        reason = " ".join(str(error).split())[:300]
        found, outcome, note = {}, FAILED, f"{type(error).__name__}: {reason}"
    return Row(group, name, outcome, round(time.perf_counter() - started, 2), found, note)


def demand(holds: bool, why: str) -> None:
    """
    Raises:
        ValueError: what a check demands does not hold.
    """
    if not holds:
        raise ValueError(why)


# -------------------------------------------------------------------------------------------------- training


class Waves:
    """Batches of waves with gaps; step s always gives the same."""

    def iterate_batches(self, first_step: int = 0) -> Iterator[Batch]:
        step, sample = first_step, torch.arange(BATCH)
        while True:
            phase = rng.draw_keyed_uniform(7, step, "phase", sample, (1, CHANNELS))
            series = 0.8 * torch.sin(torch.linspace(0, 6, LENGTH)[None, :, None] + 6 * phase)
            mask = (rng.draw_keyed_uniform(7, step, "gaps", sample, (LENGTH, CHANNELS)) > 0.05).float()
            yield Batch(series * mask, mask, sample % 5, sample, step)
            step += 1


def small_settings(name: str, *more: str) -> config.Config:
    own = [f"model.{setting}" for setting in FAMILIES[name]]
    labelled = ["bank.by_label=true"] if name == "tts_cgan" else []
    common_keys = [f"train.steps={STEPS}", "bank.condition_dim=4", "engine.trackers=[]", f"model.name={name}"]
    return config.load(None, [*common_keys, *labelled, *own, *more])


def make_conditions(settings: config.Config, device: torch.device) -> Conditions:
    """Fixed conditions; for families with labels or of clean and noisy series, two kinds in turn."""
    width = models.compute_condition_width(settings, CHANNELS, LABELS if settings.bank.by_label else 0)

    def given(batch: Batch) -> Tensor:
        even = (batch.sample % 2).float()
        if "bank" not in settings.stages:
            return even[:, None].to(device, non_blocking=True)
        numbers = torch.stack([torch.sin(batch.sample + place) for place in range(width)], dim=1)
        if settings.bank.by_label:
            numbers[:, -LABELS:] = torch.stack([even, 1 - even], dim=1)
        return numbers.to(device, non_blocking=True)

    return Conditions(given)


def prepare_training(
    settings: config.Config, folder: Path, steps: int
) -> tuple[Objective, dict[str, OptimizedNetwork], Parallel, training.Schedule, training.Job]:
    """What a few steps of a family need."""
    parallel = Parallel(settings.engine)
    torch.manual_seed(0)
    with parallel.build_networks():
        labels = LABELS if settings.bank.by_label else 0
        networks = models.build(settings, LENGTH, CHANNELS, labels)
    prepared = {
        name: prepare_network(parallel, name, network, Adam(1e-3)) for name, network in networks.items()
    }
    objective = models.make_objective(
        settings,
        {name: each.network for name, each in prepared.items()},
        conditions=make_conditions(settings, parallel.device),
        arithmetic=Arithmetic(parallel.average, parallel.dtype, parallel.world_size),
    )
    schedule = training.Schedule(
        steps, BATCH, lambda step: {}, lambda step: 0.5, report_every=1, checkpoint_every=1
    )
    return objective, prepared, parallel, schedule, training.Job(run=Run(folder), stage="gan", seed=0)


def train(settings: config.Config, folder: Path, steps: int) -> dict[str, Tensor]:
    """Train a family for a few steps, on from the folder's checkpoint; every network's numbers by name."""
    objective, prepared, *rest = prepare_training(settings, folder, steps)
    trained = trainer.fit(objective, prepared, Waves(), *rest)
    found = {f"{n}.{key}": v for n, net in trained.items() for key, v in net.state_dict().items()}
    return {name: value.detach().float().cpu() for name, value in found.items()}


def compare_resumed(settings: config.Config, place: Path, device: str) -> dict[str, Any]:
    """Train in one go, and with a stop in between; the largest difference of any weight."""
    whole = train(settings, place / "whole", STEPS)
    train(settings, place / "stopped", STEPS - 1)
    resumed = train(settings, place / "stopped", STEPS)
    demand(all(bool(torch.isfinite(value).all()) for value in whole.values()), "weights are not finite")
    gaps = [float((whole[name] - resumed[name]).abs().max()) for name in whole if whole[name].numel()]
    demand(max(gaps) <= RESUMED[device], f"weights differ by {max(gaps):.2g} after a resume")
    lines = Run(place / "whole").metrics("gan").read_text().splitlines()
    last = json.loads(lines[-1])
    skipped = sum(value or 0 for line in lines for key, value in json.loads(line).items() if "skipped" in key)
    loss = next(value for key, value in last.items() if key.endswith("/loss"))
    return {"loss": loss, "resume_difference": max(gaps), "skipped": skipped}


def families(place: Place) -> Iterator[Row]:
    """Every family at every precision: a few steps, and a resume."""
    for name in FAMILIES:
        for precision in PRECISIONS:

            def work(name: str = name, precision: str = precision) -> dict[str, Any]:
                if precision == "fp16" and not supports_fp16(torch.device(place.device)):
                    raise SkipError("fp16 needs a GPU")
                if place.tiny and precision == "bf16" and name not in ("multiscale", "mlp_gan"):
                    raise SkipError("--tiny tries bf16 on two families")
                settings = small_settings(name, f"engine.precision={precision}")
                return compare_resumed(settings, place.folder / name / precision, place.device)

            yield attempt("families", f"{name}, {precision}", work)


def zero(place: Place) -> Iterator[Row]:
    """ZeRO 2 and 3 on one device against ZeRO 0: losses, and a resume."""
    for stage in (2, 3):
        for precision in ("fp32",) if not place.on_gpu else PRECISIONS:

            def work(stage: int = stage, precision: str = precision) -> dict[str, Any]:
                if place.tiny:
                    raise SkipError("DeepSpeed takes longer than --tiny allows; the tests of ZeRO run it")
                if importlib.util.find_spec("deepspeed") is None:
                    raise SkipError("deepspeed is not installed; pip install 'distgan[deepspeed]'")
                keys = [f"engine.precision={precision}", f"engine.zero={stage}"]
                folder = place.folder / f"zero{stage}" / precision
                found = compare_resumed(small_settings("multiscale", *keys), folder, "cuda")
                plain = small_settings("multiscale", keys[0])
                alone = compare_resumed(plain, folder / "plain", place.device)
                gap = abs(found["loss"] - alone["loss"])
                demand(gap < (1e-3 if precision == "fp32" else 0.1), f"the loss differs by {gap:.2g}")
                return {**found, "loss_difference": gap}

            yield attempt("zero", f"ZeRO {stage}, {precision}", work)


# ----------------------------------------------------------------------------------------------------- speed


def shape(place: Place) -> tuple[list[str], int]:
    """Overrides and length for the checks of speed: the default family at a year of hours, or tiny."""
    if not place.tiny:
        return [], 8760
    small = ["model.generator.width=16", "model.discriminator.width=16", "train.batch_size=4"]
    return [*small, "model.patch=24"], 96


def make_stepper(overrides: list[str], length: int, path: Path | None = None) -> Stepper:
    settings = config.load(path, ["engine.trackers=[]", *overrides])
    return Stepper(settings, length, Parallel(settings.engine))


def compiled(place: Place) -> Iterator[Row]:
    """A compiled step against an eager one: the same loss, and how much faster; then big.yaml compiled."""

    def work() -> dict[str, Any]:
        if place.tiny:
            raise SkipError("compiling takes longer than --tiny allows")
        overrides, length = shape(place)
        overrides = [*overrides, "engine.precision=bf16" if place.on_gpu else "engine.precision=fp32"]
        taken, losses = {}, {}
        for name, more in (("eager", []), ("compiled", ["engine.compile=true"])):
            step = make_stepper([*overrides, *more], length)
            torch.manual_seed(1)
            losses[name] = float(step.objective.phases[0].loss(step.batch())["loss"])
            taken[name] = devices.time_call(step, step.parallel.device, 5, time.perf_counter)
        gap = abs(losses["eager"] - losses["compiled"])
        demand(gap < 0.05, f"the loss differs by {gap:.2g}")
        return {
            **{f"{name}_ms": 1e3 * value for name, value in taken.items()},
            "speedup": taken["eager"] / taken["compiled"],
            "loss_difference": gap,
        }

    yield attempt("compile", "default family, whole step", work)
    if not place.tiny:  # minutes, for networks of this size
        own = [
            *BIG,
            "engine.compile=true",
            "engine.precision=bf16" if place.on_gpu else "engine.precision=fp32",
        ]
        yield attempt(
            "compile", "big.yaml, 32 series", lambda: measure_utilisation(place, BIG_CONFIG, own, 8760)
        )


def synchronisations(place: Place) -> Iterator[Row]:
    """A step makes the host wait for nothing: torch raises where one would."""

    def work() -> dict[str, Any]:
        if not place.on_gpu:
            raise SkipError("a CPU has nothing to wait for")
        overrides, length = shape(place)
        step = make_stepper(overrides, length)
        step()
        torch.cuda.set_sync_debug_mode("error")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return {"waits": 0}

    yield attempt("no waiting", "one step of the default family", work)
    for name in FAMILIES if place.on_gpu else ("mlp_gan",):
        yield attempt("no waiting", f"one step of {name}", lambda name=name: watch_step(name, place))


def watch_step(name: str, place: Place) -> dict[str, Any]:
    """Make a second step of a family, in which the host may wait for nothing."""
    if name in ("timegan", "crnn_gan"):
        raise SkipError("the host decides by its losses whether a network rests")
    game = prepare_training(small_settings(name, "engine.precision=bf16"), place.folder / f"waits-{name}", 3)
    state, batches, device = training.Training(*game), Waves().iterate_batches(), game[2].device
    for mode in ("default", "error"):
        batch = next(batches).to(device, non_blocking=True)
        if place.on_gpu:
            torch.cuda.set_sync_debug_mode(mode)
        try:
            state.advance(batch)
        finally:
            if place.on_gpu:
                torch.cuda.set_sync_debug_mode("default")
    return {"waits": 0}


def neighbours(place: Place) -> Iterator[Row]:
    """The nearest centroid by faiss, on the GPU if it can, against plain NumPy on the CPU."""
    from distgan.anonymity import faiss_backend

    def work() -> dict[str, Any]:
        if importlib.util.find_spec("faiss") is None:
            raise SkipError("faiss is not installed")
        count, dim, centres = (2000, 8, 20) if place.tiny else (1_000_000, 32, 1000)
        draw = np.random.default_rng(0)
        points = draw.standard_normal((count, dim)).astype(np.float32)
        centroids = draw.standard_normal((centres, dim)).astype(np.float32)
        started = time.perf_counter()
        found = faiss_backend.find_nearest_centroid(points, centroids)
        seconds = time.perf_counter() - started
        some = points[:5000].astype(np.float64)
        true = (np.square(centroids).sum(1, dtype=np.float64) - 2 * some @ centroids.T).argmin(1)
        same = float((found[: len(some)] == true).mean())
        device = faiss_backend.choose_device()
        demand(same > 0.999, f"only {same:.2%} of the nearest centroids agree")
        demand(device != "cpu" or not place.on_gpu, "faiss does not see the GPU; pip install 'distgan[gpu]'")
        return {"device": device, "points_per_second": count / seconds, "agree": same}

    yield attempt("faiss", "nearest centroids", work)


def loading(place: Place) -> Iterator[Row]:
    """Batches from a store on disk: pinned on a GPU, and how fast they come."""

    def work() -> dict[str, Any]:
        overrides, length = shape(place)
        size = config.load(None, overrides).train.batch_size
        meta = Meta(Axis("2013-01-01T00:00:00", 3600, length), ("load",), "kWh", {"source": "made up"}, {})
        folder = Path(tempfile.mkdtemp(dir=place.folder))
        with StoreWriter(folder / "series.zarr", meta) as store:
            for part in range(4):
                draw = np.random.default_rng(part)
                store.append(draw.lognormal(0, 0.5, (size, length, 1)).astype(np.float32))
        scaler, batching = Scaler("none", "standard", 1.0, 4.0, None), Batching(size, seed=0)
        loader = Loader(Store.open(folder / "series.zarr"), np.arange(4 * size), scaler, batching=batching)
        found, device = loader.iterate_batches(), torch.device(place.device)
        first = next(found)
        demand(first.series.is_pinned() == place.on_gpu, "series are not in pinned memory")
        many = 5 if place.tiny else 50
        started = time.perf_counter()
        for _ in range(many):
            moved = next(found).to(device, non_blocking=True)
        if place.on_gpu:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
        found.close()  # type: ignore[attr-defined]
        demand(bool(torch.isfinite(moved.series).all()), "a batch is not finite")
        return {"series_per_second": many * size / seconds, "pinned": first.series.is_pinned()}

    yield attempt("loading", "a store on disk to the device", work)


def forget_memory(place: Place) -> None:
    if place.on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    else:
        common.forget_peak()


def peak_memory(place: Place) -> float:
    """GiB at most since `forget_memory`, with what the libraries hold on the device."""
    if not place.on_gpu:
        return common.peak_gib()
    free, total = torch.cuda.mem_get_info()
    libraries = total - free - torch.cuda.memory_reserved()
    return (torch.cuda.max_memory_reserved() + libraries) / GIB


def plans(place: Place) -> Iterator[Row]:
    """Memory and seconds of a step as `distgan plan --devices auto` says, and as they are."""
    overrides, length = shape(place)
    cases = {"default": overrides} if place.tiny else {
        "default at a year": [],
        "width 256": ["model.generator.width=256", "model.discriminator.width=256", "engine.precision=bf16"],
    }  # fmt: skip
    for name, own in cases.items():

        def work(own: list[str] = own) -> dict[str, Any]:
            forget_memory(place)
            step = make_stepper(own, length)
            taken = devices.time_call(step, step.parallel.device, 2 if place.tiny else 5)
            peak = peak_memory(place)
            number, device = devices.parse_device("auto", lambda: Parallel(step.settings.engine))
            planned = report.make_option(step.settings, report.Series(length, 1), min(number, 1), device)
            batches = memory.BATCHES * 2 * 4 * step.settings.train.batch_size * length / GIB
            need = planned.need.device - batches
            return {
                "planned_gib": need,
                "measured_gib": peak,
                "planned_ms": 1e3 * planned.step.seconds,
                "measured_ms": 1e3 * taken,
                "memory_ratio": need / peak,
                "time_ratio": planned.step.seconds / taken,
            }

        yield attempt("plan", name, work)


def product_rate(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Operations a second of square products, the best of a few, by the clock."""
    one, two = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / devices.time_call(lambda: one @ two, device, 10, time.perf_counter)


def sheet_rate(precision: str) -> float | None:
    """Of this GPU in a maker's data sheet, if it is known."""
    name = torch.cuda.get_device_name().upper().replace(" ", "") if torch.cuda.is_available() else ""
    words = {device.name.split("-")[0].upper(): device for device in devices.DEVICES.values()}
    longest = sorted(words, key=len, reverse=True)  # A100 before A10
    found = next((words[word] for word in longest if word in name), None)
    return None if found is None else (found.wide if precision == "fp32" else found.half)


def utilisation(place: Place) -> Iterator[Row]:
    """Model FLOPs utilisation of big.yaml and of the default at a year, and where the time goes."""
    overrides, length = shape(place)
    half = "engine.precision=bf16" if place.on_gpu else "engine.precision=fp32"
    cases: dict[str, tuple[Path | None, list[str]]] = {"default at a year": (None, [*overrides, half])}
    if not place.tiny:
        cases["default at a year, batch 256"] = (None, [half, "train.batch_size=256"])
        cases["big.yaml, 32 series"] = (BIG_CONFIG, [*BIG, half])
    for name, (path, own) in cases.items():
        yield attempt("mfu", name, lambda path=path, own=own: measure_utilisation(place, path, own, length))


def measure_utilisation(place: Place, path: Path | None, own: list[str], length: int) -> dict[str, Any]:
    forget_memory(place)
    step = make_stepper(own, length, path)
    device, settings = step.parallel.device, step.settings
    taken = devices.time_call(step, device, 2 if place.tiny else 5, time.perf_counter)
    series = step.parallel.compute_micro_batch(settings.train.batch_size)
    work = trace_step(settings, length, 1, series)
    flops = work.sum_flops(MATRIX, ATTENTION, CONVOLUTION) * settings.train.batch_size / series
    rate = product_rate(device, step.parallel.dtype, 256 if place.tiny else 8192)
    sheet = sheet_rate(settings.engine.precision)
    parts = {
        name: 1e3 * devices.time_call(part, device, 2, time.perf_counter)
        for name, part in step.parts().items()
    }
    return {
        "step_ms": 1e3 * taken,
        "series_per_second": settings.train.batch_size / taken,
        "teraflops": flops / taken / 1e12,
        "of_products": flops / taken / rate,
        **({} if sheet is None else {"mfu": flops / taken / sheet}),
        "peak_gib": peak_memory(place),
        "parts_ms": {name: round(value, 2) for name, value in parts.items()},
        **({"kernels": top_kernels(step)} if place.on_gpu else {}),
    }


def top_kernels(step: Stepper) -> dict[str, float]:
    """The eight kernels that take most of a step's time on the device: beginning of the name -> share. A
    profiler that this machine does not allow costs nothing else.
    """
    from torch.profiler import ProfilerActivity, profile

    try:
        with profile(activities=[ProfilerActivity.CUDA]) as found:
            step()
            torch.cuda.synchronize()
    except RuntimeError as error:
        return {f"none: {' '.join(str(error).split())[:100]}": 0.0}
    spent = Counter[str]()  # names of templates begin alike
    for event in found.key_averages():
        spent[event.key[:70]] += event.self_device_time_total
    whole = spent.total() or 1.0
    return {name: round(time / whole, 3) for name, time in spent.most_common(8)}


GROUPS: dict[str, Callable[[Place], Iterator[Row]]] = {  # what must be right first; what may take long last
    "no waiting": synchronisations,
    "families": families,
    "zero": zero,
    "faiss": neighbours,
    "loading": loading,
    "plan": plans,
    "mfu": utilisation,
    "compile": compiled,
}
