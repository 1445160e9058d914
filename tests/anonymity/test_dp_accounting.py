"""The division of a run's budget: against closed forms and an independent accountant, never above ε."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from distgan import config
from distgan.anonymity.dp import accounting, lattice, mechanism
from distgan.anonymity.dp.mechanism import Spending
from distgan.errors import UserError

pytest.importorskip("dp_accounting")

SETTINGS = {
    "privacy": {"end_to_end": True, "epsilon": 4.0, "delta": 1e-6, "owners": 5000},
    "encoder": {"batch_size": 250, "steps": 100},
    "train": {"batch_size": 250, "steps": 400, "max_rollbacks": 0},
    "objective": {"loss": "hinge", "penalty": {"fraction": 1}},
    "data": {"scaling": {"bound": 6}},
}


def settings_of(**privacy: object) -> config.Config:
    return config.from_tree({**SETTINGS, "privacy": {**SETTINGS["privacy"], **privacy}})


def one_step_epsilon(rate: float, multiplier: float, delta: float) -> float:
    """ε of one sampled step by the integral of its definition, the worse of adding and removing an owner."""

    x, step = np.linspace(-30 * multiplier, 30 * multiplier, 400_001, retstep=True)
    without = norm.pdf(x, 0, multiplier)
    with_ = (1 - rate) * without + rate * norm.pdf(x, 1, multiplier)

    def excess(epsilon: float, one: np.ndarray, other: np.ndarray) -> float:
        return float(np.maximum(one - math.exp(epsilon) * other, 0).sum() * step)

    def found(one: np.ndarray, other: np.ndarray) -> float:
        return float(brentq(lambda epsilon: excess(epsilon, one, other) - delta, 0, 20, xtol=1e-6))

    return max(found(with_, without), found(without, with_))


@pytest.mark.parametrize(("rate", "multiplier"), [(0.1, 0.8), (0.5, 1.5)])
def test_one_step_is_the_integral_of_its_definition(rate: float, multiplier: float) -> None:
    found = mechanism.compose_epsilon([Spending(multiplier, rate, 1)], 1e-5)
    exact = one_step_epsilon(rate, multiplier, 1e-5 * (1 - mechanism.RESERVE))
    assert exact <= found <= exact * 1.02


def test_steps_without_sampling_are_one_normal_mechanism() -> None:
    """T steps of multiplier m compose to m / √T (closed form), within 2 %."""
    found = mechanism.compose_epsilon([Spending(20.0, 1.0, 100)], 1e-6)
    assert found == pytest.approx(mechanism.compose_epsilon([Spending(2.0)], 1e-6), rel=0.02)
    delta = mechanism.compute_delta(found, 2.0)
    assert delta <= 1e-6


def test_renyi_accounting_bounds_it_from_above() -> None:
    """An accountant that shares nothing with privacy loss distributions, and is a little looser."""
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
    from dp_accounting.rdp import RdpAccountant

    found = mechanism.compose_epsilon([Spending(2.0, 0.05, 200)], 1e-6, accounting.COARSE)
    above = RdpAccountant().compose(PoissonSampledDpEvent(0.05, GaussianDpEvent(2.0)), 200)
    assert 0.7 * above.get_epsilon(1e-6) < found <= above.get_epsilon(1e-6)


def test_a_plan_spends_the_whole_budget_and_no_more() -> None:
    epsilon = SETTINGS["privacy"]["epsilon"]
    plan = accounting.make_plan(settings_of(epsilon=epsilon))
    total = mechanism.compose_epsilon(list(plan.parts.values()), plan.delta)
    assert 0.98 * epsilon < total <= epsilon
    assert plan.total <= epsilon
    assert (plan.parts["encoder"].rate, plan.parts["encoder"].steps) == (0.05, 100)
    assert (plan.parts["discriminator"].rate, plan.parts["discriminator"].steps) == (0.05, 400)
    alone = plan.spend_alone()
    assert max(alone.values()) < epsilon < sum(alone.values())


@pytest.mark.slow
def test_a_larger_share_is_less_noise() -> None:
    usual, more = (
        accounting.make_plan(settings_of(encoder_share=share, bank_share=0.2)) for share in (0.2, 0.6)
    )
    assert more.parts["encoder"].multiplier < usual.parts["encoder"].multiplier
    assert more.parts["discriminator"].multiplier > usual.parts["discriminator"].multiplier


@pytest.mark.slow
def test_steps_that_a_budget_buys_are_spent_within_it() -> None:
    spending = Spending(2.0, 0.05)
    steps = accounting.find_steps(spending.rate, spending.multiplier, 2.0, 1e-6)
    for number, within in ((steps, True), (math.ceil(1.02 * steps) + 1, False)):
        found = mechanism.compose_epsilon([Spending(2.0, 0.05, number)], 1e-6, accounting.COARSE)
        assert (found <= 2.0) == within
    assert accounting.find_steps(0.5, 0.3, 0.1, 1e-6) == 0


def test_noise_that_nothing_gives_is_refused() -> None:
    with pytest.raises(UserError, match="need more noise than can be used"):
        accounting.find_noise(0.9, 1000, 0.001, 1e-7)


def test_the_grid_is_paid_for_by_delta() -> None:
    spending, budget = Spending(1.0, 0.01, 10_000), (4.0, 1e-6)
    most = 1e-3 * 1e-6 / 4 * 8 * lattice.SCALE**2 / ((1 + math.exp(4.0)) * 10_000)
    assert 10**6 < most < 10**10
    accounting.refuse_gap("discriminator", int(0.999 * most), spending, budget)
    with pytest.raises(UserError, match=r"than privacy\.delta 1e-06 sets aside"):
        accounting.refuse_gap("discriminator", int(1.001 * most), spending, budget)


def test_the_bank_gets_its_part_of_the_budget() -> None:
    settings = settings_of()
    budget = accounting.make_budget(settings, 4)
    assert budget.multiplier == accounting.make_plan(settings).parts["bank"].multiplier
    both = [budget.directions_multiplier, budget.sums_multiplier]
    assert mechanism.compose_multipliers(both) == pytest.approx(budget.multiplier)
    bank_alone = config.Config(privacy=config.Privacy(epsilon=4.0, delta=1e-6))
    assert accounting.make_budget(bank_alone, 4).multiplier < budget.multiplier
