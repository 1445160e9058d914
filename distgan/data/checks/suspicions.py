"""From what a survey counted to sentences: what was noticed, what it could mean, and the setting that acts.

A suspicion has two texts: one for the owner of the data, and one of aggregate counts alone for the store and
the report, which others may read.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from distgan import config
from distgan.data.checks import fit
from distgan.data.checks.attached_codes import suggest_attached_codes
from distgan.data.checks.bounds import Severity, is_whole, suggest_bounds
from distgan.data.checks.clock import MEANINGS
from distgan.data.checks.columns import OddColumns
from distgan.data.checks.survey import Channel, Survey, Tally
from distgan.data.formats.advice import show_list, show_without
from distgan.data.formats.understood import Understood
from distgan.data.store.metadata import Meta
from distgan.errors import UserError
from distgan.progress import format_count, format_digits

MANY_ZEROS = 0.3
LOOKED_NAMES = 64  # of series that may state units
LISTED = 3  # channels of one suspicion
ZEROS = ("zero_runs", "leading_zeros", "trailing_zeros")


@dataclass(frozen=True)
class Suspicion:
    """Something noticed about the data.

    Attributes:
        severity: error where the values would mean something else; accepted where `data.accept` names it.
        text: for the owner, with counts and where.
        shared: the same in aggregate numbers, without ids and single series' values.
        advice: the setting that acts, and its value.
    """

    name: str
    severity: Severity
    text: str
    shared: str
    advice: str

    def to_dict(self) -> dict[str, str]:
        """Return what the store and the report keep."""
        return {key: value for key, value in asdict(self).items() if key != "text"}


@dataclass(frozen=True)
class SourceFacts:
    """The facts from which suspicions are drawn."""

    survey: Survey
    source: Meta
    meta: Meta  # of the series after cutting and reducing
    settings: config.Config
    entities: Sequence[str]
    understood: Understood | None = None
    copies: int = 0
    columns: OddColumns | None = None


def list_suspicions(facts: SourceFacts) -> list[Suspicion]:
    """Return all suspicions, those that change the meaning of the data first; accepted ones are marked."""
    found = [suspicion for check in CHECKS for suspicion in check(facts)]
    accepted = set(facts.settings.data.accept)
    found = [replace(each, severity="accepted") if each.name in accepted else each for each in found]
    order = {"error": 0, "warning": 1, "hint": 2, "accepted": 3}
    return sorted(found, key=lambda each: order[each.severity])


def refuse_suspicions(found: Sequence[Suspicion], source: str) -> None:
    """
    Raises:
        UserError: a suspicion changes the meaning of the data, and `data.accept` does not name it.
    """
    errors = [each for each in found if each.severity == "error"]
    if not errors:
        return
    said = "; ".join(f"{each.name}: {each.text} ({each.advice})" for each in errors)
    names = ",".join(each.name for each in errors)
    raise UserError(
        f"data.source {source}: {said}. If the data are right as they are, set data.accept=[{names}]"
    )


def mask_id(name: str) -> str:
    """Return the first letters of an id, never all of it."""
    return name[: min(3, len(name) // 3)] + "…"


# ------------------------------------------------------------------------------------------------ series' own


def _suspect_series(
    facts: SourceFacts, name: str, severity: Severity, describe: Callable[[Channel, Tally], str], advice: str
) -> Iterator[Suspicion]:
    """Yield a suspicion from the tallies of all channels; `describe` follows `12 of 200 series `."""
    texts, shared = [], []
    for channel, label in zip(facts.survey.channels, _list_labels(facts)):
        tally = channel.found.get(name)
        if tally is None or not tally.series or (name in ZEROS and _is_often_zero(channel)):
            continue
        words = describe(channel, tally)
        texts.append(f"{_count(channel, tally)} {words}{label}, first {_format_place(facts, tally)}")
        shared.append(f"{_count(channel, tally)} {SHARED.get(name, words)}{label}")
    if texts:
        yield Suspicion(name, severity, _list_few(texts), _list_few(shared), advice)


SHARED = {  # words without lengths, which single series have
    "stuck": "repeat one value for days",
    "leading_zeros": "begin with days of zeros",
    "trailing_zeros": "end with days of zeros",
    "zero_runs": "are zero for days in between",
    "spikes": "have values far outside all others",
    "register": "only rise",
    "late_start": "begin late",
    "early_end": "end early",
}


def _is_often_zero(channel: Channel) -> bool:
    """Return whether zeros are usual, as those of rain are, apart from those at the ends of series."""
    edges = sum(channel.found[name].values for name in ZEROS[1:] if name in channel.found)
    return channel.zeros - edges > MANY_ZEROS * max(channel.measured - edges, 1)


def _list_labels(facts: SourceFacts) -> list[str]:
    names = facts.source.channels
    return [f" (channel {name})" for name in names] if len(names) > 1 else [""]


def _count(channel: Channel, tally: Tally) -> str:
    return f"{tally.series:,} of {channel.series:,} series"


def _list_few(texts: Sequence[str]) -> str:
    more = len(texts) - LISTED
    return ", ".join(texts[:LISTED]) + (f", and {format_count(more, 'more channel')}" if more > 0 else "")


def _format_place(facts: SourceFacts, tally: Tally) -> str:
    row = tally.examples[0]
    return f"series {row + 1} ({mask_id(facts.entities[row])})"


def _format_time(facts: SourceFacts, steps: int) -> str:
    if facts.source.is_nominal:
        return f"{steps:,} steps"
    days = steps / facts.source.axis.steps_per_day
    return f"{format_digits(days, 3)} days"


def _find_missing_codes(facts: SourceFacts) -> Iterator[Suspicion]:
    counts: dict[float, Tally] = {}
    most = max((channel.series for channel in facts.survey.channels), default=0)
    for channel in facts.survey.channels:
        for code, tally in channel.codes.items():
            known = counts.setdefault(code, Tally())
            known.series += tally.series
            known.values += tally.values
            known.examples += tally.examples
    if not counts:
        return
    codes = sorted(counts, key=lambda code: -counts[code].values)[:4]
    texts = [
        f"{_format_float(code)} stands {counts[code].values:,} times in {counts[code].series:,} series of "
        f"{most:,} and far from all other values, first in {_format_place(facts, counts[code])}"
        for code in codes
    ]
    yield Suspicion(
        "sentinel",
        "error",
        f"{'; '.join(texts)}: it seems to mean missing",
        f"{sum(counts[code].values for code in codes):,} values look like codes for missing values",
        f"set data.missing_values=[{','.join(map(_format_float, codes))}]",
    )


def _format_float(code: float) -> str:
    """Return a float32 as its shortest decimal number."""
    short = (
        np.format_float_positional(np.float32(code), trim="-") if abs(code) < 1e15 else str(np.float32(code))
    )
    return str(short)


def _find_thousands(facts: SourceFacts) -> Iterator[Suspicion]:
    for channel, label in zip(facts.survey.channels, _list_labels(facts)):
        found = channel.found
        plain, fits, alone = (found[name].series for name in ("plain", "thousands", "thousands_alone"))
        constant = found["constant"].series
        mixed = alone and plain and alone + plain + fits + constant >= channel.series
        if not (fits and found["thousands"].values >= 3) and not mixed:
            continue
        tally = found["thousands"] if fits else found["thousands_alone"]
        text = (
            f"{_count(channel, tally)} hold {tally.values:,} numbers with three decimals beside whole "
            f"numbers below 1000{label}, first {_format_place(facts, tally)}: a thousands mark may have been "
            "read as a decimal mark"
        )
        shared = f"{_count(channel, tally)} mix numbers of three decimals and whole numbers below 1000{label}"
        mark = facts.understood.decimal if facts.understood else None
        advice = f"set data.thousands='{mark}'" if mark else "set data.thousands to that mark, '.' or ','"
        yield Suspicion("thousands", "error", text, shared, advice)


def _find_odd_columns(facts: SourceFacts) -> Iterator[Suspicion]:
    odd, understood = facts.columns or OddColumns(), facts.understood
    what = "channel" if odd.channels else "series"
    wide = understood is not None and understood.layout == "wide"
    by_columns = understood is not None and bool(understood.value_columns) and (odd.channels or wide)
    for name, found, words in (
        ("flags", odd.flags, "quality flags, not readings (first empty the readings that they mark as bad)"),
        ("totals", odd.totals, "the sum, or a multiple of the sum, of all others at every time"),
        ("calendar", odd.calendar, "a part of the date or time, not readings"),
    ):
        if not found:
            continue
        shown = ", ".join(found[:6]) + (", …" if len(found) > 6 else "")
        setting = f": set data.columns.ignore={show_list(found)}" if by_columns else ""
        text = f"{len(found)} {what} ({shown}) hold {words}{setting}"
        advice = "data.columns.ignore leaves columns out" if by_columns else "leave them out of the source"
        yield Suspicion(name, "error", text, f"{len(found)} {what} hold {words}", advice)


def _find_unlike_columns(facts: SourceFacts) -> Iterator[Suspicion]:
    if facts.columns is None or not facts.columns.unlike:
        return
    one, other = facts.columns.unlike
    what = "columns are read as entities, and their values differ as different quantities do"
    advice = (
        "set data.layout=per_file if all columns are channels of one entity, or data.layout=wide if each is "
        "an entity"
    )
    yield Suspicion("entities", "error", f"{what}, first {one} and {other}", what, advice)


def _find_registers(facts: SourceFacts) -> Iterator[Suspicion]:
    def describe(channel: Channel, tally: Tally) -> str:
        resets = f" and start again {tally.longest} times at most" if tally.longest else ""
        return f"only rise{resets}, as a counter's readings do"

    advice = "set data.registers=difference"
    rising = _list_channels(facts, "register")
    others = sum(
        channel.series - _count_found(channel, "register") - _count_found(channel, "constant")
        for channel in facts.survey.channels
    )
    if others > 0:
        what = "channels" if len(facts.source.channels) > 1 else "series"
        advice += f" if all {what} are counters, since it takes the differences of all"
        if 0 < len(rising) < len(facts.source.channels):
            advice += f"; else leave these out: {_show_without(facts, rising)}"
    yield from _suspect_series(facts, "register", "error", describe, advice)


def _list_channels(facts: SourceFacts, name: str) -> list[str]:
    """Return the channels of which every series is tallied under a name."""
    pairs = zip(facts.source.channels, facts.survey.channels)
    return [label for label, channel in pairs if 0 < channel.series == _count_found(channel, name)]


def _count_found(channel: Channel, name: str) -> int:
    return channel.found[name].series if name in channel.found else 0


def _show_without(facts: SourceFacts, names: list[str]) -> str:
    columns = facts.understood.value_columns if facts.understood else []
    return show_without(names, facts.source.channels, columns)


def _find_steps(facts: SourceFacts) -> Iterator[Suspicion]:
    step, factor = _find_commonest_step(facts, "step")
    if factor:
        words = f"measure only one in {factor} steps"
        advice = f"set data.resample.step={step.replace(' ', '')}"
        yield from _suspect_series(facts, "step", "error", lambda channel, tally: words, advice)
    step, repeats = _find_commonest_step(facts, "repeated_values")
    if repeats:
        said = f"repeat every value {repeats} times, as if their step was {step}"
        advice = f"set data.reduce.factor={repeats} data.reduce.method=mean"
        yield from _suspect_series(facts, "repeated_values", "warning", lambda channel, tally: said, advice)


def _find_commonest_step(facts: SourceFacts, name: str) -> tuple[str, int]:
    """Return the factor by which most series' own step is longer, and that step; 0 where there is none."""
    counts: Counter[int] = Counter()
    for channel in facts.survey.channels:
        counts.update({factor: n for (kind, factor), n in channel.factors.items() if kind == name})
    factor = counts.most_common(1)[0][0] if counts else 0
    return fit.format_step(facts.source.axis.step_seconds * factor), factor


def _find_runs(facts: SourceFacts) -> Iterator[Suspicion]:
    def make_description(words: str) -> Callable[[Channel, Tally], str]:
        def describe(channel: Channel, tally: Tally) -> str:
            fewest, longest = (_format_time(facts, steps) for steps in (facts.survey.stuck, tally.longest))
            return (
                f"{words} for {fewest} or longer (the longest {longest}; "
                f"{tally.values / channel.values:.2%} of all)"
            )

        return describe

    ragged = facts.settings.data.start_ragged
    late = "set data.start_ragged to the smallest measured share"
    if ragged is not None:
        late = f"data.start_ragged={ragged:g} keeps those of which as much is measured"
    zeros = (
        "set data.edge_zeros=missing, with data.start_ragged or data.max_missing for how much may be missing"
    )
    checks = (
        ("stuck", "repeat one value", "check these meters; leave the series out, or the value missing"),
        ("leading_zeros", "begin with zeros", zeros),
        ("trailing_zeros", "end with zeros", zeros),
        ("zero_runs", "are zero in between", "leave these values empty if they are outages"),
        ("late_start", "begin late and miss values", late),
        ("early_end", "end early and miss values", late),
    )
    for name, words, advice in checks:
        yield from _suspect_series(facts, name, "warning", make_description(words), advice)


def _find_spikes(facts: SourceFacts) -> Iterator[Suspicion]:
    yield from _suspect_series(
        facts,
        "spikes",
        "warning",
        lambda channel, tally: (
            f"have values ten times farther from the median than 99.9 % of theirs ({tally.values:,})"
        ),
        "check these values; data.missing_values takes codes, empty cells are missing",
    )


def _find_constant(facts: SourceFacts) -> Iterator[Suspicion]:
    still = _list_channels(facts, "constant")
    advice = "data.unusable=drop leaves them out"
    if 0 < len(still) < len(facts.source.channels):
        advice = f"set {_show_without(facts, still)}"
    yield from _suspect_series(
        facts,
        "constant",
        "warning",
        lambda channel, tally: "never change",
        advice,
    )


# ------------------------------------------------------------------------------------------- the whole source


def _find_clock_changes(facts: SourceFacts) -> Iterator[Suspicion]:
    changes = facts.survey.clock.find_changes()
    for name, meaning in MEANINGS.items():
        hours = [change.hour for change in changes if change.name == name]
        if hours:
            said = f"the hour from {hours[0]} ({format_count(len(hours), 'night')}) {meaning.what}"
            yield Suspicion(name, meaning.severity, said, said, meaning.advice)


def _find_misfits(facts: SourceFacts) -> Iterator[Suspicion]:
    data, meta = facts.settings.data, facts.meta
    units, periods = fit.check_units(data, facts.source, meta), fit.check_periods(facts.settings, meta)
    factor = units.factor if units is not None else None
    if periods and factor and not fit.check_periods(facts.settings, _reduce_meta(factor, facts)):
        periods = replace(periods, advice=f"data.reduce.factor={factor} mends that, too; or {periods.advice}")
    names = facts.source.channels if facts.source.channels != ("value",) else facts.entities[:LOOKED_NAMES]
    stated = [f"({unit})" for unit in facts.understood.stated_units] if facts.understood else []
    units = units or fit.check_stated_units(data, [*names, *stated]) or fit.check_sums(data)
    if unit := fit.find_named_unit(data, stated or names):
        text = f"the source states {unit}"
        yield Suspicion("units", "hint", text, text, f"set data.units={unit}")
    misfits = {"units": units, "periods": periods}
    first = facts.survey.channels[0]
    if len(facts.survey.channels) == 1 and first.measured:
        median = first.compute_quantile(0.5)
        misfits["magnitude"] = fit.check_magnitude(
            data, facts.source.axis.step_seconds, median, is_whole(first)
        )
    for name, misfit in misfits.items():
        if misfit is not None:
            severity: Severity = "error" if misfit.changes_meaning else "warning"
            yield Suspicion(name, severity, misfit.text, misfit.text, misfit.advice)


def _reduce_meta(factor: int, facts: SourceFacts) -> Meta:
    """Return the meta of the series with another data.reduce.factor."""
    axis, step = facts.meta.axis, facts.source.axis.step_seconds * factor
    length = axis.length * axis.step_seconds // step
    return replace(facts.meta, axis=replace(axis, step_seconds=step, length=length))


def _find_bounds(facts: SourceFacts) -> Iterator[Suspicion]:
    channels = list(zip(facts.survey.channels, _list_labels(facts)))
    for found in (*suggest_bounds(channels, facts.settings.data), *suggest_attached_codes(channels)):
        yield Suspicion(*found)


def _count_looked(facts: SourceFacts) -> Iterator[Suspicion]:
    if facts.copies:
        text = f"{facts.copies:,} series are exact copies of another owner's"
        yield Suspicion("copies", "warning", text, text, "remove them, or name their common owner")
    understood = facts.understood
    if understood is None:
        return
    if understood.merged_duplicates or understood.conflicting_duplicates:
        text = (
            f"{understood.merged_duplicates:,} readings repeat an equal one, "
            f"{understood.conflicting_duplicates:,} disagree with another of the same time"
        )
        yield Suspicion("duplicates", "warning", text, text, "data.duplicates decides between them")
    if understood.off_grid_ignored:
        text = f"{understood.off_grid_ignored:,} empty rows lie between two steps and were ignored"
        yield Suspicion("off_grid", "warning", text, text, "data.resample.step takes rows between steps in")


CHECKS: tuple[Callable[[SourceFacts], Iterator[Suspicion]], ...] = (
    _find_thousands,
    _find_odd_columns,
    _find_unlike_columns,
    _find_missing_codes,
    _find_registers,
    _find_clock_changes,
    _find_steps,
    _find_misfits,
    _find_spikes,
    _find_runs,
    _find_constant,
    _find_bounds,
    _count_looked,
)
