"""Check that settings fit the steps and values of a source: units, periods, patches."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from distgan import config
from distgan.data.store.metadata import Meta

DAY = 86400
SECONDS = {
    **dict.fromkeys(("s", "sec", "second"), 1),
    **dict.fromkeys(("min", "minute"), 60),
    **dict.fromkeys(("h", "hr", "hour"), 3600),
    **dict.fromkeys(("d", "day"), DAY),
    **dict.fromkeys(("w", "week"), 7 * DAY),
}
ENERGIES = r"(?<![A-Za-z]){}(Wh?|wh?)(?![A-Za-z])"
STATED = re.compile(r"(?<![A-Za-z])([kKMGT][Ww][Hh]?|[Ww]h)(?![A-Za-z])|[(\[]\s*(W)\s*[)\]]")
RATE = re.compile(r"[kKMGT]?W|°?[CFK]|deg ?[CF]|%|[kmM]?VA|hPa|m/s|km/h")


@dataclass(frozen=True)
class Misfit:
    """A setting that does not fit: what, what to set, and whether the data would mean something else.

    Attributes:
        factor: of data.reduce, with which the setting would fit; None where none does.
    """

    text: str
    advice: str
    changes_meaning: bool
    factor: int | None = None


def format_step(seconds: float) -> str:
    """Return `4 h` for `14400`."""
    size, name = next(
        (
            pair
            for pair in ((7 * DAY, "weeks"), (DAY, "d"), (3600, "h"), (60, "min"))
            if seconds % pair[0] == 0
        ),
        (1, "s"),
    )
    return f"{seconds / size:g} {name}"


def check_units(settings: config.Data, source: Meta, meta: Meta) -> Misfit | None:
    """Compare the step that `data.units` names (kWh per 4 h) with the step of the series (`meta`, of
    `source`).
    """
    named = re.search(r"(?:\bper\b|/)\s*(\d+(?:\.\d+)?)?\s*([A-Za-z]+)\s*$", settings.units)
    unit = (named and named[2].lower().removesuffix("s")) or ""
    if meta.is_nominal or not named or (unit or "s") not in SECONDS:
        return None
    wanted, step = float(named[1] or 1) * SECONDS[unit or "s"], meta.axis.step_seconds
    summed = settings.reduce.factor > 1 and settings.reduce.method == "sum"
    if wanted == step:
        return None
    exact = summed or named[1] is not None  # `per hour` may be a rate, `per 4 h` is an amount
    amount = settings.units[: named.start()].strip()
    advice = f"set data.units='{amount} per {format_step(step)}'"
    ratio = wanted / source.axis.step_seconds
    whole = meta.axis.length * settings.reduce.factor  # steps of a series before they are reduced
    factor = int(ratio) if settings.reduce.factor > 1 and ratio.is_integer() and whole % ratio == 0 else None
    if factor is not None:
        advice = f"set data.reduce.factor={factor}, or {advice.removeprefix('set ')}"
    text = f"data.units is {settings.units!r}, and series have steps of {format_step(step)}" + (
        f" (data.reduce.factor={settings.reduce.factor} of {format_step(source.axis.step_seconds)})"
        if settings.reduce.factor > 1
        else ""
    )
    return Misfit(text, advice, exact, factor)


def check_stated_units(settings: config.Data, names: Sequence[str]) -> Misfit | None:
    """Compare `data.units` with the units of energy or power that names of columns, rows or columns of units,
    titles and arrays state: kWh is no kW.
    """
    wanted = _find_energy_unit(f"({settings.units.split()[0]})" if settings.units.split() else "")
    found = {unit.lower(): unit for name in names if (unit := _find_energy_unit(name))}
    if not wanted or len(found) != 1 or wanted.lower() in found:
        return None
    text = f"data.units is {settings.units!r}, and the source states {next(iter(found.values()))}"
    return Misfit(text, "check the unit, and set data.units", False)


def find_named_unit(settings: config.Data, names: Sequence[str]) -> str:
    """Return the unit of energy or power that all names of columns state, "" where `data.units` is set."""
    found = {_find_energy_unit(name) for name in names}
    return found.pop() if len(found) == 1 and not settings.units else ""


def _find_energy_unit(name: str) -> str:
    """Return the unit of energy or power in a name, as H1_kWh or H1 (W); W alone only in brackets."""
    match = STATED.search(name)
    return (match[1] or match[2]) if match else ""


def check_sums(settings: config.Data) -> Misfit | None:
    """Find units of which sums over steps are no values: power, temperature, percent."""
    reduced = settings.reduce.factor > 1 and settings.reduce.method == "sum"
    summed = settings.resample.step is not None and settings.resample.method == "sum"
    if not (reduced or summed) or not RATE.fullmatch(settings.units):
        return None
    key = "data.reduce.method" if reduced else "data.resample.method"
    text = f"data.units is {settings.units!r}, and {key}=sum adds up the values of several steps"
    return Misfit(text, f"set {key}=mean, or data.units to what the sum is", False)


def check_magnitude(settings: config.Data, step_seconds: int, median: float, whole: bool) -> Misfit | None:
    """Compare the size of the values with a unit of energy or power: a home uses 0.1 to 5 kW."""
    if re.search(ENERGIES.format("k"), settings.units):
        hourly = (
            median if "h" not in settings.units.lower().split("k", 1)[1][:2] else median * 3600 / step_seconds
        )
        if whole and 50 <= hourly <= 20000:
            text = f"data.units is {settings.units!r}, and values are whole numbers of the size of W or Wh"
            return Misfit(text, "check the unit, and set data.units", False)
    elif re.search(ENERGIES.format(""), settings.units) and 0 < median < 5 and not whole:
        text = f"data.units is {settings.units!r}, and values have the size of kW or kWh"
        return Misfit(text, "check the unit, and set data.units", False)
    return None


def check_periods(settings: config.Config, meta: Meta) -> Misfit | None:
    """Compare the periods of the discriminator's side networks, and patches, with days and weeks of the
    series; of daily ones with weeks.
    """
    step, length = meta.axis.step_seconds, settings.data.windows.length or meta.axis.length
    model, daily = settings.model, step == DAY
    if meta.is_nominal or not model.periods_key or step > DAY or DAY % step or length * step < 2 * DAY:
        return None
    key = f"model.{model.periods_key}"
    cycle, name, longer = (7, "week", 4) if daily else (DAY // step, "day", 7)
    periods: tuple[int, ...] = attrgetter(model.periods_key)(model)
    used = [period for period in periods if period <= length // 2]
    odd = [period for period in used if period % cycle]
    unused = [period for period in periods if period > length // 2]
    patches = {"model.patch": model.patch} if hasattr(model, "patch") else {}
    if "encoder" in settings.stages:
        patches["encoder.patch"] = settings.encoder.patch
    odd_patches = {key: patch for key, patch in patches.items() if patch % cycle and cycle % patch}
    if daily and not odd:  # tokens of days need be no weeks
        odd_patches = {}
    if not odd and not odd_patches and not unused:
        return None
    said = [f"a {name} has {cycle} steps of {format_step(step)}"]
    said += [f"{key} {odd} are no whole {name}s"] if odd else []
    said += [f"{each} {patch} is no whole {name}, nor a part of one" for each, patch in odd_patches.items()]
    said += [f"periods {unused} are longer than half of the {length} steps and left out"] if unused else []
    better = [whole for whole in (cycle, longer * cycle) if whole <= length // 2] or [cycle]
    sets = [f"{key}={better[:1] if daily else better}".replace(", ", ",")] if odd or unused else []
    sets += [f"{n}={cycle}" for n, patch in patches.items() if odd and patch < cycle and cycle % patch == 0]
    for each, patch in odd_patches.items():
        nearest = min((cycle, longer * cycle), key=lambda whole: max(whole, patch) / min(whole, patch))
        sets.append(f"{each}={min(nearest, max(better))}")
    changes_meaning = not daily and bool(used) and len(odd) == len(used)
    return Misfit("; ".join(said), f"set {' '.join(sets)}", changes_meaning)
