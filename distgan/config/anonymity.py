"""Settings from the encoder to the released conditions."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import field_validator, model_validator

from distgan.config.base import Section, check_heads, convert_lists, key
from distgan.config.bounds import round_down


class Encoder(Section):
    patch: int = key(24, "steps per token", ge=1)
    width: int = key(64, "features per token", ge=4)
    depth: int = key(3, "transformer blocks of the encoder", ge=1)
    decoder_depth: int = key(1, "transformer blocks of the decoder", ge=0)
    heads: int = key(4, "attention heads; divides width", ge=1)
    latent_dim: int = key(16, "size of the latent of a series", ge=1)
    beta: float = key(1.0, "weight of the KL term", ge=0)
    free_bits: float = key(0.05, "nats per latent dimension that are not penalised", ge=0)
    steps: int = key(2000, "optimizer steps", ge=1)
    batch_size: int = key(32, "series per step, over all processes", ge=1)
    learning_rate: float = key(1e-3, "peak learning rate of Adam, with cosine decay to a tenth", gt=0)

    @model_validator(mode="after")
    def _heads(self) -> "Encoder":
        return check_heads(self, self.width, self.heads)


class Clusters(Section):
    count: int | Literal["auto"] | None = key(
        None,
        "k of k-means; `auto` chooses k in `range`; by default groups have three times the minimum "
        "size, or less where fewer than 16 groups would be left",
    )
    range: tuple[int, int] = key(
        (2, 30), "smallest and largest k for `count: auto`; about a dozen values are tried"
    )
    criterion: Literal["silhouette", "elbow"] = key(
        "silhouette", "criterion of `count: auto`: the clearest separation, or the bend of the inertia"
    )
    iterations: int = key(25, "maximum number of Lloyd iterations", ge=1)
    restarts: int = key(5, "k-means runs, of which the one with the lowest inertia is kept", ge=1)
    spherical: bool = key(False, "cluster by direction only")

    @model_validator(mode="after")
    def _counts(self) -> "Clusters":
        if isinstance(self.count, int) and self.count < 1:
            raise ValueError(f"count {self.count} is below 1; use auto or a number of clusters")
        low, high = self.range
        if not 2 <= low < high:
            raise ValueError(f"range {low} to {high} holds nothing to choose from; use e.g. [2, 30]")
        return self


STUDY = ("probes", "leave_one_out")  # ways of training whose bank is never released
WIDEST_CONDITION = 32


class Bank(Section):
    condition_dim: int = key(
        8, "principal directions of the latents kept in a condition; above 32 for research only", ge=1
    )
    min_members: int = key(15, "minimum number of distinct entities behind every released mean", ge=1)
    max_share: float = key(
        0.15,
        "maximum share of a group's load that one entity may carry; of several channels each counts in units "
        "of its mean",
        gt=0,
        le=1,
    )
    max_tracing_auc: float = key(
        0.65,
        "limit of membership inference on the released means; determines the minimum group size",
        gt=0.5,
        lt=1,
    )
    training: Literal["mean", "subset", "probes", "leave_one_out"] = key(
        "mean",
        "condition that a series trains on: its group's mean, or the mean of a fresh "
        "random subset of the group; for research only: the mean of a few `probes`, or of"
        " all other members",
    )
    probes: int = key(4, "number of latents averaged by `training: probes`", ge=1)
    by_label: bool = key(
        False, "form groups within the source's labels only, and append a group's label to its condition"
    )
    by: tuple[str, ...] = key(
        (),
        "attributes of the entities (`label`: the source's labels) by which groups are formed and "
        "networks conditioned, most important first: groups never mix values of categorical and boolean "
        "ones, and state mean and deviation of numbers; values that too few entities have are merged or left "
        "unknown",
    )
    attribute_dropout: float = key(
        0.1,
        "probability that an attribute of a training series is hidden from the networks, so that any subset "
        "of attributes may be requested",
        ge=0,
        lt=1,
    )

    @field_validator("by", mode="before")
    @classmethod
    def _by_of_json(cls, names: Any) -> Any:
        return convert_lists(names)  # a bank's manifest has lists alone

    @property
    def study(self) -> bool:
        """True if the bank reveals single latents (for research only): marked in the manifest, and refused by
        every check for release.
        """
        return self.training in STUDY

    @model_validator(mode="after")
    def _check_study(self) -> "Bank":
        if self.condition_dim > WIDEST_CONDITION and not self.study:
            raise ValueError(
                f"condition_dim {self.condition_dim} is above {WIDEST_CONDITION}: a mean of so many numbers "
                f"identifies its members; use less (for research only: training {' or '.join(STUDY)})"
            )
        if self.min_members < 2 and not self.study:
            raise ValueError(
                f"min_members {self.min_members} is below 2; use 2 or more (for research only: training "
                f"{' or '.join(STUDY)})"
            )
        if self.by and self.by_label:
            raise ValueError("by and by_label exclude each other; write by_label: false and `label` in by")
        if self.by and self.study:
            raise ValueError(f"training {self.training} does not take attributes; leave by out")
        if len(set(self.by)) < len(self.by):
            raise ValueError(f"by names an attribute twice: {', '.join(self.by)}; name each once")
        return self


class Privacy(Section):
    epsilon: float | None = key(
        None,
        "budget of (epsilon, delta)-differential privacy: of the bank, or with `end_to_end` of the whole "
        "run; off by default; 1 to 4 is a meaningful guarantee",
        gt=0,
    )
    delta: float = key(
        1e-6, "probability that the guarantee fails; at most a tenth of 1 / entities", gt=0, lt=0.01
    )
    clip: float | None = key(
        None,
        "norm to which latents are clipped; by default the square root of "
        "encoder.latent_dim, that of the prior",
        gt=0,
    )
    directions_share: float = key(
        0.2, "share of the budget for the principal directions; the rest is for the groups' sums", gt=0, lt=1
    )
    asinh_ratio_range: tuple[float, float] = key(
        (-2.5, 2.5),
        "range to which asinh(location/scale) of a series is clipped; from prior "
        "knowledge, never from the data",
    )
    log_rms_range: tuple[float, float] = key(
        (-7.0, 7.0),
        "range to which the logarithm of a series' root mean square is clipped; from prior knowledge",
    )
    categories: dict[str, tuple[str, ...]] = key(
        {},
        "the values of each attribute in bank.by, e.g. {ev: [false, true], people: [1, 2, 3]}; from prior "
        "knowledge, never from the data: what is not listed is unknown",
    )
    end_to_end: bool = key(
        False,
        "spend epsilon on the encoder, the bank and the network that learns from real series (the "
        "discriminator; of rectified_flow and timevae the generator) together, so that networks and "
        "synthetic series are differentially private, too (DP-SGD)",
    )
    owners: int | None = key(
        None,
        "approximate number of training owners, a public number: batch sizes divided by it are the sampling "
        "rates of `end_to_end`, which needs it; from prior knowledge, never counted in the data",
        ge=2,
    )
    gradient_clip: float = key(
        1.0, "norm to which the gradient of one owner is clipped (`end_to_end`)", ge=1e-6, le=1e6
    )
    series_per_owner: int = key(
        1, "series, or windows, per owner and step, whose mean gradient is clipped (`end_to_end`)", ge=1
    )
    encoder_share: float = key(
        0.2, "share of the budget for the encoder (`end_to_end`), in 1 / multiplier squared", gt=0, lt=1
    )
    bank_share: float = key(
        0.2,
        "share of the budget for the bank (`end_to_end`); the discriminator, or the generator where there is "
        "none, gets the rest",
        gt=0,
        lt=1,
    )
    public: str | None = key(
        None,
        "run_dir of a run on public data with the same networks, all of which start from its weights "
        "(`end_to_end`); epsilon does not cover that data, so no owner of the real series may be in it",
    )
    insecure_seed: int | None = key(
        None,
        "for tests: reproducible noise, which voids the guarantee and is marked in the bank",
        ge=0,
    )

    @field_validator("categories", mode="before")
    @classmethod
    def _categories_as_text(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {
            name: tuple(str(value).lower() if isinstance(value, bool) else str(value) for value in values)
            if isinstance(values, (list, tuple))
            else values
            for name, values in given.items()
        }

    @model_validator(mode="after")
    def _check_categories(self) -> "Privacy":
        for name, values in self.categories.items():
            if len(values) < 2 or len(set(values)) < len(values) or not all(map(str.strip, values)):
                raise ValueError(
                    f"categories of {name} are [{', '.join(values)}]; list two or more different values"
                )
        if self.categories and self.epsilon is None:
            raise ValueError("categories are for privacy.epsilon; leave them out, or set it")
        return self

    @model_validator(mode="after")
    def _ranges(self) -> "Privacy":
        for name in ("asinh_ratio_range", "log_rms_range"):
            low, high = getattr(self, name)
            if not low < high:
                raise ValueError(f"{name} {low:g} to {high:g} is empty; the first number is the lower one")
        return self._check_whole_run()

    def describe(self) -> dict[str, Any]:
        """Return the part of the section in a run's identity: that weights were public, not their path."""
        tree = self.dump()
        public = tree.pop("public") is not None
        return tree | ({"public": True} if public else {})

    def dump(self) -> dict[str, Any]:
        """Return the settings for JSON; no categories are left out, so that runs of before they could be
        listed stay valid.
        """
        return self.model_dump(mode="json", exclude=None if self.categories else {"categories"})

    def _check_whole_run(self) -> "Privacy":
        """Refuse a private training without its public numbers."""
        if not self.end_to_end:
            if self.public is not None:
                raise ValueError("public is for end_to_end; set privacy.end_to_end=true, or leave it out")
            return self
        for name in ("epsilon", "owners"):
            if getattr(self, name) is None:
                raise ValueError(f"end_to_end needs {name}; set privacy.{name}")
        assert self.owners is not None
        if self.delta * self.owners > 0.1:
            raise ValueError(
                f"delta {self.delta:g} is above a tenth of 1 / {self.owners} owners; use "
                f"{round_down(0.1 / self.owners)} or less"
            )
        if self.encoder_share + self.bank_share >= 1:
            raise ValueError(
                f"encoder_share {self.encoder_share:g} and bank_share {self.bank_share:g} leave nothing for "
                "the model; lower one of them"
            )
        return self


class Release(Section):
    max_epsilon: float = key(
        4.0,
        "largest privacy.epsilon of a run that is private end to end (privacy.end_to_end) with which "
        "`distgan release` needs no 3,000 members and 3,000 non-members as evidence",
        gt=0,
        le=8,
    )
