"""A plan as a tree for programs: what `distgan plan --json` prints."""

from dataclasses import asdict
from typing import Any

from distgan.planning.devices import Device
from distgan.planning.memory import GIB
from distgan.planning.report import Option, Plan, fits, format_overrides


def make_plan_tree(plan: Plan, price: float | None) -> dict[str, Any]:
    """Return the plan; memory in GiB per device, time in seconds and hours, cost in units of the price."""
    chosen = plan.chosen
    return {
        "model": plan.settings.model.name,
        "series": asdict(plan.series),
        "devices": plan.devices,
        "device": {
            "name": plan.device.name,
            "memory_gib": plan.device.memory,
            "measured": plan.device.measured,
            "source": plan.device.source,
        },
        "as_configured": _make_option_tree(plan.asked, plan.device, price),
        "recommended": None if chosen is None else _make_option_tree(chosen, plan.device, price),
        "recommended_settings": None if chosen is None else format_overrides(plan.settings, chosen).split(),
    }


def _make_option_tree(option: Option, device: Device, price: float | None) -> dict[str, Any]:
    hours = option.settings.train.steps * option.step.seconds / 3600
    return {
        "micro_batch": option.micro_batch,
        "fits": fits(option.need, device),
        "memory_gib": option.need.device,
        "seconds_per_step": option.step.seconds,
        "seconds_by_part": {name: value for name, value in asdict(option.step).items() if name != "sent"},
        "sent_gib_per_step": option.step.sent / GIB,
        "series_per_second": option.series_per_second,
        "hours": hours,
        "device_hours": hours * option.devices,
        "cost": None if price is None else hours * option.devices * price,
    }
