"""Exact zeros of a run: their shares in the training series, and the thresholds of its trained generator."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from torch import nn

from distgan import config, rng
from distgan.anonymity.bank import Bank
from distgan.data.checks.survey import Channel
from distgan.data.store.reader import Store
from distgan.data.windows import Windows
from distgan.data.zeros import LARGE_SHARE, OWNERS_PER_SHARE, ZeroGrid, ZeroShares, ZeroThresholds
from distgan.errors import UserError, parsing
from distgan.files import read_record, write_json
from distgan.pipeline.context import PipelineContext
from distgan.pipeline.sampler import Sampler
from distgan.pipeline.training_data import read_scaler
from distgan.run import Run

SERIES = 2048  # that thresholds are measured on, at most
FEWEST_SERIES = 64
VALUES = 8 << 20  # of these series together, where `FEWEST_SERIES` are left


def may_match(settings: config.Config) -> bool:
    """Return whether the settings let generated zeros be matched, if the data allow it."""
    chosen, private = settings.data, settings.privacy.epsilon is not None
    bounded = chosen.zeros != "as_generated" and chosen.bounds.lower == 0
    return bounded and not private and "generate" in settings.stages


def advise_zeros(settings: config.Config, channels: Sequence[Channel], run: Run) -> str:
    """Return a line where the source has many zeros that data.zeros=auto does not match, else ""."""
    often = any(each.measured and each.zeros >= LARGE_SHARE * each.measured for each in channels)
    if not often or not may_match(settings) or read_zero_shares(run) is not None:
        return ""
    least = max(settings.bank.min_members, config.Bank().min_members)
    return (
        "hint       zeros: generated series may have fewer zeros or more, since data.zeros matches them only "
        f"where {least} training owners of {OWNERS_PER_SHARE * len(channels)} or more have one, and "
        f"{LARGE_SHARE:.0%} of the training values are 0"
    )


def measure_zeros(
    settings: config.Config, data: Store | Windows, rows: np.ndarray, owners: np.ndarray
) -> ZeroShares | None:
    """Return the shares of zeros of the training series `rows` [n] of `owners` [n]; None where zeros are left
    as they are generated.

    Raises:
        UserError: shares are asked for, and too few owners have zeros.
    """
    asked = settings.data.zeros == "match"
    if not may_match(settings):
        return None
    people = int(owners.max(initial=-1)) + 1
    shares = people // (OWNERS_PER_SHARE * data.channels)
    found = None
    least = max(settings.bank.min_members, config.Bank().min_members)
    if shares:
        grid = choose_grid(data, shares)
        found = ZeroShares.measure(data.select_part(rows), owners, grid, least=least, always=asked)
    if found is None and asked:
        needed = OWNERS_PER_SHARE * data.channels
        raise UserError(
            f"data.zeros=match needs {needed} training owners, {least} or more of them "
            f"with zeros, and {people} are there; use data.zeros=auto"
        )
    return found


def choose_grid(data: Store | Windows, shares: int) -> ZeroGrid:
    """Return the finest grid of so many cells that all series, or windows, share."""
    has_seasons = isinstance(data, Store) and not data.meta.is_nominal
    return ZeroGrid.choose(
        data.meta.axis, shares, has_days=data.meta.has_common_days, has_seasons=has_seasons
    )


def read_zero_shares(run: Run) -> ZeroShares | None:
    """Return the shares of zeros of a prepared run, if they are to be matched."""
    tree = read_record(run.need(run.scaler, "prepare")).get("zeros")
    with parsing(run.scaler, "remove it and run the same command again"):
        return None if tree is None else ZeroShares.from_dict(tree)


def read_zero_thresholds(run: Run) -> ZeroThresholds | None:
    """Return the thresholds of a trained run, if it has any."""
    place = run.zero_thresholds
    if not place.exists():
        return None
    with parsing(place, "remove it and train again"):
        return ZeroThresholds.from_dict(read_record(place))


def match_zeros(context: PipelineContext, load: Callable[[], nn.Module]) -> None:
    """Write the thresholds of the generator that `load` gives, where shares of zeros are to be matched.

    They depend on weights, bank and `seed` alone: a sample of the groups as they are, of other random numbers
    than any `generate.seed` gives.
    """
    run, shares = context.run, None
    if "generate" in context.settings.stages:
        shares = read_zero_shares(run)
    if shares is None:
        run.zero_thresholds.unlink(missing_ok=True)
        return
    scaler, meta = read_scaler(run)
    settings = context.settings
    size = max(FEWEST_SERIES, min(SERIES, VALUES // (meta.axis.length * len(meta.channels))))
    seed = int(rng.make_keyed_generator(settings.seed, 0, "zeros").integers(2**62))
    plain = {"count": size, "seed": seed, "attributes": {}, "shares": {}, "table": None}
    chosen = settings.generate.model_copy(update=plain)
    generator = load().to(context.parallel.device).eval()
    unmatched = ZeroThresholds.leave_all(shares.grid, len(meta.channels))
    sampler = replace(Sampler.from_bank(generator, scaler, chosen, Bank.load(run.bank)), zeros=unmatched)
    parts = [
        scaler.restore_unbounded(*sampler.draw(np.arange(first, min(first + chosen.batch_size, size))))
        for first in range(0, size, chosen.batch_size)
    ]
    write_json(run.zero_thresholds, ZeroThresholds.match(shares, np.concatenate(parts)).to_dict())
