"""Settings of objectives, training, engine, generation and evaluation."""

from datetime import date
from typing import Any, Literal

from pydantic import field_validator, model_validator

from distgan.config.base import Section, key
from distgan.memory import USUAL_MIB

LossName = Literal[
    "relativistic", "hinge", "standard", "lsgan", "nonsaturating", "wgangp", "wgangp-mode", "wgangp-eps"
]
MOST_COLUMNS = 5000  # of a wide table that is exported
TrackerName = Literal["tensorboard", "wandb", "mlflow", "comet_ml", "aim"]


class Penalty(Section):
    kind: Literal["finite_difference", "exact", "interpolated", "none"] = key(
        "finite_difference",
        "zero-centred by finite differences, zero-centred by double backward, that of WGAN-GP, or none",
    )
    weight: float = key(0.5, "weight of the penalty: gamma / 2 of R1 and R2, lambda of WGAN-GP", ge=0)
    sigma: float = key(0.005, "step of the finite difference, for series scaled to [-1, 1]", gt=0, le=0.05)
    fraction: float = key(0.25, "share of the batch that is penalised, as 1/n", gt=0, le=1)
    target: float = key(1.0, "gradient norm that the interpolated penalty targets (phi)", gt=0)

    @field_validator("fraction")
    @classmethod
    def _one_in_so_many(cls, fraction: float) -> float:
        stride = round(1 / fraction)
        if abs(stride * fraction - 1) > 0.02:  # .33 is a third
            raise ValueError(f"one in so many series is penalised: use 1/n, such as {1 / stride:.3g}")
        return fraction


class Augment(Section):
    probability: float = key(0.3, "probability of each operation for each series of a batch", gt=0, lt=1)
    day_shift: bool = key(False, "shift a series circularly by whole days")
    week_shift: bool = key(False, "shift a series circularly by whole weeks")
    jitter: float = key(0.0, "multiply a series by 1 plus or minus up to this", ge=0, lt=1)
    cutout: float = key(0.0, "mask a stretch of up to this share of a series", ge=0, lt=1)
    crop: float = key(0.0, "mask all but one stretch, up to this share of a series", ge=0, lt=1)

    @property
    def on(self) -> bool:
        return bool(self.day_shift or self.week_shift or self.jitter or self.cutout or self.crop)


class Objective(Section):
    loss: LossName = key(
        "relativistic",
        "loss of both networks (timegan, nr_gan, rectified_flow and timevae have losses of their own)",
    )
    penalty: Penalty = key(
        Penalty(),
        "gradient penalty of the discriminator, at real and at generated series; not used by timegan, "
        "rectified_flow and timevae",
    )
    augment: Augment = key(
        Augment(), "augmentation of the discriminator's input, real and generated alike; off by default"
    )
    moments: float = key(
        0.0,
        "weight of a term of the generator's loss: distance of means and standard "
        "deviations per step and channel over a batch from the real ones (as in TimeGAN, "
        "which has model.moment_weight); needs large batches",
        ge=0,
    )
    features: float = key(
        0.0,
        "weight of a term of the generator's loss: energy distance, over a batch, of features of whole "
        "series (quantiles, changes, spectrum, recurrence, days, profiles) from those of real ones",
        ge=0,
    )

    @property
    def batch_terms(self) -> tuple[str, ...]:
        """Keys of terms in use that compare a whole batch."""
        names = ("moments", "features")
        return tuple(f"objective.{name}" for name in names if getattr(self, name))


class Select(Section):
    score: str | None = key(
        None,
        "score on the validation owners (data.validation) that chooses the generator to keep: `fidelity`, or "
        "the name of a score of the report; null keeps the last step",
    )
    every: int = key(500, "training steps between two evaluations; train.steps is a multiple of it", ge=1)
    patience: int = key(
        5, "evaluations without a better one before training stops early; 0 never stops it", ge=0
    )
    series: int = key(
        100, "largest number of series of each kind (training, validation, generated) in an evaluation", ge=4
    )


class Train(Section):
    steps: int = key(20000, "training steps: one discriminator and one generator update each", ge=1)
    batch_size: int = key(32, "series per update, over all processes", ge=1)
    generator_rate: float = key(2e-4, "learning rate of the generator after burn-in", gt=0)
    discriminator_rate: float = key(2e-4, "learning rate of the discriminator after burn-in", gt=0)
    beta1: float = key(0.0, "Adam's decay rate of the first moment", ge=0, lt=1)
    beta2: float = key(0.99, "Adam's decay rate of the second moment after burn-in", gt=0, lt=1)
    burn_in_steps: int = key(
        0,
        "steps of a cosine schedule from (4x rate, 10x penalty, beta2 .9, EMA 0) to the settings; 0 for none",
        ge=0,
    )
    clip: float = key(0.0, "maximum gradient norm; 0 for no clipping", ge=0)
    ema_half_life: float = key(16000, "half-life of the generator's moving average, in series", ge=0)
    report_every: int = key(50, "steps between console lines", ge=1)
    sample_every: int = key(500, "steps between sample plots in TensorBoard", ge=1)
    checkpoint_every: int = key(200, "steps between checkpoints", ge=1)
    keep_last: int = key(2, "number of latest checkpoints to keep", ge=2)
    keep_every: int = key(0, "steps between checkpoints that are never deleted; 0 for none", ge=0)
    select: Select = key(
        Select(), "keeping the best step instead of the last, and early stopping; off by default"
    )
    max_skips: int = key(
        20, "consecutive steps with a loss or gradient that is not finite before training rolls back", ge=1
    )
    max_rollbacks: int = key(
        2,
        "returns to the last checkpoint, each at half the learning rates, before training"
        " ends with exit code 6",
        ge=0,
    )


class Offload(Section):
    optimizer: Literal["none", "cpu", "nvme"] = key(
        "none",
        "where optimizer states (master weights and Adam's moments) are kept: on the "
        "device, in CPU memory, or in files in `path`; needs zero >= 1",
    )
    parameters: Literal["none", "cpu"] = key(
        "none", "where partitioned parameters are kept between uses; needs zero 3"
    )
    path: str | None = key(
        None, "folder on a fast disk of each machine, for nvme; the files are removed at the end"
    )


class Engine(Section):
    precision: Literal["fp32", "bf16", "fp16"] = key(
        "fp32", "arithmetic of the networks; losses, penalties and averages use float32"
    )
    zero: Literal[0, 1, 2, 3] = key(
        0,
        "ZeRO stage (DeepSpeed): 0 replicates everything, 1 partitions optimizer states, "
        "2 also gradients, 3 also parameters",
    )
    discriminator_zero: Literal[0, 1, 2, 3] | None = key(
        None, "ZeRO stage of the discriminator; by default `zero`"
    )
    gather_penalty: bool = key(
        False,
        "gather all parameters of a stage-3 discriminator for its backward pass, as exact penalties need",
    )
    offload: Offload = key(Offload(), "offloading to CPU memory or disk")
    micro_batch: int | None = key(
        None,
        "series per process and forward pass; gradients accumulate to batch_size. By default all at once",
        ge=1,
    )
    timeout: int = key(
        600, "seconds without a message from another process before this one gives up with exit code 8", ge=5
    )
    threads: int | None = key(
        None, "CPU threads per process; by default the cores are divided among the processes", ge=1, le=1024
    )
    host_memory_mib: int = key(
        USUAL_MIB,
        "MiB of main memory that the buffers of a stage may take in each process, beside mapped files, "
        "networks and a few numbers per series: the sizes of blocks that are read, compared and written "
        "follow from it; results do not depend on it, except that evaluate attacks fewer synthetic series "
        "where they do not fit",
        ge=64,
    )
    compile: bool | Literal["auto"] = key(
        False,
        "compile the networks with torch.compile: minutes at the start for shorter steps, with other last "
        "digits; needs a compiler (g++; on a GPU gcc and python3-dev); auto: where it pays within "
        "train.steps",
    )
    trackers: tuple[TrackerName, ...] = key(
        ("tensorboard",),
        "where a training's figures are sent, besides metrics.jsonl; each except tensorboard needs its own "
        "package and is configured by environment variables (WANDB_MODE, MLFLOW_TRACKING_URI, "
        "COMET_API_KEY); [] for none",
    )
    tracker_project: str = key(
        "distgan", "project of wandb and comet_ml, experiment of mlflow", pattern=r"^[\w.-]{1,64}$"
    )
    tracker_pictures: bool = key(
        False,
        "also send pictures of generated series, which no attack has checked yet, to the trackers other than "
        "tensorboard",
    )
    checkpoint_activations: bool = key(
        False,
        "recompute transformer blocks of multiscale and of the VAE in the backward pass: "
        "less memory, more time; not available for other families",
    )

    @field_validator("trackers")
    @classmethod
    def _once(cls, trackers: tuple[str, ...]) -> tuple[str, ...]:
        if twice := sorted({name for name in trackers if trackers.count(name) > 1}):
            raise ValueError(f"trackers lists {twice[0]} twice; list each tracker once")
        return trackers


AttributeValue = bool | int | float | str


def _is_empty(value: Any) -> bool:
    """Return whether a value means none: None, NaN, NaT or pandas' NA."""
    return value is None or (not isinstance(value, str) and str(value) in ("nan", "NaT", "<NA>"))


class Generate(Section):
    count: int = key(100, "number of synthetic series", ge=1)
    start: str | None = key(
        None,
        "first day of exports and of a release, e.g. 2027-01-01, for series of a year: each day becomes one "
        "of the same weekday, season and public holiday (data.holidays), and clocks change where they do in "
        "data.timezone; by default the days of the training series",
    )
    lengths: Literal["whole", "as_real"] = key(
        "whole",
        "whole, or as_real: exported series begin late and end early as real ones do, with missing values "
        "outside of ranges that the minimum group size of owners share",
    )
    seed: int = key(0, "random seed of the noise", ge=0, lt=2**63)
    batch_size: int = key(32, "series per forward pass", ge=1)
    format: Literal["zarr", "csv", "parquet"] = key(
        "zarr", "format of an export beside synthetic.zarr; zarr for no export"
    )
    layout: Literal["auto", "wide", "long", "list"] = key(
        "auto",
        "layout of an exported table: wide (one column per series), long (columns id, timestamp and one "
        "per channel) or list (Parquet only: one row per series, with a list of values per channel); auto "
        "is wide for at most 2,000 series of one channel and long otherwise",
    )

    attributes: dict[str, AttributeValue] = key(
        {},
        "attributes that all series are to have, e.g. {ev: true, type: flat}; the others are those of the "
        "groups",
    )
    shares: dict[str, float | dict[str, float]] = key(
        {},
        "shares of the series by value of an attribute, met exactly (largest remainder): of true for a "
        "boolean one, e.g. {ev: 0.4}, of values for others, e.g. {type: {flat: 0.7}}; the rest keeps the "
        "proportions of the groups",
    )
    table: str | None = key(
        None,
        "CSV table of wanted attributes: a row per series (generate.count of them), a column per attribute, "
        "an empty cell for any value",
    )
    extrapolate: bool = key(
        False,
        "generate combinations of attributes that no group has, from the nearest groups, and mark them in "
        "the table of attributes; by default they are refused",
    )

    @field_validator("start", mode="before")
    @classmethod
    def _date(cls, start: Any) -> str | None:
        """Accept a date, as which YAML reads 2027-01-01."""
        if start is None:
            return None
        try:
            found = date.fromisoformat(str(start))
        except ValueError:
            raise ValueError(f"{start!r:.40} is no date; write e.g. 2027-01-01") from None
        if found.year == date.max.year:
            raise ValueError(f"the year from {found} ends after {date.max}; write e.g. 2027-01-01")
        return found.isoformat()

    @field_validator("attributes", mode="before")
    @classmethod
    def _plain(cls, asked: Any) -> Any:
        """Accept numpy's scalars, as Python's."""
        if not isinstance(asked, dict):
            return asked
        empty = next((name for name, value in asked.items() if _is_empty(value)), None)
        if empty is not None:
            raise ValueError(f"{empty} has no value; leave it out for any value, or give one")
        return {name: value.item() if hasattr(value, "item") else value for name, value in asked.items()}

    @field_validator("shares", mode="before")
    @classmethod
    def _named(cls, asked: Any) -> Any:
        """Accept values that YAML reads as numbers or booleans: {ev: {true: 0.4}}."""
        if not isinstance(asked, dict):
            return asked
        return {
            name: {
                str(value).lower() if isinstance(value, bool) else str(value): each[value] for value in each
            }
            if isinstance(each, dict)
            else each
            for name, each in asked.items()
        }

    @model_validator(mode="after")
    def _attributes(self) -> "Generate":
        if self.table is not None and (self.attributes or self.shares):
            raise ValueError("table states the attributes of every series; leave attributes and shares out")
        both = [name for name in self.attributes if name in self.shares]
        if both:
            raise ValueError(f"attributes and shares both name {both[0]!r}; use one of the two")
        for name, share in self.shares.items():
            given = list(share.values()) if isinstance(share, dict) else [share]
            if not all(0 <= each <= 1 for each in given) or sum(given) > 1 + 1e-9:
                raise ValueError(f"shares of {name!r} must be from 0 to 1 and sum to at most 1")
        return self

    @model_validator(mode="after")
    def _layouts(self) -> "Generate":
        if self.layout == "list" and self.format == "csv":
            raise ValueError(
                "layout list needs format parquet, since a CSV has no lists; set generate.format=parquet, or "
                "use layout long"
            )
        if self.layout == "wide" and self.format != "zarr" and self.count > MOST_COLUMNS:
            raise ValueError(
                f"layout wide makes a column for each of {self.count:,} series, and readers take a few "
                f"thousand (at most {MOST_COLUMNS:,} here); use layout long, or list with format parquet"
            )
        return self


class Evaluate(Section):
    max_series: int = key(1000, "maximum number of series of each kind that are compared", ge=2)
    recurrent_steps: int = key(
        0,
        "training steps of TimeGAN's discriminative and predictive networks, for series "
        "of at most 256 steps (2000 as published); 0 to skip them",
        ge=0,
    )
    backbones: tuple[Literal["gru", "cnn", "transformer"], ...] = key(
        ("gru",),
        "networks of the discriminative and predictive scores, where evaluate.recurrent_steps asks for them: "
        "gru as published, cnn and transformer of 32 units",
        min_length=1,
    )
    seed: int = key(0, "random seed of the scores", ge=0, lt=2**63)
    real_curves: bool = key(
        True, "show single held-out real series in the report; false: only aggregates of 15 or more"
    )
    pictures: bool = key(True, "draw the report's pictures, which takes longer than computing the scores")
