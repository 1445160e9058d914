"""The denoiser: its transform, what it minimises, what it learns, and `distgan denoise`."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

import distgan
from distgan import cli, config, errors, rng
from distgan.commands.denoise import open_series, refuse_other_channels
from distgan.data.loader import Batch
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.reader import Store
from distgan.data.store.writer import StoreWriter
from distgan.errors import UserError
from distgan.models.nr_gan import Game, compute_spectra, invert_spectra, pair_with_noisy
from distgan.objectives.adversarial import Conditions, Rules
from distgan.train import main
from tests.helpers.sources import frame
from tests.helpers.zoo import built, one_of_two, small, trained_on


def test_series_of_other_times_than_a_given_axis_are_read(tmp_path: Path) -> None:
    other = frame(hours=30, start="2020-01-01")
    other.to_csv(tmp_path / "other.csv")
    learned = config.Data(axis=config.TimeAxis(start="2013-01-01", step="1h", length=48))
    meta = Meta(Axis("2013-01-01T00:00:00", 3600, 48, leap_days=True), ("value",), "", {}, {})
    found = open_series(str(tmp_path / "other.csv"), learned, meta, tmp_path)
    assert found.meta.axis.start == "2020-01-01T00:00:00" and found.read_rows(0, 3).shape == (3, 30, 1)


def waves(count: int, length: int = 64, noise: float = 0.5) -> Batch:
    """Slow waves; every second one, with an even number, has white noise on it."""
    torch.manual_seed(0)
    index = torch.arange(count)
    times = torch.linspace(0, 12, length)
    x = 0.5 * torch.sin(times + 6 * torch.rand(count, 1))
    x = x + noise * ((index + 1) % 2)[:, None] * torch.randn(count, length)
    return Batch(x[..., None], torch.ones(count, length, 1), index, index, 0)


# ---------------------------------------------------------------------------------------------------- network


@pytest.mark.parametrize("length", [24, 100, 2190])
@pytest.mark.parametrize("channels", [1, 3, 28])
def test_frames_add_up_to_the_series_of_any_length(length: int, channels: int) -> None:
    x = torch.randn(2, length, channels)
    back = invert_spectra(compute_spectra(x, 16), (2, length, channels), 16)
    torch.testing.assert_close(back, x, atol=1e-5, rtol=0)
    generator = built(small("nr_gan"), 24, channels)["generator"]
    assert (generator(x) - x).abs().max() < 0.2  # before training it does next to nothing
    half = generator(x.bfloat16())
    assert half.dtype == torch.bfloat16 and torch.isfinite(half).all()


def test_a_level_passes_by_the_filter() -> None:
    torch.manual_seed(0)
    generator, x = built(small("nr_gan"), 64, 2)["generator"], torch.randn(3, 64, 2)
    torch.nn.init.normal_(generator.body.out.weight, std=0.05)
    torch.testing.assert_close(generator(x + 3), generator(x) + 3, atol=1e-4, rtol=0)


def test_the_discriminator_hears_shape_and_neither_loudness_nor_level() -> None:
    torch.manual_seed(0)
    critic, x = built(small("nr_gan"), 64, 2)["discriminator"], torch.randn(3, 64, 2)
    logits = critic(x, None)
    assert logits.shape == (3, 2 * 9)  # 64 / 8 + 1 frames of 16
    torch.testing.assert_close(critic(0.1 * x + 3, None), logits, atol=1e-3, rtol=1e-3)


def test_losses_by_hand() -> None:
    torch.manual_seed(0)
    settings = small("nr_gan", "objective.penalty.kind=none")
    networks = built(settings, 64, 1)
    torch.nn.init.normal_(networks["generator"].body.out.weight, std=0.05)
    networks = {name: network.requires_grad_(False) for name, network in networks.items()}
    objective = Game(
        networks,
        Conditions(one_of_two),
        Rules(settings.objective, seed=0, noise_dim=0, family=settings.model),
    )
    batch = waves(6)
    x, filtered = batch.series, networks["generator"](batch.series)
    clean, noisy = [1, 3, 5], [0, 2, 4]
    d_real, d_fake = (networks["discriminator"](v, None) for v in (x[clean], filtered[noisy]))
    d = F.softplus(-d_real).mean() + F.softplus(d_fake).mean()
    assert objective.discriminator_loss(batch)["loss"].item() == pytest.approx(d.item(), rel=1e-4)
    content, identity = ((filtered - x)[rows].abs().mean() for rows in (noisy, clean))
    loudness = 3 * rng.draw_keyed_uniform(0, 0, "loudness", batch.sample, (1, 1))[clean] - 1.5
    both = x[clean] + loudness * (x - filtered)[noisy]
    gain = 1 / both.abs().amax(1, keepdim=True)
    recombined = (networks["generator"](gain * both) - gain * x[clean]).abs().mean()
    fooled = F.softplus(-d_fake).mean()
    values = objective.generator_loss(batch)
    expected = fooled + 0.2 * content + identity + 10 * recombined
    assert values["loss"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert values["recombined"].item() == pytest.approx(recombined.item(), rel=1e-4)


def test_a_batch_in_parts_is_the_batch() -> None:
    """Two clean series of six, so that some parts have none: losses and verdicts are means over all."""
    torch.manual_seed(0)
    settings = small("nr_gan", "objective.penalty.kind=none", "model.recombined_weight=0")
    networks = built(settings, 64, 1)
    torch.nn.init.normal_(networks["generator"].body.out.weight, std=0.05)
    objective = Game(
        {name: network.requires_grad_(False) for name, network in networks.items()},
        Conditions(lambda batch: (batch.sample < 2).float()[:, None]),
        Rules(settings.objective, seed=0, noise_dim=0, family=settings.model),
    )
    batch = waves(6)
    for loss in (objective.discriminator_loss, objective.generator_loss):
        parts = [loss(part) for part in batch.split(1)]
        for name, value in loss(batch).items():
            if name != "recombined":  # clean and noisy series meet within a part
                mean = torch.stack([part[name] for part in parts]).mean()
                assert mean.item() == pytest.approx(value.item(), rel=1e-4), name


def test_each_clean_series_has_a_noisy_partner() -> None:
    assert pair_with_noisy(torch.tensor([1.0, 0, 1, 1, 0, 1]))[[0, 2, 3, 5]].tolist() == [1, 4, 1, 4]
    assert pair_with_noisy(torch.ones(3)).tolist() == [0, 1, 2]


def test_noise_is_taken_off_series_that_were_never_seen_clean() -> None:
    generator = trained_on("nr_gan", 120, waves(16), 5e-3, "objective.penalty.weight=0.1", "model.frame=32")
    torch.manual_seed(5)
    clean = 0.5 * torch.sin(torch.linspace(0, 12, 64) + 6 * torch.rand(50, 1))[..., None]
    noisy = clean + 0.5 * torch.randn_like(clean)
    with torch.no_grad():
        error = (generator(noisy) - clean).square().mean() / (noisy - clean).square().mean()
    assert error < 0.4  # 4 dB; doing nothing gives 1


# ------------------------------------------------------------------------------------------------ the command


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A denoiser trained for a few steps, by the command."""
    folder = tmp_path_factory.mktemp("denoise")
    batch = waves(40)
    label = np.array(["noisy", "clean"])[np.arange(40) % 2]
    np.savez(folder / "waves.npz", x=batch.series.numpy(), label=label)
    settings = [f"data.source={folder / 'waves.npz'}", "data.scaling.method=minmax", "model=nr_gan"]
    sizes = ["model.frame=16", "model.width=4", "train.steps=4", "train.batch_size=8", "engine.threads=1"]
    assert main(["--run-dir", str(folder / "run"), *settings, *sizes]) == 0
    return folder / "run"


def denoise(*arguments: object) -> int:
    return errors.answer(lambda: cli.run_command(["denoise", *map(str, arguments)]))


def test_a_denoiser_has_two_stages(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (run / "gan" / "generator.safetensors").exists() and not (run / "bank").exists()
    assert errors.answer(lambda: cli.run_command(["generate", str(run)])) == 2
    assert "nr_gan filters series and has no stage generate" in capsys.readouterr().err
    assert errors.answer(lambda: cli.run_command(["evaluate", str(run), "--task=classification"])) == 2
    assert "use distgan denoise RUN SERIES OUT" in capsys.readouterr().err
    with pytest.raises(UserError, match="filters series and does not generate any"):
        distgan.load(run)


@pytest.mark.parametrize("command", [["release"], ["compare"], ["export"]])
def test_commands_on_synthetic_series_name_the_one_that_filters(
    run: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    """And none advises a stage that a denoiser does not have."""
    other = [str(run.parent)] if command == ["compare"] else []
    assert errors.answer(lambda: cli.run_command([*command, str(run), *other])) == 2
    output = capsys.readouterr().err
    assert "use distgan denoise RUN SERIES OUT" in output and "evaluate" not in output


def test_a_table_comes_back_in_its_units_and_times(run: Path, tmp_path: Path) -> None:
    """Of another length and another scale than the training series, with a gap."""
    times = pd.date_range("2020-01-01", periods=100, freq="h")
    wave = 300 + 40 * np.sin(np.arange(100) / 5)
    table = pd.DataFrame({"timestamp": times, "secret-7": wave, "secret-8": 2 * wave})
    table.loc[10:12, "secret-7"] = np.nan
    table.to_csv(tmp_path / "noisy.csv", index=False)
    assert denoise(run, tmp_path / "noisy.csv", tmp_path / "out" / "filtered.csv") == 0
    made = pd.read_csv(tmp_path / "out" / "filtered.csv", parse_dates=["timestamp"])
    assert list(made) == ["timestamp", "filtered-000000", "filtered-000001"]
    assert (made["timestamp"].to_numpy() == times.to_numpy()).all()
    assert made["filtered-000000"].isna().tolist() == table["secret-7"].isna().tolist()
    assert (made["filtered-000001"] / (2 * wave) - 1).abs().max() < 0.2
    assert denoise(run, tmp_path / "noisy.csv", tmp_path / "out" / "filtered.parquet") == 0
    again = pd.read_parquet(tmp_path / "out" / "filtered.parquet")
    np.testing.assert_allclose(again.iloc[:, 1:], made.iloc[:, 1:], rtol=1e-4)


def test_series_come_to_the_steps_that_the_run_learned_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hours become the run's 4 hours; what has 4 hours already stays; other steps are refused."""
    batch = waves(40)
    np.savez(tmp_path / "waves.npz", x=batch.series.numpy(), label=np.array(["noisy", "clean"] * 20))
    settings = [f"data.source={tmp_path / 'waves.npz'}", "model=nr_gan", "data.reduce.factor=4"]
    sizes = ["model.frame=8", "model.width=4", "train.steps=2", "train.batch_size=8", "engine.threads=1"]
    assert main(["--run-dir", str(tmp_path / "run"), *settings, *sizes]) == 0
    for step, code in (("h", 0), ("4h", 0), ("2h", 2)):
        times = pd.date_range("2020-01-01", periods=64, freq=step)
        pd.DataFrame({"timestamp": times, "a": np.arange(64.0)}).to_csv(tmp_path / f"{step}.csv", index=False)
        assert denoise(tmp_path / "run", tmp_path / f"{step}.csv", tmp_path / f"{step}-out.csv") == code
    assert "has steps of 7200 s, but the run was trained on steps of 14400 s" in capsys.readouterr().err
    assert [len(pd.read_csv(tmp_path / f"{step}-out.csv")) for step in ("h", "4h")] == [16, 64]


def test_series_that_tell_no_times_are_filtered_as_they_stand(run: Path, tmp_path: Path) -> None:
    series = waves(6).series.numpy()
    np.savez(tmp_path / "more.npz", x=series)
    assert denoise(run, tmp_path / "more.npz", tmp_path / "filtered.zarr") == 0
    made = Store.open(tmp_path / "filtered.zarr").read_rows(np.arange(6))
    assert made.shape == series.shape and not np.array_equal(made, series)
    assert np.corrcoef(made.ravel(), series.ravel())[0, 1] > 0.9


def test_the_table_of_attributes_is_of_the_training_series_alone(tmp_path: Path) -> None:
    """Others have other ids, and none of its attributes matters to the filter."""
    label = np.array(["noisy", "clean"])[np.arange(40) % 2]
    np.savez(tmp_path / "waves.npz", x=waves(40).series.numpy(), label=label)
    about = tmp_path / "about.csv"
    about.write_text("id,age\n" + "".join(f"{row},{row % 7 + 20}\n" for row in range(40)))
    settings = [f"data.source={tmp_path / 'waves.npz'}", "model=nr_gan", f"data.attributes={about}"]
    sizes = ["model.frame=16", "model.width=4", "train.steps=1", "train.batch_size=8", "engine.threads=1"]
    assert main(["--run-dir", str(tmp_path / "run"), *settings, *sizes]) == 0
    np.savez(tmp_path / "more.npz", x=waves(3).series.numpy(), ids=["a", "b", "c"])
    assert denoise(tmp_path / "run", tmp_path / "more.npz", tmp_path / "filtered.zarr") == 0
    about.unlink()
    assert denoise(tmp_path / "run", tmp_path / "more.npz", tmp_path / "again.zarr") == 0


def test_what_does_not_vary_comes_back_as_it_is(run: Path, tmp_path: Path) -> None:
    """Series without power, or without readings, among others: each keeps its place."""
    series = waves(4).series.numpy()
    series[1], series[2] = 7, np.nan
    np.savez(tmp_path / "some.npz", x=series)
    assert denoise(run, tmp_path / "some.npz", tmp_path / "filtered.zarr") == 0
    made = Store.open(tmp_path / "filtered.zarr").read_rows(np.arange(4))
    assert (made[1] == 7).all() and np.isnan(made[2]).all()
    assert not np.array_equal(made[[0, 3]], series[[0, 3]])
    series[1] = np.inf
    np.savez(tmp_path / "some.npz", x=series)
    assert denoise(run, tmp_path / "some.npz", tmp_path / "other.zarr") == 2


def test_a_store_of_synthetic_series_is_filtered_into_a_store(run: Path, tmp_path: Path) -> None:
    meta = Meta(Axis("2020-01-01T00:00:00", 3600, 64), ("load", "heat"), "kWh", {"source": "synthetic"}, {})
    values = np.random.default_rng(0).standard_normal((3, 64, 2)).astype(np.float32)
    with StoreWriter(tmp_path / "synthetic.zarr", meta) as writer:
        writer.append(values)
    assert denoise(run, tmp_path / "synthetic.zarr", tmp_path / "filtered.zarr") == 0
    made = Store.open(tmp_path / "filtered.zarr")
    assert made.meta == meta and made.read_rows(np.arange(3)).shape == values.shape


@pytest.mark.parametrize("setting", ["scope=dataset", "marginal=normal_scores"])
def test_a_run_that_scales_by_channel_filters_these_channels_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str
) -> None:
    x = waves(40).series.numpy() * [1, 50] + [0, 400]
    label = np.array(["noisy", "clean"])[np.arange(40) % 2]
    np.savez(tmp_path / "two.npz", x=x, channels=["a", "b"], label=label)
    settings = [f"data.source={tmp_path / 'two.npz'}", "model=nr_gan", f"data.scaling.{setting}"]
    sizes = ["model.frame=16", "model.width=4", "train.steps=1", "train.batch_size=8", "engine.threads=1"]
    assert main(["--run-dir", str(tmp_path / "run"), *settings, *sizes]) == 0
    for number, (series, channels) in enumerate(
        [(x[:4, :, :1], ["a"]), (x[:4, :, [0, 1, 1]], ["a", "b", "c"]), (x[:4, :, ::-1], ["b", "a"])]
    ):
        np.savez(tmp_path / "other.npz", x=series, channels=channels)
        assert denoise(tmp_path / "run", tmp_path / "other.npz", tmp_path / f"{number}.zarr") == 2
        assert f"has the channels {channels}, but the run scales each of" in capsys.readouterr().err
        assert not (tmp_path / f"{number}.zarr").exists()
    refuse_other_channels("table", ["'=a", "b\\n"], ["=a", "b\n"])  # as tables hold names
    np.savez(tmp_path / "same.npz", x=x[:4], channels=["a", "b"])
    assert denoise(tmp_path / "run", tmp_path / "same.npz", tmp_path / "filtered.zarr") == 0
    made = Store.open(tmp_path / "filtered.zarr").read_rows(np.arange(4))
    np.testing.assert_allclose(made.mean((0, 1)), x[:4].mean((0, 1)), atol=10)


@pytest.mark.parametrize("name", ["synthetic.zarr", "table.csv"])
def test_denoise_writes_over_nothing(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    meta = Meta(Axis("2020-01-01T00:00:00", 3600, 64), ("load",), "kWh", {"source": "synthetic"}, {})
    values = np.random.default_rng(0).standard_normal((3, 64, 1)).astype(np.float32)
    with StoreWriter(tmp_path / "synthetic.zarr", meta) as writer:
        writer.append(values)
    (tmp_path / "table.csv").write_text("kept")
    assert denoise(run, tmp_path / "synthetic.zarr", tmp_path / name) == 2
    output = capsys.readouterr().err
    assert f"{name} exists already and is not overwritten" in output and output.count("\n") == 1
    assert (Store.open(tmp_path / "synthetic.zarr").read_rows(np.arange(3)) == values).all()
    assert (tmp_path / "table.csv").read_text() == "kept"


def test_what_cannot_be_denoised_is_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert denoise(run, "noisy.csv", "out.xlsx") == 2
    assert "out.xlsx must end with one of .csv, .parquet, .zarr, e.g. out.csv" in capsys.readouterr().err
    assert denoise(tmp_path, "noisy.csv", "out.csv") == 2
    assert "is no run folder" in capsys.readouterr().err
    np.savez(tmp_path / "plain.npz", x=np.random.default_rng(0).random((20, 64)))
    folder = ["--run-dir", str(tmp_path / "plain")]
    assert main([*folder, f"data.source={tmp_path / 'plain.npz'}", "model=nr_gan"]) == 2
    assert "model nr_gan needs both kinds" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"distgan denoise needs SERIES, e\.g\. distgan denoise runs/"):
        cli.run_command(["denoise", str(run)])
