"""`distgan evaluate RUN --task classification`: the utility of a labelled run's series for a classifier.

As many synthetic series of each label are drawn as there are real ones to train on; the test series are of
the owners in the held_out and reference splits. The result goes to classification.json.
"""

import numpy as np

from distgan import config
from distgan.api import Trained
from distgan.arguments import RunRequest
from distgan.command_line import Result
from distgan.data.store.private_table import Table, read_table
from distgan.data.windows import Windows
from distgan.errors import UserError
from distgan.evaluation.metrics import classification
from distgan.evaluation.metrics.classification import LabelledSeries
from distgan.files import write_json
from distgan.pipeline.training_data import open_series, select_rows
from distgan.rng import make_keyed_generator
from distgan.run import Run

DRAWS = 5


def run(given: RunRequest) -> Result:
    """Score the run.

    Raises:
        UserError: the run is not trained, or its groups do not go by label.
    """
    run, settings = given.run, given.settings
    trained = Trained.open(run)
    if not trained.labels:
        raise UserError(
            f"{run.folder} cannot generate series of a given label, because its groups mix "
            "labels; train with bank.by_label=true"
        )
    table = read_table(run.private_table)
    real = read_labelled_series(run, table, ("train",), settings)
    test = read_labelled_series(run, table, ("held_out", "reference"), settings)
    made = [draw_labelled_series(trained, real, settings.evaluate.seed + draw) for draw in range(DRAWS)]
    found = classification.classify(real, made, test)
    write_json(run.classification, found.to_json())
    return Result(classification.format_table(found), found.to_json())


def read_labelled_series(
    run: Run, table: Table, splits: tuple[str, ...], settings: config.Config
) -> LabelledSeries:
    """Read the series of some splits, `evaluate.max_series` of each at most."""
    data, most = open_series(run), settings.evaluate.max_series
    rows = []
    for split in splits:
        own = select_rows(data, table, split, run)
        rng = make_keyed_generator(settings.evaluate.seed, 0, f"classification, {split}")
        rows.append(np.sort(rng.choice(own, most, replace=False)) if len(own) > most else own)
    chosen = np.concatenate(rows)
    series = data.find_series(chosen) if isinstance(data, Windows) else chosen
    assert table.labels is not None
    return LabelledSeries(data.read_rows(chosen), table.labels[series], table.owners[series])


def draw_labelled_series(trained: Trained, like: LabelledSeries, seed: int) -> LabelledSeries:
    """Draw as many series of each label as `like` has, each with noise of its own: a seed for every label."""
    labels, counts = np.unique(like.labels, return_counts=True)
    made = []
    for label, count in zip(labels, counts):
        own = int(make_keyed_generator(seed, 0, f"classification, label {label}").integers(2**62))
        made.append(trained.sample(int(count), own, condition=str(label)))
    named = np.repeat(labels, counts)
    return LabelledSeries(np.concatenate(made), named, named)
