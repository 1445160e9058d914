"""Attributes as conditions, on made households with a car, electric heating and a number of people.

    python benchmarks/attributes.py                     1,200 homes, six weeks of hours: half an hour
    python benchmarks/attributes.py --run FOLDER        in a folder that stays; what is trained there is used
    python benchmarks/attributes.py --picture FILE      days and evenings of homes by attribute
    python benchmarks/attributes.py --of RUN --draws 8  how well attributes are found in draws of any run

Trains the default family with bank.by=[ev, heat_pump, people] and compares synthetic with held-out homes:
whether a classifier finds each attribute in synthetic series as in real ones (trained on one, tested on the
other), what a car adds to the evening (18:00 to 22:00), whether shares that are asked for are met, and the
smallest cell that a group stands for. The last line is JSON.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from common import finish, run_stages, show
from households import write_population
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from recovery import measure_recovery

import distgan
from distgan import config
from distgan.anonymity.bank import Bank
from distgan.data.store.private_table import read_table
from distgan.data.store.reader import Store
from distgan.evaluation.plots.style import FAINT, LINE, STYLE
from distgan.pipeline.attribute_report import compare_attributes
from distgan.pipeline.requested_attributes import plan_series
from distgan.pipeline.training_data import open_series, select_rows
from distgan.run import Run

SHARES = (0.3, 0.3)  # of homes with heating and with a car
HOUR, EVENING = 24, (18, 22)
SETTINGS = [
    "data.columns.attributes=[ev,heat_pump,people]",
    "bank.by=[ev,heat_pump,people]",
    "data.units=kWh",
    "data.bounds.lower=0",
    "data.splits={train: 0.6, held_out: 0.4, reference: 0.0}",
    *("encoder.patch=24", "encoder.width=48", "encoder.depth=2", "encoder.latent_dim=8"),
    *("encoder.steps=400", "encoder.batch_size=32", "bank.condition_dim=2"),
    *("model.patch=24", "model.generator.width=48", "model.generator.noise_dim=32"),
    "model.generator.token_noise_dim=8",
    "model.generator.scales=[{ratio: 1, depth: 2, heads: 4}, {ratio: 4, depth: 1, heads: 4}]",
    "model.discriminator.width=48",
    "model.discriminator.scales=[{ratio: 1, depth: 2, heads: 4}, {ratio: 4, depth: 1, heads: 4}]",
    *("model.discriminator.periods=[24,168]", "model.discriminator.spectra=[128]"),
    *("model.discriminator.side_channels=8", "objective.penalty.weight=0.1"),
    *("train.batch_size=32", "train.generator_rate=5.0e-4", "train.discriminator_rate=2.0e-3"),
    *("train.sample_every=2000", "train.checkpoint_every=250", "generate.batch_size=64"),
    "engine.threads=1",
]


def train(place: Path, given: argparse.Namespace) -> Run:
    """Make the population and a run of it through the stage generate, unless it is there."""
    source, run = place / "homes.npz", place / "run"
    if Run(run).synthetic.exists():
        return Run(run)
    place.mkdir(parents=True, exist_ok=True)
    write_population(source, given.homes, given.seed, given.days, HOUR, SHARES)
    small = (
        ["encoder.steps=5", "model.generator.width=16", "model.discriminator.width=16"] if given.smoke else []
    )
    own = [f"data.source={source}", f"train.steps={given.steps}", f"generate.count={given.homes * 3 // 5}"]
    run_stages(run, "prepare,encoder,encode,cluster,bank,gan,generate", [*SETTINGS, *own, *small])
    return Run(run)


def read_sides(run: Run) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], Any]:
    """Return rows and values of training, held-out and synthetic series, and the private table."""
    data, table = open_series(run), read_table(run.private_table)
    synthetic = Store.open(run.synthetic)
    rows = {name: select_rows(data, table, name, run) for name in ("train", "held_out")}
    series = {name: data.read_rows(found) for name, found in rows.items()}
    rows["synthetic"] = np.arange(synthetic.num_series)
    series["synthetic"] = synthetic.read_rows(rows["synthetic"])
    return rows, series, table


def compare_evenings(run: Run, series: np.ndarray, ev: np.ndarray, seed: int) -> dict[str, float]:
    """Return evening energy of homes with and without a car, real and synthetic, in kWh an hour."""
    trained = distgan.load(run.folder)
    hours = np.arange(series.shape[1]) % HOUR
    evening = (hours >= EVENING[0]) & (hours < EVENING[1])
    made = {has: trained.sample(int(min(400, (ev == has).sum() * 4)), seed, ev=has) for has in (True, False)}
    return {
        "real_with": float(series[ev][:, evening].mean()),
        "real_without": float(series[~ev][:, evening].mean()),
        "made_with": float(made[True][:, evening].mean()),
        "made_without": float(made[False][:, evening].mean()),
    }


def draw_loads(path: Path, real: np.ndarray, cells: dict[str, np.ndarray], run: Run) -> None:
    """Draw the mean day of each kind of home, how evenings are distributed over homes, and loads by people,
    held-out homes beside as many synthetic ones.
    """
    trained = distgan.load(run.folder)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 6), layout="constrained")
        grid = figure.add_gridspec(2, 12)
        days = [figure.add_subplot(grid[0, 3 * place : 3 * place + 3]) for place in range(4)]
        below = [figure.add_subplot(grid[1, 4 * place : 4 * place + 4]) for place in range(3)]
        for number, (name, title) in enumerate({"ev": "car", "heat_pump": "electric heating"}.items()):
            for has in (False, True):
                own = real[cells[name] == str(has).lower()][..., 0]
                made = trained.sample(len(own), 1, **{name: has})[..., 0]
                kind = f"{'with' if has else 'without'} {'a ' if name == 'ev' else ''}{title}"
                _draw_day(days[2 * number + has], f"{len(own)} homes {kind}", own, made)
                _draw_evenings(below[number], "with" if has else "without", own, made)
            below[number].set(
                title=f"evening load of homes, by {title}", xlabel="mean load, 18 to 22 h [kWh per h]"
            )
        below[0].set_ylabel("share of homes with less")
        wanted = trained.sample_attributes(len(real), 1)["people"].to_numpy(int)
        _draw_people(below[2], cells["people"].astype(int), real, wanted, trained.sample(len(real), 1))
        highest = max(axes.get_ylim()[1] for axes in days)
        for axes in days:
            axes.set(ylim=(0, highest), xticks=range(0, HOUR + 1, 6), xlabel="hour of the day")
        days[0].set_ylabel("mean load [kWh per h]")
        handles, names = days[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=3)
        figure.savefig(path, dpi=100)


def _draw_day(axes: Axes, title: str, real: np.ndarray, made: np.ndarray) -> None:
    axes.axvspan(*EVENING, color=FAINT, alpha=0.35, linewidth=0, label="evening, 18 to 22 h")
    for series, side, name in ((real, "real", "held-out homes"), (made, "synthetic", "synthetic homes")):
        day = series.reshape(len(series), -1, HOUR).mean((0, 1))
        axes.stairs(day, range(HOUR + 1), baseline=None, label=name, linewidth=1.6, **LINE[side])
    evenings = [float(_average_evening(series).mean()) for series in (real, made)]
    note = f"evening {evenings[0]:.2f} real,\n{evenings[1]:.2f} synthetic"
    axes.text(0.03, 0.97, note, transform=axes.transAxes, va="top", fontsize=8)
    axes.set_title(title)


def _draw_evenings(axes: Axes, kind: str, real: np.ndarray, made: np.ndarray) -> None:
    width = {"without": 0.9, "with": 2.0}[kind]
    for series, side, name in ((real, "real", "held-out"), (made, "synthetic", "synthetic")):
        axes.ecdf(_average_evening(series), label=f"{name}, {kind}", linewidth=width, **LINE[side])
    axes.set(xscale="log", xlim=(0.08, 4))
    axes.set_xticks([0.1, 0.2, 0.5, 1, 2], labels=["0.1", "0.2", "0.5", "1", "2"])
    axes.minorticks_off()
    axes.legend(loc="upper left", fontsize=7.5)


def _draw_people(
    axes: Axes, people: np.ndarray, real: np.ndarray, wanted: np.ndarray, made: np.ndarray
) -> None:
    for numbers, series, side, name in (
        (people, real, "real", "held-out homes"),
        (wanted, made, "synthetic", "synthetic homes"),
    ):
        loads = series.mean((1, 2))
        found = [loads[numbers == number] for number in sorted(set(numbers))]
        errors = [np.std(own) / len(own) ** 0.5 for own in found]
        axes.errorbar(
            sorted(set(numbers)), [own.mean() for own in found], errors, capsize=3, marker="o", markersize=4,
            label=name, **LINE[side],
        )  # fmt: skip
    axes.set(
        title="mean load by people, ± one standard error",
        xlabel="people in the home",
        ylabel="load [kWh per h]",
    )
    axes.set_xticks(sorted(set(people)))
    axes.set_ylim(0)
    axes.legend(loc="lower right")


def _average_evening(series: np.ndarray) -> np.ndarray:
    """Return the mean load of each home in the evening: [n, L] -> [n]."""
    hours = np.arange(series.shape[1]) % HOUR
    found: np.ndarray = series[:, (hours >= EVENING[0]) & (hours < EVENING[1])].mean(1)
    return found


def meet_shares(run: Run) -> list[dict[str, Any]]:
    """Return how many of 997 series have what shares ask for, and how many were wanted."""
    settings, bank, found = config.load(run.config), Bank.load(run.bank), []
    for share in (0.1, 0.4, 0.85):
        asked = {"generate.shares": {"ev": share}, "generate.count": 997}
        plan = plan_series(settings.with_values(asked, "shares").generate, bank)
        assert plan.values is not None
        found.append({"ev": share, "wanted": 997 * share, "got": int((plan.values[:, 0] == 1).sum())})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, help="a folder for population and run; by default none stays")
    parser.add_argument("--picture", type=Path, help="a PNG file to draw")
    parser.add_argument("--homes", type=int, default=1200)
    parser.add_argument("--days", type=int, default=42)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="tiny, figures meaningless")
    parser.add_argument(
        "--of", type=Path, help="a run with bank.by, of any data: only classifiers are trained"
    )
    parser.add_argument("--draws", type=int, default=8, help="sets of generate.count series, with --of")
    given = parser.parse_args()
    if given.of is not None:
        rows = measure_recovery(Run(given.of), given.draws)
        show(f"attributes of {given.of}, {given.draws} draws", rows)
        return finish(1, recovery=rows)
    if given.smoke:
        given.homes, given.days, given.steps = 512, 14, 4
    with tempfile.TemporaryDirectory() as folder:
        run = train(given.run or Path(folder), given)
        if given.smoke:
            show("several draws", measure_recovery(run, 2))
        report(run, given.seed, given.picture)


def report(run: Run, seed: int, picture: Path | None) -> None:
    settings, bank = config.load(run.config), Bank.load(run.bank)
    assert bank.statics is not None
    rows, series, table = read_sides(run)
    by = compare_attributes(run, settings, table, open_series(run), rows, series)
    assert by is not None
    found = [each.recovered for each in by.attributes]
    wanted = ("statistic", "chance", "real_on_real", "real_on_synthetic", "synthetic_on_real", "errors")
    show(
        "attributes found by a classifier",
        [
            {"attribute": each.name, **{name: getattr(each.recovered, name) for name in wanted}}
            for each in by.attributes
            if each.recovered is not None
        ],
    )
    show(
        "by value",
        [
            {"attribute": each.name, **value.model_dump(exclude={"scores", "scores_real"})}
            for each in by.attributes
            for value in each.values
        ],
    )
    cells = {each.name: each.cells[rows["held_out"]] for each in table.statics}
    if picture is not None:
        draw_loads(picture, series["held_out"], cells, run)
    evenings = compare_evenings(run, series["held_out"], cells["ev"] == "true", seed)
    real = evenings["real_with"] / evenings["real_without"]
    made = evenings["made_with"] / evenings["made_without"]
    show(
        "evening energy of homes with and without a car",
        [{**evenings, "real_ratio": real, "made_ratio": made}],
    )
    shares = meet_shares(run)
    show("shares of cars among 997 series", shares)
    gaps = [each.real_on_real - each.synthetic_on_real for each in found if each is not None]
    finish(
        1,
        groups=bank.num_groups,
        smallest_group=int(bank.sizes.min()),
        minimum_group_size=bank.minimum_group_size,
        recovery_gap=max(gaps, default=None),
        evening_with_car=evenings["made_with"] / evenings["real_with"],
        evening_ratio=made / real,
        shares_off=max(abs(each["got"] - each["wanted"]) for each in shares),
    )


if __name__ == "__main__":
    main()
