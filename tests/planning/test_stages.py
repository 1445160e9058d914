"""The plan of all stages: counts of networks, growth with series and devices, and its words."""

import json
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from distgan import cli, config
from distgan.models.vae import Encoder
from distgan.planning import devices, report, stage_table, stages
from distgan.planning.step_time import Series
from distgan.planning.trace import ATTENTION, MATRIX, make_batch
from tests.planning.test_plan import SMALL

LENGTH, GIB = 96, 2**30
H100 = devices.DEVICES["H100-80GB"]
SPLITS = "data.splits={train: 0.5, held_out: 0.4, reference: 0.1}"


@pytest.fixture(scope="module")
def settings() -> config.Config:
    return config.load(None, [*SMALL, "encoder.patch=8", "encoder.width=16", "generate.count=50", SPLITS])


@pytest.fixture(scope="module")
def passes(settings: config.Config) -> stages.Passes:
    return stages.trace_networks(settings, Series(LENGTH, 1))


def needs(
    settings: config.Config, passes: stages.Passes, count: int, number: int = 1
) -> dict[str, stages.StageNeed]:
    series = Series(LENGTH, 1, count)
    step = report.make_option(settings, series, number, H100).step
    return {need.name: need for need in stages.plan_stages(settings, series, (number, H100), step, passes)}


def test_a_pass_of_the_encoder_has_the_operations_of_the_real_network(
    settings: config.Config, passes: stages.Passes
) -> None:
    network, batch = Encoder(LENGTH, 1, settings.encoder).eval(), make_batch(4, LENGTH, 1, "cpu")
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        network(batch.series, batch.mask)
    planned = passes["encoder"][1].sum_flops(MATRIX) + passes["encoder"][1].sum_flops(ATTENTION)
    assert planned >= counted.get_total_flops() > 0.8 * planned  # torch does not count attention on a CPU
    assert passes["vae"][1].sum_flops(MATRIX) > 2.5 * passes["encoder"][1].sum_flops(MATRIX)  # backward


def test_stages_grow_with_what_they_read(settings: config.Config, passes: stages.Passes) -> None:
    few, many = needs(settings, passes, 10_000), needs(settings, passes, 1_000_000)
    assert tuple(many) == config.STAGES
    assert many["prepare"].disk == pytest.approx(2_000_000 * LENGTH * 4 / GIB)  # all splits are stored
    assert many["encode"].disk == pytest.approx(1_000_000 * 2 * 4 * settings.encoder.latent_dim / GIB)
    start = stages.HOST.start
    assert many["prepare"].seconds - start == pytest.approx(100 * (few["prepare"].seconds - start))
    assert many["encode"].seconds - start == pytest.approx(100 * (few["encode"].seconds - start))
    for name in ("encoder", "gan", "generate"):  # of a given number of steps, and of series to generate
        assert many[name].seconds == pytest.approx(few[name].seconds)
    assert 0 < many["bank"].memory - few["bank"].memory < 0.3  # bytes for each series, no series
    assert many["evaluate"].seconds == pytest.approx(few["evaluate"].seconds)  # what is compared is a sample


def test_more_devices_share_the_stages_that_all_processes_work_on(
    settings: config.Config, passes: stages.Passes
) -> None:
    one, eight = needs(settings, passes, 10_000_000), needs(settings, passes, 10_000_000, 8)
    start = stages.HOST.start
    assert one["encode"].seconds - start == pytest.approx(8 * (eight["encode"].seconds - start), rel=0.1)
    assert eight["cluster"].seconds < one["cluster"].seconds
    for name in ("prepare", "bank", "evaluate"):
        assert not one[name].shared and eight[name].seconds == one[name].seconds
    assert one["encoder"].sent == 0 < eight["encoder"].sent
    vae = sum(p.numel() for p in stages.build_meta_vae(settings, Series(LENGTH, 1)).parameters())
    assert eight["encoder"].sent == pytest.approx(settings.encoder.steps * 2 * 7 / 8 * 4 * vae / GIB)


@pytest.mark.parametrize("stage", ["encode", "generate"])
def test_more_devices_than_there_are_parts_of_the_work_do_not_help(
    settings: config.Config, passes: stages.Passes, stage: str
) -> None:
    """As the stages divide it: a part is whole batches, and one process has it."""
    series = Series(LENGTH, 1, 10_000)
    step, place = report.make_option(settings, series, 1, H100).step, config.STAGES.index(stage)
    seconds = [
        stages.plan_stages(settings, series, (number, H100), step, passes)[place].seconds
        for number in (1, 8, 64, 512, 4096)
    ]
    assert seconds == sorted(seconds, reverse=True) and seconds[-1] == seconds[-2]
    start, size = stages.HOST.start, getattr(settings, {"encode": "encoder"}.get(stage, stage)).batch_size
    if stage == "encode":  # nobody has less than a batch
        assert seconds[-1] - start >= 0.99 * (seconds[0] - start) * size / series.count


def test_clusters_are_planned_as_the_stage_chooses_them(settings: config.Config) -> None:
    loads = {
        count: stages.Load.from_settings(
            config.load(None, [f"clusters.count={count}"]), Series(LENGTH, 1, 48_000)
        )
        for count in ("null", "auto", "7")
    }
    assert loads["7"].clusters == 7 and loads["auto"].clusters == config.Clusters().range[1]
    assert 48_000 / loads["null"].clusters >= 3 * 40  # three times the minimum size of 12 released numbers
    assert loads["null"].whole == pytest.approx(48_000 / config.Splits().train)


def test_the_tables_name_every_stage_and_grow(settings: config.Config, passes: stages.Passes) -> None:
    plan = report.make_plan(settings, Series(LENGTH, 1, 5_000), 2, H100)
    found = stage_table.plan_all_stages(plan, passes)
    text = stage_table.format_all_stages(plan, found, passes)
    assert all(f"{name} " in text for name in config.STAGES)
    growth = stage_table.format_growth(plan, passes).splitlines()
    assert [line.split()[0] for line in growth[3:]] == ["10,000", "100,000", "1,000,000", "10,000,000"]
    unknown = replace(plan, series=Series(LENGTH, 1))
    assert "--series" in stage_table.format_all_stages(unknown, [], passes)
    assert not stage_table.plan_all_stages(unknown, passes)


@pytest.mark.parametrize(
    ("seconds", "words"), [(59.94, "59.9 s"), (180, "3 min"), (7200, "2 h"), (200_000, "2.31 d")]
)
def test_durations_have_a_fitting_unit(seconds: float, words: str) -> None:
    assert stage_table.format_seconds(seconds) == words


def test_the_command_plans_all_stages_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["plan", "--devices", "2xH100-80GB", "--length", str(LENGTH), "--series", "9000", "--json"]
    cli.run_command([*command, *SMALL])
    tree = json.loads(capsys.readouterr().out)
    assert [row["stage"] for row in tree["stages"]] == list(config.STAGES)
    assert all(row["seconds"] > 0 and row["host_memory_gib"] > 0 for row in tree["stages"])


def test_a_model_that_filters_is_planned_for_its_stages_alone(capsys: pytest.CaptureFixture[str]) -> None:
    keys = ["model=nr_gan", "model.frame=32", "--length=96", "--channels=2", "--series=100"]
    cli.run_command(["plan", "--devices=1xH100-80GB", *keys, "train.batch_size=8", "--json"])
    assert [stage["stage"] for stage in json.loads(capsys.readouterr().out)["stages"]] == ["prepare", "gan"]
    cli.run_command(["plan", "--devices=1xH100-80GB", *keys, "train.batch_size=8"])
    output = capsys.readouterr().out
    assert "All stages as configured, 100 training series (host" in output and "generated" not in output
