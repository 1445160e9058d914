"""The stages of a plan in words: one table for the run that is planned, one for ever more series."""

from dataclasses import replace
from typing import Any

from distgan.planning.report import Plan, format_table, make_option, with_engine
from distgan.planning.stages import Passes, StageNeed, plan_stages
from distgan.planning.step_time import Step

SERIES = (10_000, 100_000, 1_000_000, 10_000_000)
DEVICES = (1, 8, 64, 512, 4_096)
ONE_DEVICE = {"zero": 0, "discriminator_zero": None, "offload": {"optimizer": "none", "parameters": "none"}}


def plan_all_stages(plan: Plan, passes: Passes) -> list[StageNeed]:
    """Return the needs of each stage as configured; nothing for an unknown number of series."""
    if not plan.series.count:
        return []
    return plan_stages(plan.settings, plan.series, (plan.devices, plan.device), plan.asked.step, passes)


def format_all_stages(plan: Plan, needs: list[StageNeed], passes: Passes) -> str:
    """Return the tables of all stages as text."""
    if not needs:
        return "All stages: give --series to plan them."
    return "\n\n".join((format_needs(needs, plan), format_growth(plan, passes)))


def format_needs(needs: list[StageNeed], plan: Plan) -> str:
    """Return a line per stage: time, host memory of a process, disk, network."""
    rows = [["stage", "time", "host GiB", "disk GiB", "sent GiB", "processes", "bound by"]]
    rows += [
        [
            need.name,
            format_seconds(need.seconds),
            f"{need.memory:.2f}",
            f"{need.disk:,.3g}",
            f"{need.sent:,.3g}",
            "all" if need.shared and plan.devices > 1 else "one",
            need.bound,
        ]
        for need in needs
    ]
    total = sum(need.seconds for need in needs)
    rows.append(["all", format_seconds(total), f"{max(need.memory for need in needs):.2f}"])
    rows[-1] += [
        f"{sum(need.disk for need in needs):,.3g}",
        f"{sum(need.sent for need in needs):,.3g}",
        "",
        "",
    ]
    made = "" if plan.settings.model.filters else f", {plan.settings.generate.count:,} synthetic ones"
    heading = (
        f"All stages as configured, {plan.series.count:,} training series{made} (host rates: one core, "
        "measured by benchmarks/chain.py):"
    )
    return f"{heading}\n{format_table(rows)}"


def format_growth(plan: Plan, passes: Passes) -> str:
    """Return the time of a whole run by the number of series and of devices; as many series are generated."""
    settings = plan.settings
    steps = {devices: plan_step(plan, devices) for devices in DEVICES}
    rows = [["series", *(f"{devices:,}" for devices in DEVICES), "slowest", "host GiB", "disk TiB"]]
    for count in SERIES:
        generate = settings.generate.model_copy(update={"count": count})
        whole = settings.model_copy(update={"generate": generate})
        series, cells, needs = replace(plan.series, count=count), [], []
        for devices in DEVICES:
            needs = plan_stages(whole, series, (devices, plan.device), steps[devices], passes)
            cells.append(format_seconds(sum(need.seconds for need in needs)))
        slowest = max(needs, key=lambda need: need.seconds).name
        memory, disk = max(need.memory for need in needs), sum(need.disk for need in needs) / 1024
        rows.append([f"{count:,}", *cells, slowest, f"{memory:.2f}", f"{disk:,.3g}"])
    made = "" if settings.model.filters else ", as many series generated as trained on"
    passes_once = ", without micro-batches" if settings.engine.micro_batch else ""
    return (
        f"Whole runs by series and devices, the same {settings.train.steps:,} steps{passes_once}{made}\n(the "
        f"slowest stage is that of {DEVICES[-1]:,} devices; the gan stage uses at most "
        f"train.batch_size={settings.train.batch_size} devices):\n{format_table(rows)}"
    )


def plan_step(plan: Plan, devices: int) -> Step:
    """Return a step of the GAN on the most of these devices among which the batch divides."""
    batch = plan.settings.train.batch_size
    usable = next(count for count in range(min(devices, batch), 0, -1) if batch % count == 0)
    changed = with_engine(plan.settings, micro_batch=None, **({} if usable > 1 else ONE_DEVICE))
    return make_option(changed, plan.series, usable, plan.device).step


def format_seconds(seconds: float) -> str:
    """Format 120 as 2 min; 7200 as 2 h; 200,000 as 2.3 d."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.3g} {unit}"
    return f"{seconds:.3g} s"


def make_stages_tree(needs: list[StageNeed]) -> list[dict[str, Any]]:
    """Return the stages for programs: seconds by the clock, GiB."""
    return [
        {
            "stage": need.name,
            "seconds": need.seconds,
            "host_memory_gib": need.memory,
            "disk_gib": need.disk,
            "sent_gib": need.sent,
            "bound": need.bound,
            "all_processes": need.shared,
        }
        for need in needs
    ]
