"""Settings of a sweep."""

import math
from typing import Any, Literal

from pydantic import model_validator

from distgan.config.base import Section, key

EXCHANGEABLE = ("train.", "objective.")  # may change in the middle of a training: no network does


class Dimension(Section):
    choice: tuple[Any, ...] | None = key(None, "one of these values")
    grid: tuple[Any, ...] | None = key(None, "each of these values, in every combination with other grids")
    uniform: tuple[float, float] | None = key(None, "a number between the two")
    loguniform: tuple[float, float] | None = key(None, "a number between the two, uniform in its logarithm")
    randint: tuple[int, int] | None = key(None, "a whole number from the first to the second, both included")
    when: dict[str, tuple[Any, ...]] = key(
        {},
        "search this key only if these keys have one of these values; they must be fixed "
        "or come before it in the space",
    )

    @property
    def way(self) -> tuple[str, tuple[Any, ...]]:
        """The way it is drawn and from what: ("uniform", (0.0, 1.0))."""
        ways = ("choice", "grid", "uniform", "loguniform", "randint")
        return next((way, found) for way in ways if (found := getattr(self, way)) is not None)

    @model_validator(mode="after")
    def _one_way(self) -> "Dimension":
        ways = {name: found for name, found in self if name != "when" and found is not None}
        if len(ways) != 1:
            raise ValueError(
                f"{' and '.join(ways) or 'nothing'} given; write one of choice, grid, uniform, loguniform, "
                "randint"
            )
        (way, found), *_ = ways.items()
        if way in ("choice", "grid") and not found:
            raise ValueError(f"{way} is empty; list its values")
        if way in ("uniform", "loguniform", "randint") and not found[0] < found[1]:
            raise ValueError(
                f"{way} {found[0]:g} to {found[1]:g} is empty; the first number is the lower one"
            )
        if way == "loguniform" and found[0] <= 0:
            raise ValueError(f"loguniform begins at {found[0]:g}; it must begin above 0")
        return self


class Resources(Section):
    workers: int = key(1, "processes that train one trial together", ge=1)
    cpus: int = key(1, "CPU cores per worker", ge=1)
    gpus: float = key(0.0, "GPUs per worker; 0.25 lets four small trials share one", ge=0)


class Sweep(Section):
    space: dict[str, Dimension] = key({}, "search space: dotted key -> how its value is drawn")
    objectives: tuple[str, ...] = key(
        ("fidelity",),
        "what to minimise, from report.json: `fidelity` (all scores against real series; "
        "0.5 is as close as other real series), the name of a score, `tracing` (AUC of "
        "membership inference on the bank), or `metrics.NAME` of the GAN's training; two "
        "objectives give a Pareto front",
        min_length=1,
        max_length=2,
    )
    scheduler: Literal["asha", "pbt", "none"] = key(
        "asha",
        "asha stops weak trials early; pbt replaces their state by that of better trials; none does neither",
    )
    searcher: Literal["random", "tpe"] = key(
        "random", "draw values at random (and grids), or by Optuna's TPE"
    )
    interval: int | None = key(
        None,
        "training steps before asha's first comparison, and between pbt's exchanges; by "
        "default a ninth of train.steps. Without a scheduler trials are scored only at "
        "their end",
        ge=1,
    )
    reduction: int = key(
        3, "asha keeps one trial in this many, and compares again after this many times the steps", ge=2
    )
    trials: int = key(12, "budget: total number of trials; with a grid, a multiple of its points", ge=1)
    hours: float | None = key(None, "budget: hours of wall-clock time", gt=0)
    steps: int | None = key(None, "budget: training steps of all trials together", ge=1)
    retries: int = key(1, "number of times that a trial whose process died is restarted", ge=0)
    confirm: int = key(
        3,
        "number of fresh seeds on which the best trial and the unchanged config are "
        "trained again, to show their spread",
        ge=0,
    )
    seed: int = key(
        0, "random seed of the draws; of those that pbt makes on the way, Ray has none", ge=0, lt=2**63
    )
    resources: Resources = key(Resources(), "resources of one trial; as many run at once as fit")
    address: str | None = key(
        None,
        "HOST:PORT of a Ray cluster, or auto; by default a Ray instance on this machine only, on loopback",
    )

    @property
    def grid_points(self) -> int:
        return math.prod(len(dimension.grid) for dimension in self.space.values() if dimension.grid)

    @model_validator(mode="after")
    def _fits(self) -> "Sweep":
        grid, pbt = any(dimension.grid for dimension in self.space.values()), self.scheduler == "pbt"
        if self.trials % self.grid_points:
            raise ValueError(
                f"trials {self.trials} is not a multiple of the grid's {self.grid_points} points; use "
                f"{-(-self.trials // self.grid_points) * self.grid_points}"
            )
        if grid and (pbt or self.searcher == "tpe"):
            raise ValueError("a grid needs searcher random and a scheduler other than pbt; use choice")
        if pbt and self.searcher == "tpe":
            raise ValueError("scheduler pbt draws and changes values itself; use searcher random")
        if len(self.objectives) > 1 and self.scheduler != "none":
            raise ValueError(f"scheduler {self.scheduler} follows one objective; use none with two")
        if pbt and self.trials < 2:
            raise ValueError("scheduler pbt exchanges between trials; use trials 2 or more")
        for name, dimension in self.space.items():
            if pbt and (dimension.when or not name.startswith(EXCHANGEABLE)):
                raise ValueError(
                    f"scheduler pbt changes values in the middle of a training: {name} must be of train or "
                    "objective, without `when`"
                )
            if grid and dimension.grid and dimension.when:
                raise ValueError(f"{name}: a grid takes no `when`; use choice")
        return self
