"""The plan: counts against a second derivation and against the real step; its arithmetic; its words."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from distgan import cli, config, models
from distgan.errors import UserError
from distgan.models import make_objective
from distgan.models.layers import checkpoint_activations
from distgan.objectives.adversarial import Conditions
from distgan.parallel.processes import Parallel
from distgan.planning import devices, memory, report
from distgan.planning.step_time import Rounds, Series, estimate_traffic, estimate_work
from distgan.planning.trace import (
    ATTENTION,
    CONVOLUTION,
    MATRIX,
    ImaginaryProcesses,
    Trace,
    compute_due_share,
    count_parameters,
    make_batch,
    trace_step,
)
from distgan.planning.tree import make_plan_tree
from tests.helpers.settings import ROOT

LENGTH, SERIES = 96, 8
SMALL = [
    "model.patch=8",
    "model.generator.width=16",
    "model.generator.noise_dim=4",
    "model.generator.token_noise_dim=2",
    "model.generator.scales=[{ratio: 1, depth: 2, heads: 2}, {ratio: 2, depth: 1, heads: 2}]",
    "model.discriminator.width=24",
    "model.discriminator.scales=[{ratio: 1, depth: 1, heads: 2}, {ratio: 4, depth: 1, heads: 2}]",
    "model.discriminator.periods=[12]",
    "model.discriminator.spectra=[24]",
    "model.discriminator.side_channels=2",
    "train.batch_size=8",
    "engine.threads=1",
]
H100 = devices.DEVICES["H100-80GB"]


def small(*overrides: str) -> config.Config:
    return config.load(None, [*SMALL, *overrides])


def block_flops(series: int, tokens: int, width: int, style: int) -> float:
    """Forward products of one block: qkv and out, attention, up and down, modulation."""
    hidden = -(-8 * width // 3 // 8) * 8
    layers = 2 * series * tokens * (4 * width * width + 3 * width * hidden)
    return layers + 4 * series * tokens**2 * width + 2 * series * style * 4 * width


def branches_flops(
    scales: tuple[config.Scale, ...], series: int, tokens: int, width: int, style: int
) -> float:
    each = (s.depth * block_flops(series, math.ceil(tokens / s.ratio), width, style) for s in scales)
    return sum(each)


@pytest.mark.parametrize("loss", ["hinge", "relativistic"])
def test_flops_are_those_of_the_formula(loss: str) -> None:
    """Attention alone: a pass forward is one unit, and backward, where it is computed anew, 2.5 more."""
    settings = small(f"objective.loss={loss}")
    assert isinstance(settings.model, config.Multiscale)
    net = settings.model.discriminator
    tokens = LENGTH // settings.model.patch

    def attention(series: float) -> float:
        tall = [math.ceil(tokens / s.ratio) for s in net.scales for _ in range(s.depth)]
        return sum(4 * series * n**2 * net.width for n in tall)

    def generator_attention(series: float) -> float:
        chosen = settings.model.generator  # type: ignore[union-attr]
        tall = [math.ceil(tokens / s.ratio) for s in chosen.scales for _ in range(s.depth)]
        return sum(4 * series * n**2 * chosen.width for n in tall)

    work = trace_step(settings, LENGTH, 1, SERIES)
    judged = 2 * SERIES + 2 * SERIES // 4  # real and generated; the penalty's quarter of both, moved
    expected = generator_attention(SERIES) + 3.5 * attention(judged)  # the discriminator's phase
    expected += 3.5 * generator_attention(SERIES) + 3.5 * attention(SERIES)  # the generator's
    expected += attention(SERIES) if loss == "relativistic" else 0  # real logits, without gradients
    assert work.sum_flops(ATTENTION) == expected


def test_products_of_a_block_are_those_of_the_formula() -> None:
    settings = small()
    assert isinstance(settings.model, config.Multiscale)
    chosen, tokens = settings.model.generator, LENGTH // settings.model.patch
    with torch.device("meta"):
        generator = models.build(settings, LENGTH, 1)["generator"]
        noise, condition = torch.zeros(SERIES, int(generator.noise_dim)), torch.zeros(SERIES, 10)  # type: ignore[call-overload]
    with Trace() as trace, torch.no_grad():
        generator(noise, condition)
    blocks = branches_flops(chosen.scales, SERIES, tokens, chosen.width, chosen.width)
    around = 2 * SERIES * (4 + 10 + 2 * chosen.width) * chosen.width + 2 * SERIES * tokens * 2 * chosen.width
    total = sum(flops for kind, _, flops, *_ in trace.operations if kind in (MATRIX, ATTENTION))
    assert total == blocks + around


@pytest.mark.parametrize(
    "keys",
    [
        (),
        ("engine.checkpoint_activations=true",),
        ("objective.penalty.kind=exact",),
        ("model=tts_gan_fork", "model.patch=8"),
        ("model=tts_gan", "model.patch=8"),
        ("model=mlp_gan",),
        ("model=rectified_flow",),
        ("model=timevae", "model.trend_degree=2"),
        ("model=rectified_flow", "engine.checkpoint_activations=true"),
    ],
    ids=lambda keys: " ".join(keys) or "default",
)
def test_memory_and_work_are_those_of_the_real_step(keys: tuple[str, ...]) -> None:
    """The same bytes alive at the worst moment, and the same products, as on the CPU."""
    settings = config.load(None, [*keys, "engine.threads=1"]) if "model=" in " ".join(keys) else small(*keys)
    planned = trace_step(settings, LENGTH, 1, SERIES)
    torch.manual_seed(0)
    networks = models.build(settings, LENGTH, 1)
    if settings.engine.checkpoint_activations:
        checkpoint_activations(list(networks.values()))
    for parameter in (p for network in networks.values() for p in network.parameters()):
        parameter.grad = torch.zeros_like(parameter)
    condition = torch.zeros(SERIES, models.compute_condition_width(settings, 1))
    objective = make_objective(settings, networks, conditions=Conditions(generated=lambda batch: condition))
    peak = products = 0.0
    for phase in objective.phases:
        for name, network in networks.items():
            network.requires_grad_(name == phase.network)
        batch = make_batch(SERIES, LENGTH, 1, "cpu")
        with Trace("cpu") as trace:
            torch.autograd.backward(phase.loss(batch)["loss"])
        peak = max(peak, trace.peak)
        products += sum(flops for _, _, flops, *_ in trace.operations)
    noise = (
        4 * SERIES * models.compute_noise_width(networks["generator"])
    )  # which a CPU draws outside of torch
    # but for a few scalars, and for the noise where it is there at the worst moment
    assert any(math.isclose(planned.peak, peak + drawn, rel_tol=2e-4) for drawn in (0, noise))
    assert planned.sum_flops(MATRIX, ATTENTION, CONVOLUTION) == products


def test_a_step_reads_nothing_back_from_the_device() -> None:
    """The meta device has no values: whatever waits for one fails there, in any phase, with everything on."""
    keys = ["objective.augment={day_shift: true, jitter: 0.1, cutout: 0.2, crop: 0.2}", "train.clip=1.0"]
    for kind in ("finite_difference", "exact", "interpolated"):
        loss = "wgangp-mode" if kind == "interpolated" else "relativistic"
        settings = small(*keys, f"objective.penalty.kind={kind}", f"objective.loss={loss}")
        assert trace_step(settings, LENGTH, 1, 4).peak > 0


@pytest.mark.parametrize("family", ["timegan", "crnn_gan"])
def test_recurrent_networks_are_counted_over_few_steps(family: str) -> None:
    """What is worked out from 2 and 4 steps is what 6 steps take."""
    from distgan.planning import trace

    settings = config.load(ROOT / "configs" / f"{family}.yaml")
    plain = settings.model_copy(update={"engine": config.Engine()})
    six = trace._trace_cached(plain.model_dump_json(), 6, 1, 4)
    planned = trace_step(settings, 6, 1, 4)
    assert math.isclose(planned.sum_flops(MATRIX), six.sum_flops(MATRIX), rel_tol=0.02)
    assert math.isclose(planned.peak, six.peak, rel_tol=0.05)


def test_a_phase_counts_for_its_share_of_the_steps() -> None:
    from distgan.objectives.base import Phase

    phase = Phase("a", "generator", lambda batch: {}, every=2, start=40, stop=80)
    assert compute_due_share(phase, 100) == 0.2 and compute_due_share(phase, 60) == 10 / 60


def test_series_between_and_beyond_two_counts() -> None:
    settings = small()
    few, more, most = (trace_step(settings, LENGTH, 1, series) for series in (8, 16, 32))
    line = few.scale_to(32, more)
    assert np.allclose(line.flops, most.flops) and np.allclose(line.bytes, most.bytes)
    assert math.isclose(line.peak, most.peak, rel_tol=1e-3)


def test_distances_of_all_pairs_hardly_bend_the_line() -> None:
    settings = small("objective.features=1")
    few, more, most = (trace_step(settings, LENGTH, 1, series) for series in (8, 16, 32))
    line = few.scale_to(32, more)
    assert math.isclose(line.flops.sum(), most.flops.sum(), rel_tol=1e-2)
    assert math.isclose(line.bytes.sum(), most.bytes.sum(), rel_tol=1e-2)


RECIPES = (
    "demo",
    "london",
    "london_hours",
    "us_grid",
    "wrist",
    "private",
    "rectified_flow_london",
    "study-fork-probes",
)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_recipes_are_planned(recipe: str) -> None:
    """Also where a first step prepares what later ones use again."""
    settings = config.load(ROOT / "configs" / f"{recipe}.yaml", ["data.source=series.npz"])
    work = estimate_work(settings, Series(672, 1), settings.train.batch_size)
    assert work.sum_flops(MATRIX) > 0 and work.peak > 0


# -------------------------------------------------------------------------------------------------- memory


def test_memory_by_stage_is_arithmetic() -> None:
    sizes = count_parameters(small(), LENGTH, 1)
    numbers, generator = sum(sizes.values()), sizes["generator"]

    def parts(*keys: str) -> tuple[float, ...]:
        settings = small(*keys)
        found = memory.estimate_need(settings, ImaginaryProcesses(settings.engine, 4), LENGTH, 1)
        return tuple(x * memory.GIB for x in (found.weights, found.gradients, found.optimiser, found.average))

    assert np.allclose(parts(), (4 * numbers, 4 * numbers, 8 * numbers, 4 * generator))
    assert np.allclose(parts("engine.zero=1"), (4 * numbers, 4 * numbers, 3 * numbers, generator))
    assert np.allclose(parts("engine.zero=2"), (4 * numbers, numbers, 3 * numbers, generator))
    assert np.allclose(parts("engine.zero=3"), (numbers, numbers, 3 * numbers, generator))
    half = parts("engine.zero=3", "engine.precision=bf16")
    assert np.allclose(half, (numbers / 2, numbers / 2, 3 * numbers, generator))
    settings = small("engine.zero=2", "engine.offload.optimizer=cpu")
    away = memory.estimate_need(settings, ImaginaryProcesses(settings.engine, 4), LENGTH, 1)
    assert away.optimiser == 0 and np.isclose(away.offloaded * memory.GIB, 3 * numbers + generator)


def test_missing_memory_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = small("train.batch_size=64")
    parallel = Parallel(settings.engine)
    estimate = memory.check_memory(settings, parallel, LENGTH, 1)
    assert estimate == memory.estimate_need(settings, parallel, LENGTH, 1)
    monkeypatch.setattr(
        memory, "find_available_memory", lambda parallel: estimate.device - 0.5 * estimate.activations
    )
    with pytest.raises(
        UserError, match=r"GiB are missing; engine.micro_batch=1 would make it fit$"
    ) as missing:
        memory.check_memory(settings, parallel, LENGTH, 1)
    assert "\n" not in str(missing.value)
    monkeypatch.setattr(memory, "find_available_memory", lambda parallel: 0.01)
    with pytest.raises(UserError, match=r"are not enough: use more processes with engine\.zero=3"):
        memory.check_memory(settings, parallel, LENGTH, 1)
    whole = config.load(None, ["objective.features=1", "train.batch_size=16"])
    with pytest.raises(UserError, match=r"GiB are missing; engine.checkpoint_activations=true"):
        memory.check_memory(whole, ImaginaryProcesses(whole.engine), LENGTH, 1)
    recurrent = config.load(None, ["model=crnn_gan", "model.width=8", "engine.precision=bf16"])
    with pytest.raises(UserError, match=r"GiB are missing; use more processes"):  # zero=3 it cannot have
        memory.check_memory(recurrent, ImaginaryProcesses(recurrent.engine, 2), LENGTH, 1)


@pytest.mark.parametrize("version", [1, 2])
def test_memory_under_the_limits_of_control_groups(tmp_path: Path, version: int) -> None:
    """The least that a group or one above it leaves; page cache counts as free."""
    folder, prefix = ("memory/", "total_") if version == 1 else ("", "")
    limits = ("limit_in_bytes", "usage_in_bytes", "stat") if version == 1 else ("max", "current", "stat")
    no_limit = "max" if version == 2 else str(2**63 - 4096)

    def make_group(group: str, limit: str, used: int, cache: int) -> None:
        stat = f"anon 5\n{prefix}inactive_file {cache - 100}\n{prefix}active_file 100\n"
        for name, content in zip(limits, (limit, str(used), stat), strict=True):
            place = tmp_path / folder / group / f"memory.{name}"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(f"{content}\n")

    own = tmp_path / "cgroup"
    own.write_text("3:cpu:/\n4:memory:/job/step\n" if version == 1 else "0::/job/step\n")
    assert memory._read_container_limit(tmp_path, own) == math.inf
    make_group("job/step", no_limit, 9000, 300)
    assert memory._read_container_limit(tmp_path, own) > 2**60
    make_group("job", "10000", 9900, 4000)
    assert memory._read_container_limit(tmp_path, own) == 4100
    make_group("", "20000", 19000, 500)
    assert memory._read_container_limit(tmp_path, own) == 1500
    assert memory._read_container_limit(tmp_path, tmp_path / "absent") == math.inf


# ---------------------------------------------------------------------------------------------- time, choice


def test_messages_are_those_of_ring_and_zero() -> None:
    count, world = 1000, 4
    part = 3 / 4
    assert estimate_traffic(small(), count, 0, 1, Rounds(1, 1.0, 4.0)) == (0.0, 0.0)
    assert estimate_traffic(small(), count, 0, world, Rounds(3, 1.0, 4.0)) == (2 * part * 4 * count, 1.0)
    assert estimate_traffic(small(), count, 2, world, Rounds(3, 1.0, 4.0))[0] == (3 + 1) * part * 4 * count
    half = small("engine.precision=bf16", "engine.zero=3")
    assert estimate_traffic(half, count, 3, world, Rounds(3, 1.0, 4.0))[0] == (3 + 12) * part * 2 * count


def test_more_devices_make_a_step_shorter_until_messages_and_launches_do_not() -> None:
    settings, of = small("train.batch_size=512"), report.Series(LENGTH, 1)
    slow = replace(H100, wide=1e11, bandwidth=1e10)
    found = [report.make_option(settings, of, count, slow) for count in (1, 8, 64)]
    seconds = [one.step.seconds for one in found]
    assert seconds[0] > 4 * seconds[1] and found[0].step.sent == 0 < found[1].step.sent
    speeds = [one.series_per_second / one.devices for one in found]
    assert speeds[0] > speeds[1] > speeds[2] and found[2].step.bound in ("launches", "messages")


def test_devices_that_are_no_faster_than_one_are_named() -> None:
    settings, of = small("train.batch_size=16"), report.Series(LENGTH, 1)
    one = report.make_option(settings, of, 1, H100)
    assert "stop paying off because 8 devices are no faster than 1." in report.format_scaling(
        settings, of, H100, one
    )


def test_a_batch_that_does_not_divide_among_more_devices_is_named() -> None:
    settings, of = small("train.batch_size=24"), report.Series(LENGTH, 1)
    slow = replace(H100, wide=1e11, bandwidth=1e10, launch=1e-9)
    one = report.make_option(settings, of, 1, slow)
    found = report.format_scaling(settings, of, slow, one)
    assert found.endswith("stop paying off because a batch of 24 does not divide among 16 devices.")


def test_the_recommended_settings_fit_and_load() -> None:
    settings, of = small("train.batch_size=64", "engine.micro_batch=4"), report.Series(LENGTH, 1)
    chosen = report.choose_best(settings, of, 4, H100)
    assert chosen is not None and chosen.micro_batch == 16 and report.fits(chosen.need, H100)
    text = report.format_overrides(settings, chosen)
    assert "engine.micro_batch=16" in text
    loaded = config.load(None, [*SMALL, "train.batch_size=64", *text.split()])
    assert ImaginaryProcesses(loaded.engine, 4).compute_micro_batch(64) == 16
    tight = replace(H100, memory=chosen.need.device - 0.5 * chosen.need.activations)
    smaller = report.choose_best(settings, of, 4, tight)
    assert smaller is not None and report.fits(smaller.need, tight)
    assert report.choose_best(settings, of, 4, replace(H100, memory=0.5)) is None


def test_the_recommended_settings_are_the_fastest_of_the_table() -> None:
    """In half precision ZeRO 1 sends half of what no ZeRO does."""
    settings, of = small("train.batch_size=16", "engine.precision=bf16"), report.Series(LENGTH, 1)
    slow = replace(H100, link=1e8)
    chosen = report.choose_best(settings, of, 4, slow)
    table = report.format_stages(settings, of, 4, slow).splitlines()[2:]
    assert chosen is not None and chosen.settings.engine.zero == 1 and chosen.micro_batch == 4
    assert f"{chosen.step.seconds:.3g}" == min((row.split()[-1] for row in table), key=float)


def test_settings_that_contradict_are_no_option() -> None:
    settings = small("objective.penalty.kind=exact")
    assert report.with_engine(settings, zero=2).engine.zero == 2
    with pytest.raises(UserError, match="differentiates the discriminator twice"):
        report.with_engine(settings, zero=3)


# --------------------------------------------------------------------------------------------------- words


def test_the_command_tells_everything(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--devices", "8xH100-80GB", "--length", "96", "--series", "5000", "--price", "2.5", *SMALL]
    cli.run_command(["plan", *arguments, "train.batch_size=64"])
    text = capsys.readouterr().out
    for word in (
        "parameters",
        "a step",
        "efficiency assumed",
        "store",
        "to read",
        "sent",
        "device-hours, cost",
    ):
        assert word in text, word
    rows = re.findall(r"^ +([\d,]+) .*%", text, flags=re.MULTILINE)
    assert [int(row.replace(",", "")) for row in rows][-10:] == list(report.COUNTS)
    assert "Recommended: " in text and "More devices stop paying off because" in text


def test_the_plan_as_a_tree() -> None:
    settings = small("train.batch_size=8")
    device = devices.DEVICES["H100-80GB"]
    found = make_plan_tree(report.make_plan(settings, report.Series(96, 1, 5000), 8, device), price=2.5)
    asked = found["as_configured"]
    assert found["devices"] == 8 and asked["fits"] and asked["memory_gib"] > 0
    assert asked["series_per_second"] == pytest.approx(8 / asked["seconds_per_step"])
    assert sum(asked["seconds_by_part"].values()) == pytest.approx(asked["seconds_per_step"])
    assert asked["cost"] == pytest.approx(asked["hours"] * 8 * 2.5)
    assert json.loads(json.dumps(found)) == found


def test_this_machine_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    number, device = devices.parse_device("auto", lambda: Parallel(config.Engine(threads=1)))
    assert device.measured and number >= 1
    assert 1e9 < device.wide < 1e16 and 1e8 < device.bandwidth < 1e14 and 1e-8 < device.launch < 1e-2
    assert all(0 < share < 2 for share in device.shares)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["--devices", "8xH1000"], "is unknown; use auto, or NxNAME with one of V100-16GB"),
        (["--devices", "0xH100-80GB"], "is unknown"),
        (["--devices", "3xH100-80GB"], "train.batch_size 8 is not a multiple of 3 devices; use 6 or 9"),
        (["--devices", "16xH100-80GB"], "train.batch_size 8 is not a multiple of 16 devices; use 16"),
        (["--devices", "1xH100-80GB", "model=gaussian"], "is fitted in one step"),
        (["engine.precision=fp16"], "needs a GPU, but .*; or plan for others: --devices 8xH100-80GB"),
    ],
)
def test_wrong_input_is_one_line(keys: list[str], message: str) -> None:
    chosen = SMALL if "model=gaussian" not in keys else []
    with pytest.raises(UserError, match=message) as wrong:
        cli.run_command(["plan", "--length", "96", *keys, *chosen])
    assert "\n" not in str(wrong.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["--length", "-5"], "--length -5 must be a number above 0"),
        (["--length", "96", "--channels", "0"], "--channels 0 must be a number above 0"),
        (["--length", "96", "--series", "-3"], "--series -3 must be a number above 0"),
        (["--length", "96", "--price", "nan"], "--price nan must be a number above 0"),
        (["--length", "96", "--efficiency", "0"], "--efficiency 0.0 must be a number above 0"),
        (["--length", "96", "--efficiency", "50"], "--efficiency 50 must be a share of the peak, at most 1"),
        (["--series", "5000"], "--series 5000 needs --length"),
        (["--channels", "3"], "--channels 3 needs --length"),
    ],
)
def test_numbers_that_mean_nothing_are_one_line(keys: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as wrong:
        cli.run_command(["plan", "--devices", "8xH100-80GB", *keys, *SMALL])
    assert "\n" not in str(wrong.value)
