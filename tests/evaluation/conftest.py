"""What tests of reports share: one page."""

from pathlib import Path

import pytest

from distgan.evaluation.metrics import fidelity
from distgan.evaluation.plots import catalogue
from distgan.evaluation.report import writer
from tests.helpers.reports import HOURS, homes, view
from tests.helpers.sharing import make_once


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a report of few homes: the page and its JSON."""
    return make_once(tmp_path_factory, "report", write_report)


def write_report(folder: Path) -> None:
    """Write a report that has every part but the sections of utility and attacks."""
    real, synthetic = homes(8, 2), homes(12, 3)
    results = fidelity.evaluate(homes(12, 1), real, synthetic, steps_per_day=24)
    drawn = catalogue.draw_all(real, synthetic, view(), real_curves=True)
    attack = {
        "exposure": "smallest groups",
        "meaning": "the quarter with the fewest",
        "verdict": "too few to tell",
    }
    attack |= {"entities": 9, "strangers": 12, "auc": 0.61, "low": 0.4, "high": 0.82, "limit": 0.65}
    promise = "The bank is (2, 1e-06)-differentially private."
    groups = writer.Groups(
        [20, 18], [19.0, 17.5], [0.61, 0.63], 16, 0.65, [attack], promise, ["Covered: the bank."], study=True
    )
    facts = writer.Facts(
        "demo <run>",
        start="2019-01-01T00:00:00",
        step_seconds=3600,
        length=HOURS,
        splits={"train": writer.Split(12, 12, 4)},
        left_out={"too many gaps": 2},
        groups=groups,
        settings={"train.steps": 10, "rate": float("nan")},
        credit="Data: somebody, CC BY 4.0",
    )
    page, scores, shown = folder / "report.html", folder / "report.json", drawn.pictures
    writer.write(page, scores, results, facts, shown, first=drawn.first, explorer=drawn.explorer)
