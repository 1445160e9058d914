"""Gradients by owner: as a loop over owners, clipped on the grid, bounded by one owner, with noise once."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from distgan import config, models
from distgan.anonymity.dp import accounting, lattice
from distgan.anonymity.dp.gradients import Clipping, NoisyGradient, OwnersOfStep, PoissonSampling
from distgan.anonymity.dp.lattice import Stream, make_key
from distgan.anonymity.dp.mechanism import Spending
from distgan.data.loader import Batch
from distgan.data.owner_loader import OwnerBatch
from distgan.errors import UserError
from distgan.models.vae import VAE
from distgan.objectives.adversarial import Conditions
from distgan.objectives.losses import LOSSES
from distgan.objectives.owner_games import OwnerGame, OwnerVAE

LENGTH, CONDITION, SERIES = 48, 5, 2
NETWORK = {
    "model": {
        "name": "multiscale",
        "patch": 12,
        "generator": {"width": 8, "noise_dim": 4, "scales": [{"ratio": 1, "depth": 1, "heads": 2}]},
        "discriminator": {
            "width": 8,
            "scales": [{"ratio": 1, "depth": 1, "heads": 2}, {"ratio": 2, "depth": 1, "heads": 2}],
            "periods": [12],
            "spectra": [16],
            "side_channels": 2,
            "picture_positions": True,
            "random_kernels": 3,
        },
    },
    "bank": {"condition_dim": 3},
    "encoder": {"patch": 12, "width": 8, "depth": 1, "heads": 2, "latent_dim": 4},
}
ONE = Spending(1.0, 0.1, 1)


class Alone:
    """One process, or one of several that are never met."""

    rank, world_size = 0, 1

    def add_up(self, numbers: Tensor) -> None:
        pass


class Silent(NoisyGradient):
    """Without noise, so that a test sees the whole sum."""

    def add_noise(self, total_N: Tensor, step: int) -> Tensor:
        return total_N


def batch_of(owners: int, seed: int = 0, first: int = 0) -> OwnerBatch:
    """Series of owners first .. first + owners - 1, the same ones whoever else is there."""
    drawn = [np.random.default_rng([seed, owner]) for owner in range(first, first + owners)]
    series = np.stack([rng.uniform(-1, 1, (SERIES, LENGTH, 1)) for rng in drawn]).reshape(-1, LENGTH, 1)
    mask = np.stack([rng.random((SERIES, LENGTH, 1)) < 0.9 for rng in drawn]).reshape(-1, LENGTH, 1)
    keys = np.concatenate([rng.integers(2**40) + np.arange(SERIES) for rng in drawn])
    attributes = torch.ones(len(series), 1, 2)
    places = torch.arange(len(series))
    tensors = [torch.from_numpy(values).float() for values in (series * mask, mask)]
    part = Batch(*tensors, places, torch.from_numpy(keys), 7, attributes)
    public = Batch(torch.zeros(4, LENGTH, 1), torch.ones(4, LENGTH, 1), -torch.ones(4), torch.arange(4), 7)
    return OwnerBatch(part, public, 7)


def condition_of(batch: Batch) -> Tensor:
    """A function of each series' own key."""
    return torch.sin(batch.sample.double()[:, None] * torch.arange(1, CONDITION + 1)).float()


def game_of(**objective: Any) -> OwnerGame:
    chosen = {"loss": "nonsaturating", "penalty": {"kind": "finite_difference", "fraction": 1}, **objective}
    settings = config.from_tree({**NETWORK, "objective": chosen})
    torch.manual_seed(0)
    networks = models.build(settings, LENGTH, 1)
    conditions = Conditions(generated=condition_of, real=condition_of)
    return models.make_owner_game(settings, networks, conditions, paired=condition_of)


FAMILIES = {
    "rectified_flow": {"patch": 12, "width": 8, "depth": 2, "heads": 2, "draws": 3},
    "timevae": {"widths": [8, 8], "latent_dim": 4},
}


def family_of(name: str) -> Any:
    """The game by owners of a family without a discriminator, whose generator gets the noise."""
    tree = {**NETWORK, "model": {"name": name, **FAMILIES[name]}, "data": {"scaling": {"bound": 6}}}
    settings = config.from_tree(tree)
    torch.manual_seed(0)
    networks = models.build(settings, LENGTH, 1)
    conditions = Conditions(generated=condition_of, real=condition_of)
    return models.make_owner_game(settings, networks, conditions, paired=condition_of)


def loss_of(name: str, **objective: Any) -> tuple[Any, nn.Module]:
    """Return a loss of owners and the network that gets its noisy gradient."""
    if name in FAMILIES:
        loss = family_of(name)
        return loss, loss.networks["generator"]
    loss = vae_of() if name == "vae" else game_of(**objective)
    return loss, loss.networks[name]


def vae_of() -> OwnerVAE:
    torch.manual_seed(0)
    settings = config.from_tree(NETWORK).encoder
    return OwnerVAE({"vae": VAE(LENGTH, 1, settings)}, settings, seed=0)


def noisy(loss: Any, network: nn.Module, kind: type[NoisyGradient] = NoisyGradient, **changes: Any) -> Any:
    length = changes.get("length", 0.5)
    owners = OwnersOfStep(changes.get("expected", 4), SERIES, changes.get("micro_batch"))
    return kind(network, loss, ONE, length, owners, (Stream(make_key(0)), changes.get("processes", Alone())))


LOSSES_OF_OWNERS = [
    ("vae", {}),
    ("rectified_flow", {}),
    ("timevae", {}),
    ("discriminator", {"loss": "nonsaturating"}),
    ("discriminator", {"loss": "hinge", "penalty": {"kind": "none"}}),
    pytest.param(
        "discriminator",
        {"loss": "lsgan", "penalty": {"kind": "exact", "fraction": 1}},
        marks=pytest.mark.slow,
    ),
    pytest.param(
        "discriminator",
        {"loss": "wgangp", "augment": {"jitter": 0.3, "cutout": 0.2}},
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize(("name", "objective"), LOSSES_OF_OWNERS)
def test_gradients_and_clipping_are_those_of_a_loop_over_owners(name: str, objective: dict) -> None:
    """To 1e-6 of their length, by plain autograd of one owner after the other."""
    (loss, network), batch = loss_of(name, **objective), batch_of(5)
    made = noisy(loss, network)
    weights = dict(network.named_parameters())
    ((count, inputs),) = made.split_chunks(batch.owners, 1)
    together, _ = made.compute_per_owner({n: w.detach() for n, w in weights.items()}, 7, inputs)
    together = together[:count]
    alone = []
    for owner in range(5):
        own = [values[owner] for values in inputs]
        value = loss.compute_owner_loss(lambda *given: functional_call(network, weights, given), 7, *own)[
            "loss"
        ]
        parts = torch.autograd.grad(value, list(weights.values()), allow_unused=True)
        flat = [torch.zeros_like(w) if p is None else p for p, w in zip(parts, weights.values())]
        alone.append(torch.cat([part.flatten() for part in flat]))
    alone_GN = torch.stack(alone)
    norms_G = alone_GN.norm(dim=1)
    errors_G = (together - alone_GN).norm(dim=1) / norms_G
    assert errors_G.max() < (2e-4 if uses_differences(loss) else 1e-6)  # 5e-5 or so, by the CPU
    length = float(norms_G.sort().values[2:4].mean())  # between two norms, off any decision
    clipping = Clipping(length, 1 << 36)
    total, clipped = clipping.sum_on_grid(alone_GN)
    expected = (alone_GN * (length / norms_G).clamp(max=1)[:, None]).sum(0)
    assert (total.double() * length / clipping.unit - expected).norm() / expected.norm() < 2e-6
    np.testing.assert_array_equal(clipped.numpy(), (norms_G > length).numpy())


def uses_differences(loss: Any) -> bool:
    """Whether float32 rounding is divided by the step of a finite difference."""
    return isinstance(loss, OwnerGame) and loss.settings.penalty.kind == "finite_difference"


def test_no_gradient_is_longer_than_the_unit_on_the_grid() -> None:
    """By whole numbers of Python, whatever the size: zeros, subnormal, huge, one weight, not finite."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((40, 1000)) * 10.0 ** rng.integers(-44, 38, (40, 1))
    rows[0], rows[1, 1:], rows[2], rows[3, 5], rows[4, 7] = 0, 0, 1 / 3, np.inf, np.nan
    gradients = torch.from_numpy(rows).float()
    for length, unit in ((1.0, 1 << 37), (1e-3, accounting.choose_grid_unit(0.7)), (5e4, 12_345)):
        for row in range(len(rows)):
            total, _ = Clipping(length, unit).sum_on_grid(gradients[row : row + 1])
            assert sum(int(value) ** 2 for value in total) <= unit**2
            if row in (0, 3, 4):
                assert not total.any()
        long = torch.full((1, 1000), length)
        total, _ = Clipping(length, unit).sum_on_grid(long)
        assert sum(int(value) ** 2 for value in total) > (unit * (1 - 1e-2)) ** 2


@pytest.mark.parametrize("name", ["vae", "discriminator", *FAMILIES])
def test_an_added_owner_changes_the_sum_by_its_own_clipped_gradient_alone(name: str) -> None:
    """The added-owner test on whole numbers, one owner at a time: exact, whoever else is taken."""
    (loss, network), length = loss_of(name), 0.1
    made = noisy(loss, network, Silent, length=length)
    unit = made.clipping.unit

    def steps(batch: OwnerBatch) -> np.ndarray:
        _, gradient = made(batch)
        flat = torch.cat([value.double().flatten() for value in gradient.values()])
        return (flat * made.owners.expected * unit / length).numpy()

    def sums(batch: OwnerBatch) -> Tensor:
        weights = {n: w.detach() for n, w in network.named_parameters()}
        parts = [
            made.clipping.sum_on_grid(made.compute_per_owner(weights, 7, inputs)[0])[0]
            for _, inputs in made.split_chunks(batch.owners, 10**12)  # one owner at a time
        ]
        return sum(parts, torch.zeros_like(parts[0]))

    all_of_them, others, own = batch_of(4), batch_of(3, first=1), batch_of(1)
    difference = (sums(all_of_them) - sums(others)).numpy()
    np.testing.assert_array_equal(difference, sums(own).numpy())
    assert sum(int(value) ** 2 for value in difference) <= unit**2
    np.testing.assert_allclose(steps(all_of_them), sums(all_of_them).numpy(), atol=1e-4 * unit)


@pytest.mark.parametrize("name", ["vae", "discriminator", *FAMILIES])
def test_others_that_leave_do_not_change_an_owners_gradient(name: str) -> None:
    """To the bit, in the chunks that a training takes: chunks of 59 and 60 owners differed by 1e-4 of the
    clipping length together, so that one owner more moved the sum by more than that length.
    """
    loss, network = loss_of(name)
    made = noisy(loss, network, Silent, expected=40)
    weights = {n: w.detach() for n, w in network.named_parameters()}

    def gradients(batch: OwnerBatch) -> tuple[Tensor, list[int]]:
        chunks = list(made.split_chunks(batch.owners, 1))
        assert {values.shape[0] for _, inputs in chunks for values in inputs} == {20}
        found = [made.compute_per_owner(weights, 7, inputs)[0][:count] for count, inputs in chunks]
        return torch.cat(found), [count for count, _ in chunks]

    every, counts = gradients(batch_of(33))
    assert counts == [20, 13]
    for fewer in (32, 21, 20, 7, 1):
        assert torch.equal(gradients(batch_of(fewer))[0], every[:fewer])


def test_a_micro_batch_limits_the_owners_of_a_forward_pass() -> None:
    loss, network = loss_of("timevae")
    batch, sums = batch_of(7), []
    for series, owners in ((None, 16), (5 * SERIES + 1, 5), (1, 1)):
        made = noisy(loss, network, Silent, expected=10, micro_batch=series)
        assert {len(inputs[0]) for _, inputs in made.split_chunks(batch.owners, 1)} == {owners}
        sums.append(torch.cat([value.flatten() for value in made(batch)[1].values()]))
    for other in sums[1:]:
        torch.testing.assert_close(other, sums[0], rtol=1e-4, atol=1e-6)


def test_owners_of_nothing_leave_noise_alone() -> None:
    loss = game_of()
    network, batch = loss.networks["discriminator"], batch_of(1)
    nobody = {name: value[:0] for name, value in vars(batch.owners).items() if torch.is_tensor(value)}
    empty = replace(batch, owners=replace(batch.owners, **nobody))
    made = noisy(loss, network, expected=10)
    shown, gradient = made(empty)
    numbers = torch.cat([value.flatten() for value in gradient.values()])
    assert float(shown["owners"]) == 0 and set(shown) == {*loss.scalars, "clipped", "owners"}
    assert float(numbers.std()) == pytest.approx(ONE.multiplier * 0.5 / 10, rel=0.1)
    again = noisy(loss, network, expected=10)(empty)[1]
    assert all(torch.equal(gradient[name], again[name]) for name in gradient)


def test_noise_is_at_least_the_multiplier_of_the_plan() -> None:
    for multiplier in (0.21, 1.0, 8.3, 700.0):
        unit = accounting.choose_grid_unit(multiplier)
        assert multiplier <= lattice.SCALE / unit < multiplier * (1 + 1e-6)


def test_processes_share_the_owners_and_the_noise() -> None:
    """The sum of two processes' parts is what one gives, to the bit."""
    loss = game_of(penalty={"kind": "none"})
    network, batch = loss.networks["discriminator"], batch_of(6)
    one, parts = noisy(loss, network), []
    alone = one(batch)[1]
    for rank in range(2):
        chosen = torch.arange(6).view(-1, 1)[rank::2] * SERIES + torch.arange(SERIES)
        own = {
            name: value[chosen.flatten()]
            for name, value in vars(batch.owners).items()
            if torch.is_tensor(value)
        }
        processes = Alone()
        processes.rank, processes.world_size = rank, 2
        made = noisy(loss, network, processes=processes)
        totals: list[Tensor] = []
        processes.add_up = totals.append  # type: ignore[method-assign]
        made(replace(batch, owners=replace(batch.owners, **own)))
        parts.append(totals[0])
    scale = one.clipping.length / one.clipping.unit / one.owners.expected
    together = (sum(parts).double() * scale).float()  # type: ignore[union-attr]
    flat = torch.cat([value.flatten() for value in alone.values()])
    assert (together - flat).abs().max() <= 2e-6 * one.clipping.length  # per-owner gradients round by chunk


def test_every_owner_has_a_coin_of_its_own() -> None:
    sampling = PoissonSampling(Stream(make_key(2)), 0.25, 400)
    taken = np.zeros((300, 400))
    for step in range(300):
        taken[step, sampling(step)] = 1
    assert taken.mean() == pytest.approx(0.25, abs=0.006)
    assert taken.sum(axis=1).var() == pytest.approx(400 * 0.25 * 0.75, rel=0.35)  # not a fixed number
    assert np.abs(taken.mean(axis=0) - 0.25).max() < 0.13
    np.testing.assert_array_equal(sampling(3), sampling(3))
    np.testing.assert_array_equal(PoissonSampling(Stream(make_key(2)), 0.0, 10)(1), [])


def test_the_generator_reads_no_real_series() -> None:
    """Its loss is the same to the bit whatever series the owners of the step have."""
    game = game_of()
    losses = [game.generator_loss(batch_of(3, seed))["loss"] for seed in (0, 1)]
    assert torch.equal(*losses)


@pytest.mark.parametrize("gone", [("OwnerGame",), ("OwnerGame", "Game")])
def test_a_family_that_lacks_its_game_by_owners_is_refused(
    monkeypatch: pytest.MonkeyPatch, gone: tuple[str, ...]
) -> None:
    """The plain one gives the discriminator noise, and a generator that reads series would have none."""
    for name in gone:
        monkeypatch.delattr(f"distgan.models.timevae.{name}")
    with pytest.raises(UserError, match="no class OwnerGame"):
        family_of("timevae")


def test_no_loss_that_compares_is_taken_by_owners() -> None:
    from distgan.config.end_to_end import COMPARING

    assert {name for name, loss in LOSSES.items() if loss.compares} == set(COMPARING)
    for name in COMPARING:
        with pytest.raises(AssertionError):
            game_of(loss=name)
