"""Memory, time and cost of a training, computed before it starts, and the settings that suit the devices.

seconds and bytes a step (step_time.py) -> tables -> a recommendation
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from distgan import config
from distgan.errors import UserError, format_nearest_multiples
from distgan.planning.devices import Device
from distgan.planning.memory import GIB, Need, estimate_need
from distgan.planning.step_time import BOUNDS, Series, Step, estimate_step, estimate_work
from distgan.planning.trace import (
    ATTENTION,
    CONVOLUTION,
    KINDS,
    MATRIX,
    OTHER,
    ImaginaryProcesses,
    count_parameters,
)

COUNTS = tuple(2**power for power in range(3, 13))  # devices of the scaling table
POOR = 0.5  # below this share of the first row's speed a device, more devices do not pay


@dataclass(frozen=True)
class Option:
    """Settings with their memory and time on so many devices."""

    settings: config.Config
    devices: int
    micro_batch: int
    need: Need
    step: Step

    @property
    def series_per_second(self) -> float:
        return self.settings.train.batch_size / self.step.seconds


@dataclass(frozen=True)
class Plan:
    """A training on given devices: as configured, and the fastest settings that fit, if any do."""

    settings: config.Config
    series: Series
    devices: int
    device: Device
    asked: Option
    chosen: Option | None


# ------------------------------------------------------------------------------------------------- choice


def with_engine(settings: config.Config, **keys: object) -> config.Config:
    """Return the settings under another engine, or with another batch size (`batch_size`).

    Raises:
        UserError: the keys contradict the rest.
    """
    tree = settings.model_dump()
    size = keys.pop("batch_size", settings.train.batch_size)
    assert isinstance(size, int)
    tree["train"]["batch_size"] = size
    tree["engine"] |= keys
    if settings.privacy.end_to_end:
        tree["privacy"] |= scale_owners(settings.privacy, size / settings.train.batch_size)
    return config.from_tree(tree)


def scale_owners(privacy: config.Privacy, times: float) -> dict[str, object]:
    """Return so many times as many owners, which a batch of that size has at the same sampling rate."""
    assert privacy.owners is not None
    owners = max(privacy.owners, round(times * privacy.owners))
    return {"owners": owners, "delta": min(privacy.delta, 0.1 / owners)}


def list_options(settings: config.Config, series: Series, devices: int, device: Device) -> Iterator[Option]:
    """Yield every ZeRO stage with the largest micro-batch that fits, without and with recomputed
    activations.
    """
    share = settings.train.batch_size // devices
    whole = -1  # the stage whose whole share fits as it is: recomputing would only be slower
    for zero, recompute in itertools.product((0, 1, 2, 3), (False, True)):
        if (devices == 1 and zero) or zero == whole:
            continue
        try:
            changed = with_engine(
                settings,
                zero=zero,
                discriminator_zero=None,
                checkpoint_activations=recompute,
                offload={"optimizer": "none", "parameters": "none"},
            )
        except UserError:
            continue  # as exact penalties at stage 3
        largest = next(
            (
                option
                for option in iterate_micro_batches(changed, series, devices, device)
                if fits(option.need, device)
            ),
            None,
        )
        if largest is not None:
            yield largest
            if largest.micro_batch == share:
                whole = zero


def iterate_micro_batches(
    settings: config.Config, series: Series, devices: int, device: Device
) -> Iterator[Option]:
    """Yield an option for each of `list_micro_sizes`."""
    for size in list_micro_sizes(settings, settings.train.batch_size // devices):
        yield make_option(with_engine(settings, micro_batch=size), series, devices, device)


def list_micro_sizes(settings: config.Config, share: int) -> list[int]:
    """Return the divisors of a device's share, largest first; the share alone where a rule needs the whole
    batch.
    """
    if settings.of_whole_batches:
        return [share]
    return [size for size in range(share, 0, -1) if share % size == 0]


def make_option(settings: config.Config, series: Series, devices: int, device: Device) -> Option:
    """Return the needs of the settings as they are on so many devices."""
    parallel = ImaginaryProcesses(settings.engine, devices, "cpu" if device.on_cpu else "cuda")
    size = parallel.compute_micro_batch(settings.train.batch_size)
    work = estimate_work(settings, series, size)
    memory = estimate_need(settings, parallel, series.length, series.channels, work)
    return Option(settings, devices, size, memory, estimate_step(settings, series, devices, device, work))


def fits(memory: Need, device: Device) -> bool:
    return memory.device <= device.memory


def choose_best(settings: config.Config, series: Series, devices: int, device: Device) -> Option | None:
    """Return the fastest option that fits; the lower stage where two are as fast to a hundredth."""
    found = list(list_options(settings, series, devices, device))
    if not found:
        return None
    quickest = min(option.step.seconds for option in found)
    return next(option for option in found if option.step.seconds <= 1.01 * quickest)


def format_overrides(settings: config.Config, chosen: Option) -> str:
    """Return the changes of the chosen settings in the form of a command line."""
    before, after = settings.flatten(), chosen.settings.flatten()
    wanted = {**after, "engine.micro_batch": chosen.micro_batch}
    share = settings.train.batch_size // chosen.devices
    if before["engine.micro_batch"] is None and chosen.micro_batch == share:
        wanted["engine.micro_batch"] = None
    changed = {key: value for key, value in wanted.items() if before[key] != value}
    words = {True: "true", False: "false", None: "null"}
    return " ".join(
        f"{key}={words.get(value, value) if not isinstance(value, int) or isinstance(value, bool) else value}"
        for key, value in changed.items()
    )


def refuse_uneven(settings: config.Config, devices: int) -> None:
    """Refuse a batch that does not divide.

    Raises:
        UserError: the batch does not divide among the devices.
    """
    batch = settings.train.batch_size
    if batch % devices:
        raise UserError(
            f"train.batch_size {batch} is not a multiple of {devices} devices; use "
            f"{format_nearest_multiples(batch, devices)}"
        )


def make_plan(settings: config.Config, series: Series, devices: int, device: Device) -> Plan:
    """Plan the settings as they are, and the best ones.

    Raises:
        UserError: the batch does not divide among the devices, or the model has nothing to plan.
    """
    refuse_uneven(settings, devices)
    asked = make_option(settings, series, devices, device)
    return Plan(settings, series, devices, device, asked, choose_best(settings, series, devices, device))


# -------------------------------------------------------------------------------------------------- words


def format_plan(plan: Plan, price: float | None) -> str:
    """Return the whole plan as text."""
    settings, series, devices, device = plan.settings, plan.series, plan.devices, plan.device
    parts = [
        format_heading(settings, series, devices, device),
        format_counts(settings, series, plan.asked),
        "As configured:\n" + format_outlook(plan.asked, series, device, price),
        format_stages(settings, series, devices, device),
        format_advice(settings, plan.chosen, series, device, price),
        format_scaling(settings, series, device, plan.chosen or plan.asked),
    ]
    return "\n\n".join(parts)


def format_heading(settings: config.Config, series: Series, devices: int, device: Device) -> str:
    """Describe the series and the devices of a plan."""
    kind = "measured" if device.measured else "assumed"
    shares = ", ".join(f"{name} {share:.0%}" for name, share in zip(KINDS, device.shares))
    some = f"{series.count:,} series" if series.count else "series"
    return (
        f"{settings.model.name} on {some} of {series.length:,} x {series.channels}, {devices} x "
        f"{device.name}\n"
        f"{device.memory:.4g} GiB; float32 {_format_rate(device.wide)}, half {_format_rate(device.half)}, "
        f"memory {device.bandwidth / 1e9:,.0f} GB/s, links {device.link / 1e9:,.0f} GB/s, network "
        f"{device.network / 1e9:,.0f} GB/s ({device.source})\n"
        f"efficiency {kind}: {shares} of the peak; {1e6 * device.launch:.3g} us per operation"
    )


def format_counts(settings: config.Config, series: Series, asked: Option) -> str:
    """Describe parameters and arithmetic of a step and of the run."""
    sizes = count_parameters(settings, series.length, series.channels)
    work = estimate_work(settings, series, asked.micro_batch)
    times = settings.train.batch_size / asked.micro_batch
    total = work.sum_flops(MATRIX, ATTENTION, CONVOLUTION)
    kinds = ", ".join(
        f"{name} {_format_rate(times * work.sum_flops(k), '')}" for k, name in enumerate(KINDS[:OTHER])
    )
    return (
        "parameters  " + ", ".join(f"{name} {count:,}" for name, count in sizes.items()) + "\n"
        f"a step      {_format_rate(times * total, '')} for {settings.train.batch_size} series ({kinds})\n"
        f"the run     {_format_rate(times * total * settings.train.steps, '')} in "
        f"{settings.train.steps:,} steps"
    )


def format_outlook(option: Option, series: Series, device: Device, price: float | None) -> str:
    """Describe one option: memory, time, cost, store and reading."""
    settings, step, memory = option.settings, option.step, option.need
    hours = settings.train.steps * step.seconds / 3600
    cost = hours * option.devices * (price or 0)
    paid = "" if price is None else f", cost {cost:,.2f} at {price:g} per device-hour"
    spent = ", ".join(f"{name} {getattr(step, name) / step.seconds:.0%}" for name in BOUNDS)
    wide = 2 if settings.data.store.dtype == "float16" else 4
    size = series.length * series.channels * wide
    store = f"{series.count * size / GIB:,.3g} GiB of store, " if series.count else ""
    fit = "fits" if fits(memory, device) else "DOES NOT FIT"
    return (
        f"  memory      {memory.device:.2f} GiB per device ({memory.libraries:g} for libraries), {fit} into "
        f"{device.memory:.4g}\n"
        f"  step        {step.seconds:.3g} s ({spent}), {option.series_per_second:,.3g} series/s\n"
        f"  sent        {step.sent / GIB:,.3g} GiB per device and step\n"
        f"  run         {hours:,.3g} h, {hours * option.devices:,.3g} device-hours{paid}\n"
        f"  data        {store}{option.series_per_second * size / 1e6:,.3g} MB/s to read"
    )


def format_stages(settings: config.Config, series: Series, devices: int, device: Device) -> str:
    """Return the GiB per device for each ZeRO stage and a few micro-batches."""
    share = settings.train.batch_size // devices
    possible = list_micro_sizes(settings, share)
    sizes = sorted({share // part for part in (1, 2, 4, 8)} & set(possible))
    names = ("weights", "gradients", "optimiser", "average", "buffers", "activations")
    rows = [["zero", "micro-batch", *names, "device", "", "s/step"]]
    for zero in (0, 1, 2, 3) if devices > 1 else (0,):
        for size in sizes:
            try:
                changed = with_engine(settings, zero=zero, discriminator_zero=None, micro_batch=size)
            except UserError as error:
                rows.append([str(zero), "-", str(error).split(";")[0]])
                break
            found = make_option(changed, series, devices, device)
            cells = [f"{getattr(found.need, name):.2f}" for name in names]
            fit = "" if fits(found.need, device) else "too much"
            cells += [f"{found.need.device:.2f}", fit, f"{found.step.seconds:.3g}"]
            rows.append([str(zero), str(size), *cells])
    recomputed = " with recomputed activations" if settings.engine.checkpoint_activations else ""
    return f"GiB per device{recomputed}:\n{format_table(rows)}"


def format_advice(
    settings: config.Config, chosen: Option | None, series: Series, device: Device, price: float | None
) -> str:
    """Describe the recommended settings, and what they cost."""
    if chosen is None:
        return (
            "Nothing fits: use more or larger devices, engine.offload.optimizer=cpu with engine.zero=2, or a "
            "smaller model"
        )
    changes = format_overrides(settings, chosen)
    if not changes:
        return "Recommended: as configured"
    return f"Recommended: {changes}\n{format_outlook(chosen, series, device, price)}"


def format_scaling(settings: config.Config, series: Series, device: Device, chosen: Option) -> str:
    """Return the speed on ever more devices: with the batch as it is, and with a batch that grows with
    them.
    """
    fixed = ("devices", "s/step", "series/s", "per device", "bound by")
    rows = [[*fixed, "grown batch", *fixed[2:]]]
    fixed_0 = grown_0 = 0.0
    each, stop = chosen.micro_batch, ""
    fastest, fewer = chosen.series_per_second, chosen.devices
    for devices in COUNTS:
        row = [f"{devices:,}"]
        batch = settings.train.batch_size
        if batch % devices:
            row += ["-", "-", "-", "-"]
            stop = stop or f"a batch of {batch} does not divide among {devices:,} devices"
        else:
            share = batch // devices
            size = max(math.gcd(share, chosen.micro_batch), min(list_micro_sizes(settings, share)))
            found = make_option(with_engine(chosen.settings, micro_batch=size), series, devices, device)
            speed = found.series_per_second / devices
            fixed_0 = fixed_0 or speed
            row += _format_speed(found, speed / fixed_0)
            if devices > fewer and found.series_per_second <= fastest:
                stop = stop or f"{devices:,} devices are no faster than {fewer:,}"
            fastest, fewer = found.series_per_second, devices
            if speed / fixed_0 < POOR:
                stop = stop or f"{devices:,} devices spend most time on {found.step.bound}"
        grown = with_engine(chosen.settings, micro_batch=each, batch_size=each * devices)
        found = make_option(grown, series, devices, device)
        speed = found.series_per_second / devices
        grown_0 = grown_0 or speed
        row += [f"{each * devices:,}", *_format_speed(found, speed / grown_0)[1:]]
        rows.append(row)
    why = (
        f"More devices stop paying off because {stop}."
        if stop
        else "Speed grows with the devices up to the end of this table."
    )
    how = format_overrides(settings, chosen) or "as configured"
    return f"More devices ({how}):\n{format_table(rows)}\n{why}"


def _format_speed(found: Option, share: float) -> list[str]:
    rate = (
        f"{found.series_per_second:,.0f}"
        if found.series_per_second >= 100
        else f"{found.series_per_second:.3g}"
    )
    return [f"{found.step.seconds:.3g}", rate, f"{share:.0%}", found.step.bound]


def format_table(rows: list[list[str]]) -> str:
    widths = [
        max(len(row[place]) for row in rows if place < len(row) and len(row) > 3)
        for place in range(len(rows[0]))
    ]
    return "\n".join(
        "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths)).rstrip() for row in rows
    )


def _format_rate(value: float, per: str = "/s") -> str:
    """Format 1.2e13 as 12 TFLOP/s."""
    for unit, size in (("EFLOP", 1e18), ("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9)):
        if value >= size:
            return f"{value / size:,.3g} {unit}{per}"
    return f"{value / 1e6:.3g} MFLOP{per}"
