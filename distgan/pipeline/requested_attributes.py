"""Plan the group and the attributes of each series to generate.

By default groups get series in proportion to their training series. `generate.attributes`, `generate.shares`
and `generate.table` select groups by the attributes that they state; attributes that are not requested are
those of the groups.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from distgan import config, rng
from distgan.anonymity.bank import Bank
from distgan.anonymity.statics import AttributeColumn, GroupAttributes
from distgan.config.training import AttributeValue
from distgan.csvtext import parse_csv
from distgan.data.export import name_ids
from distgan.errors import UserError
from distgan.files import read_text
from distgan.pipeline.margins import meet_margins
from distgan.preflight import CSV_TABLE, refuse_absent
from distgan.progress import format_count

FARTHEST = 3.0  # deviations of a group's number beyond which it does not have one
SMALLEST_SHARE = 0.05  # of a number's range: the deviation of a group in which all have nearly one
SHOWN = 6  # combinations in a message
WEIGHT = 1 << 40  # of a group's size, so that weighted sizes are whole numbers

Request = tuple[float, ...]  # a value for each attribute, NaN for any


@dataclass(frozen=True)
class Plan:
    """The group [n] of each series, its attributes [n, A] (None where the bank has none), and whether no
    group has them, bool [n].
    """

    groups: np.ndarray
    values: np.ndarray | None
    extrapolated: np.ndarray


def plan_series(chosen: config.Generate, bank: Bank, allowed: np.ndarray | None = None) -> Plan:
    """Return where the `generate.count` series come from. `allowed` [G] bool leaves groups out.

    Raises:
        UserError: an attribute or a value is unknown, no group has a combination, or shares cannot be met.
    """
    statics, count = bank.statics, chosen.count
    if statics is None:
        refuse_requests(chosen)
        groups = np.repeat(np.arange(bank.num_groups), bank.allocate(count, allowed))
        rng.make_keyed_generator(chosen.seed, 0, "order of groups").shuffle(groups)
        return Plan(groups, None, np.zeros(count, bool))
    planner = Planner(bank, statics, chosen, np.ones(bank.num_groups, bool) if allowed is None else allowed)
    if chosen.table is not None:
        groups, requests = planner.plan_table(read_requests(Path(chosen.table), statics, count))
    else:
        request = parse_request(chosen.attributes, statics, "generate.attributes")
        groups = planner.plan_shares(request) if chosen.shares else planner.choose(request, count)
        rng.make_keyed_generator(chosen.seed, 0, "order of groups").shuffle(groups)
        requests = np.tile(np.array(request, np.float64), (count, 1))
    normal = rng.make_keyed_generator(chosen.seed, 0, "attribute numbers").standard_normal(requests.shape)
    drawn = statics.draw(groups, normal)
    values = np.where(np.isnan(requests), drawn, requests)
    return Plan(groups, values, ~planner.match(groups, requests))


def describe_request(chosen: config.Generate) -> str:
    """Return what is asked for beyond a number of series, "" for nothing. These settings stay in a run."""
    asked = [f"{name}={_format_value(value)}" for name, value in chosen.attributes.items()]
    for name, share in chosen.shares.items():
        shares = share if isinstance(share, dict) else {"true": share}
        asked += [f"{name}={value} in {100 * part:g} %" for value, part in shares.items()]
    parts = [f"with {', '.join(asked)}"] if asked else []
    parts += [f"as {chosen.table} asks"] if chosen.table is not None else []
    parts += [f"in the year from {chosen.start}"] if chosen.start is not None else []
    parts += ["in lengths as real"] if chosen.lengths == "as_real" else []
    return ", ".join(parts)


def _format_value(value: AttributeValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def refuse_requests(chosen: config.Generate) -> None:
    """
    Raises:
        UserError: attributes are asked for, but groups do not go by any.
    """
    for name in ("attributes", "shares", "table"):
        if getattr(chosen, name):
            raise UserError(
                f"generate.{name} asks for attributes, but the groups of this run state none; train with "
                "bank.by=[ATTRIBUTE, …]"
            )


def parse_request(wanted: Mapping[str, AttributeValue], statics: GroupAttributes, where: str) -> Request:
    """Return the value that is wanted of each attribute, NaN where none is.

    Raises:
        UserError: an attribute or a value is unknown.
    """
    refuse_unknown(wanted, statics, where)
    return tuple(
        column.parse(wanted[column.name]) if column.name in wanted else np.nan for column in statics.columns
    )


@contextmanager
def locating(where: str) -> Iterator[None]:
    """Begin the message of a mistake with the row of the table that it is in."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def refuse_unknown(names: Iterable[str], statics: GroupAttributes, where: str) -> None:
    """
    Raises:
        UserError: the groups have no attribute of a name.
    """
    for name in names:
        if name not in statics.names:
            raise UserError(
                f"{where}: the groups have no attribute {name!r}; they have {', '.join(statics.names)}"
            )


def read_requests(path: Path, statics: GroupAttributes, count: int) -> list[Request]:
    """Return a request for each row of `generate.table`.

    Raises:
        UserError: it cannot be read, has another number of rows, or as `parse_request`.
    """
    refuse_absent(str(path), "generate.table", CSV_TABLE)
    header, *rows = parse_csv(read_text(path.expanduser()), path) or [[]]
    if not rows:
        raise UserError(f"generate.table {path} has no row below its header; write a row per wanted series")
    if len(rows) != count:
        raise UserError(
            f"generate.table {path} has {format_count(len(rows), 'row')}, but generate.count is {count:,}; "
            f"set generate.count={len(rows)}, or generate.table=null for series of any attributes"
        )
    if len(header) == 1 and not {";", "\t"}.isdisjoint(header[0]):
        raise UserError(f"generate.table {path} has no commas between its cells; write {CSV_TABLE}")
    if header[0] == name_ids(statics.names):  # a table of generated attributes
        header, rows = header[1:], [row[1:] for row in rows]
    refuse_unknown(header, statics, f"generate.table {path}")
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"generate.table {path} has the column {twice!r} twice; leave one of them out")
    known: dict[tuple[str, ...], Request] = {}
    for number, row in enumerate(rows, start=1):
        if tuple(row) not in known:
            wanted = {name: cell for name, cell in zip(header, row) if cell.strip()}
            where = f"generate.table {path}, row {number:,} below the header"
            with locating(where):
                known[tuple(row)] = parse_request(wanted, statics, where)
    return [known[tuple(row)] for row in rows]


@dataclass(frozen=True)
class Planner:
    """The groups to choose from."""

    bank: Bank
    statics: GroupAttributes
    chosen: config.Generate
    allowed: np.ndarray  # [G] bool

    def weigh(self, request: Request) -> np.ndarray:
        """Return how well each group meets a request: [G], 0 where it does not; for a number, its density in
        the group.
        """
        found = self.allowed.astype(np.float64)
        for place, (column, value) in enumerate(zip(self.statics.columns, request)):
            if np.isnan(value):
                continue
            stated = self.statics.values[:, place]
            if not column.is_number:
                found *= stated == value
                continue
            distance = np.abs(stated - value) / self._read_deviations(place, column)
            within = (distance <= FARTHEST) & bool((column.low or 0.0) <= value <= (column.high or 0.0))
            found *= np.where(within, np.exp(-0.5 * distance**2), 0.0)
        return found

    def _read_deviations(self, place: int, column: AttributeColumn) -> np.ndarray:
        span = (column.high or 0.0) - (column.low or 0.0)
        return np.maximum(self.statics.deviations[:, place], max(SMALLEST_SHARE * span, 1e-9))

    def match(self, groups: np.ndarray, requests: np.ndarray) -> np.ndarray:
        """Return whether the group of each series meets its request: [n], [n, A] -> bool [n]."""
        patterns, index = np.unique(requests, axis=0, return_inverse=True)  # NaN are alike here
        able = np.stack([self.weigh(tuple(each)) > 0 for each in patterns])
        found: np.ndarray = able[index.ravel(), groups]
        return found

    def choose(self, request: Request, count: int) -> np.ndarray:
        """Return the groups of `count` series with one request, by size and fit: [count] int64.

        Raises:
            UserError: no group has the combination, and it is not to be extrapolated.
        """
        weights = self.weigh(request)
        if not (weights > 0).any():
            if not self.chosen.extrapolate:
                raise UserError(
                    self._refuse(request, "choose one of these, or set generate.extrapolate=true")
                )
            weights = self._weigh_nearest(request)
        return np.repeat(np.arange(len(weights)), self.allocate(count, weights))

    def allocate(self, count: int, weights: np.ndarray) -> np.ndarray:
        """Return how many of `count` series each group gets, in proportion to its series times weight."""
        if ((weights == 0) | (weights == 1)).all():
            return self.bank.allocate(count, weights > 0)
        sizes = np.ceil(weights / weights.max() * WEIGHT).astype(object) * self.bank.proportions.astype(
            object
        )
        return self.bank.allocate(count, sizes=sizes)

    def _weigh_nearest(self, request: Request) -> np.ndarray:
        """Return weights of the groups that meet most of a request: as few attributes as possible are left
        out, the last of bank.by first; of a number that is left out, the nearest groups are taken.
        """
        places = [place for place, value in enumerate(request) if not np.isnan(value)]
        for many in range(1, len(places) + 1):
            for dropped in combinations(places[::-1], many):
                kept = tuple(np.nan if place in dropped else v for place, v in enumerate(request))
                weights = self.weigh(kept)
                if not (weights > 0).any():
                    continue
                for place in dropped:
                    if self.statics.columns[place].is_number:
                        distance = np.abs(self.statics.values[:, place] - request[place])
                        distance = np.where((weights > 0) & ~np.isnan(distance), distance, np.inf)
                        if np.isfinite(distance).any():
                            weights = weights * (distance <= distance.min())
                return weights
        return self.allowed.astype(np.float64)

    def _refuse(self, request: Request, remedy: str) -> str:
        """Return that no group has what is requested, and what groups have of these attributes."""
        stated: dict[str, int] = {}
        for group in np.flatnonzero(self.allowed):
            text = self._describe_group(request, int(group))
            stated[text] = stated.get(text, 0) + 1
        there = sorted(stated, key=lambda text: -stated[text])
        more = f" and {len(there) - SHOWN} more" if len(there) > SHOWN else ""
        return (
            f"no group of {self.bank.minimum_group_size} entities or more has {self._describe(request)}; "
            f"groups have {'; '.join(there[:SHOWN])}{more}; {remedy}"
        )

    def _describe(self, request: Sequence[float]) -> str:
        pairs = zip(self.statics.columns, request)
        return ", ".join(f"{c.name}={c.format(value)}" for c, value in pairs if not np.isnan(value))

    def _describe_group(self, request: Request, group: int) -> str:
        """Return what a group has of the requested attributes: a category, the range of a number, or that it
        states none.
        """
        said = []
        for place, (column, value) in enumerate(zip(self.statics.columns, self.statics.values[group])):
            if np.isnan(request[place]):
                continue
            if np.isnan(value):
                said.append(f"no {column.name}")
            elif column.is_number:
                low, high = map(column.format, self._find_range(place, group))
                said.append(f"{column.name}={low}" + (f" to {high}" if high != low else ""))
            else:
                said.append(f"{column.name}={column.format(value)}")
        return ", ".join(said)

    def _find_range(self, place: int, group: int) -> tuple[float, float]:
        """Return the least and the greatest number that a group has (`weigh`)."""
        column, mean = self.statics.columns[place], float(self.statics.values[group, place])
        reach = FARTHEST * float(self._read_deviations(place, column)[group])
        low, high = max(mean - reach, column.low or 0.0), min(mean + reach, column.high or 0.0)
        return (float(np.ceil(low)), float(np.floor(high))) if column.kind == "integer" else (low, high)

    def plan_table(self, requests: list[Request]) -> tuple[np.ndarray, np.ndarray]:
        """Return the group of each row [n] and its request [n, A].

        Raises:
            UserError: as `choose`.
        """
        table = np.array(requests, np.float64)
        patterns, index = np.unique(table, axis=0, return_inverse=True)
        groups = np.empty(len(table), np.int64)
        mixer = rng.make_keyed_generator(self.chosen.seed, 0, "order of groups")
        for number, pattern in enumerate(patterns):
            rows = np.flatnonzero(index.ravel() == number)
            with locating(f"generate.table {self.chosen.table}, row {rows[0] + 1:,} below the header"):
                own = self.choose(tuple(pattern), len(rows))
            mixer.shuffle(own)
            groups[rows] = own
        return groups, table

    def plan_shares(self, request: Request) -> np.ndarray:
        """Return the groups of all series, so that every stated share is met exactly: [count] int64.

        Raises:
            UserError: an attribute or a value is unknown, or no whole numbers of series meet the shares.
        """
        refuse_unknown(self.chosen.shares, self.statics, "generate.shares")
        places = [self.statics.names.index(name) for name in self.chosen.shares]
        able = self.weigh(request)
        for place in places:
            if self.statics.columns[place].is_number:
                raise UserError(
                    f"generate.shares: {self.statics.names[place]!r} is a number, which has no shares; use "
                    "generate.attributes or generate.table"
                )
        if not (able > 0).any():
            raise UserError(self._refuse(request, "choose one of these"))
        for number, place in enumerate(places, start=1):
            able = able * ~np.isnan(self.statics.values[:, place])
            if not (able > 0).any():
                raise UserError(self._refuse_unstated(places[:number], request))
        inside = np.flatnonzero(able > 0)
        cells, index = np.unique(self.statics.values[inside][:, places], axis=0, return_inverse=True)
        sizes = np.bincount(index.ravel(), weights=self.bank.proportions[inside] * able[inside])
        margins = [self._count_values(place, cells[:, number], sizes) for number, place in enumerate(places)]
        counts = meet_margins(sizes, cells.astype(np.int64), margins, self.chosen.count)
        if counts is None:
            raise UserError(
                f"generate.shares: no whole numbers of series meet the shares of "
                f"{', '.join(self.chosen.shares)} together with the combinations that groups have; ask for "
                "other shares"
            )
        parts = []
        for cell, own in enumerate(counts):
            weights = np.zeros(self.bank.num_groups)
            members = inside[index.ravel() == cell]
            weights[members] = able[members]
            if own:
                parts.append(np.repeat(np.arange(len(weights)), self.allocate(int(own), weights)))
        return np.concatenate(parts)

    def _count_values(self, place: int, codes: np.ndarray, sizes: np.ndarray) -> dict[int, int]:
        """Return how many series get each value of an attribute, by largest remainder.

        Raises:
            UserError: a value is unknown, no group has it, or the groups have no other for the rest.
        """
        column = self.statics.columns[place]
        given = self.chosen.shares[column.name]
        if not isinstance(given, dict):
            if column.kind != "boolean":
                raise UserError(
                    f"generate.shares: {column.name!r} is categorical; write a share for its values, e.g. "
                    f"{{{column.name}: {{{column.categories[0]}: {given:g}}}}}"
                )
            given = {"true": given}
        asked: dict[int, float] = {}
        for value, share in given.items():
            code = int(column.parse(value))
            if code in asked:
                raise UserError(
                    f"generate.shares: {column.name!r} has two shares for {column.format(code)}; give one"
                )
            asked[code] = share
        rest = 1 - sum(asked.values())
        open_codes = [int(code) for code in np.unique(codes) if int(code) not in asked]
        sums = {code: float(sizes[codes == code].sum()) for code in open_codes}
        if rest > 1e-9 and not open_codes:
            raise UserError(
                f"generate.shares: the shares of {column.name!r} sum to {1 - rest:g}, and no group has "
                "another value for the rest; let them sum to 1"
            )
        shares = asked | {code: rest * sums[code] / sum(sums.values()) for code in open_codes}
        counts = round_shares(shares, self.chosen.count)
        for code, number in counts.items():
            if number and code not in codes:
                raise UserError(self._refuse_value(place, code))
        return counts

    def _refuse_value(self, place: int, code: int) -> str:
        request = [np.nan] * len(self.statics.columns)
        request[place] = float(code)
        return f"generate.shares: {self._refuse(tuple(request), 'shares are of values that groups have')}"

    def _refuse_unstated(self, places: Sequence[int], request: Request) -> str:
        names, wanted = [self.statics.names[place] for place in places], self._describe(request)
        return (
            f"generate.shares: no group of {self.bank.minimum_group_size} entities or more states "
            f"{' and '.join(names)}{f', and has {wanted}' if wanted else ''}; leave {names[-1]} out, or "
            "train with it first in bank.by"
        )


def round_shares(shares: Mapping[int, float], count: int) -> dict[int, int]:
    """Return whole numbers that sum to `count` in proportion to shares, by largest remainder; ties go to the
    first.
    """
    exact = {code: share * count for code, share in shares.items()}
    found = {code: int(np.floor(value + 1e-9)) for code, value in exact.items()}
    order = sorted(exact, key=lambda code: -(exact[code] - found[code]))
    for code in order[: count - sum(found.values())]:
        found[code] += 1
    return found
