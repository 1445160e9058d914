"""What tests of reports share: one page."""

from pathlib import Path

import pytest

from distgan.evaluation.plots import catalogue
from distgan.evaluation.report import writer
from distgan.evaluation.results import Facts, Findings, Groups, Split
from tests.helpers.fidelity import judge_sets
from tests.helpers.reports import HOURS, homes, view
from tests.helpers.sharing import make_once


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a report of few homes: the page and its JSON."""
    return make_once(tmp_path_factory, "report", write_report)


def write_report(folder: Path) -> None:
    """Write a report that has every part but the sections of utility and attacks."""
    real, synthetic = homes(8, 2), homes(12, 3)
    table = judge_sets(homes(12, 1), real, synthetic)
    drawn = catalogue.draw_all(real, synthetic, view(), real_curves=True)
    attack = {
        "exposure": "smallest groups",
        "meaning": "the quarter with the fewest",
        "verdict": "not enough evidence",
    }
    attack |= {"members": 9, "non_members": 12, "auc": 0.61, "low": 0.4, "high": 0.82, "limit": 0.65}
    guarantee = "The bank is (2, 1e-06)-differentially private."
    groups = Groups(
        [20, 18],
        [19.0, 17.5],
        [0.61, 0.63],
        16,
        0.65,
        [attack],
        guarantee,
        ["Covered: the bank."],
        study=True,
    )
    facts = Facts(
        "demo <run>",
        start="2019-01-01T00:00:00",
        step_seconds=3600,
        length=HOURS,
        splits={"train": Split(12, 12, 4)},
        left_out={"too many gaps": 2},
        groups=groups,
        settings={"train.steps": 10, "rate": float("nan")},
        credit="Data: somebody, CC BY 4.0",
    )
    writer.write_report(
        folder / "report.html", folder / "report.json", Findings(fidelity=table), facts, drawn
    )
