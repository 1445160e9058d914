"""The fragment attack: are windows of members in the release more often than windows of non-members?

    search_exact(attack data)   P1: windows value for value, on grids, in the order of their values, at every
                                offset; values in any order; rows of attributes (`attribute_rows`)
    search_near(attack data)    P2: windows up to scale, offset, noise, gaps, low-pass filters, monotone maps;
                                what days tell whatever their course (`daily`); whole series up to what is
                                added to them (`whitened`), moved (`shifted`) or stretched (`elastic`)

Both search windows of every length from a day to the whole series, without knowing who is a member, and count
whom they find by owner (`evidence`).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from distgan.evaluation.attacks.attack_data import Array, AttackData
from distgan.evaluation.attacks.fragments.attribute_rows import find_attribute_rows
from distgan.evaluation.attacks.fragments.daily import find_daily
from distgan.evaluation.attacks.fragments.elastic import find_elastic
from distgan.evaluation.attacks.fragments.evidence import SearchResult, measure_difference
from distgan.evaluation.attacks.fragments.exact import find_exact
from distgan.evaluation.attacks.fragments.near import FIRST, find_near, judge_ratios
from distgan.evaluation.attacks.fragments.shifted import find_shifted
from distgan.evaluation.attacks.fragments.unordered import find_unordered
from distgan.evaluation.attacks.fragments.whitened import Spectra, can_whiten, find_whitened
from distgan.evaluation.attacks.fragments.windows import Rows, collect_rows
from distgan.evaluation.attacks.rates import IntervalEstimate

ATTACKS = 2  # which share the false alarms
Groups = list[tuple[str, IntervalEstimate]]
Found = tuple[IntervalEstimate | None, Groups, str]


def search_exact(attack_data: AttackData) -> Found:
    """Search for P1: members found value for value minus non-members; by transform and window length; a
    note.
    """
    rows = collect_rows(attack_data)
    results = find_exact(rows, attack_data.make_rng("surprise of windows"))
    if results:
        results += find_attribute_rows(attack_data)
    ranked = _judge(find_unordered(rows), rows, attack_data.make_rng("ties of numbers in common"))
    return _summarise([*results, *ranked], rows.sizes, ATTACKS * (len(results) + len(FIRST) * len(ranked)))


def search_near(attack_data: AttackData) -> Found:
    """Search for P2: members found nearly minus non-members; by transform and window length; a note."""
    rows = collect_rows(attack_data)
    results, searched = find_near(rows, attack_data.make_rng("windows of the near search"))
    results += find_daily(rows, attack_data.make_rng("days of the near search"))
    stretched = 1.0
    if can_whiten(rows):
        spectra, rng = Spectra(rows), attack_data.make_rng("ties of whitened series")
        results += _judge(find_whitened(spectra), rows, rng)
        results += _judge(find_shifted(spectra), rows, rng)
        ratios, stretched = find_elastic(rows, attack_data.make_rng("series of the elastic search"))
        results += _judge([("whitened, stretched", ratios)], rows, rng)
    measured, groups, note = _summarise(results, rows.sizes, ATTACKS * len(FIRST) * len(results))
    if searched < 1:
        note += f"; of the longest list of windows {searched:.0%} were drawn and searched"
    if stretched < 1:
        note += f"; {stretched:.1%} of the series were searched for stretched ones"
    return measured, groups, note


def _judge(found: Iterable[tuple[str, Array]], rows: Rows, rng: np.random.Generator) -> list[SearchResult]:
    """Return the result for whole series of each name and each entity's least ratio, [E]."""
    return [
        replace(judge_ratios(ratios, rows.side, rng), transform=name, length="whole")
        for name, ratios in found
    ]


def _summarise(results: Sequence[SearchResult], sizes: tuple[int, int], tries: int) -> Found:
    """Return the result that proves most, the worst by transform and by length, and a description in words;
    None where nothing could be searched.
    """
    if not results:
        return None, [], "series too short for a window"
    if not all(sizes):
        return None, [], "no members, or no non-members, with series of their own"
    found = [(result, measure_difference(result, sizes, tries)) for result in results]
    worst, measured = max(found, key=_rank_proof)
    groups: Groups = []
    names: tuple[Callable[[SearchResult], str], ...] = (
        lambda result: result.transform,
        lambda result: result.length,
    )
    for name_of in names:
        for name in dict.fromkeys(map(name_of, results)):
            groups.append(
                (name, max((each for each in found if name_of(each[0]) == name), key=_rank_proof)[1])
            )
    members, others = worst.found
    note = f"{worst.transform}, windows of a {worst.length}: {members} members and {others} non-members found"
    note += f" (worst of {len(results)} searches)"
    if worst.sure:
        note += f"; {worst.sure} of them beyond chance one by one"
    if not members + others:
        note = f"nobody found in {len(results)} searches"
    return measured, groups, note


def _rank_proof(found: tuple[SearchResult, IntervalEstimate]) -> tuple[float, float]:
    return found[1].sure, found[1].value
