"""Settings of objectives, training, engine, generation and evaluation."""

from typing import Literal

from pydantic import field_validator, model_validator

from distgan.config.base import Section, key

LossName = Literal[
    "relativistic", "hinge", "standard", "lsgan", "nonsaturating", "wgangp", "wgangp-mode", "wgangp-eps"
]


class Penalty(Section):
    kind: Literal["finite_difference", "exact", "interpolated", "none"] = key(
        "finite_difference", "zero-centred by differences; zero-centred by double backward; WGAN-GP's; none"
    )
    weight: float = key(0.5, "multiplies the penalty: gamma / 2 of R1 and R2, lambda of WGAN-GP", ge=0)
    sigma: float = key(0.005, "size of the difference, on series scaled to [-1, 1]", gt=0, le=0.05)
    fraction: float = key(0.25, "share of the batch that is penalised; 1/n", gt=0, le=1)
    target: float = key(1.0, "gradient norm that the interpolated penalty pulls to (phi)", gt=0)

    @field_validator("fraction")
    @classmethod
    def _one_in_so_many(cls, fraction: float) -> float:
        stride = round(1 / fraction)
        if abs(stride * fraction - 1) > 0.02:  # .33 is a third
            raise ValueError(f"one in so many series is penalised: use 1/n, such as {1 / stride:.3g}")
        return fraction


class Augment(Section):
    probability: float = key(0.3, "of each operation for each series of a batch", gt=0, lt=1)
    day_shift: bool = key(False, "turn a series in a circle by whole days")
    week_shift: bool = key(False, "turn a series in a circle by whole weeks")
    jitter: float = key(0.0, "multiply a series by 1 plus or minus up to this", ge=0, lt=1)
    cutout: float = key(0.0, "blank a stretch of up to this share of a series", ge=0, lt=1)
    crop: float = key(0.0, "blank all but a stretch, up to this share of a series", ge=0, lt=1)

    @property
    def on(self) -> bool:
        return bool(self.day_shift or self.week_shift or self.jitter or self.cutout or self.crop)


class Objective(Section):
    loss: LossName = key(
        "relativistic", "what both networks minimise (timegan and nr_gan have losses of their own)"
    )
    penalty: Penalty = key(
        Penalty(), "on the discriminator's gradient, at real and at generated series; not timegan's"
    )
    augment: Augment = key(
        Augment(), "of what the discriminator sees, real and generated alike; off by default"
    )
    moments: float = key(
        0.0,
        "weight of how far means and deviations of each step and channel over a batch are from the real "
        "ones, in the generator's loss (TimeGAN's, which has model.moment_weight); wants large batches",
        ge=0,
    )


class Train(Section):
    steps: int = key(20000, "rounds of one discriminator and one generator update", ge=1)
    batch_size: int = key(32, "series per update, over all processes", ge=1)
    generator_rate: float = key(2e-4, "learning rate of the generator after burn-in", gt=0)
    discriminator_rate: float = key(2e-4, "learning rate of the discriminator after burn-in", gt=0)
    beta1: float = key(0.0, "Adam's memory of the mean", ge=0, lt=1)
    beta2: float = key(0.99, "Adam's memory of the square after burn-in", gt=0, lt=1)
    burn_in_steps: int = key(
        0, "cosine from (4x rate, 10x penalty, beta2 .9, EMA 0) to the settings; 0 starts at them", ge=0
    )
    clip: float = key(0.0, "largest gradient norm; 0 does not clip", ge=0)
    ema_half_life: float = key(16000, "series after which a weight's share in the average has halved", ge=0)
    report_every: int = key(50, "steps between console lines", ge=1)
    sample_every: int = key(500, "steps between sample plots in TensorBoard", ge=1)
    checkpoint_every: int = key(200, "steps between checkpoints", ge=1)
    keep_last: int = key(2, "complete checkpoints kept", ge=2)
    keep_every: int = key(0, "steps between checkpoints that are kept for good; 0 keeps none", ge=0)
    max_skips: int = key(
        20, "steps in a row with a loss or gradient that is not finite before training rolls back", ge=1
    )
    max_rollbacks: int = key(
        2, "returns to the last checkpoint, each at half the rates, before training gives up", ge=0
    )


class Offload(Section):
    optimizer: Literal["none", "cpu", "nvme"] = key(
        "none",
        "where master weights and Adam's moments live: the device, the CPU's memory, or files in `path`; "
        "needs zero >= 1",
    )
    parameters: Literal["none", "cpu"] = key(
        "none", "where partitioned weights live between their uses; needs zero 3"
    )
    path: str | None = key(None, "a folder on a fast disk of each machine, for nvme; files vanish at the end")


class Engine(Section):
    precision: Literal["fp32", "bf16", "fp16"] = key(
        "fp32", "arithmetic of the networks; losses, penalties and averages stay float32"
    )
    zero: Literal[0, 1, 2, 3] = key(
        0, "what processes share out of the GAN: nothing, moments, and gradients, and weights (DeepSpeed)"
    )
    discriminator_zero: Literal[0, 1, 2, 3] | None = key(
        None, "the same for the discriminator alone; by default as `zero`"
    )
    gather_penalty: bool = key(
        False, "gather a stage-3 discriminator whole for its backward pass, as exact penalties need"
    )
    offload: Offload = key(Offload(), "what waits in the CPU's memory")
    micro_batch: int | None = key(
        None,
        "series per process and forward pass; gradients add up to batch_size. By default all at once",
        ge=1,
    )
    timeout: int = key(600, "seconds without word from another process before this one gives up", ge=5)
    threads: int | None = key(
        None, "CPU threads per process; by default the cores shared among the processes", ge=1
    )
    compile: bool = key(False, "compile the networks with torch.compile")
    checkpoint_activations: bool = key(
        False,
        "recompute the blocks of multiscale and of the VAE in backward: less memory, more time; the other "
        "families have none that can",
    )


class Generate(Section):
    count: int = key(100, "synthetic series", ge=1)
    seed: int = key(0, "of the noise", ge=0, lt=2**63)
    batch_size: int = key(32, "series per forward pass", ge=1)
    format: Literal["zarr", "csv", "parquet"] = key("zarr", "an export beside synthetic.zarr, unless zarr")
    layout: Literal["auto", "wide", "long", "list"] = key(
        "auto",
        "of an exported table: wide (a column per series), long (columns id, timestamp and one per channel) "
        "or list (Parquet alone: a row per series, its values in a list); auto is wide for at most 2,000 "
        "series of one channel and long otherwise",
    )

    @model_validator(mode="after")
    def _lists(self) -> "Generate":
        if self.layout == "list" and self.format == "csv":
            raise ValueError("layout list needs format parquet: a CSV has no lists; use layout long")
        return self


class Evaluate(Section):
    max_series: int = key(1000, "series of each kind that are compared, at most", ge=2)
    critic_steps: int = key(
        0, "updates of TimeGAN's critics on series of 256 steps at most (2000 as published); 0: without", ge=0
    )
    seed: int = key(0, "of every random choice in the scores", ge=0, lt=2**63)
    real_curves: bool = key(
        True, "the page shows single held-out real series; false: only what 15 or more make together"
    )
    pictures: bool = key(True, "draw the report's pictures, which take longer than its scores")
